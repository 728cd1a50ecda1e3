"""Where an import goes: the grants of one app at one provider, many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from actas.events import EventType, note
from actas.importing.mapping import Candidate, placeholder
from actas.importing.plan import Stored
from actas.records import Grant, GrantStatus
from actas.stores.database import Documents, translated
from actas.stores.grants import TokenWrite, gone_with

_DUPLICATE_KEY = 11000  # mongo/src/mongo/base/error_codes.yml


@dataclass(frozen=True, slots=True)
class Arrival:
    """A grant as it is to be stored, and where it comes from."""

    grant: Grant
    write: TokenWrite
    source: str
    source_id: Any
    fingerprint: bytes

    def origin(self, now: datetime) -> dict[str, Any]:
        """``generation`` is the import's own write: any other means that the grant was used, or connected, since."""
        origin = {"source": self.source, "source_id": self.source_id, "fingerprint": self.fingerprint}
        return origin | {"generation": self.write.generation, "at": now}


class ImportedGrants:
    """The grants collection, as an import of one app sees it."""

    def __init__(self, database: Documents, app: str, provider: str) -> None:
        self._grants = database["grants"]
        self._of_ours = {"app": app, "provider": provider}

    @translated
    def there(self, candidates: Sequence[Candidate]) -> list[Stored]:
        """Whatever is stored of these accounts; of their users, where a candidate's account is not known."""
        nameless = {each.user for each in candidates if each.account == placeholder(each.user)}
        accounts = {each.account for each in candidates} | {placeholder(each.user) for each in candidates}
        queries = [self._of_ours | {"account": {"$in": sorted(accounts)}}]
        if nameless:
            queries.append(self._of_ours | {"user": {"$in": sorted(nameless)}})
        fields = ("user", "account", "status", "generation", "imported")
        found = [doc for query in queries for doc in self._grants.find(query, dict.fromkeys(fields, 1))]
        return [_stored(doc) for doc in {doc["_id"]: doc for doc in found}.values()]

    @translated
    def insert(self, arrivals: Sequence[Arrival], now: datetime) -> int:
        """Store new grants; what somebody stored meanwhile stays as it is. Returns how many were stored."""
        docs = [
            {
                "_id": each.grant.id,
                "app": each.grant.app,
                "user": each.grant.user,
                "provider": each.grant.provider,
                "account": each.grant.account,
                "client_id": each.grant.client_id,
                "scopes": sorted(each.grant.scopes),
                "status": str(GrantStatus.ACTIVE),
                "created_at": now,
                "imported": each.origin(now),
                **each.write.to_doc(now),
            }
            for each in arrivals
        ]
        try:
            self._grants.insert_many(docs, ordered=False)
        except BulkWriteError as error:
            details = error.details or {}
            failures = details.get("writeErrors", [])
            if details.get("writeConcernErrors") or any(each["code"] != _DUPLICATE_KEY for each in failures):
                raise
            return len(docs) - len(failures)
        return len(docs)

    @translated
    def replace(self, arrivals: Sequence[tuple[Arrival, Stored]], now: datetime) -> int:
        """Store newer tokens of grants that nobody has used since they were imported; returns how many.

        Nor is about to: who holds the lease, or died with it, may have sent the older one and have its successor.
        """
        updates = []
        for each, old in arrivals:
            fields = {
                "status": str(GrantStatus.ACTIVE),
                "client_id": each.grant.client_id,
                "imported": each.origin(now),
                **each.write.to_doc(now),
            }
            unused = {"generation": old.generation, "exchange_lease": None, "unanswered_at": None}
            query = {"_id": old.id, "status": str(old.status), **unused}
            update: dict[str, Any] = {"$set": fields, "$unset": gone_with(fields)}
            if old.status is GrantStatus.REAUTHORIZATION_REQUIRED:
                update["$push"] = {"untold": note(EventType.GRANT_RECOVERED, now, code="imported")}
            updates.append(UpdateOne(query, update))
        return self._grants.bulk_write(updates, ordered=False).matched_count

    @translated
    def sample(self, source: str, size: int) -> list[str]:
        """Grants imported from a source that hold a token: the first, the last, and so many at random."""
        query = self._of_ours | {"imported.source": source, "refresh_token": {"$exists": True}}
        random: list[dict[str, Any]] = [{"$match": query}, {"$sample": {"size": size}}, {"$project": {"_id": 1}}]
        ends = [self._grants.find(query, {"_id": 1}).sort("_id", order).limit(1) for order in (1, -1)]
        found = [*self._grants.aggregate(random), *ends[0], *ends[1]]
        return sorted({doc["_id"] for doc in found})

    @translated
    def comparable(self, source: str, *, after: str, limit: int) -> dict[str, Any]:
        """Grants that know the token of their source's document, in the order of their ids; its id by theirs."""
        query = self._of_ours | {
            "_id": {"$gt": after},
            "imported.source": source,
            "imported.fingerprint": {"$exists": True},
        }
        found = self._grants.find(query, {"imported.source_id": 1}).sort("_id", 1).limit(limit)
        return {doc["_id"]: doc["imported"]["source_id"] for doc in found}

    @translated
    def note_shredded(self, grant_ids: Sequence[str], now: datetime) -> None:
        """The readable tokens are gone from the source: there is nothing to compare with any more."""
        update = {"$set": {"imported.shredded_at": now}, "$unset": {"imported.fingerprint": ""}}
        self._grants.update_many({"_id": {"$in": list(grant_ids)}}, update)


def _stored(doc: Mapping[str, Any]) -> Stored:
    return Stored(
        id=doc["_id"],
        user=doc["user"],
        account=doc["account"],
        status=GrantStatus(doc["status"]),
        generation=doc["generation"],
        imported=doc.get("imported"),
    )
