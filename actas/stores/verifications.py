"""Verification: grants of which somebody wants to know whether a worker can read what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from actas.stores.database import Documents, translated


class Verifications:
    def __init__(self, database: Documents) -> None:
        self._grants = database["grants"]

    @translated
    def ask_to_verify(self, grant_ids: Sequence[str], now: datetime) -> None:
        """Have a worker find out whether it can read what is stored of these grants."""
        update = {"$set": {"verify_asked_at": now}, "$unset": {"verified": ""}}
        self._grants.update_many({"_id": {"$in": list(grant_ids)}}, update)

    @translated
    def to_verify(self, limit: int) -> list[str]:
        """Grants of which somebody wants to know that."""
        query = {"verify_asked_at": {"$exists": True}}
        return [doc["_id"] for doc in self._grants.find(query, {"_id": 1}).limit(limit)]

    @translated
    def is_to_verify(self, grant_id: str) -> bool:
        return self._grants.find_one({"_id": grant_id, "verify_asked_at": {"$exists": True}}, {"_id": 1}) is not None

    @translated
    def note_verified(self, grant_id: str, *, code: str | None, now: datetime) -> None:
        """Write down that a worker could read a grant's tokens, or with which error it could not."""
        verdict = {"at": now, "ok": code is None, "code": code}
        query = {"_id": grant_id, "verify_asked_at": {"$exists": True}}
        self._grants.update_one(query, {"$set": {"verified": verdict}, "$unset": {"verify_asked_at": ""}})

    @translated
    def verdicts(self, grant_ids: Sequence[str]) -> dict[str, str | None]:
        """By grant, of those that were looked at since it was asked for: the error's code, None if all is well."""
        query = {"_id": {"$in": list(grant_ids)}, "verified": {"$exists": True}}
        return {doc["_id"]: doc["verified"]["code"] for doc in self._grants.find(query, {"verified": 1})}
