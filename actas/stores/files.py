"""Stored files: the collection ``files``, one row for each, and ``file_chunks``, their bytes.

A file is there once its row says ``stored``; that write comes last. What is half there, or has been kept long enough,
goes by the purge: first its row says that it goes, so that nobody builds on it, then its chunks, then the row. Chunks
belong to one row, so nothing that goes can take along what somebody else is storing just now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from actas.stores.database import Documents, translated

STORING, STORED, GOING = "storing", "stored", "going"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What the row of a stored file says; whether that is true, whoever reads its bytes checks."""

    id: str
    size: int
    keep_until: datetime
    manifest: Any


class Files:
    def __init__(self, database: Documents) -> None:
        self._files = database["files"]
        self._chunks = database["file_chunks"]

    # --- an app: stores ---

    @translated
    def begin(self, file_id: str, *, app: str, now: datetime, give_up_at: datetime) -> None:
        """Begin to store a file; unless it is finished by then, what is there of it is purged."""
        row = {"_id": file_id, "app": app, "state": STORING, "created_at": now, "expires_at": give_up_at}
        self._files.insert_one(row)

    @translated
    def add(self, file_id: str, first: int, chunks: Sequence[bytes]) -> None:
        """Add chunks, the first of which has this number."""
        self._chunks.insert_many([{"_id": f"{file_id}:{first + n}", "data": chunk} for n, chunk in enumerate(chunks)])

    @translated
    def finish(self, file_id: str, *, sha256: str, size: int, manifest: bytes, keep_until: datetime) -> bool:
        """Say that it is stored; False if it is begun no more, or the app has this file already."""
        row = {"state": STORED, "sha256": sha256, "size": size, "manifest": manifest, "expires_at": keep_until}
        try:
            return self._files.update_one({"_id": file_id, "state": STORING}, {"$set": row}).matched_count == 1
        except DuplicateKeyError:
            return False

    @translated
    def give_up(self, file_id: str, now: datetime) -> None:
        """Let the next purge take what was begun."""
        self._files.update_one({"_id": file_id, "state": STORING}, {"$set": {"expires_at": now}})

    @translated
    def prolong(self, app: str, sha256: str, keep_until: datetime) -> bool:
        """Keep a file until then, at least; False if the app has none of this name."""
        query = {"app": app, "sha256": sha256, "state": STORED}
        return self._files.update_one(query, {"$max": {"expires_at": keep_until}}).matched_count == 1

    # --- an app and a worker: look ---

    @translated
    def find(self, app: str, digests: Sequence[str]) -> Mapping[str, StoredFile]:
        """Those of these files that the app has, by their names."""
        query = {"app": app, "sha256": {"$in": list(digests)}, "state": STORED}
        return {row["sha256"]: _stored(row) for row in self._files.find(query, {"manifest": 0})}

    @translated
    def get(self, app: str, sha256: str) -> StoredFile | None:
        """One of the app's files, with its manifest."""
        row = self._files.find_one({"app": app, "sha256": sha256, "state": STORED})
        return _stored(row) if row else None

    # --- a worker: reads ---

    @translated
    def chunks(self, file_id: str, numbers: Sequence[int]) -> Mapping[int, Any]:
        """Those of these chunks that are there, by their numbers."""
        ids = {f"{file_id}:{number}": number for number in numbers}
        return {ids[row["_id"]]: row.get("data") for row in self._chunks.find({"_id": {"$in": list(ids)}})}

    # --- the scheduler: purges ---

    @translated
    def purge(self, *, before: datetime, limit: int) -> int:
        """Remove up to ``limit`` files whose time was over before then, those that are kept least long first."""
        over = {"expires_at": {"$lt": before}}
        rows = self._files.find(over, {"_id": 1}).sort("expires_at", ASCENDING).limit(limit)
        ids = [row["_id"] for row in rows]
        if not ids:
            return 0
        # With the condition once more: one that is kept longer, or was finished, meanwhile stays.
        self._files.update_many({"_id": {"$in": ids}, **over}, {"$set": {"state": GOING}})
        going = [row["_id"] for row in self._files.find({"_id": {"$in": ids}, "state": GOING}, {"_id": 1})]
        for file_id in going:
            self._chunks.delete_many({"_id": {"$gt": f"{file_id}:", "$lt": f"{file_id};"}})  # ; is after :
        return self._files.delete_many({"_id": {"$in": going}, "state": GOING}).deleted_count if going else 0


def _stored(row: Mapping[str, Any]) -> StoredFile:
    return StoredFile(row["_id"], row["size"], row["expires_at"], row.get("manifest"))
