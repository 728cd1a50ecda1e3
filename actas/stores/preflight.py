"""Broken grants that jobs wait for, found before those are due; ``preflight_at``: when a grant is looked at next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import ASCENDING

from actas.events import EventType, note
from actas.records import GrantStatus
from actas.states import JobStatus
from actas.stores.database import Documents, translated, unclamped
from actas.stores.grants import PREFLIGHT_PAUSE, told_if

_BROKEN = str(GrantStatus.REAUTHORIZATION_REQUIRED)


@dataclass(frozen=True, slots=True)
class Broken:
    """A grant whose user must connect again, as it was read."""

    id: str
    code: str | None
    #: Absent where this release's predecessor called it broken.
    preflight_at: Any


@dataclass(frozen=True, slots=True)
class Waiting:
    """The jobs that wait for a grant."""

    count: int
    first_at: datetime


class Preflight:
    def __init__(self, database: Documents) -> None:
        self._grants, self._jobs = unclamped(database)["grants"], database["jobs"]

    @translated
    def broken(self, now: datetime, limit: int) -> list[Broken]:
        """Broken grants that it is time to look at, those first that were not for the longest time."""
        query = {"_id": {"$type": "string"}, "status": _BROKEN, "preflight_at": {"$not": {"$gt": now}}}
        docs = self._grants.find(query, {"preflight_at": 1, "failure.code": 1}).sort("preflight_at", ASCENDING)
        return [Broken(doc["_id"], _cause(doc.get("failure")), doc.get("preflight_at")) for doc in docs.limit(limit)]

    @translated
    def waiting(self, grants: Sequence[str], before: datetime) -> dict[str, Waiting]:
        """By grant: how many jobs wait that are due before a time, and when the first of them is, or was.

        Not those that are held: they wait for a signature.
        """
        states = [str(JobStatus.SCHEDULED), str(JobStatus.PARKED)]
        due = {"status": {"$in": states}, "held": None, "grant": {"$in": list(grants)}, "run_at": {"$lt": before}}
        group = {"_id": "$grant", "count": {"$sum": 1}, "first_at": {"$min": "$run_at"}}
        found = self._jobs.aggregate([{"$match": due}, {"$group": group}], hint={"status": 1, "held": 1, "grant": 1})
        return {doc["_id"]: Waiting(doc["count"], doc["first_at"]) for doc in found}

    @translated
    def warn(self, grant: Broken, waiting: Waiting, now: datetime) -> bool:
        """Tell the app, in the write that puts off the next look; False if the grant is not as it was read."""
        facts = {"code": grant.code, "jobs_waiting": waiting.count, "first_due_at": waiting.first_at}
        told = told_if(True, note(EventType.REAUTHORIZATION_REQUIRED, now, **facts))  # noqa: FBT003 - MongoDB's
        update = [{"$set": {"preflight_at": now + PREFLIGHT_PAUSE, "untold": told}}]
        query = {"_id": grant.id, "status": _BROKEN, "preflight_at": {"$eq": grant.preflight_at}}
        return self._grants.update_one(query, update).matched_count == 1

    @translated
    def look_later(self, grants: Sequence[str], at: datetime) -> None:
        """No job waits for these."""
        query = {"_id": {"$in": list(grants)}, "status": _BROKEN}
        self._grants.update_many(query, {"$set": {"preflight_at": at}})


def _cause(failure: Any) -> str | None:
    return str(failure.get("code")) if isinstance(failure, dict) else None  # apps write there, too
