"""Records as values: what the stores read and write, and everybody else passes around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from actas.envelope import Context, Envelope, Purpose
from actas.states import JobStatus

Doc = Mapping[str, Any]


class GrantStatus(StrEnum):
    ACTIVE = "active"
    REAUTHORIZATION_REQUIRED = "reauthorization_required"
    REVOKING = "revoking"
    REVOKED = "revoked"


#: The cause of a grant's end where a provider's reply was lost, and with it the only token that still worked.
LOST_ROTATION = "lost_rotation"


class EffectState(StrEnum):
    STARTED = "started"
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class JobError:
    code: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """A job. ``jws`` is what the app signed; the fields copied from it are for looking up only."""

    id: str
    jws: str = field(repr=False)
    app: str
    user: str
    grant: str
    provider: str
    action: str
    payload: Mapping[str, Any] = field(repr=False)
    run_at: datetime
    deadline: datetime
    rev: int
    status: JobStatus
    next_at: datetime
    created_at: datetime
    idempotency_key: str | None = None
    #: Digest of what was asked, to tell a repeated request from a conflicting one under the same idempotency key.
    request_digest: str | None = field(default=None, repr=False)
    attempts: int = 0
    #: The grant's, which it was signed under.
    connection: int = 0
    #: Somebody wants it not to be done.
    stop: bool = False
    #: A worker died while it held it, and nobody has looked yet what that one left in the journal.
    orphaned: bool = False
    #: Parked until its app signs it anew, whatever its grant does.
    held: bool = False
    #: The provider's id of what was made; of several things, the first.
    result: str | None = None
    #: Of an action with several steps: the ids of what they have made so far, in order.
    made: tuple[str, ...] = ()
    #: How often somebody looked for an uncertain job's effect when it had to be there, and did not find it.
    looks: int = 0
    #: Of a job that was moved to another time: the latest deadline that was ever signed for it.
    signed_until: datetime | None = None
    error: JobError | None = None
    finished_at: datetime | None = None
    history: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def to_doc(self) -> dict[str, Any]:
        doc: dict[str, Any] = {
            "_id": self.id,
            "jws": self.jws,
            "app": self.app,
            "user": self.user,
            "grant": self.grant,
            "connection": self.connection,
            "provider": self.provider,
            "action": self.action,
            "payload": dict(self.payload),
            "run_at": self.run_at,
            "deadline": self.deadline,
            "rev": self.rev,
            "status": str(self.status),
            "next_at": self.next_at,
            "created_at": self.created_at,
            "attempts": self.attempts,
        }
        if self.idempotency_key is not None:  # absent, not null: its unique index covers only documents that have it
            doc |= {"idempotency_key": self.idempotency_key, "request_digest": self.request_digest}
        return doc

    @classmethod
    def from_doc(cls, doc: Doc) -> Self:
        error = doc.get("error")
        return cls(
            id=doc["_id"],
            jws=doc["jws"],
            app=doc["app"],
            user=doc["user"],
            grant=doc["grant"],
            provider=doc["provider"],
            action=doc["action"],
            payload=doc["payload"],
            run_at=doc["run_at"],
            deadline=doc["deadline"],
            rev=doc["rev"],
            status=JobStatus(doc["status"]),
            next_at=doc["next_at"],
            created_at=doc["created_at"],
            idempotency_key=doc.get("idempotency_key"),
            request_digest=doc.get("request_digest"),
            attempts=doc.get("attempts", 0),
            connection=doc.get("connection", 0),
            stop=doc.get("stop", False),
            orphaned=doc.get("orphaned", False),
            held=doc.get("held", False),
            result=doc.get("result"),
            made=tuple(doc.get("made", ())),
            looks=doc.get("looks", 0),
            signed_until=doc.get("signed_until"),
            error=JobError(error["code"], error["message"], error["at"]) if error else None,
            finished_at=doc.get("finished_at"),
            history=tuple(doc.get("history", ())),
        )


@dataclass(frozen=True, slots=True)
class DataKey:
    """One grant's data key, wrapped: ``wrapped`` is Vault's ciphertext, ``vault:v<version>:...``."""

    id: str
    wrapped: str = field(repr=False)
    key_version: int
    made_at: datetime

    def to_doc(self) -> dict[str, Any]:
        return {"id": self.id, "wrapped": self.wrapped, "key_version": self.key_version, "made_at": self.made_at}


@dataclass(frozen=True, slots=True)
class Failure:
    """What has gone wrong with a grant since its last success."""

    #: A provider's own code, one of ours, or ``lost_rotation``.
    code: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class AccessToken:
    envelope: Envelope = field(repr=False)
    expires_at: datetime

    def to_doc(self) -> dict[str, Any]:
        return {**self.envelope.to_doc(), "expires_at": self.expires_at}


@dataclass(frozen=True, slots=True)
class Grant:
    """The stored authorization of one user's account at one provider (RFC 6749 section 1.3)."""

    id: str
    app: str
    user: str
    provider: str
    account: str
    client_id: str
    scopes: frozenset[str]
    status: GrantStatus
    generation: int
    created_at: datetime
    updated_at: datetime
    #: How often the account was disconnected: a job belongs to the connection that it was signed under.
    connection: int = 0
    data_key: DataKey | None = field(default=None, repr=False)
    refresh_token: Envelope | None = field(default=None, repr=False)
    access_token: AccessToken | None = field(default=None, repr=False)
    #: When the refresh token ends however much it is used (``actas.refresh_life``).
    refresh_absolute_at: datetime | None = None
    #: When the refresh token ends by itself, as far as anybody has said so.
    refresh_expires_at: datetime | None = None
    #: When beat should have it exchanged although nobody needs it, so that it lives on; None: never.
    care_at: datetime | None = None
    exchange_id: str | None = None
    last_used_at: datetime | None = None
    failure: Failure | None = None
    #: An exchange at this generation was begun and nobody knows how it ended: the provider may have rotated.
    unanswered_at: datetime | None = None
    #: The exchange that brought this generation had overtaken a request without an answer: if the provider still comes
    #: to that one, it may take it for reuse.
    overtook_at: datetime | None = None
    #: What the provider said when the grant was revoked there, and ``at``; until then ``code`` and ``tries``.
    revocation: Mapping[str, Any] | None = None

    def context(self, purpose: Purpose, *, generation: int, data_key_id: str) -> Context:
        return Context(purpose, self.id, self.app, self.user, self.provider, self.account, generation, data_key_id)

    @classmethod
    def from_doc(cls, doc: Doc) -> Self:
        """Read a stored grant.

        Raises:
            EnvelopeError: a stored ciphertext is incomplete.
        """
        key, access = doc.get("data_key"), doc.get("access_token")
        refresh, failure = doc.get("refresh_token"), doc.get("failure")
        return cls(
            id=doc["_id"],
            app=doc["app"],
            user=doc["user"],
            provider=doc["provider"],
            account=doc["account"],
            client_id=doc["client_id"],
            scopes=frozenset(doc["scopes"]),
            status=GrantStatus(doc["status"]),
            generation=doc["generation"],
            created_at=doc["created_at"],
            updated_at=doc["updated_at"],
            connection=doc.get("connection", 0),
            data_key=DataKey(key["id"], key["wrapped"], key["key_version"], key["made_at"]) if key else None,
            refresh_token=Envelope.from_doc(refresh) if refresh else None,
            access_token=AccessToken(Envelope.from_doc(access), access["expires_at"]) if access else None,
            refresh_absolute_at=doc.get("refresh_absolute_at"),
            refresh_expires_at=doc.get("refresh_expires_at"),
            care_at=doc.get("care_at"),
            exchange_id=doc.get("exchange_id"),
            last_used_at=doc.get("last_used_at"),
            failure=Failure(failure["code"], failure["count"], failure["first_at"], failure["last_at"])
            if failure
            else None,
            unanswered_at=doc.get("unanswered_at"),
            overtook_at=doc.get("overtook_at"),
            revocation=doc.get("revocation"),
        )
