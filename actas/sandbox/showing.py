"""How a text comes back from X: composed, trimmed, escaped, and with a t.co in the place of each link. Pure.

What is attached is shown by one more, behind the text: a link to it.
"""

from __future__ import annotations

import hashlib
import re
from html import escape
from typing import NamedTuple, TypedDict
from unicodedata import normalize

#: X knows better what is a link; this finds those that nobody would doubt.
LINK = re.compile(
    r"https?://[^\s<>\"]*[\w/]|(?<![\w@./-])(?:[a-z0-9-]+\.)+(?:com|dev|io|net|org)\b(?:/[^\s<>\"]*[\w/])?",
    re.IGNORECASE,
)
DISPLAYED = 26


class Url(TypedDict):
    start: int
    end: int
    url: str
    expanded_url: str
    display_url: str


class Shown(NamedTuple):
    text: str
    urls: list[Url]


def shown(text: str, post_id: str, appended: str | None = None) -> Shown:
    """A post's text and its links, as the API tells them; ``appended`` is the link of what is attached."""
    text = normalize("NFC", text).strip()
    written, urls, done = "", list[Url](), 0
    for link in LINK.finditer(text):
        written += escape(text[done : link.start()], quote=False)
        urls.append(_url(link[0] if "://" in link[0] else f"http://{link[0]}", f"{post_id} {link.start()}", written))
        written, done = written + urls[-1]["url"], link.end()
    written += escape(text[done:], quote=False)
    if appended is not None:
        written += " " if written else ""
        urls.append(_url(appended, f"{post_id} attached", written))
        written += urls[-1]["url"]
    return Shown(written, urls)


def _url(expanded: str, seed: str, written: str) -> Url:
    """A link behind what is written already; its short form is made of the seed."""
    url, display = f"https://t.co/{hashlib.sha256(seed.encode()).hexdigest()[:10]}", expanded.partition("://")[2]
    return Url(
        start=len(written),
        end=len(written) + len(url),
        url=url,
        expanded_url=expanded,
        display_url=display if len(display) <= DISPLAYED else f"{display[:DISPLAYED]}…",
    )
