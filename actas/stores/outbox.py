"""The outbox collection: events on their way to the webhooks of apps. Its rows have the events' own ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.errors import BulkWriteError

from actas import events
from actas.events import Event
from actas.stores.database import Documents, translated

_DUPLICATE_KEY = 11000  # mongo/src/mongo/base/error_codes.yml

#: How long a row is kept once it is over; the collection's TTL index takes it then.
KEPT_DELIVERED, KEPT_DEAD = timedelta(days=1), timedelta(days=30)


class OutboxState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"  # given up; an operator may have it tried again


@dataclass(frozen=True, slots=True)
class Row:
    event: Event
    state: OutboxState
    #: Counted when a try begins.
    tries: int
    next_at: datetime
    #: How the last try ended: ``http_<status>``, or an error's code.
    last: str | None

    @classmethod
    def from_doc(cls, doc: dict[str, Any]) -> Self:
        event = Event(doc["_id"], doc["app"], doc["type"], doc["at"], doc["data"])
        return cls(event, OutboxState(doc["state"]), doc["tries"], doc["next_at"], doc.get("last"))


class Outbox:
    def __init__(self, database: Documents) -> None:
        self._outbox = database["outbox"]

    @translated
    def insert(self, told: Sequence[Event], now: datetime) -> int:
        """Put events there, unless they are there already; returns how many were new."""
        docs = [
            {
                "_id": event.id,
                "app": event.app,
                "type": str(event.type),
                "at": event.at,
                "data": dict(event.data),
                "state": str(OutboxState.PENDING),
                "tries": 0,
                "next_at": now,
            }
            for event in told
        ]
        if not docs:
            return 0
        try:
            self._outbox.insert_many(docs, ordered=False)
        except BulkWriteError as error:
            details = error.details or {}
            there = details.get("writeErrors", [])
            if details.get("writeConcernErrors") or any(each["code"] != _DUPLICATE_KEY for each in there):
                raise
            return len(docs) - len(there)
        return len(docs)

    def capped(self, app: str, provider: str, *, until: datetime | None, code: str, now: datetime) -> None:
        """Tell an app that a provider serves it no more for a while; once a day, however many find that out.

        Raises:
            MongoUnavailable, MongoRefused.
        """
        self.insert([events.capped(app, provider, at=now, until=until, code=code)], now)

    # --- delivering ---

    @translated
    def due(self, now: datetime, *, most: int) -> dict[str, int]:
        """The apps that have something due, and how much; so much of each at most. From app to app, over the index."""
        waiting = {"state": str(OutboxState.PENDING), "next_at": {"$lte": now}}
        found: dict[str, int] = {}
        app = ""
        while doc := self._outbox.find_one(
            waiting | {"app": {"$gt": app}}, {"app": 1}, sort=[("app", ASCENDING), ("next_at", ASCENDING)]
        ):
            app = doc["app"]
            found[app] = self._outbox.count_documents(waiting | {"app": app}, limit=most)
        return found

    @translated
    def claim(self, app: str, now: datetime, *, until: datetime) -> Row | None:
        """Take the event of an app that has been due longest; it is due again at ``until``, if nobody says more of it.

        By our clock, not MongoDB's: if two send at once, the receiver sees one id twice, which it must be ready for.
        """
        doc = self._outbox.find_one_and_update(
            {"app": {"$eq": app}, "state": str(OutboxState.PENDING), "next_at": {"$lte": now}},
            {"$set": {"next_at": until}, "$inc": {"tries": 1}},
            sort=[("next_at", ASCENDING)],
            return_document=ReturnDocument.AFTER,
        )
        return Row.from_doc(doc) if doc else None

    def delivered(self, row: Row, last: str, now: datetime) -> None:
        self._settle(row, state=str(OutboxState.DELIVERED), last=last, purge_at=now + KEPT_DELIVERED)

    def failed(self, row: Row, last: str, *, next_at: datetime) -> None:
        self._settle(row, next_at=next_at, last=last)

    def bury(self, row: Row, last: str, now: datetime, *, kept: timedelta = KEPT_DEAD) -> None:
        self._settle(row, state=str(OutboxState.DEAD), last=last, purge_at=now + kept)

    @translated
    def _settle(self, row: Row, **fields: Any) -> None:
        mine = {"_id": row.event.id, "state": str(OutboxState.PENDING), "tries": row.tries}
        self._outbox.update_one(mine, {"$set": fields})

    # --- looking ---

    @translated
    def find(self, *, app: str | None = None, state: OutboxState | None = None, limit: int = 50) -> list[Row]:
        """The newest first; ``state`` None: all that is not delivered."""
        states = [state] if state else [OutboxState.PENDING, OutboxState.DEAD]
        query: dict[str, Any] = {"state": {"$in": [str(each) for each in states]}} | ({"app": app} if app else {})
        return [Row.from_doc(doc) for doc in self._outbox.find(query).sort("at", DESCENDING).limit(limit)]

    @translated
    def retry(self, event_id: str, now: datetime) -> bool:
        """Have what was given up, or waits, sent at once, and all tries begin again; False if there is no such row."""
        query = {"_id": event_id, "state": {"$in": [str(OutboxState.PENDING), str(OutboxState.DEAD)]}}
        again = {"state": str(OutboxState.PENDING), "tries": 0, "next_at": now}
        return self._outbox.update_one(query, {"$set": again, "$unset": {"purge_at": ""}}).matched_count == 1
