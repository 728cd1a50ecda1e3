"""What jobs and grants have still to tell: notes in the documents, written by the very moves that they tell of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING, UpdateOne

from actas import events
from actas.events import Event
from actas.stores.database import Documents, translated, unclamped

#: All that is read for an event: never a payload, never a ciphertext.
_FIELDS = {
    "jobs": ("untold", "app", "user", "grant", "provider", "action", "idempotency_key", "run_at", "deadline", "result"),
    "grants": ("untold", "app", "user", "provider", "account"),
}
_EVENTS = {"jobs": events.of_job, "grants": events.of_grant}


@dataclass(frozen=True, slots=True)
class Teller:
    """A document with something to tell, and exactly what stood there."""

    collection: str
    id: Any
    notes: Any
    events: Sequence[Event]


class Untold:
    def __init__(self, database: Documents) -> None:
        self._database = unclamped(database)

    @translated
    def find(self, limit: int) -> list[Teller]:
        """So many jobs and so many grants that have something to tell, the oldest first, by the index."""
        query = {"untold": {"$exists": True}}
        return [
            Teller(collection, doc["_id"], doc["untold"], _EVENTS[collection](doc))
            for collection, fields in _FIELDS.items()
            for doc in self._database[collection]
            .find(query, dict.fromkeys(fields, 1))
            .sort("untold.at", ASCENDING)
            .limit(limit)
        ]

    @translated
    def clear(self, told: Sequence[Teller]) -> None:
        """Take away what was told, where nothing has been added meanwhile; else all of it is told once more."""
        for collection in _FIELDS:
            writes = [
                UpdateOne({"_id": {"$eq": each.id}, "untold": {"$eq": each.notes}}, {"$unset": {"untold": ""}})
                for each in told
                if each.collection == collection
            ]
            if writes:
                self._database[collection].bulk_write(writes, ordered=False)
