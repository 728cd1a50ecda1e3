"""Whether a post that X shows is one that was sent: its text, what it refers to, and what is attached to it. Pure.

X shows what is attached by a short link behind the text, or does not: of a quoted post, photos and videos it is known
to, of polls it was said (dev.twitter.com, "Upcoming changes to Tweets"), and X's own example of a poll has none. So a
link there that was not sent is no other text if it stands for what was attached; if X does not say what it stands for,
that is not certain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from actas.actions.x.likeness import SHORT_LINK, Likeness, likeness

#: A text, and the short link at its end.
LAST_LINK = re.compile(rf"(?:(.*)\s)?({SHORT_LINK.pattern})\s*", re.DOTALL)
#: What may have made X attach something of its own accord: the link of a post, or of a photo.
LINK = re.compile(r"https?://|\w\.\w")
#: Where a post, or what is attached to one, is to be seen.
STATUS = re.compile(r"/status(?:es)?/([0-9]{1,19})(?:/(?:photo|video)/[0-9]+)?(?:[?#].*)?$")
#: A media key ends in the media's id: "3_" and "7_" say what kind it is of.
MEDIA_KEY = re.compile(r"[0-9]+_([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was sent."""

    text: str = field(repr=False)
    reply_to: str | None = None
    quote: str | None = None
    #: What can be chosen.
    poll: tuple[str, ...] = field(default=(), repr=False)
    #: The ids of what was uploaded.
    media: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShownPost:
    """What X shows."""

    id: str
    text: str = field(repr=False)
    at: datetime
    #: What its short links stand for.
    links: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: What it refers to, by kind: replied_to, quoted, retweeted.
    references: Mapping[str, str] = field(default_factory=dict)
    media: tuple[str, ...] = ()
    has_poll: bool = False
    #: What can be chosen in its poll, if X says that.
    poll: tuple[str, ...] | None = field(default=None, repr=False)


def sameness(post: ShownPost, wanted: Wanted) -> Likeness:
    """Compare a post that was sent with one that X shows."""
    replied_to = post.references.get("replied_to")
    if "retweeted" in post.references or (replied_to is not None and replied_to != wanted.reply_to):
        return Likeness.OTHER
    result = max(_of_texts(post, wanted), _of_quotes(post, wanted), _of_polls(post, wanted), _of_media(post, wanted))
    if result is Likeness.SAME and replied_to != wanted.reply_to:
        return Likeness.UNCLEAR
    return result


def _of_texts(post: ShownPost, wanted: Wanted) -> Likeness:
    reply = wanted.reply_to is not None
    whole = likeness(wanted.text, post.text, post.links, reply=reply)
    if not (wanted.quote or wanted.poll or wanted.media):
        return whole
    last = LAST_LINK.fullmatch(post.text)
    if last is None:
        return whole
    before = likeness(wanted.text, last[1] or "", post.links, reply=reply)
    return min(whole, max(before, _of_appended(post, last[2], wanted)))


def _of_appended(post: ShownPost, link: str, wanted: Wanted) -> Likeness:
    """Whether the link at the end of a text is X's, and stands for what was attached."""
    meant = post.links.get(link)
    if meant is None:
        return Likeness.UNCLEAR
    status = STATUS.search(meant)
    if status is None:  # what X makes of a poll it does not say
        return Likeness.UNCLEAR if wanted.poll else Likeness.OTHER
    return Likeness.SAME if status[1] == (wanted.quote or post.id) else Likeness.OTHER


def _of_quotes(post: ShownPost, wanted: Wanted) -> Likeness:
    quoted = post.references.get("quoted")
    if quoted == wanted.quote:
        return Likeness.SAME
    if wanted.quote is None:  # the link of a post in a text quotes it, too
        return Likeness.SAME if LINK.search(wanted.text) else Likeness.OTHER
    return Likeness.UNCLEAR if quoted is None else Likeness.OTHER


def _of_polls(post: ShownPost, wanted: Wanted) -> Likeness:
    if not wanted.poll:
        return Likeness.OTHER if post.has_poll else Likeness.SAME
    if post.poll is None:
        return Likeness.UNCLEAR
    if len(post.poll) != len(wanted.poll):
        return Likeness.OTHER
    pairs = zip(wanted.poll, post.poll, strict=True)
    return (
        Likeness.SAME if all(likeness(ours, theirs, {}) is Likeness.SAME for ours, theirs in pairs) else Likeness.OTHER
    )


def _of_media(post: ShownPost, wanted: Wanted) -> Likeness:
    if not wanted.media:  # the link of a photo in a text attaches it, too
        return Likeness.SAME if not post.media or LINK.search(wanted.text) else Likeness.OTHER
    shown = {key[1] for media in post.media if (key := MEDIA_KEY.fullmatch(media))}
    return Likeness.SAME if shown == set(wanted.media) else Likeness.UNCLEAR
