"""The grants collection: tokens are written by compare-and-swap on (generation, data key), whoever writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from pymongo import ASCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from actas.envelope import Envelope
from actas.events import EventType, note
from actas.records import LOST_ROTATION, AccessToken, DataKey, Grant, GrantStatus
from actas.refresh_life import RefreshLife
from actas.stores.database import Documents, translated

SECRET_FIELDS = ("refresh_token", "access_token", "data_key")

#: What is said of the tokens a grant holds, and goes with them.
PASSING_FIELDS = (
    *("exchange_lease", "failure", "unanswered_at", "overtook_at", "refused_at", "renewal"),
    *("refresh_absolute_at", "refresh_expires_at", "care_at", "revoke_at", "preflight_at"),
)

#: Listings need no ciphertexts; one that cannot be read must not hide the others.
WITHOUT_TOKENS = dict.fromkeys(SECRET_FIELDS, 0)

#: Compared with the server's own clock: it wrote the lease, it judges it.
LEASE_IS_OVER = {"$lt": ["$exchange_lease.until", "$$NOW"]}


#: An exchange was begun at this generation, and who began it never came back to say how it ended.
TAKEN_OVER = {"$ne": [{"$ifNull": ["$exchange_lease.owner", None]}, None]}

#: Called dead because a reply had been lost: when that reply comes after all, the grant lives.
CALLED_DEAD = {"$eq": ["$status", str(GrantStatus.REAUTHORIZATION_REQUIRED)]}
CALLED_LOST = {"$and": [CALLED_DEAD, {"$eq": ["$failure.code", LOST_ROTATION]}]}

#: An access token that its provider's API refused is replaced at most once in this time (a 401 may have other causes).
REFUSAL_PAUSE = timedelta(minutes=1)

#: How often an app is told that a grant is broken for which jobs wait.
PREFLIGHT_PAUSE = timedelta(days=1)

#: The pause between two tries to revoke at a provider doubles with each that failed, up to this.
LONGEST_REVOCATION_PAUSE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class TokenWrite:
    """Everything that changes when tokens are written; what is None is no longer there afterwards."""

    generation: int
    refresh_token: Envelope
    #: None: there is none yet, the first job exchanges for one.
    access_token: AccessToken | None
    exchange_id: str
    life: RefreshLife
    #: None: it keeps the one it has. That one is not written back: its wrapping may have been renewed meanwhile.
    data_key: DataKey | None = None
    scopes: frozenset[str] | None = None  # None: they stay as they are

    def to_doc(self, now: datetime) -> dict[str, Any]:
        doc: dict[str, Any] = {
            "generation": self.generation,
            "refresh_token": self.refresh_token.to_doc(),
            "access_token": self.access_token and self.access_token.to_doc(),
            "exchange_id": self.exchange_id,
            "refresh_absolute_at": self.life.absolute_at,
            "refresh_expires_at": self.life.expires_at,
            "care_at": self.life.care_at,
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

        False also if an imported grant turns out to be an account's that has a grant already.

        A flight in progress finds itself outrun (generation, data key); a pending revocation is dropped.
        """
        fields = {
            "status": str(GrantStatus.ACTIVE),
            "user": grant.user,
            "account": grant.account,
            "client_id": grant.client_id,
            **write.to_doc(now),
        }
        query = {"_id": grant.id, "generation": grant.generation}
        recovered = {"untold": told_if(CALLED_DEAD, note(EventType.GRANT_RECOVERED, now, code="connected"))}
        literally = {name: {"$literal": value} for name, value in fields.items()}
        try:
            update: list[dict[str, Any]] = [{"$set": literally | recovered}, {"$unset": list(gone_with(fields))}]
            return self._grants.update_one(query, update).matched_count == 1
        except DuplicateKeyError:
            return False

    # --- the exchange ---

    @translated
    def take_exchange_lease(
        self, grant_id: str, *, owner: str, seconds: float, statuses: Sequence[GrantStatus]
    ) -> Grant | None:
        """Take the right to exchange this grant's token, for a bounded time; None if another holds it.

        Taken over from a holder that never came back, it leaves the mark ``unanswered_at``: that one may have sent.
        """
        query = {
            "_id": grant_id,
            "status": {"$in": [str(status) for status in statuses]},
            "$or": [{"exchange_lease": None}, {"exchange_lease.owner": owner}, {"$expr": LEASE_IS_OVER}],
        }
        lease = {"owner": {"$literal": owner}, "until": {"$add": ["$$NOW", round(seconds * 1000)]}}
        another = {"$and": [TAKEN_OVER, {"$ne": ["$exchange_lease.owner", {"$literal": owner}]}]}
        unanswered = {"$ifNull": ["$unanswered_at", {"$cond": [another, "$$NOW", "$$REMOVE"]}]}
        doc = self._grants.find_one_and_update(
            query,
            [{"$set": {"exchange_lease": lease, "unanswered_at": unanswered}}],
            return_document=ReturnDocument.AFTER,
        )
        return Grant.from_doc(doc) if doc else None

    @translated
    def release_exchange_lease(
        self, grant_id: str, *, owner: str, now: datetime, failure: str | None = None, unanswered: bool = False
    ) -> None:
        """Let go of the lease without new tokens, and say why: ``failure`` is counted, ``unanswered`` remembered."""
        fields: dict[str, Any] = {}
        if failure is not None:
            fields["failure"] = _failed_once_more(failure, now)
        if unanswered:
            fields["unanswered_at"] = {"$ifNull": ["$unanswered_at", now]}
        update: list[dict[str, Any]] = [{"$set": fields}] if fields else []
        query = {"_id": grant_id, "exchange_lease.owner": owner}
        self._grants.update_one(query, [*update, {"$unset": "exchange_lease"}])

    @translated
    def swap_tokens(self, grant: Grant, write: TokenWrite, now: datetime, *, overtook: bool = False) -> Grant | None:
        """Write an exchange's tokens if the grant is still at the generation and data key they came from.

        Whatever its status: a grant being revoked must not keep a live token that nobody knows of. One that was called
        dead only because this reply was missing lives again; it keeps the cause, because its reply was late for
        whoever used the old token meanwhile, and a provider that watches for reuse may have killed it.
        """
        assert grant.data_key is not None
        fields = {name: {"$literal": value} for name, value in (write.to_doc(now) | {"last_used_at": now}).items()}
        late = {
            "status": {"$cond": [CALLED_LOST, str(GrantStatus.ACTIVE), "$status"]},
            "failure": {"$cond": [CALLED_DEAD, "$failure", "$$REMOVE"]},
            "unanswered_at": {"$cond": [CALLED_LOST, {"$ifNull": ["$unanswered_at", now]}, "$$REMOVE"]},
            "overtook_at": now if overtook else "$$REMOVE",
            "untold": told_if(CALLED_LOST, note(EventType.GRANT_RECOVERED, now, code="late_reply")),
        }
        doc = self._grants.find_one_and_update(
            {"_id": grant.id, "generation": grant.generation, "data_key.id": grant.data_key.id},
            [{"$set": fields | late}, {"$unset": ["exchange_lease", "renewal"]}],
            return_document=ReturnDocument.AFTER,
        )
        return Grant.from_doc(doc) if doc else None

    @translated
    def swap_data_key(self, grant: Grant, write: TokenWrite, now: datetime, *, owner: str) -> bool:
        """Write the same tokens under another data key; False if the lease is not ours any more.

        Whoever has taken it over may have sent the token meanwhile, and must find the generation it belongs to.
        """
        query = {"_id": grant.id, "generation": grant.generation, "exchange_lease.owner": owner}
        update = {"$set": write.to_doc(now), "$unset": {"exchange_lease": "", "renewal": ""}}
        return self._grants.update_one(query, update).matched_count == 1

    @translated
    def require_reauthorization(self, grant: Grant, cause: str, now: datetime, *, owner: str) -> bool:
        """The provider no longer accepts what this generation holds; False if the grant has moved on meanwhile.

        Only whoever has the lease may say so: another may have sent the token since, and have its successor on the way.
        """
        query = {
            "_id": grant.id,
            "generation": grant.generation,
            "status": str(GrantStatus.ACTIVE),
            "exchange_lease.owner": owner,
        }
        fields = {
            "status": str(GrantStatus.REAUTHORIZATION_REQUIRED),
            "failure": _failed_once_more(cause, now),
            "untold": told_if(True, note(EventType.REAUTHORIZATION_REQUIRED, now, code=cause)),  # noqa: FBT003 - MongoDB's
            "preflight_at": now + PREFLIGHT_PAUSE,
            "updated_at": now,
        }
        update: list[dict[str, Any]] = [{"$set": fields}, {"$unset": ["exchange_lease", "access_token", "care_at"]}]
        return self._grants.update_one(query, update).matched_count == 1

    @translated
    def refuse_access_token(self, grant_id: str, *, generation: int, now: datetime) -> datetime | None:
        """The API refused the access token of this generation (401): forget it, so that the next job exchanges.

        None: that is done, or a newer generation is there already. Else it was done less than a minute ago and did not
        help; the time at which it may be done again.
        """
        unlike = {"$not": {"$gt": now - REFUSAL_PAUSE}}  # also where there is none
        query = {"_id": grant_id, "generation": generation, "refused_at": unlike}
        update = {"$set": {"refused_at": now}, "$unset": {"access_token": ""}}
        if self._grants.update_one(query, update).matched_count == 1:
            return None
        there = self._grants.find_one({"_id": grant_id, "generation": generation}, {"refused_at": 1, "access_token": 1})
        if there is None or there.get("access_token") is None:
            return None  # forgotten already, by whoever was refused with us
        return cast("datetime", there["refused_at"]) + REFUSAL_PAUSE

    @translated
    def put_off_care(self, grant_id: str, *, until: datetime) -> None:
        """Care did not work out; not again before this time."""
        self._grants.update_one({"_id": grant_id, "care_at": {"$lt": until}}, {"$set": {"care_at": until}})

    @translated
    def note_renewal(self, grant_id: str, *, code: str, now: datetime) -> None:
        """Its data key could not be re-made, and why; nobody tries again at once."""
        self._grants.update_one({"_id": grant_id}, {"$set": {"renewal": {"tried_at": now, "code": code}}})

    # --- disconnecting ---

    @translated
    def begin_revoking(self, grant_ids: Sequence[str], *, user: str, now: datetime) -> int:
        """Disconnect those of these grants that are the user's: nobody gets a token, and no job signed so far is done.

        The worker revokes them at the provider and shreds. A grant's id is its account's, which another user may have
        connected meanwhile.
        """
        query = {"_id": {"$in": list(grant_ids)}, "user": user, "status": {"$ne": str(GrantStatus.REVOKED)}}
        status = {"status": str(GrantStatus.REVOKING), "revoke_at": now, "updated_at": now}
        return self._grants.update_many(query, {"$set": status, "$inc": {"connection": 1}}).matched_count

    @translated
    def revoking(self, now: datetime, *, fresh: int, tried: int) -> list[str]:
        """Grants being disconnected that nobody is at: so many that nobody tried to revoke yet, so many that failed.

        Those that failed least go first, and after that those that have waited longest.
        """
        query = {
            "status": str(GrantStatus.REVOKING),
            "revoke_at": {"$lte": now},
            "$or": [{"exchange_lease": None}, {"$expr": LEASE_IS_OVER}],
        }
        order = [("revocation.tries", ASCENDING), ("revoke_at", ASCENDING)]
        docs = list(self._grants.find(query, {"revocation": 1}).sort(order).limit(fresh + tried))
        first = [doc["_id"] for doc in docs if "revocation" not in doc]
        again = [doc["_id"] for doc in docs if "revocation" in doc]
        return first[:fresh] + again[:tried]

    @translated
    def put_off_revoking(self, grant: Grant, *, owner: str, code: str, now: datetime, pause: float) -> None:
        """The revocation did not work out, and why; not again before ``pause`` seconds, twice as many each time."""
        tries = {"$add": [{"$ifNull": ["$revocation.tries", 0]}, 1]}
        longest = LONGEST_REVOCATION_PAUSE.total_seconds()
        seconds = {"$min": [longest, {"$multiply": [pause, {"$pow": [2, {"$subtract": ["$revocation.tries", 1]}]}]}]}
        query = {"_id": grant.id, "generation": grant.generation, "exchange_lease.owner": owner}
        tried = {"$set": {"revocation": {"code": {"$literal": code}, "tries": tries, "at": now}}}
        later = {"$set": {"revoke_at": {"$add": [now, {"$toLong": {"$multiply": [seconds, 1000]}}]}}}
        self._grants.update_one(query, [tried, later, {"$unset": "exchange_lease"}])

    @translated
    def shred(self, grant: Grant, now: datetime, *, said: str) -> bool:
        """Forget the tokens and their key; False if the user connected again meanwhile, which wins.

        ``said``: what the provider said to the revocation, for whoever asks later.
        """
        query = {"_id": grant.id, "generation": grant.generation, "status": str(GrantStatus.REVOKING)}
        update = {
            "$set": {
                "status": str(GrantStatus.REVOKED),
                "revocation": {"said": said, "at": now},
                "updated_at": now,
            },
            "$unset": dict.fromkeys((*SECRET_FIELDS, *PASSING_FIELDS), ""),
        }
        return self._grants.update_one(query, update).matched_count == 1

    @translated
    def still_revoking(self, grant: Grant) -> bool:
        """Whether what was read is still what is to be revoked."""
        query = {"_id": grant.id, "generation": grant.generation, "status": str(GrantStatus.REVOKING)}
        return self._grants.find_one(query, {"_id": 1}) is not None


def gone_with(fields: Mapping[str, Any]) -> dict[str, str]:
    """What must go when new tokens come with these fields: whatever was said of the old ones."""
    return {name: "" for name in (*PASSING_FIELDS, "revocation", "verified") if name not in fields}


def told_if(happened: Any, told: dict[str, Any]) -> dict[str, Any]:
    """The notes of a grant with one more, where an expression holds (``actas.events``); in a pipeline."""
    there = {"$cond": [{"$isArray": "$untold"}, "$untold", []]}
    return {"$cond": [happened, {"$concatArrays": [there, [{"$literal": told}]]}, {"$ifNull": ["$untold", "$$REMOVE"]}]}


def _failed_once_more(code: str, now: datetime) -> dict[str, Any]:
    """The failure of a grant, counted since its last success."""
    return {
        "code": {"$literal": code},
        "count": {"$add": [{"$ifNull": ["$failure.count", 0]}, 1]},
        "first_at": {"$ifNull": ["$failure.first_at", now]},
        "last_at": now,
    }
