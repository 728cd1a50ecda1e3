"""Gates: where jobs wait for a provider that asked us to, shared by the fleet through Redis.

A wiped or absent Redis means open gates: the provider will say again what it said before, and nothing worse happens.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import redis
from pydantic import SecretStr

from actas.clock import Clock, from_numeric_date, to_numeric_date
from actas.redis_client import redis_client
from worker.decision import OPERATOR_PAUSE
from worker.errors import AtGate

log = logging.getLogger(__name__)

PREFIX = "actas:gate:"

NEVER_CLOSED = datetime.min.replace(tzinfo=UTC)


def grant_gate(grant: str, action: str) -> str:
    """One user's limit at one endpoint."""
    return f"grant:{grant}:{action}"


def client_gate(app: str, provider: str) -> str:
    """An app's own standing at a provider."""
    return f"client:{app}:{provider}"


def chore_gate(app: str, provider: str) -> str:
    """Where exchanges that no job waits for keep away from a provider that is busy."""
    return f"chores:{app}:{provider}"


class Gates:
    def __init__(self, redis_url: SecretStr, clock: Clock) -> None:
        """Make a connection lazily: nothing is sent before the first call.

        Raises:
            SettingsError: not an address, or one with an option that Redis does not have.
        """
        self._redis = redis_client(redis_url, seconds=2, connect_seconds=2)
        self._clock = clock

    def close_connections(self) -> None:
        self._redis.close()

    def close(self, gate: str, until: datetime) -> None:
        """Nobody passes before ``until``."""
        milliseconds = round(to_numeric_date(until) * 1000)
        try:
            self._redis.set(PREFIX + gate, to_numeric_date(until), pxat=milliseconds)
        except redis.RedisError as error:
            log.warning("gate.close gate=%s redis=%s", gate, type(error).__name__)

    def close_to_client(self, app: str, provider: str) -> None:
        """The provider refuses the app's own credentials: its jobs there wait until an operator has mended them."""
        log.error("client.refused app=%s provider=%s: mend its client credentials", app, provider)
        self.close(client_gate(app, provider), self._clock() + OPERATOR_PAUSE)

    def check(self, gates: Sequence[str]) -> None:
        """Pass if all of these gates are open.

        Raises:
            AtGate: one is closed; until when the last of them is.
        """
        try:
            found = self._redis.mget([PREFIX + gate for gate in gates])
        except (redis.RedisError, UnicodeDecodeError) as error:  # the latter: what is there is no text
            log.warning("gate.check redis=%s", type(error).__name__)
            return
        closed = {gate: _read(str(until)) for gate, until in zip(gates, found, strict=True) if until}
        if closed:
            gate, until = max(closed.items(), key=lambda item: item[1])
            if until > self._clock():
                raise AtGate(until, gate=gate.partition(":")[0])


def _read(until: str) -> datetime:
    """Whoever writes to Redis can delay jobs, but what is no time must not end them: such a gate is open."""
    try:
        return from_numeric_date(float(until))
    except (ValueError, OverflowError, OSError):
        log.warning("gate.unreadable")
        return NEVER_CLOSED
