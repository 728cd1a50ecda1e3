"""Whose limit a 429 is about, and when the provider wants to be asked again. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

Dialect = Literal["x", "github", "retry-after"]

SHORTEST = timedelta(seconds=1)

#: When a 429 does not say.
DEFAULT_PAUSE = timedelta(seconds=60)

#: A cap (of a month's posts, say) does not tell when it is lifted: it is looked at again, by one job.
CAP_PAUSE = timedelta(hours=1)

#: A provider that asks for more is believed this far; a broken header must not shelve a job for a year.
LONGEST = timedelta(hours=25)

#: docs.x.com, "Rate limits": the window per endpoint, and the daily limits of the user and of the app.
X_USERS_WINDOWS = ("x-rate-limit", "x-user-limit-24hour")
X_APPS_WINDOWS = ("x-app-limit-24hour",)

#: docs.github.com, "Rate limits for the REST API": its reset is in epoch seconds, too.
GITHUB_WINDOWS = ("x-ratelimit",)

_WINDOWS: Mapping[Dialect, Sequence[str]] = {
    "x": X_USERS_WINDOWS + X_APPS_WINDOWS,
    "github": GITHUB_WINDOWS,
    "retry-after": (),
}

#: The end of the problem type (RFC 9457) of a cap; what comes before it is one of several hosts.
X_CAP = "/usage-capped"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a 429 was about: until when each of these is exhausted, at least one of them."""

    user: datetime | None = None
    app: datetime | None = None
    #: The app's is a cap and no window.
    capped: bool = False

    @property
    def latest(self) -> datetime:
        return max(until for until in (self.user, self.app) if until is not None)


def limits(headers: Mapping[str, str], dialect: Dialect, now: datetime, *, problem: object = None) -> Limits:
    """What a 429 says; ``headers`` looks names up without regard to case, ``problem`` is the type in its body."""
    after = _retry_after(headers.get("retry-after"), now)
    said = [] if after is None else [after]
    if dialect == "github":
        said += _resets(headers, GITHUB_WINDOWS)
    if dialect != "x":
        return Limits(user=_soon(max(said, default=now + DEFAULT_PAUSE), now))
    users, apps = _resets(headers, X_USERS_WINDOWS), _resets(headers, X_APPS_WINDOWS)
    capped = isinstance(problem, str) and problem.endswith(X_CAP)
    if capped:
        apps = apps + said or [now + CAP_PAUSE]
    elif said or not apps:
        users = users + said or [now + DEFAULT_PAUSE]
    return Limits(
        user=_soon(max(users), now) if users else None, app=_soon(max(apps), now) if apps else None, capped=capped
    )


def says_limit(headers: Mapping[str, str], dialect: Dialect) -> bool:
    """Whether a 403 is a limit, by its headers: GitHub's way (docs.github.com, "Rate limits for the REST API")."""
    return dialect == "github" and ("retry-after" in headers or bool(_resets(headers, GITHUB_WINDOWS)))


def retry_at(headers: Mapping[str, str], dialect: Dialect, now: datetime) -> datetime | None:
    """The latest reset among the exhausted limits, whosever they are; None if nothing is said of that."""
    after = _retry_after(headers.get("retry-after"), now)
    said = _resets(headers, _WINDOWS[dialect])
    return _soon(max(said if after is None else [*said, after]), now) if said or after is not None else None


def _soon(until: datetime, now: datetime) -> datetime:
    # Never at once: a provider whose clock is behind ours would have every job come back again and again.
    return min(max(until, now + SHORTEST), now + LONGEST)


def _resets(headers: Mapping[str, str], windows: Sequence[str]) -> list[datetime]:
    resets = []
    for window in windows:
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
