"""How a request becomes a signed job: checked, signed in Vault, stored; once for each idempotency key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from actas import jws, signing
from actas.actions import Actions
from actas.blacklist import Fate, fate, ids_for
from actas.clock import Clock
from actas.errors import (
    IdempotencyConflict,
    JobRefused,
    JustRevoked,
    NoGrant,
    TooLateToReschedule,
)
from actas.files import FileReference, files_in
from actas.ids import new_id
from actas.jws import Claims
from actas.records import Grant, GrantStatus, Job
from actas.requests import (
    JobRequest,
    check_account,
    check_granted,
    check_payload,
    check_requests,
    check_text,
    check_user,
    digest,
    window,
)
from actas.room import Room
from actas.states import WAITING, JobStatus
from actas.stopping import Stopper
from actas.storing import check_stored
from actas.vault.room import signing_key_name

#: A grant that is there to be used, now or when its user has connected again.
USABLE = frozenset({GrantStatus.ACTIVE, GrantStatus.REAUTHORIZATION_REQUIRED})

#: How often a job may move on (into the queue, or out of it) while it is being signed anew.
TRIES = 3


@dataclass(frozen=True, slots=True)
class JobWriter:
    """Writes the jobs of one app."""

    app: str
    room: Room
    actions: Actions
    #: The user's grant at a provider, chosen as ``Client.grant`` does.
    choose_grant: Callable[..., Grant]
    stopper: Stopper
    clock: Clock

    def write(self, requests: Sequence[JobRequest]) -> list[Job]:
        """Check all requests, then sign and store them; a repeated idempotency key gives the job that is there."""
        now = self.clock()
        check_requests(requests)
        grants: dict[tuple[str, str, str | None], Grant] = {}
        files: list[tuple[FileReference, datetime]] = []
        claims = [self._claims(request, grants, files, now) for request in requests]
        check_stored(self.app, files, self.room.files)
        self._check_keys(requests)
        self._check_not_just_revoked({request.user for request in requests}, now)
        signed = signing.sign(self.room.vault, self.room.key_versions, claims)
        jobs = [
            Job(
                jws=token,
                status=JobStatus.SCHEDULED,
                next_at=job.run_at,
                created_at=now,
                idempotency_key=request.idempotency_key,
                request_digest=digest(request),
                **job.copies(),
            )
            for request, job, token in zip(requests, claims, signed, strict=True)
        ]
        known = self.room.jobs.insert(jobs) if jobs else set()
        return self._first_of_each_key(jobs, known) if known else jobs

    def rewrite(self, job: Job, *, at: datetime, deadline: datetime | None) -> Job:
        """Sign a job anew for another time; what stands in MongoDB beside the signature is not believed."""
        now = self.clock()
        for _ in range(TRIES):
            _check_free(job)
            claims = self._anew(job, at, deadline, now)
            (token,) = signing.sign(self.room.vault, self.room.key_versions, [claims])
            if (signed := self.room.jobs.sign_anew(job, claims, jws=token, now=now)) is not None:
                return signed
            job = self.room.jobs.get(job.id) or job
        raise TooLateToReschedule("the job is under way")

    def _anew(self, job: Job, at: datetime, deadline: datetime | None, now: datetime) -> Claims:
        """What the app signed for this job, at another time, if it may be asked for still."""
        old = jws.verify(job.jws, self._own_public_key, now)
        if any(getattr(job, name) != signed for name, signed in old.copies().items()):
            raise JobRefused("the job's document does not say what was signed; schedule another one", code="altered")
        action = self.actions[old.action]
        payload = check_payload(action, old.payload)
        run_at, deadline = window(JobRequest(old.action, old.user, old.payload, at, deadline), now)
        check_stored(self.app, [(file, deadline) for file in files_in(payload)], self.room.files)
        check_granted(action, self._grant_of(old))
        if self.room.blacklist.find(ids_for(self.app, jti=old.id, user=None)):
            # The entry may end before the new deadline, and would then refuse it no longer.
            raise TooLateToReschedule("the job's id is on the blacklist; schedule another one")
        self._check_not_just_revoked({old.user}, now)
        return replace(old, run_at=run_at, deadline=deadline, issued_at=now, rev=old.rev + 1)

    def _own_public_key(self, key_name: str, version: int) -> bytes | None:
        """For checking what this app signed: the document may name any key."""
        return self.room.key_versions.get(key_name, version) if key_name == signing_key_name(self.app) else None

    def _grant_of(self, claims: Claims) -> Grant:
        for grant in self.room.grants.find(app=self.app, user=claims.user, provider=claims.provider):
            if grant.id == claims.grant and grant.status in USABLE:
                if grant.connection != claims.connection:
                    raise TooLateToReschedule("its user has disconnected since; schedule another one")
                return grant
        raise NoGrant

    def _check_not_just_revoked(self, users: Iterable[str], now: datetime) -> None:
        """Make sure that a worker will not take what is signed now for older than a revocation of its user."""
        ids = [entry for user in users for entry in ids_for(self.app, jti=None, user=user)]
        if fate(self.room.blacklist.find(ids), issued_at=now) is not Fate.KEEP:
            raise JustRevoked

    def _claims(
        self,
        request: JobRequest,
        grants: dict[tuple[str, str, str | None], Grant],
        files: list[tuple[FileReference, datetime]],
        now: datetime,
    ) -> Claims:
        """What is to be signed; grants that were looked up, and files that are to be, are noted."""
        check_text("action", request.action, "the name of an action, such as x.post")
        action = self.actions[request.action]
        check_user(request.user)
        if request.account is not None:
            check_account(request.account)
        if request.idempotency_key is not None:
            check_text("idempotency_key", request.idempotency_key, "the same for every repetition of one request")
        payload = check_payload(action, request.payload)
        run_at, deadline = window(request, now)
        files += [(file, deadline) for file in files_in(payload)]
        provider = action.provider_of(payload)
        who = (request.user, provider, request.account)
        if who not in grants:
            grants[who] = self.choose_grant(user=request.user, provider=provider, account=request.account)
        grant = grants[who]
        check_granted(action, grant)
        return Claims(
            id=new_id(),
            app=self.app,
            user=request.user,
            grant=grant.id,
            connection=grant.connection,
            provider=provider,
            action=action.name,
            payload=dict(request.payload),
            run_at=run_at,
            deadline=deadline,
            issued_at=now,
        )

    def _check_keys(self, requests: Sequence[JobRequest]) -> None:
        """Make sure that each idempotency key stands for one content, among what is there and in the batch itself."""
        asked = [
            (request.idempotency_key, digest(request)) for request in requests if request.idempotency_key is not None
        ]
        if not asked:
            return
        there = self.room.jobs.by_idempotency_keys(self.app, [key for key, _ in asked])
        contents = {key: job.request_digest for key, job in there.items()}
        for key, content in asked:
            if contents.setdefault(key, content) != content:
                raise _conflict(key)

    def _first_of_each_key(self, jobs: Sequence[Job], known: set[str]) -> list[Job]:
        keys = [job.idempotency_key for job in jobs if job.id in known and job.idempotency_key is not None]
        first = self.room.jobs.by_idempotency_keys(self.app, keys)
        result = []
        for job in jobs:
            there = first.get(job.idempotency_key or "") if job.id in known else job
            if there is None or there.request_digest != job.request_digest:
                # Another process was faster with this key. The app will mend the batch and send all of it again.
                added = [job.id for job in jobs if job.id not in known]
                query = {"_id": {"$in": added}}
                stopped, _ = self.stopper.stop(query, code="cancelled", message="its batch was refused", free_keys=True)
                raise _conflict(job.idempotency_key, begun=len(added) - stopped)
            result.append(there)
        return result


def _check_free(job: Job) -> None:
    if job.stop:
        raise TooLateToReschedule("the job is to be stopped; schedule another one")
    if job.orphaned:
        raise TooLateToReschedule(
            "a worker died with the job, or got no reply; what it did is not known yet: ask again later"
        )
    if job.status not in WAITING:
        raise TooLateToReschedule(f"the job is {job.status}; schedule another one")
    if job.result is not None and not job.held:
        raise TooLateToReschedule("a part of it is done already; what is left goes on, or cancel it")


def _conflict(key: str | None, *, begun: int = 0) -> IdempotencyConflict:
    kept = f"; {begun} others of this batch had begun already, and are not undone" if begun else ""
    return IdempotencyConflict(f"idempotency key {key!r} belongs to a job with other content{kept}")
