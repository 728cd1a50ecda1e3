"""Rescue slots: a provider's reply, encrypted, in Redis, from when it came until it is in the grant.

A provider that rotates has killed the old refresh token when its reply arrives. If MongoDB is away then, or the worker
dies, the slot holds the only token that still works, for whoever has the exchange lease next.
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import redis
from pydantic import SecretBytes, SecretStr

from actas.envelope import Envelope, Purpose, decrypt, encrypt
from actas.errors import EnvelopeError, EnvelopeVersionError, Unavailable
from actas.oauth import Tokens
from actas.records import Grant
from actas.redis_client import redis_client

log = logging.getLogger(__name__)

PREFIX = "actas:rescue:"

#: MongoDB is mended within this time, or the user has to connect again.
KEPT_SECONDS = 7 * 86400


class SlotsUnavailable(Unavailable):
    """Redis does not answer, and a token may lie there that must be used before any other."""

    code = "rescue_slots_unavailable"


@dataclass(frozen=True, slots=True)
class Answer:
    """A token endpoint's reply, and what the exchange it belongs to is called."""

    tokens: Tokens
    exchange_id: str
    came_at: datetime = field(compare=False)


class RescueSlots:
    def __init__(self, redis_url: SecretStr) -> None:
        """Make a connection lazily: nothing is sent before the first call.

        Raises:
            SettingsError: not an address, or one with an option that Redis does not have.
        """
        self._redis = redis_client(redis_url, seconds=2, connect_seconds=2)

    def close(self) -> None:
        self._redis.close()

    def keep(self, grant: Grant, key: SecretBytes, answer: Answer) -> bool:
        """Keep the answer to an exchange of this generation; False if Redis is away (it is a net, not the floor)."""
        context = grant.context(Purpose.RESCUE, generation=grant.generation, data_key_id=_key_id(grant))
        envelope = encrypt(key, _to_text(answer), context)
        kept = {"v": envelope.v, "nonce": _text(envelope.nonce), "ciphertext": _text(envelope.ciphertext)}
        try:
            self._redis.set(_name(grant), json.dumps(kept), ex=KEPT_SECONDS)
        except redis.RedisError as error:
            log.warning("rescue.keep grant=%s redis=%s", grant.id, type(error).__name__)
            return False
        return True

    def find(self, grant: Grant, key: SecretBytes) -> Answer | None:
        """The answer somebody got for just this generation and data key, and could not write into the grant.

        Raises:
            SlotsUnavailable: nobody can tell.
            EnvelopeVersionError: a later release kept it.
        """
        try:
            kept = self._redis.get(_name(grant))
        except redis.RedisError:
            raise SlotsUnavailable from None
        except UnicodeDecodeError:
            log.warning("rescue.unreadable grant=%s code=no_text", grant.id)
            return None
        if kept is None:
            return None
        context = grant.context(Purpose.RESCUE, generation=grant.generation, data_key_id=_key_id(grant))
        try:
            return _from_text(decrypt(key, _envelope(str(kept)), context))
        except EnvelopeVersionError:
            raise  # a later release kept it, and can read it
        except EnvelopeError as error:
            # Whoever writes to Redis can put anything there; it is ours only if it decrypts as just this grant's.
            log.warning("rescue.unreadable grant=%s code=%s", grant.id, error.code)
            return None

    def drop(self, grant: Grant) -> None:
        """What was kept is in the grant now, or is of no use any more."""
        try:
            self._redis.delete(_name(grant))
        except redis.RedisError as error:
            log.warning("rescue.drop grant=%s redis=%s", grant.id, type(error).__name__)


def _name(grant: Grant) -> str:
    return f"{PREFIX}{grant.id}:{grant.generation}:{_key_id(grant)}"


def _key_id(grant: Grant) -> str:
    assert grant.data_key is not None  # or there would have been no token to exchange
    return grant.data_key.id


def _to_text(answer: Answer) -> SecretStr:
    tokens = answer.tokens
    return SecretStr(
        json.dumps(
            {
                "access_token": tokens.access_token.get_secret_value(),
                "access_expires_at": tokens.access_expires_at.isoformat(),
                "refresh_token": tokens.refresh_token.get_secret_value() if tokens.refresh_token else None,
                "refresh_expires_in": tokens.refresh_expires_in,
                "scopes": sorted(tokens.scopes) if tokens.scopes is not None else None,
                "exchange_id": answer.exchange_id,
                "came_at": answer.came_at.isoformat(),
            }
        )
    )


def _from_text(text: SecretStr) -> Answer:
    said: dict[str, Any] = json.loads(text.get_secret_value())
    return Answer(
        Tokens(
            access_token=SecretStr(said.pop("access_token")),
            access_expires_at=datetime.fromisoformat(said["access_expires_at"]),
            refresh_token=SecretStr(token) if (token := said.pop("refresh_token")) else None,
            scopes=frozenset(said["scopes"]) if said["scopes"] is not None else None,
            refresh_expires_in=said["refresh_expires_in"],
        ),
        said["exchange_id"],
        datetime.fromisoformat(said["came_at"]),
    )


def _envelope(kept: str) -> Envelope:
    try:
        match json.loads(kept):
            case {"v": int(v), "nonce": str(nonce), "ciphertext": str(ciphertext)}:
                return Envelope(v, base64.b64decode(nonce), base64.b64decode(ciphertext))
    except (ValueError, RecursionError):
        pass
    raise EnvelopeError("a rescue slot is not an envelope")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
