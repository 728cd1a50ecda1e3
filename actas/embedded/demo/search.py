"""Looking for secrets in bytes, however they are written there. Pure."""

from __future__ import annotations

import json
import re
import sys
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
        # Without its last byte it looks the same from the second byte of the other byte order on.
        yield "UTF-16", secret.encode("utf-16-le")[:-1]
    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            # Base64 turns three bytes into four characters. How the secret looks depends on how many bytes precede it
            # in its group; the characters it shares with its neighbours say nothing certain, and are left out.
            whole = encode(bytes(before) + data)
            certain = whole[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
            if certain:  # of a single byte nothing may be
                yield "base64", certain


_ESCAPE = re.compile("%[0-9A-F]{2}")


def search(secrets: Sequence[str | bytes], pieces: Iterable[Piece]) -> list[Finding]:
    """Look for each secret in each piece; a form that is found in a piece is told once.

    Two forms that look the same for a secret are one, and have the first one's name: most tokens need no escaping.
    """
    forms_of: dict[tuple[int, bytes], str] = {}
    for number, secret in enumerate(secrets):
        for form, pattern in forms(secret):
            forms_of.setdefault((number, pattern), form)
    needles = _Needles([pattern for _, pattern in forms_of])
    names = [(number, form) for (number, _), form in forms_of.items()]
    found = [Finding(*names[needle], where) for where, data in pieces for needle in needles.within(data)]
    return list(dict.fromkeys(found))


_WORD = 8


class _Needles:
    """Thousands of byte strings, to be found in hundreds of megabytes.

    Whatever is 15 bytes long or longer covers, wherever it stands, a whole one of the 8-byte words that the data are
    made of. So the words of the data are looked up once, and only what has such a word is looked for in full.
    """

    def __init__(self, needles: Sequence[bytes]) -> None:
        self._needles = needles
        self._short = {number for number, needle in enumerate(needles) if len(needle) < 2 * _WORD - 1}
        self._by_word: dict[int, set[int]] = {}
        for number, needle in enumerate(needles):
            for start in range(0 if number in self._short else _WORD):
                word = int.from_bytes(needle[start : start + _WORD], sys.byteorder)
                self._by_word.setdefault(word, set()).add(number)
        self._words = frozenset(self._by_word)

    def within(self, data: bytes) -> Iterator[int]:
        """Those that are in the data, by number, in order."""
        words = memoryview(data)[: len(data) // _WORD * _WORD].cast("Q")
        likely = self._short.union(*(self._by_word[word] for word in self._words.intersection(words)))
        return (number for number in sorted(likely) if self._needles[number] in data)
