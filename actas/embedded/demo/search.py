"""Looking for secrets in bytes, however they are written there. Pure."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote, quote_plus

#: Where something was read, and what.
Piece = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret, by its number in what was looked for, and not by itself: findings are printed."""

    secret: int
    form: str
    where: str


def forms(secret: str | bytes) -> Iterator[tuple[str, bytes]]:
    """Every way of writing a secret that is looked for: a name for the form, and the bytes that give it away."""
    data = secret if isinstance(secret, bytes) else secret.encode()
    yield "raw", data
    yield "hex", data.hex().encode()
    yield "hex", data.hex().upper().encode()
    yield "as Python writes it", repr(data)[2:-1].encode()
    if isinstance(secret, str):
        for encoded in (quote(secret, safe=""), quote(secret, safe="/"), quote_plus(secret)):
            yield "URL-encoded", encoded.encode()
            yield "URL-encoded", _ESCAPE.sub(lambda found: found[0].lower(), encoded).encode()
        in_json = json.dumps(secret)[1:-1]
        yield "in JSON", in_json.encode()
        yield "in JSON", in_json.replace("/", "\\/").encode()  # a habit of some, and allowed (RFC 8259 section 7)
        yield "in HTML", escape(secret).encode()
    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            # Base64 turns three bytes into four characters. How the secret looks depends on how many bytes precede it
            # in its group; the characters it shares with its neighbours say nothing certain, and are left out.
            whole = encode(bytes(before) + data)
            yield "base64", whole[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]


_ESCAPE = re.compile("%[0-9A-F]{2}")


def search(secrets: Sequence[str | bytes], pieces: Iterable[Piece]) -> list[Finding]:
    """Look for each secret in each piece; a form that is found in a piece is told once.

    Two forms that look the same for a secret are one, and have the first one's name: most tokens need no escaping.
    """
    patterns: dict[tuple[int, bytes], str] = {}
    for number, secret in enumerate(secrets):
        for form, pattern in forms(secret):
            patterns.setdefault((number, pattern), form)
    found = [
        Finding(number, form, where)
        for where, data in pieces
        for (number, pattern), form in patterns.items()
        if pattern in data
    ]
    return list(dict.fromkeys(found))
