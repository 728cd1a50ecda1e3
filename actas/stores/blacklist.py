"""The blacklist collection: ids refused until they would have expired anyway (a "denylist").

Never removed early: an entry outlives what it refuses by a leeway, and only the purge takes it away.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING

from actas.blacklist import Fate
from actas.stores.database import Documents, translated

#: How many revocations of one user are remembered.
HISTORY_LENGTH = 20
#: Watermarks of jobs are their own, because a log-out may leave jobs alone.
_JOB_WATERMARKS = {Fate.CANCEL: ["jobs_not_before"], Fate.HOLD: ["jobs_held_before"], Fate.KEEP: []}


class Blacklist:
    def __init__(self, database: Documents) -> None:
        self._blacklist = database["blacklist"]

    @translated
    def find(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Those of these entries that are there."""
        return list(self._blacklist.find({"_id": {"$in": list(ids)}}, {"history": 0}))

    @translated
    def add_jti(self, app: str, jti: str, *, expires_at: datetime, reason: str, now: datetime) -> bool:
        """Refuse one JWT id of an app; False if it was refused already. One atomic insert-if-absent."""
        entry = {"reason": reason, "created_at": now}
        update = {"$setOnInsert": entry, "$max": {"expires_at": expires_at}}
        return self._blacklist.update_one({"_id": f"jti:{app}/{jti}"}, update, upsert=True).upserted_id is not None

    @translated
    def raise_watermark(
        self, app: str, user: str, *, jobs: Fate, keep: str | None, reason: str, expires_at: datetime, now: datetime
    ) -> None:
        """Refuse what was issued to a user up to now; watermarks only rise, and the latest call says what is kept.

        Of two who each keep themselves and log the other out, at once, neither stays: what an earlier watermark refused
        is not what a later one can keep.
        """
        step = {"at": now, "reason": reason, "keep": keep, "jobs": str(jobs)}
        raised = ["not_before", *(_JOB_WATERMARKS[jobs])]
        kept_before = {"$eq": [{"$ifNull": ["$keep", None]}, {"$literal": keep}]}
        # A pipeline, because what may be kept depends on what was; literals, because a reason could read "$field".
        update = {
            "created_at": {"$ifNull": ["$created_at", now]},
            "expires_at": {"$max": ["$expires_at", expires_at]},
            **{name: {"$max": [f"${name}", now]} for name in raised},
            "keep_after": {
                "$cond": [kept_before, {"$ifNull": ["$keep_after", None]}, {"$ifNull": ["$not_before", None]}]
            },
            "keep": {"$literal": keep},
            "reason": {"$literal": reason},
            "history": {
                "$slice": [{"$concatArrays": [{"$ifNull": ["$history", []]}, [{"$literal": step}]]}, -HISTORY_LENGTH]
            },
        }
        self._blacklist.update_one({"_id": f"user:{app}/{user}"}, [{"$set": update}], upsert=True)

    @translated
    def purge(self, *, before: datetime, limit: int) -> int:
        """Remove up to ``limit`` entries that expired before a time, oldest first; return how many."""
        expired = self._blacklist.find({"expires_at": {"$lt": before}}, {"_id": 1}).sort("expires_at", ASCENDING)
        ids = [doc["_id"] for doc in expired.limit(limit)]
        # Asked again with the condition: an entry whose life was lengthened meanwhile must stay.
        query = {"_id": {"$in": ids}, "expires_at": {"$lt": before}}
        return self._blacklist.delete_many(query).deleted_count if ids else 0
