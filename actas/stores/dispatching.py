"""What dispatch and rescue ask before they move anything: which jobs are due, whose, and what is in flight.

Nothing here reads all jobs: each question costs what its answer takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from itertools import chain, islice, takewhile
from typing import Any, Literal, NamedTuple

from pymongo import ASCENDING

from actas.states import JobStatus
from actas.stores.database import Documents, translated

#: Hints: these questions are asked each second, and no planner shall ever find another way.
BY_TIME = {"status": 1, "next_at": 1}
BY_PAIR = {"status": 1, "app": 1, "provider": 1, "next_at": 1}


class Pair(NamedTuple):
    """What jobs share who take turns with others."""

    app: str
    provider: str


class Due(NamedTuple):
    """A job that is due, as far as its turn depends on it."""

    id: str
    grant: str
    action: str
    next_at: datetime
    deadline: datetime
    #: Its worker died.
    orphaned: bool
    #: It is to be cancelled by whoever takes it.
    stop: bool


class Dispatching:
    def __init__(self, database: Documents) -> None:
        self._jobs = database["jobs"]

    @translated
    def is_anything_due(self, now: datetime) -> bool:
        return self._jobs.find_one(_due(now), {"_id": 0, "status": 1}, hint=BY_TIME) is not None

    @translated
    def due_pairs(self, now: datetime, *, after: Pair | None, limit: int) -> list[Pair]:
        """Apps and providers that have due jobs: those ``after`` one first, and then on from the beginning."""
        begun_again = self._walk(now, None) if after is None else takewhile(after.__ge__, self._walk(now, None))
        beyond = self._walk(now, after) if after is not None else ()
        return list(islice(chain(beyond, begun_again), limit))

    def _walk(self, now: datetime, after: Pair | None) -> Iterator[Pair]:
        """From one to the next in the index, past all jobs in between."""
        pair = self._next_due(now, after)
        while pair is not None:
            yield pair
            pair = self._next_due(now, pair)

    def _next_due(self, now: datetime, after: Pair | None) -> Pair | None:
        if after is None:
            return self._first_due(now, {})
        next_provider = {"app": after.app, "provider": {"$gt": after.provider}}
        return self._first_due(now, next_provider) or self._first_due(now, {"app": {"$gt": after.app}})

    def _first_due(self, now: datetime, where: dict[str, Any]) -> Pair | None:
        order = [("app", ASCENDING), ("provider", ASCENDING)]
        doc = self._jobs.find_one(_due(now) | where, {"_id": 0, "app": 1, "provider": 1}, sort=order, hint=BY_PAIR)
        return Pair(doc["app"], doc["provider"]) if doc else None

    @translated
    def oldest_due(self, pair: Pair, now: datetime, limit: int) -> list[Due]:
        query, said = _due(now) | pair._asdict(), ("grant", "action", "next_at", "deadline")
        marks = ("orphaned", "stop")
        found = self._jobs.find(query, [*said, *marks], hint=BY_PAIR).sort("next_at", ASCENDING).limit(limit)
        return [
            Due(doc["_id"], *(doc[name] for name in said), *(doc.get(mark) is True for mark in marks)) for doc in found
        ]

    @translated
    def are_several(self, field: Literal["app", "provider"], due: Collection[str]) -> bool:
        """Whether there are several apps, or providers: those that are due, and whose jobs will be some time."""
        if len(due) != 1:
            return bool(due)
        query = {"status": str(JobStatus.SCHEDULED), field: {"$ne": next(iter(due))}}
        return self._jobs.find_one(query, {"_id": 0, "status": 1}, hint=BY_PAIR) is not None

    @translated
    def in_flight(self, living: Collection[str]) -> Counter[Pair]:
        """How many jobs of each app and provider are queued or running; not those of worker processes that are gone."""
        query = {"status": {"$in": [str(JobStatus.QUEUED), str(JobStatus.RUNNING)]}}
        found = self._jobs.find(query, {"_id": 0, "app": 1, "provider": 1, "claim.owner": 1})
        return Counter(Pair(doc["app"], doc["provider"]) for doc in found if _counts(doc, living))

    @translated
    def last_taken_up(self) -> datetime | None:
        """When the youngest in the queue of those jobs was put there that workers are running now."""
        found = self._jobs.find({"status": str(JobStatus.RUNNING)}, {"_id": 0, "queued_at": 1})
        return max((doc["queued_at"] for doc in found if "queued_at" in doc), default=None)


def _due(now: datetime) -> dict[str, Any]:
    return {"status": str(JobStatus.SCHEDULED), "next_at": {"$lte": now}}


def _counts(doc: Mapping[str, Any], living: Collection[str]) -> bool:
    """A claim's owner is a worker process and an id of its own; if nobody says who lives, all do."""
    owner = str(doc.get("claim", {}).get("owner", ""))
    return not owner or not living or owner.rpartition(":")[0] in living
