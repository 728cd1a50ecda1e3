"""Events for apps: what is told, under which id, and what it says. Pure.

An event is born in the very write that it tells of: the document that moves keeps it in ``untold``, as a small note,
until the scheduler has copied it into the outbox. Its id is made of what the note says, so it stays the same however
often it is copied or sent. It never carries a payload, a token, or an error's text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from actas.states import JobStatus

#: More is told of no document, and no longer texts: apps write there, and one's rubbish must fit into a tick.
MOST_NOTES, LONGEST = 50, 1_000


class EventType(StrEnum):
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_EXPIRED = "job.expired"
    JOB_UNCERTAIN = "job.uncertain"
    REAUTHORIZATION_REQUIRED = "grant.reauthorization_required"
    GRANT_RECOVERED = "grant.recovered"
    PROVIDER_CAPPED = "provider.capped"


#: The moves of a job that its app is told of; a cancellation is its own doing.
OF_JOBS = {
    JobStatus.SUCCEEDED: EventType.JOB_SUCCEEDED,
    JobStatus.FAILED: EventType.JOB_FAILED,
    JobStatus.EXPIRED: EventType.JOB_EXPIRED,
    JobStatus.UNCERTAIN: EventType.JOB_UNCERTAIN,
}


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    app: str
    type: str
    at: datetime
    data: Mapping[str, Any]

    def body(self) -> bytes:
        """What is sent, the same at each try (https://www.standardwebhooks.com: type, timestamp, data)."""
        told = {"type": self.type, "timestamp": _written(self.at), "data": dict(self.data)}
        return json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()


def note(event: EventType, at: datetime, **facts: Any) -> dict[str, Any]:
    """What a document keeps in ``untold``; facts that are None are left out."""
    return {"event": str(event), "at": at} | {name: fact for name, fact in facts.items() if fact is not None}


def of_job(doc: Mapping[str, Any]) -> list[Event]:
    """The events that a job's document has not told yet; what is no note of one is passed over: apps write there.

    Of a job that expired half-done, what it did do stands in the document: whoever lets many expire at once reads none.
    """
    about = {name: _text(doc.get(name)) for name in ("grant", "user", "provider", "action", "idempotency_key")}
    times = {name: _time(doc.get(name)) for name in ("run_at", "deadline")}
    notes = _notes(doc, list(OF_JOBS.values()), ("code", "result"))
    for told in notes:
        if told["event"] == EventType.JOB_EXPIRED:
            told["result"] = told["result"] or doc.get("result")
    return [
        _event(doc, told, {"job": _text(doc["_id"]), **about, **times, "status": told["event"].partition(".")[2]})
        for told in notes
    ]


def of_grant(doc: Mapping[str, Any]) -> list[Event]:
    """The same for a grant's document."""
    about = {name: _text(doc.get(name)) for name in ("user", "provider", "account")}
    known = (EventType.REAUTHORIZATION_REQUIRED, EventType.GRANT_RECOVERED)
    return [
        _event(doc, told, {"grant": _text(doc["_id"]), **about})
        for told in _notes(doc, known, ("code", "jobs_waiting", "first_due_at"))
    ]


def capped(app: str, provider: str, *, at: datetime, until: datetime | None, code: str) -> Event:
    """The provider serves an app no more for a while; the same event for all who find that out, all day (UTC).

    So it can be told at each refusal: who dies, or cannot write, before it has been told leaves it to the next one.
    """
    data = {"provider": provider, "code": code, "until": _time(until)}
    event, day = EventType.PROVIDER_CAPPED, at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Event(_id(app, f"{provider} {code}", event, day), app, event, at, data)


def _notes(doc: Mapping[str, Any], known: Sequence[EventType], facts: Sequence[str]) -> list[dict[str, Any]]:
    untold = doc.get("untold")
    fits = [
        each
        for each in (untold[-MOST_NOTES:] if isinstance(untold, list) else [])
        if isinstance(each, dict) and each.get("event") in known and isinstance(each.get("at"), datetime)
    ]
    return [{"event": each["event"], "at": each["at"], **{fact: each.get(fact) for fact in facts}} for each in fits]


def _event(doc: Mapping[str, Any], told: Mapping[str, Any], about: Mapping[str, Any]) -> Event:
    facts = {name: _fact(fact) for name, fact in told.items() if name not in {"event", "at"}}
    app, type_, at = str(doc.get("app")), told["event"], told["at"]
    return Event(_id(app, str(doc["_id"]), type_, at), app, type_, at, {**about, **facts})


def _id(app: str, subject: str, event: str, at: datetime) -> str:
    """One id for one event, always: no dot in it, because the signed content is parted by dots."""
    whole = json.dumps([app, subject, event, round(at.timestamp() * 1000)])
    return f"evt_{hashlib.sha256(whole.encode()).hexdigest()[:32]}"


def _fact(value: Any) -> Any:
    return value if isinstance(value, int) and not isinstance(value, bool) else _time(value) or _text(value)


def _text(value: Any) -> str | None:
    return value[:LONGEST] if isinstance(value, str) else None


def _time(value: Any) -> str | None:
    return _written(value) if isinstance(value, datetime) else None


def _written(moment: datetime) -> str:
    """RFC 3339, in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
