"""What an app may ask for: the early errors, as pure rules."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from actas.actions import Action
from actas.clock import to_milliseconds
from actas.errors import InvalidPayload, InvalidRequest, InvalidTime

#: How far ahead a job may be scheduled: a year and a month.
HORIZON = timedelta(days=400)
DEFAULT_WINDOW = timedelta(hours=24)

#: A job travels through MongoDB and Vault many times; files belong elsewhere, by reference.
MAX_PAYLOAD_BYTES = 64 * 1024
MAX_PAYLOAD_DEPTH = 50  # MongoDB nests up to 100 levels


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What ``schedule`` takes, for ``schedule_many``; times are aware datetimes."""

    action: str
    user: str
    payload: Mapping[str, Any] = field(repr=False)
    at: datetime | None = None
    deadline: datetime | None = None
    account: str | None = None
    idempotency_key: str | None = None


def check_user(user: str) -> None:
    if not isinstance(user, str) or not 0 < len(user) <= 200 or not _is_text(user):
        raise InvalidRequest("user must be a string of 1 to 200 characters: your own, stable id of the user")


def check_payload(action: Action[Any], payload: Mapping[str, Any]) -> None:
    if not isinstance(payload, Mapping) or not _is_plain(dict(payload), MAX_PAYLOAD_DEPTH):
        raise InvalidPayload(
            f"{action.name}: the payload must be a JSON object: text keys, finite numbers of at most 64 bits,"
            f" {MAX_PAYLOAD_DEPTH} levels"
        )
    size = len(json.dumps(dict(payload)))
    if size > MAX_PAYLOAD_BYTES:
        raise InvalidPayload(f"{action.name}: the payload has {size} bytes, at most {MAX_PAYLOAD_BYTES} are taken")
    action.parse(payload)


def _is_plain(value: Any, levels: int) -> bool:
    """Whether JSON, MongoDB and the signature carry a value alike; if not, the job would later be found altered."""
    match value:
        case str():
            return _is_text(value)
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case list() | tuple():
            return levels > 0 and all(_is_plain(item, levels - 1) for item in value)
        case dict():
            names = all(isinstance(name, str) and _is_text(name) for name in value)
            return names and levels > 0 and all(_is_plain(item, levels - 1) for item in value.values())
    return value is None


def _is_text(value: str) -> bool:
    """Whether a string is text: half of a surrogate pair has no UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def window(request: JobRequest, now: datetime) -> tuple[datetime, datetime]:
    """When a job may run. A time that has passed means now, as long as the deadline has not passed, too."""
    run_at = _instant("at", request.at or now)
    horizon = now + HORIZON
    if run_at > horizon:
        raise InvalidTime(f"at is more than {HORIZON.days} days ahead")
    deadline = _instant("deadline", request.deadline) if request.deadline else run_at + DEFAULT_WINDOW
    if deadline <= run_at:
        raise InvalidTime("deadline is not after at")
    if deadline <= now:
        raise InvalidTime("the deadline has passed already, so this job could never run")
    if deadline > horizon + DEFAULT_WINDOW:
        raise InvalidTime(f"deadline is more than {(HORIZON + DEFAULT_WINDOW).days} days ahead")
    return run_at, deadline


def _instant(name: str, moment: datetime) -> datetime:
    """A moment in UTC: otherwise two times of one zone compare by the wall clock, which shows one hour a year twice."""
    if moment.tzinfo is None:
        raise InvalidTime(f"{name} has no time zone: use an aware datetime, such as datetime.now(UTC)")
    try:
        instant = to_milliseconds(moment.astimezone(UTC))
    except (OverflowError, ValueError):
        raise InvalidTime(f"{name} is no time that UTC has") from None
    if instant.year < 1970:
        raise InvalidTime(f"{name} is before 1970, where the times of a JWT begin")
    return instant


def digest(request: JobRequest) -> str:
    """What makes two requests the same; an omitted time stays omitted, or no repetition would ever match."""
    content = [request.action, request.user, dict(request.payload), request.account]
    times = [moment and moment.timestamp() for moment in (request.at, request.deadline)]
    return hashlib.sha256(json.dumps([*content, *times], sort_keys=True).encode()).hexdigest()
