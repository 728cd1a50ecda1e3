"""What an app may ask for: the early errors, as pure rules."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

from actas.actions import Action, Payload
from actas.blacklist import Fate
from actas.clock import to_milliseconds
from actas.errors import InsufficientScope, InvalidPayload, InvalidRequest, InvalidTime
from actas.records import Grant
from actas.states import JobStatus

#: How far ahead a job may be scheduled: a year and a month.
HORIZON = timedelta(days=400)
DEFAULT_WINDOW = timedelta(hours=24)

#: A job travels through MongoDB and Vault many times; files belong elsewhere, by reference.
MAX_PAYLOAD_BYTES = 64 * 1024
MAX_PAYLOAD_DEPTH = 50  # MongoDB nests up to 100 levels

#: How long names and ids may be: indexes carry them.
MAX_TEXT = 200

#: RFC 6749 section 3.3: printable ASCII without space, quote and backslash.
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


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


def is_short_text(value: object) -> bool:
    """Whether a value may stand in a query; anything but a string could be one of its own, as ``{"$ne": ""}`` is."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and _is_text(value)


def check_text(name: str, value: object, meaning: str) -> None:
    """Make sure that an argument is a short text.

    Raises:
        InvalidRequest: it is not; the message names the argument and does not show it.
    """
    if not is_short_text(value):
        raise InvalidRequest(f"{name} must be a string of 1 to {MAX_TEXT} characters: {meaning}")


def check_user(user: object) -> None:
    check_text("user", user, "your own, stable id of the user")


def check_account(account: object) -> None:
    check_text("account", account, "the user's id at the provider")


def check_requests(requests: object) -> None:
    if not isinstance(requests, Sequence) or not all(isinstance(request, JobRequest) for request in requests):
        raise InvalidRequest("requests must be a list of JobRequest")


def check_status(status: str | None) -> JobStatus | None:
    """The state of that name; None for any."""
    try:
        return None if status is None else JobStatus(status)
    except ValueError:
        raise InvalidRequest(f"status must be one of {', '.join(JobStatus)}") from None


def check_jobs(jobs: object) -> Fate:
    """What shall become of jobs, by its name."""
    if isinstance(jobs, str) and jobs in set(Fate):
        return Fate(jobs)
    raise InvalidRequest(f"jobs must be one of {', '.join(Fate)}")


def check_limit(limit: object) -> int:
    if not isinstance(limit, int) or limit < 1:  # MongoDB takes 0 for no limit at all
        raise InvalidRequest("limit must be a number from 1 on")
    return limit


def check_scopes(scopes: object) -> Collection[str]:
    """Make sure that these are scopes, one by one: a single string would be taken for a list of its letters."""
    if isinstance(scopes, str) or not isinstance(scopes, Collection):
        raise InvalidRequest('scopes must be a list of strings, such as ["tweet.read", "tweet.write"]')
    if not all(isinstance(scope, str) and SCOPE.fullmatch(scope) for scope in scopes):
        raise InvalidRequest("scopes has an entry that is no scope: each is a string without spaces")
    return scopes


def check_actions(actions: object) -> Collection[str]:
    """Make sure that these are names, one by one."""
    if isinstance(actions, str) or not isinstance(actions, Collection):
        raise InvalidRequest('actions must be a list of names, such as ["x.post"]')
    for name in actions:
        check_text("actions", name, "the names of actions, such as x.post")
    return actions


def check_redirect_uri(uri: object) -> None:
    """Make sure that a browser can be sent back there (RFC 6749 section 3.1.2)."""
    if not isinstance(uri, str) or not _is_absolute(uri):
        raise InvalidRequest(
            "redirect_uri must be an absolute address without a fragment, such as https://app.example/callback:"
            " where the provider sends the browser back to"
        )


def _is_absolute(uri: str) -> bool:
    """Whether this is an http(s) address, or one of an app's own scheme (RFC 8252 section 7.1)."""
    if not uri.isprintable() or " " in uri or "#" in uri:
        return False
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    if parts.scheme in {"http", "https"}:
        return bool(parts.hostname)
    # "localhost:8000/callback" has a scheme, too, by the letter; but what follows is not absolute.
    return bool(parts.scheme) and (bool(parts.netloc) or parts.path.startswith("/"))


def check_payload(action: Action[Any], payload: Mapping[str, Any]) -> Payload:
    """A payload as its action understands it.

    Raises:
        InvalidPayload.
    """
    if not isinstance(payload, Mapping) or not _is_plain(dict(payload), MAX_PAYLOAD_DEPTH):
        raise InvalidPayload(
            f"{action.name}: the payload must be a JSON object: text keys, finite numbers of at most 64 bits,"
            f" {MAX_PAYLOAD_DEPTH} levels"
        )
    size = len(json.dumps(dict(payload)))
    if size > MAX_PAYLOAD_BYTES:
        raise InvalidPayload(f"{action.name}: the payload has {size} bytes, at most {MAX_PAYLOAD_BYTES} are taken")
    return cast("Payload", action.parse(payload))


def check_granted(action: Action[Any], grant: Grant) -> None:
    missing = action.scopes - grant.scopes
    if missing:
        raise InsufficientScope(
            f"{action.name} needs {', '.join(sorted(missing))}, which the user has not granted; connect again with it"
        )


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
            names = all(isinstance(name, str) and _is_text(name) and "\0" not in name for name in value)
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
    run_at = _instant("at", request.at if request.at is not None else now)
    horizon = now + HORIZON
    if run_at > horizon:
        raise InvalidTime(f"at is more than {HORIZON.days} days ahead")
    deadline = _instant("deadline", request.deadline) if request.deadline is not None else run_at + DEFAULT_WINDOW
    if deadline <= run_at:
        raise InvalidTime("deadline is not after at")
    if deadline <= now:
        raise InvalidTime("the deadline has passed already, so this job could never run")
    if deadline > horizon + DEFAULT_WINDOW:
        raise InvalidTime(f"deadline is more than {(HORIZON + DEFAULT_WINDOW).days} days ahead")
    return run_at, deadline


def _instant(name: str, moment: datetime) -> datetime:
    """A moment in UTC: otherwise two times of one zone compare by the wall clock, which shows one hour a year twice."""
    if not isinstance(moment, datetime):
        raise InvalidTime(
            f"{name} must be an aware datetime, such as datetime.now(UTC) + timedelta(hours=1),"
            f" and is a {type(moment).__name__}"
        )
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
    times = [None if moment is None else moment.timestamp() for moment in (request.at, request.deadline)]
    return hashlib.sha256(json.dumps([*content, *times], sort_keys=True).encode()).hexdigest()
