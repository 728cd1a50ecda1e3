"""Whether a text that X shows is one that was sent. Pure.

X gives a text back changed: ``&``, ``<`` and ``>`` escaped, composed (NFC), trimmed, a t.co in the place of each link,
and a reply behind the names of those who were in the conversation before. What it does to blanks and to characters that
cannot be seen it does not say, so these do not count.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from unicodedata import category, normalize
from urllib.parse import unquote

SHORT_LINK = re.compile(r"https?://t\.co/[A-Za-z0-9]+")
SCHEME = re.compile(r"https?://")
#: An ampersand, however often it was escaped.
AMPERSAND = re.compile(r"&(?:amp;)+")
#: How the character before is to be drawn, as a sign or as an emoji.
STYLES = "\ufe0e\ufe0f"
#: X leaves at least so much of a text that it cuts off; a shorter one is somebody's whole text.
LEAST_LEFT = 100


class Likeness(IntEnum):
    SAME = 0
    #: What X tells is not enough to say.
    UNCLEAR = 1
    OTHER = 2


def likeness(sent: str, shown: str, links: Mapping[str, str], *, reply: bool = False) -> Likeness:
    """Compare a text that was sent with one that X shows; ``links``: what its short links stand for, as X says."""
    ours, theirs = _clean(sent).split(), _clean(shown).split()
    if ours == theirs:  # so a t.co that was sent is, which X leaves as it is
        return Likeness.SAME
    theirs = _clean(SHORT_LINK.sub(lambda link: links.get(link[0]) or link[0], shown)).split()
    names = len(theirs) - len(ours)
    if reply and names > 0 and all(word.startswith("@") for word in theirs[:names]):
        theirs = theirs[names:]
    if len(ours) == len(theirs):
        sites = {site for link in links.values() if (site := _site(link))}
        pairs = zip(ours, theirs, strict=True)
        result = max((_of_words(our, their, sites) for our, their in pairs), default=Likeness.SAME)
    else:
        result = Likeness.OTHER
    return Likeness.UNCLEAR if result is Likeness.OTHER and _cut_off(ours, theirs) else result


def _of_words(our: str, their: str, sites: Collection[str]) -> Likeness:
    if our == their:
        return Likeness.SAME
    linked = [site for site in sites if site in their.casefold()]
    if linked and _plain(our) == _plain(their):
        return Likeness.SAME
    # Another page of the same site is another link. Another site may be where X followed ours to, or its other name.
    elsewhere = SHORT_LINK.search(their) or any(site not in our.casefold() for site in linked)
    return Likeness.UNCLEAR if elsewhere and "." in our else Likeness.OTHER


def _clean(text: str) -> str:
    """A text, whatever X may have done to how it is written."""
    seen = "".join(each for each in text if each in "\t\n\r" or not (each in STYLES or category(each) in {"Cc", "Cf"}))
    plain = AMPERSAND.sub("&", normalize("NFC", seen)).replace("&lt;", "<").replace("&gt;", ">")
    return normalize("NFC", plain)


def _plain(word: str) -> str:
    """A word with a link in it, whatever ways there are to write that link."""
    return unquote(SCHEME.sub("", _clean(word).casefold())).replace("/", "")


def _site(link: str) -> str:
    return SCHEME.sub("", _clean(link).casefold()).partition("/")[0]


def _cut_off(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether theirs is the beginning of ours and breaks off there, maybe with a link to the rest."""
    left = SHORT_LINK.sub("", " ".join(theirs)).rstrip(" …")
    return len(left) >= LEAST_LEFT and " ".join(ours).startswith(left)
