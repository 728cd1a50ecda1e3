"""The envelope: one token, AES-256-GCM, bound to the place it belongs to. Pure.

The associated data names everything that makes a token what it is. A ciphertext moved to another grant, user, app,
generation or purpose, or read under another key id, therefore does not decrypt: it is useless where it does not belong.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretBytes, SecretStr

from actas.errors import EnvelopeError, EnvelopeVersionError

VERSION = 1
KEY_BYTES = 32
NONCE_BYTES = 12  # 96 bits, the length GCM is made for (NIST SP 800-38D section 5.2.1.1)


class Purpose(StrEnum):
    REFRESH = "refresh"
    ACCESS = "access"
    RESCUE = "rescue"  # a provider's whole reply, kept until it is in the grant


@dataclass(frozen=True, slots=True)
class Context:
    """Where a token belongs: the associated data of its encryption."""

    purpose: Purpose
    grant: str
    app: str
    user: str
    provider: str
    account: str
    generation: int
    data_key_id: str

    def associated_data(self, version: int) -> bytes:
        """The canonical encoding: one JSON array, ASCII, no spaces; unambiguous because strings are quoted."""
        fields = [version, self.purpose, self.grant, self.app, self.user, self.provider, self.account]
        return json.dumps([*fields, self.generation, self.data_key_id], separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Envelope:
    """An encrypted token as it is stored: ``{v, nonce, ciphertext}``."""

    v: int
    nonce: bytes
    ciphertext: bytes

    def to_doc(self) -> dict[str, Any]:
        return {"v": self.v, "nonce": self.nonce, "ciphertext": self.ciphertext}

    @classmethod
    def from_doc(cls, doc: Any) -> Self:
        """Read what was stored.

        Raises:
            EnvelopeError: a field is missing or of another type.
        """
        match doc:
            case {"v": int(v), "nonce": bytes(nonce), "ciphertext": bytes(ciphertext)}:
                return cls(v, nonce, ciphertext)
        raise EnvelopeError("a stored ciphertext is incomplete")


def new_data_key() -> SecretBytes:
    return SecretBytes(os.urandom(KEY_BYTES))


def encrypt(key: SecretBytes, token: SecretStr, context: Context) -> Envelope:
    """Encrypt one token under a fresh random nonce."""
    nonce = os.urandom(NONCE_BYTES)
    # The token is never a local variable of its own: error reporters record those.
    ciphertext = AESGCM(key.get_secret_value()).encrypt(
        nonce, token.get_secret_value().encode(), context.associated_data(VERSION)
    )
    return Envelope(VERSION, nonce, ciphertext)


def decrypt(key: SecretBytes, envelope: Envelope, context: Context) -> SecretStr:
    """Decrypt one token where it belongs.

    Raises:
        EnvelopeVersionError: the format is of a later release.
        EnvelopeError: damaged, moved from where it belongs, or under another key.
    """
    if envelope.v != VERSION:
        raise EnvelopeVersionError(
            f"a stored ciphertext has format version {envelope.v}, this release reads {VERSION}; upgrade this process"
        )
    try:
        return SecretStr(
            AESGCM(key.get_secret_value())
            .decrypt(envelope.nonce, envelope.ciphertext, context.associated_data(envelope.v))
            .decode()
        )
    except (InvalidTag, ValueError):  # ValueError: a nonce or key of impossible length
        raise EnvelopeError from None
