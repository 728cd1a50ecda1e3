"""Gates: where jobs wait, shared by the fleet through Redis. Their names, and how to read them; workers move them.

A wiped or absent Redis means open gates: what closed one will show itself again, and nothing worse happens.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import redis
from pydantic import SecretStr

from actas.clock import Clock, from_numeric_date, to_numeric_date
from actas.errors import ActasError, Unavailable
from actas.redis_client import redis_client

log = logging.getLogger(__name__)

PREFIX = "actas:gate:"

NEVER_CLOSED = datetime.min.replace(tzinfo=UTC)

#: No gate is closed for longer: more than that is none of ours, and would end jobs that have a deadline.
LONGEST = timedelta(hours=26)

#: How much later than a gate's opening a job comes back, so that they do not all come at once: a part of the wait, for
#: the longer it was the more of them wait.
SPREAD = 0.1
SHORTEST_SPREAD = timedelta(seconds=2)
LONGEST_SPREAD = timedelta(minutes=1)

#: What a gate is, for whoever sees a job wait at it.
CALLED = {
    "all": "Vault or MongoDB does not answer this worker",
    "provider": "the provider's API does not answer, or with errors only",
    "client": "the provider limits the app",
    "grant": "the provider limits the user",
    "token": "the provider's token endpoint does not answer, or with errors only",
    "exchange": "the provider's token endpoint limits or refuses the app",
    "chores": "the provider's token endpoint is busy",
}


class AtGate(ActasError):
    """The provider asked us to wait, or something of ours is away."""

    code = "at_gate"

    def __init__(self, until: datetime, *, gate: str) -> None:
        """``gate``: what it is, for people."""
        super().__init__(f"waiting until {until:%Y-%m-%dT%H:%M:%SZ}: {gate}")
        self.until = until


def called(gate: str) -> str:
    return CALLED.get(gate.partition(":")[0], gate)


def after_opening(until: datetime, *, now: datetime, deadline: datetime, jitter: float) -> datetime:
    """When a job that waits at a gate comes back; the spreading itself never makes it miss its deadline.

    ``jitter`` is uniform in [0, 1).
    """
    spread = min(max((until - now) * SPREAD, SHORTEST_SPREAD), LONGEST_SPREAD)
    return until + min(spread, max((deadline - until) / 2, timedelta())) * jitter


def all_gate(worker: str) -> str:
    """Before everything, in one worker process: it does not reach Vault or MongoDB. Others may."""
    return f"all:{worker}"


def provider_gate(provider: str) -> str:
    """A provider whose API is in trouble."""
    return f"provider:{provider}"


def client_gate(app: str, provider: str) -> str:
    """An app's own standing at a provider's API: its caps, its credits."""
    return f"client:{app}:{provider}"


def grant_gate(grant: str, action: str) -> str:
    """One user's limit at one endpoint."""
    return f"grant:{grant}:{action}"


def token_gate(provider: str) -> str:
    """A provider whose token endpoint is in trouble; who has a live access token does not meet this gate."""
    return f"token:{provider}"


def exchange_gate(app: str, provider: str) -> str:
    """An app's own standing at a provider's token endpoint: its credentials, its limit there."""
    return f"exchange:{app}:{provider}"


def chore_gate(app: str, provider: str) -> str:
    """Where exchanges that no job waits for keep away from a provider that is busy."""
    return f"chores:{app}:{provider}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a gate stands, as it is written in Redis."""

    #: Nobody passes before; once that is over and ``level`` is not 0, one may, as the probe.
    until: datetime = NEVER_CLOSED
    #: How often in a row it was closed. 0: it opens by itself, or is not closed at all.
    level: int = 0
    #: Whose requests failed in a row while it was open, each named once (``worker.closing.Whose.mark``).
    failures: tuple[str, ...] = ()
    #: Somebody is on the way as the probe, and has until then.
    probing: bool = False

    def closed(self, now: datetime) -> bool:
        return now < self.until <= now + LONGEST

    def as_text(self) -> str:
        until = 0 if self.until == NEVER_CLOSED else to_numeric_date(self.until)
        return f"{until} {self.level} {','.join(self.failures) or '-'} {int(self.probing)}"

    @classmethod
    def from_text(cls, text: str | None) -> Standing:
        """Whoever writes to Redis can delay jobs, but what is no standing must not end them: such a gate is open."""
        if text is None:
            return cls()
        try:
            until, level, failures, probing = text.split(" ")
            marks = () if failures == "-" else tuple(failures.split(","))
            return cls(from_numeric_date(float(until)), int(level), marks, probing == "1")
        except (ValueError, OverflowError, OSError):
            log.warning("gate.unreadable")
            return cls()


class GateReader:
    def __init__(self, redis_url: SecretStr, clock: Clock) -> None:
        """Make a connection lazily: nothing is sent before the first call.

        Raises:
            SettingsError: not an address, or one with an option that Redis does not have.
        """
        self._redis = redis_client(redis_url, seconds=2, connect_seconds=2)
        self._clock = clock

    def close_connections(self) -> None:
        self._redis.close()

    def names(self) -> list[str]:
        """All gates of which something is written.

        Raises:
            Unavailable: Redis is away.
        """
        try:
            return [key.removeprefix(PREFIX) for key in self._redis.scan_iter(f"{PREFIX}*", count=1000)]
        except (redis.RedisError, UnicodeDecodeError):
            raise Unavailable("Redis does not answer") from None

    def closed(self, gates: Sequence[str]) -> dict[str, datetime]:
        """Which of these gates are closed now, and until when; none of them while Redis is away."""
        now = self._clock()
        return {gate: standing.until for gate, standing in self.standings(gates).items() if standing.closed(now)}

    def standings(self, gates: Sequence[str]) -> dict[str, Standing]:
        """How each of these gates stands; nothing while Redis is away."""
        if not gates:
            return {}
        try:
            found = cast("list[str | None]", self._redis.mget([PREFIX + gate for gate in gates]))
        except (redis.RedisError, UnicodeDecodeError) as error:  # the latter: what is there is no text
            log.warning("gate.look redis=%s", type(error).__name__)
            return {}
        return {gate: Standing.from_text(text) for gate, text in zip(gates, found, strict=True)}
