"""The refusals collection: which rightly signed jobs `actas.submit` did not take, and why. MongoDB removes them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from actas.stores.database import Documents, translated

#: For as long as somebody may come to ask what became of a job.
KEPT = timedelta(days=30)


class Refusals:
    def __init__(self, database: Documents) -> None:
        self._refusals = database["refusals"]

    @translated
    def add(self, refusal_id: str, *, app: str, job: str, code: str, message: str, now: datetime) -> None:
        """Write down a refusal; the same job, sent again, is not written down again."""
        row = {"_id": refusal_id, "app": app, "job": job, "code": code, "message": message, "at": now}
        with suppress(DuplicateKeyError):
            self._refusals.insert_one(row | {"expires_at": now + KEPT})

    @translated
    def find(self, *, app: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The latest first."""
        query = {} if app is None else {"app": app}
        return list(self._refusals.find(query).sort("expires_at", DESCENDING).limit(limit))
