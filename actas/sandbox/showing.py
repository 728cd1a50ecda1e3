"""How a text comes back from X: composed, trimmed, escaped, and with a t.co in the place of each link. Pure."""

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


def shown(text: str, post_id: str) -> Shown:
    """A post's text and its links, as the API tells them."""
    text = normalize("NFC", text).strip()
    written, urls, done = "", list[Url](), 0
    for link in LINK.finditer(text):
        written += escape(text[done : link.start()], quote=False)
        expanded = link[0] if "://" in link[0] else f"http://{link[0]}"
        display = expanded.partition("://")[2]
        url = f"https://t.co/{hashlib.sha256(f'{post_id} {link.start()}'.encode()).hexdigest()[:10]}"
        urls.append(
            Url(
                start=len(written),
                end=len(written) + len(url),
                url=url,
                expanded_url=expanded,
                display_url=display if len(display) <= DISPLAYED else f"{display[:DISPLAYED]}…",
            )
        )
        written, done = written + url, link.end()
    return Shown(written + escape(text[done:], quote=False), urls)
