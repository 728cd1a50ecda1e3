"""The drills collection: leak drills, begun and ended by an operator; the scheduler goes on with what is open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from actas.stores.database import Documents, translated


@dataclass(frozen=True, slots=True)
class Drill:
    id: str
    app: str
    #: Data keys made before this are to be replaced.
    began_at: datetime
    #: The KEK's latest version when somebody began.
    from_version: int
    #: The version that the drill made; None: not yet, or nobody knows.
    key_version: int | None = None
    #: How many grants there were to renew.
    to_renew: int = 0
    #: Access tokens from before the drill live on until then.
    access_tokens_until: datetime | None = None

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> Self:
        return cls(
            id=doc["_id"],
            app=doc["app"],
            began_at=doc["began_at"],
            from_version=doc["from_version"],
            key_version=doc["key_version"],
            to_renew=doc["to_renew"],
            access_tokens_until=doc["access_tokens_until"],
        )


class Drills:
    def __init__(self, database: Documents) -> None:
        self._drills = database["drills"]

    @translated
    def open(self, app: str) -> Drill | None:
        """The app's open drill; there is one at most."""
        doc = self._drills.find_one({"app": app, "open": True})
        return Drill.from_doc(doc) if doc else None

    @translated
    def all_open(self) -> list[Drill]:
        return [Drill.from_doc(doc) for doc in self._drills.find({"open": True})]

    @translated
    def insert(self, drill: Drill) -> bool:
        """Open a drill; False if the app has an open one."""
        doc = {
            "_id": drill.id,
            "app": drill.app,
            "open": True,
            "began_at": drill.began_at,
            "from_version": drill.from_version,
            "key_version": drill.key_version,
            "to_renew": drill.to_renew,
            "access_tokens_until": drill.access_tokens_until,
            "finished_at": None,
        }
        try:
            self._drills.insert_one(doc)
        except DuplicateKeyError:
            return False
        return True

    @translated
    def rotated(
        self, drill: Drill, key_version: int, *, began_at: datetime, to_renew: int, until: datetime | None
    ) -> Drill:
        """Note that the KEK was rotated, once; what comes back is what stands there."""
        fields = {
            "key_version": key_version,
            "began_at": began_at,
            "to_renew": to_renew,
            "access_tokens_until": until,
        }
        noted = self._drills.find_one_and_update(
            {"_id": drill.id, "key_version": None}, {"$set": fields}, return_document=ReturnDocument.AFTER
        )
        return Drill.from_doc(noted or self._drills.find_one({"_id": drill.id}) or {})

    @translated
    def finish(self, drill: Drill, report: Mapping[str, Any], now: datetime) -> None:
        update = {"$set": {"finished_at": now, "report": dict(report)}, "$unset": {"open": ""}}
        self._drills.update_one({"_id": drill.id, "open": True}, update)
