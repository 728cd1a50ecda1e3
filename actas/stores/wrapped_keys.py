"""The wrapped data keys of grants: which are under which version of their app's KEK, and moving them to the newest.

Written back only over exactly what was read, so that a data key made meanwhile is never overwritten by an older one.
The ``app`` of a grant becomes part of a path in Vault, and apps write it: only what can be an app's name is answered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pymongo
from pydantic import TypeAdapter, ValidationError
from pymongo import ASCENDING, UpdateOne

from actas.settings import AppName
from actas.stores.database import Documents, translated

#: Seconds for a question that looks at all grants of an app; asked at the console only.
PATIENCE_SECONDS = 120

_FIELDS = {"data_key.wrapped": 1, "data_key.key_version": 1}


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A grant's wrapped data key, as it is stored; ``version`` is the copy beside it that is looked for."""

    grant: str
    wrapped: Any = field(repr=False)
    version: Any


class WrappedKeys:
    def __init__(self, database: Documents) -> None:
        self._grants = database["grants"]

    @translated
    def apps(self) -> list[str]:
        """The apps that have grants."""
        return app_names(self._grants.distinct("app"))

    @translated
    def counts(self, app: str) -> dict[int, int]:
        """How many data keys there are under each version."""
        with_a_key = {"$match": {"app": app, "data_key.key_version": {"$gte": 0}}}
        each = {"$group": {"_id": "$data_key.key_version", "count": {"$sum": 1}}}
        with pymongo.timeout(PATIENCE_SECONDS):
            return {doc["_id"]: doc["count"] for doc in self._grants.aggregate([with_a_key, each])}

    @translated
    def oldest(self, app: str) -> datetime | None:
        """When the oldest data key was made."""
        query = {"app": app, "data_key.made_at": {"$type": "date"}}
        doc = self._grants.find_one(query, {"data_key.made_at": 1}, sort=[("data_key.made_at", ASCENDING)])
        return doc["data_key"]["made_at"] if doc else None

    @translated
    def older(self, app: str, than: int, after: Wrapped | None, limit: int) -> list[Wrapped]:
        """The next data keys under versions older than this one, from the index alone."""
        version: dict[str, Any] = {"app": app, "data_key.key_version": {"$lt": than, "$gte": 0}, "_id": {"$gt": ""}}
        if after is not None:
            same = {"app": app, "data_key.key_version": after.version, "_id": {"$gt": after.grant}}
            version["data_key.key_version"]["$gt"] = after.version
            version = {"$or": [same, version]}
        return self._find(version, [("data_key.key_version", ASCENDING), ("_id", ASCENDING)], limit)

    @translated
    def not_under(self, app: str, version: int, after: Wrapped | None, limit: int) -> list[Wrapped]:
        """The next data keys that are not under this version, by what they are and whatever stands beside them.

        Looks at every grant of the app.
        """
        under = re.compile(f"^vault:v{version}:")
        query = {
            "app": app,
            "data_key.wrapped": {"$exists": True, "$not": under},
            "_id": {"$gt": after.grant if after else ""},
        }
        with pymongo.timeout(PATIENCE_SECONDS):
            return self._find(query, [("_id", ASCENDING)], limit)

    @translated
    def count_not_under(self, app: str, version: int) -> int:
        """How many data keys are not under this version, by what they are; looks at every grant of the app."""
        query = {"app": app, "data_key.wrapped": {"$exists": True, "$not": re.compile(f"^vault:v{version}:")}}
        with pymongo.timeout(PATIENCE_SECONDS):
            return self._grants.count_documents(query)

    @translated
    def replace(self, rewrapped: Sequence[tuple[Wrapped, str, int]]) -> int:
        """Write back (what was read, rewrapped, its version) where what was read still stands; return how many did."""
        writes = [
            UpdateOne(
                {"_id": old.grant, "data_key.wrapped": old.wrapped},
                {"$set": {"data_key.wrapped": new, "data_key.key_version": version}},
            )
            for old, new, version in rewrapped
        ]
        return self._grants.bulk_write(writes, ordered=False).matched_count if writes else 0

    def _find(self, query: dict[str, Any], order: list[tuple[str, int]], limit: int) -> list[Wrapped]:
        found = self._grants.find(query, _FIELDS).sort(order).limit(limit)
        return [
            Wrapped(doc["_id"], key.get("wrapped"), key.get("key_version")) for doc in found if (key := doc["data_key"])
        ]


def app_names(found: Sequence[Any]) -> list[str]:
    """Those that can be the name of an app, in order."""
    return sorted(name for name in found if isinstance(name, str) and _is_app_name(name))


def _is_app_name(name: str) -> bool:
    try:
        TypeAdapter(AppName).validate_python(name)
    except ValidationError:
        return False
    return True
