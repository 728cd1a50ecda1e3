"""How many jobs the fleet can run at once: each worker process says so in Redis, again and again.

A wiped or absent Redis means that nobody has said so yet; the scheduler then goes by a small fleet. Validity is told by
Redis' own clock, so nobody else's matters.
"""

from __future__ import annotations

import logging

import redis
from pydantic import SecretStr

from actas.redis_client import redis_client

log = logging.getLogger(__name__)

KEY = "actas:slots"

#: An announcement holds so long. A process that died or stands still is not counted any more after that.
VALID_SECONDS = 15

#: Whoever can write to Redis can write nonsense; more than this no process has.
MOST = 10_000


class Slots:
    def __init__(self, redis_url: SecretStr) -> None:
        """Make a connection lazily: nothing is sent before the first call.

        Raises:
            SettingsError: not an address, or one with an option that Redis does not have.
        """
        self._redis = redis_client(redis_url, seconds=2, connect_seconds=2)

    def close(self) -> None:
        self._redis.close()

    def announce(self, worker: str, count: int) -> None:
        """Say that this process is there and runs so many jobs at once; to be said again before it ends to hold.

        0: it is there and takes none. What is said last counts, until it is withdrawn.
        """
        try:
            now = self._now()
            self._redis.zadd(KEY, {f"{worker}:{count}": now + VALID_SECONDS})
            self._redis.zremrangebyscore(KEY, "-inf", now)
        except redis.RedisError as error:
            log.warning("slots.announce redis=%s", type(error).__name__)

    def withdraw(self, worker: str, count: int) -> None:
        """Take back what was said."""
        try:
            self._redis.zrem(KEY, f"{worker}:{count}")
        except redis.RedisError as error:
            log.warning("slots.withdraw redis=%s", type(error).__name__)

    def living(self) -> dict[str, int]:
        """By worker process that takes any: how many jobs it runs at once. If none does, all that are there, with 0.

        Empty if nobody has said so, or Redis does not say.
        """
        try:
            found = self._redis.zrangebyscore(KEY, self._now(), "+inf")
        except (redis.RedisError, UnicodeDecodeError) as error:  # the latter: what is there is no text
            log.warning("slots.living redis=%s", type(error).__name__)
            return {}
        members = (str(member).rpartition(":") for member in found)
        said = {worker: min(int(count), MOST) for worker, _, count in members if count.isdecimal()}
        return {worker: count for worker, count in said.items() if count} or said

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds) + microseconds / 1e6
