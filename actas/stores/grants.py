"""The grants collection: tokens are written by compare-and-swap on (generation, data key), whoever writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from actas.envelope import Envelope
from actas.records import AccessToken, DataKey, Grant, GrantStatus
from actas.stores.database import Documents, translated

#: Listings need no ciphertexts; one that cannot be read must not hide the others.
WITHOUT_TOKENS = {"refresh_token": 0, "access_token": 0, "data_key": 0}

#: Compared with the server's own clock: it wrote the lease, it judges it.
LEASE_IS_OVER = {"$lt": ["$exchange_lease.until", "$$NOW"]}


@dataclass(frozen=True, slots=True)
class TokenWrite:
    """Everything that changes when tokens are written."""

    generation: int
    refresh_token: Envelope
    #: None: there is none yet, the first job exchanges for one.
    access_token: AccessToken | None
    exchange_id: str
    data_key: DataKey | None = None  # None: the grant keeps the one it has
    scopes: frozenset[str] | None = None

    def to_doc(self, now: datetime) -> dict[str, Any]:
        doc: dict[str, Any] = {
            "generation": self.generation,
            "refresh_token": self.refresh_token.to_doc(),
            "access_token": self.access_token and self.access_token.to_doc(),
            "exchange_id": self.exchange_id,
            "updated_at": now,
        }
        if self.data_key is not None:
            doc["data_key"] = self.data_key.to_doc()
        if self.scopes is not None:
            doc["scopes"] = sorted(self.scopes)
        return doc


class Grants:
    def __init__(self, database: Documents) -> None:
        self._grants = database["grants"]

    @translated
    def get(self, grant_id: str) -> Grant | None:
        doc = self._grants.find_one({"_id": grant_id})
        return Grant.from_doc(doc) if doc else None

    @translated
    def find(
        self,
        *,
        app: str | None = None,
        user: str | None = None,
        provider: str | None = None,
        account: str | None = None,
    ) -> list[Grant]:
        """Grants, without their ciphertexts."""
        asked = {"app": app, "user": user, "provider": provider, "account": account}
        query = {name: value for name, value in asked.items() if value is not None}
        return [Grant.from_doc(doc) for doc in self._grants.find(query, WITHOUT_TOKENS).sort("_id", 1)]

    @translated
    def active_among(self, grant_ids: Sequence[str]) -> list[str]:
        """Those of these grants that work."""
        query = {"_id": {"$in": list(grant_ids)}, "status": str(GrantStatus.ACTIVE)}
        return [doc["_id"] for doc in self._grants.find(query, {"_id": 1})] if grant_ids else []

    @translated
    def read_for_job(self, grant_id: str, blacklist_ids: Sequence[str]) -> tuple[Grant | None, list[dict[str, Any]]]:
        """A job's one read: its grant, and whatever on the blacklist concerns it."""
        join = {"from": "blacklist", "pipeline": [{"$match": {"_id": {"$in": list(blacklist_ids)}}}], "as": "refusals"}
        for doc in self._grants.aggregate([{"$match": {"_id": {"$eq": grant_id}}}, {"$lookup": join}]):
            return Grant.from_doc(doc), doc["refusals"]
        return None, []

    # --- connecting ---

    @translated
    def insert(self, grant: Grant, write: TokenWrite, now: datetime) -> bool:
        """Store a first grant of an account; False if somebody connected that account at the same moment."""
        identity = {
            "_id": grant.id,
            "app": grant.app,
            "user": grant.user,
            "provider": grant.provider,
            "account": grant.account,
            "client_id": grant.client_id,
            "scopes": sorted(grant.scopes),
            "status": str(GrantStatus.ACTIVE),
            "created_at": now,
        }
        try:
            self._grants.insert_one(identity | write.to_doc(now))
        except DuplicateKeyError:
            return False
        return True

    @translated
    def reconnect(self, grant: Grant, write: TokenWrite, now: datetime) -> bool:
        """Replace everything in one write, whatever the grant's status; False if it changed meanwhile.

        A flight in progress finds itself outrun (generation, data key); a pending revocation is dropped.
        """
        fields = {
            "status": str(GrantStatus.ACTIVE),
            "user": grant.user,
            "client_id": grant.client_id,
            **write.to_doc(now),
        }
        gone = {"failure": "", "exchange_lease": "", "refresh_expires_at": ""}
        query = {"_id": grant.id, "generation": grant.generation}
        return self._grants.update_one(query, {"$set": fields, "$unset": gone}).matched_count == 1

    # --- the exchange ---

    @translated
    def take_exchange_lease(
        self, grant_id: str, *, owner: str, seconds: float, statuses: Sequence[GrantStatus]
    ) -> Grant | None:
        """Take the right to exchange this grant's token, for a bounded time; None if another holds it."""
        query = {
            "_id": grant_id,
            "status": {"$in": [str(status) for status in statuses]},
            "$or": [{"exchange_lease": None}, {"exchange_lease.owner": owner}, {"$expr": LEASE_IS_OVER}],
        }
        lease = {"owner": {"$literal": owner}, "until": {"$add": ["$$NOW", round(seconds * 1000)]}}
        doc = self._grants.find_one_and_update(
            query, [{"$set": {"exchange_lease": lease}}], return_document=ReturnDocument.AFTER
        )
        return Grant.from_doc(doc) if doc else None

    @translated
    def release_exchange_lease(self, grant_id: str, *, owner: str) -> None:
        self._grants.update_one({"_id": grant_id, "exchange_lease.owner": owner}, {"$unset": {"exchange_lease": ""}})

    @translated
    def swap_tokens(self, grant: Grant, write: TokenWrite, now: datetime) -> Grant | None:
        """Write an exchange's tokens if the grant is still at the generation and data key they came from.

        Whatever its status: a grant being revoked must not keep a live token that nobody knows of.
        """
        assert grant.data_key is not None
        doc = self._grants.find_one_and_update(
            {"_id": grant.id, "generation": grant.generation, "data_key.id": grant.data_key.id},
            {"$set": {**write.to_doc(now), "last_used_at": now}, "$unset": {"exchange_lease": "", "failure": ""}},
            return_document=ReturnDocument.AFTER,
        )
        return Grant.from_doc(doc) if doc else None

    @translated
    def require_reauthorization(self, grant: Grant, cause: str, now: datetime) -> bool:
        """The provider no longer accepts what this generation holds; False if the grant has moved on meanwhile."""
        query = {"_id": grant.id, "generation": grant.generation, "status": str(GrantStatus.ACTIVE)}
        failure = {"code": cause, "first_at": now, "last_at": now, "count": 1}
        update = {
            "$set": {"status": str(GrantStatus.REAUTHORIZATION_REQUIRED), "failure": failure, "updated_at": now},
            "$unset": {"exchange_lease": "", "access_token": ""},
        }
        return self._grants.update_one(query, update).matched_count == 1

    @translated
    def drop_access_token(self, grant_id: str, *, generation: int) -> None:
        """The API refused the access token of this generation (401); a newer one is not touched."""
        self._grants.update_one({"_id": grant_id, "generation": generation}, {"$unset": {"access_token": ""}})

    # --- disconnecting ---

    @translated
    def begin_revoking(self, grant_ids: Sequence[str], now: datetime) -> int:
        """From here on nobody gets a token of these grants; the worker revokes them at the provider and shreds."""
        query = {"_id": {"$in": list(grant_ids)}, "status": {"$ne": str(GrantStatus.REVOKED)}}
        update = {"$set": {"status": str(GrantStatus.REVOKING), "updated_at": now}}
        return self._grants.update_many(query, update).matched_count

    @translated
    def revoking(self, limit: int) -> list[str]:
        """Grants being disconnected that nobody is at."""
        query = {"status": str(GrantStatus.REVOKING), "$or": [{"exchange_lease": None}, {"$expr": LEASE_IS_OVER}]}
        return [doc["_id"] for doc in self._grants.find(query, {"_id": 1}).limit(limit)]

    @translated
    def shred(self, grant: Grant, now: datetime) -> bool:
        """Forget the tokens and their key; False if the user connected again meanwhile, which wins."""
        query = {"_id": grant.id, "generation": grant.generation, "status": str(GrantStatus.REVOKING)}
        update = {
            "$set": {"status": str(GrantStatus.REVOKED), "updated_at": now},
            "$unset": {"refresh_token": "", "access_token": "", "data_key": "", "exchange_lease": "", "failure": ""},
        }
        return self._grants.update_one(query, update).matched_count == 1

    # --- moving in ---

    @translated
    def adopt(self, grant: Grant, write: TokenWrite, now: datetime, *, placeholder: str) -> bool:
        """As ``reconnect``, for a grant that was imported without its account; False also if that has another grant."""
        fields = {
            "status": str(GrantStatus.ACTIVE),
            "account": grant.account,
            "client_id": grant.client_id,
            **write.to_doc(now),
        }
        gone = {"failure": "", "exchange_lease": "", "refresh_expires_at": ""}
        query = {"_id": grant.id, "generation": grant.generation, "account": placeholder}
        try:
            return self._grants.update_one(query, {"$set": fields, "$unset": gone}).matched_count == 1
        except DuplicateKeyError:
            return False

    @translated
    def ask_to_verify(self, grant_ids: Sequence[str], now: datetime) -> None:
        """Have a worker find out whether it can read what is stored of these grants."""
        update = {"$set": {"verify_asked_at": now}, "$unset": {"verified": ""}}
        self._grants.update_many({"_id": {"$in": list(grant_ids)}}, update)

    @translated
    def to_verify(self, limit: int) -> list[str]:
        """Grants of which somebody wants to know that."""
        query = {"verify_asked_at": {"$exists": True}}
        return [doc["_id"] for doc in self._grants.find(query, {"_id": 1}).limit(limit)]

    @translated
    def is_to_verify(self, grant_id: str) -> bool:
        return self._grants.find_one({"_id": grant_id, "verify_asked_at": {"$exists": True}}, {"_id": 1}) is not None

    @translated
    def note_verified(self, grant_id: str, *, code: str | None, now: datetime) -> None:
        """Write down that a worker could read a grant's tokens, or with which error it could not."""
        verdict = {"at": now, "ok": code is None, "code": code}
        query = {"_id": grant_id, "verify_asked_at": {"$exists": True}}
        self._grants.update_one(query, {"$set": {"verified": verdict}, "$unset": {"verify_asked_at": ""}})

    @translated
    def verdicts(self, grant_ids: Sequence[str]) -> dict[str, str | None]:
        """By grant, of those that were looked at since it was asked for: the error's code, None if all is well."""
        query = {"_id": {"$in": list(grant_ids)}, "verified": {"$exists": True}}
        return {doc["_id"]: doc["verified"]["code"] for doc in self._grants.find(query, {"verified": 1})}
