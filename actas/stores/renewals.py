"""Grants whose data key is to be made anew: by a worker, which alone can; here they are only selected and counted.

Only active grants: what the provider no longer accepts is worth nothing to anybody, and what is being disconnected will
be shredded. A worker notes a failed try as ``renewal {tried_at, code}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pymongo
from pymongo import ASCENDING, DESCENDING

from actas.records import GrantStatus
from actas.stores.database import Documents, translated
from actas.stores.grants import LEASE_IS_OVER
from actas.stores.wrapped_keys import PATIENCE_SECONDS

NOBODY_IS_AT_IT = {"$or": [{"exchange_lease": None}, {"$expr": LEASE_IS_OVER}]}


class Renewals:
    def __init__(self, database: Documents) -> None:
        self._grants = database["grants"]

    @translated
    def due(self, app: str, *, made_before: datetime, tried_before: datetime, limit: int) -> list[str]:
        """Grants to ask a worker for: the oldest data keys first, those that failed (not just now) after all others."""
        found: list[str] = []
        failed: Mapping[str, Any]
        for failed in (  # never tried since that time, nor before it: so a run of failures holds up nobody
            {"renewal.tried_at": {"$not": {"$gte": made_before}}},
            {"renewal.tried_at": {"$gte": made_before, "$lt": tried_before}},
        ):
            if len(found) < limit:
                query = {"$and": [_older(app, made_before), NOBODY_IS_AT_IT, failed]}
                docs = self._grants.find(query, {"_id": 1}).sort("data_key.made_at", ASCENDING)
                found += [doc["_id"] for doc in docs.limit(limit - len(found))]
        return found

    @translated
    def left(self, app: str, made_before: datetime) -> int:
        """How many active grants still have a data key from before a time."""
        with pymongo.timeout(PATIENCE_SECONDS):
            return self._grants.count_documents(_older(app, made_before))

    @translated
    def failed(self, app: str, made_before: datetime) -> dict[str, list[str]]:
        """Those of them that a worker has tried since, by the code of what hindered it."""
        query = _older(app, made_before) | {"renewal.tried_at": {"$gte": made_before}}
        failed: dict[str, list[str]] = {}
        with pymongo.timeout(PATIENCE_SECONDS):
            for doc in self._grants.find(query, {"renewal.code": 1}).sort("_id", ASCENDING):
                failed.setdefault(str(doc["renewal"].get("code") or "unknown"), []).append(str(doc["_id"]))
        return failed

    @translated
    def renewed(self, app: str, since: datetime) -> dict[str, int]:
        """Grants older than that time whose data key is not, by provider."""
        query = {"app": app, "data_key.made_at": {"$gte": since}, "created_at": {"$lt": since}}
        return self._count(query, "$provider")

    @translated
    def passed_over(self, app: str, made_before: datetime) -> dict[str, int]:
        """Grants with a data key from before a time that are not active, by their status."""
        query = _older(app, made_before) | {"status": {"$ne": str(GrantStatus.ACTIVE)}}
        return self._count(query, "$status")

    @translated
    def last_access_token_ends_at(self, app: str) -> datetime | None:
        """When the last of all access tokens now stored ends."""
        query = {"app": app, "access_token.expires_at": {"$type": "date"}}
        with pymongo.timeout(PATIENCE_SECONDS):
            order = [("access_token.expires_at", DESCENDING)]
            doc = self._grants.find_one(query, {"access_token.expires_at": 1}, sort=order)
        return doc["access_token"]["expires_at"] if doc else None

    def _count(self, query: Mapping[str, Any], by: str) -> dict[str, int]:
        stages: list[dict[str, Any]] = [
            {"$match": query},
            {"$group": {"_id": by, "count": {"$sum": 1}}},
            {"$sort": {"_id": 1}},
        ]
        with pymongo.timeout(PATIENCE_SECONDS):
            return {str(doc["_id"]): doc["count"] for doc in self._grants.aggregate(stages)}


def _older(app: str, made_before: datetime) -> dict[str, Any]:
    return {"app": app, "data_key.made_at": {"$lt": made_before}, "status": str(GrantStatus.ACTIVE)}
