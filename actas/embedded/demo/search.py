"""Looking for secrets in bytes, however they are written there. Pure."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

#: Where something was read, and what.
Piece = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret, by its number in what was looked for, and not by itself: findings are printed."""

    secret: int
    form: str
    where: str


def forms(secret: str) -> Iterator[tuple[str, bytes]]:
    """Every way of writing a secret that is looked for: a name for the form, and the bytes that give it away."""
    data = secret.encode()
    yield "raw", data
    yield "hex", data.hex().encode()
    yield "hex", data.hex().upper().encode()
    for safe in ("", "/"):
        if (encoded := quote(secret, safe=safe)) != secret:
            yield "URL-encoded", encoded.encode()
    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            # Base64 turns three bytes into four characters. How the secret looks depends on how many bytes precede it
            # in its group; the characters it shares with its neighbours say nothing certain, and are left out.
            whole = encode(bytes(before) + data)
            yield "base64", whole[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]


def search(secrets: Sequence[str], pieces: Iterable[Piece]) -> list[Finding]:
    """Look for each secret in each piece; a form that is found in a piece is told once."""
    patterns = [(number, form, pattern) for number, secret in enumerate(secrets) for form, pattern in forms(secret)]
    found = [
        Finding(number, form, where) for where, data in pieces for number, form, pattern in patterns if pattern in data
    ]
    return list(dict.fromkeys(found))
