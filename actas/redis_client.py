"""A connection to Redis: made lazily, checked early."""

from __future__ import annotations

from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from actas.errors import SettingsError


def redis_client(url: SecretStr, *, seconds: float, connect_seconds: float) -> Redis:
    """Return a client that answers in text and gives up after so many seconds; nothing is sent before its first call.

    Raises:
        SettingsError: not an address, or one with an option that Redis does not have.
    """
    try:
        client: Redis = Redis.from_url(
            url.get_secret_value(),
            decode_responses=True,
            socket_timeout=seconds,
            socket_connect_timeout=connect_seconds,
        )
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # unconnected: it takes the options, or it does not
    except (ValueError, TypeError, RedisError):
        raise SettingsError("ACTAS_REDIS_URL is not a Redis address: redis://user:password@host/0") from None
    return client
