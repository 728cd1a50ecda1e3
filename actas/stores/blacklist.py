"""The blacklist collection: ids refused until they would have expired anyway (a "denylist").

Written once, never removed early: an entry outlives what it refuses by a leeway, and only the purge takes it away.
"""

from __future__ import annotations

from datetime import datetime

from pymongo import ASCENDING

from actas.stores.database import Documents, translated


class Blacklist:
    def __init__(self, database: Documents) -> None:
        self._blacklist = database["blacklist"]

    @translated
    def add_jti(self, app: str, jti: str, *, expires_at: datetime, reason: str, now: datetime) -> bool:
        """Refuse one JWT id of an app; False if it was refused already. One atomic insert-if-absent."""
        entry = {"reason": reason, "created_at": now}
        update = {"$setOnInsert": entry, "$max": {"expires_at": expires_at}}
        return self._blacklist.update_one({"_id": f"jti:{app}/{jti}"}, update, upsert=True).upserted_id is not None

    @translated
    def purge(self, *, before: datetime, limit: int) -> int:
        """Remove up to ``limit`` entries that expired before a time; return how many."""
        expired = self._blacklist.find({"expires_at": {"$lt": before}}, {"_id": 1}).sort("expires_at", ASCENDING)
        ids = [doc["_id"] for doc in expired.limit(limit)]
        # Asked again with the condition: an entry whose life was lengthened meanwhile must stay.
        query = {"_id": {"$in": ids}, "expires_at": {"$lt": before}}
        return self._blacklist.delete_many(query).deleted_count if ids else 0
