"""The connects collection: authorizations a user has begun and not yet finished."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from actas.stores.database import Documents, translated


class Connects:
    def __init__(self, database: Documents) -> None:
        self._connects = database["connects"]

    @translated
    def put(self, doc: dict[str, Any]) -> None:
        self._connects.insert_one(doc)

    @translated
    def look(self, key: str, *, app: str, user: str, now: datetime) -> dict[str, Any] | None:
        """A pending authorization that ``take`` would take."""
        return self._connects.find_one(_pending(key, app, user, now))

    @translated
    def take(self, key: str, *, app: str, user: str, now: datetime) -> dict[str, Any] | None:
        """Take a pending authorization out, once, for the user who began it, before it expires.

        Another user's attempt takes nothing, so it cannot spoil the rightful one.
        """
        return self._connects.find_one_and_delete(_pending(key, app, user, now))


def _pending(key: str, app: str, user: str, now: datetime) -> dict[str, Any]:
    # The TTL monitor may lag by a minute; the query does not.
    return {"_id": key, "app": app, "user": user, "expires_at": {"$gt": now}}
