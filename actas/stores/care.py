"""Grants whose refresh token needs an exchange to live on, by a worker, which alone can; here they are selected."""

from __future__ import annotations

from datetime import datetime

from pymongo import ASCENDING

from actas.records import GrantStatus
from actas.stores.database import Documents, translated
from actas.stores.grants import LEASE_IS_OVER


class Care:
    def __init__(self, database: Documents) -> None:
        self._grants = database["grants"]

    @translated
    def due(self, now: datetime, *, per_provider: int) -> list[str]:
        """Grants to ask a worker for, so many of each provider at most, the longest due first."""
        due = {
            "status": str(GrantStatus.ACTIVE),
            "care_at": {"$lte": now},
            "$or": [{"exchange_lease": None}, {"$expr": LEASE_IS_OVER}],
        }
        found: list[str] = []
        provider = ""
        # From provider to provider, over the index: what is due at one may be much, and must not hide the others.
        while next_one := self._grants.find_one(
            due | {"provider": {"$gt": provider}}, {"provider": 1}, sort=[("provider", ASCENDING)]
        ):
            provider = next_one["provider"]
            docs = self._grants.find(due | {"provider": provider}, {"_id": 1}).sort("care_at", ASCENDING)
            found += [doc["_id"] for doc in docs.limit(per_provider)]
        return found
