"""When a provider that answered 429 wants to be asked again. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

SHORTEST = timedelta(seconds=1)

#: When a 429 does not say.
DEFAULT_PAUSE = timedelta(seconds=60)

#: A provider that asks for more is believed this far; a broken header must not shelve a job for a year.
LONGEST = timedelta(hours=25)

#: docs.x.com, "Rate limits": the window per endpoint, and the daily limits of the app and of the user.
X_WINDOWS = ("x-rate-limit", "x-app-limit-24hour", "x-user-limit-24hour")


def retry_at(headers: Mapping[str, str], dialect: Literal["x", "retry-after"], now: datetime) -> datetime:
    """The latest reset among the exhausted limits; ``headers`` looks names up without regard to case."""
    resets = _x_resets(headers) if dialect == "x" else []
    if (after := _retry_after(headers.get("retry-after"), now)) is not None:
        resets.append(after)
    # Never at once: a provider whose clock is behind ours would have every job come back again and again.
    return min(max(max(resets, default=now + DEFAULT_PAUSE), now + SHORTEST), now + LONGEST)


def _x_resets(headers: Mapping[str, str]) -> list[datetime]:
    resets = []
    for window in X_WINDOWS:
        reset = _number(headers.get(f"{window}-reset"))
        # A limit with something left is not the one we ran into.
        if reset is not None and _number(headers.get(f"{window}-remaining")) == 0:
            resets.append(datetime.fromtimestamp(reset, UTC))
    return resets


def _retry_after(value: str | None, now: datetime) -> datetime | None:
    """Seconds or a date (RFC 9110 section 10.2.3)."""
    if (seconds := _number(value)) is not None:
        return now + timedelta(seconds=seconds)
    try:
        return parsedate_to_datetime(value or "").astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _number(value: str | None) -> int | None:
    """Digits, and not more of them than a time has."""
    return int(value) if value is not None and re.fullmatch("[0-9]{1,10}", value) else None
