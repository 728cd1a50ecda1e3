"""Which signing keys the unfinished jobs were signed with, as their signatures' headers say."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pymongo

from actas.errors import JobRefused
from actas.jws import signed_with
from actas.states import FINAL, JobStatus
from actas.stores.database import Documents, translated
from actas.stores.wrapped_keys import PATIENCE_SECONDS, app_names


class SignedJobs:
    def __init__(self, database: Documents) -> None:
        self._jobs = database["jobs"]

    @translated
    def apps(self) -> list[str]:
        """The apps that have jobs."""
        return app_names(self._jobs.distinct("app"))

    @translated
    def unfinished(self, app: str) -> dict[int, int]:
        """How many unfinished jobs each version of the app's signing key signed.

        A job whose header cannot be read is not counted: no version makes it acceptable.
        """
        unfinished = {"app": app, "status": {"$in": [str(status) for status in JobStatus if status not in FINAL]}}
        header = {"$arrayElemAt": [{"$split": ["$jws", "."]}, 0]}
        each: list[dict[str, Any]] = [{"$match": unfinished}, {"$group": {"_id": header, "count": {"$sum": 1}}}]
        counts: Counter[int] = Counter()
        with pymongo.timeout(PATIENCE_SECONDS):
            for doc in self._jobs.aggregate(each):
                try:
                    _, version = signed_with(doc["_id"])
                except JobRefused:
                    continue
                counts[version] += doc["count"]
        return dict(counts)
