"""Time, injected: business time (due, deadline, expiry) always comes through a ``Clock``.

Leases do not: they compare with the database server's own ``$$NOW``, so a worker with a wrong clock cannot steal one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Now, in UTC, cut to the milliseconds that MongoDB keeps, so that what is written equals what is read back."""
    return to_milliseconds(datetime.now(UTC))


def to_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def to_numeric_date(moment: datetime) -> float:
    """A NumericDate (RFC 7519 section 2): seconds since the epoch, here with milliseconds."""
    return round(moment.timestamp(), 3)


def from_numeric_date(value: float) -> datetime:
    return datetime.fromtimestamp(round(value * 1000) / 1000, UTC)
