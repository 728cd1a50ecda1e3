"""How a request becomes a signed job: checked, signed in Vault, stored; once for each idempotency key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from actas import signing
from actas.actions import Action, Actions
from actas.clock import Clock
from actas.errors import IdempotencyConflict, InsufficientScope
from actas.ids import new_id
from actas.jws import Claims
from actas.records import Grant, Job
from actas.requests import (
    JobRequest,
    check_account,
    check_payload,
    check_requests,
    check_text,
    check_user,
    digest,
    window,
)
from actas.room import Room
from actas.states import JobStatus
from actas.stopping import Stopper


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
        claims = [self._claims(request, grants, now) for request in requests]
        self._check_keys(requests)
        signed = signing.sign(self.room.vault, self.room.key_versions, claims)
        jobs = [
            Job(
                jws=jws,
                status=JobStatus.SCHEDULED,
                next_at=job.run_at,
                created_at=now,
                idempotency_key=request.idempotency_key,
                request_digest=digest(request),
                **job.copies(),
            )
            for request, job, jws in zip(requests, claims, signed, strict=True)
        ]
        known = self.room.jobs.insert(jobs) if jobs else set()
        return self._first_of_each_key(jobs, known) if known else jobs

    def _claims(self, request: JobRequest, grants: dict[tuple[str, str, str | None], Grant], now: datetime) -> Claims:
        check_text("action", request.action, "the name of an action, such as x.post")
        action = self.actions[request.action]
        check_user(request.user)
        if request.account is not None:
            check_account(request.account)
        if request.idempotency_key is not None:
            check_text("idempotency_key", request.idempotency_key, "the same for every repetition of one request")
        check_payload(action, request.payload)
        run_at, deadline = window(request, now)
        who = (request.user, action.provider, request.account)
        if who not in grants:
            grants[who] = self.choose_grant(user=request.user, provider=action.provider, account=request.account)
        grant = grants[who]
        _check_granted(action, grant)
        return Claims(
            id=new_id(),
            app=self.app,
            user=request.user,
            grant=grant.id,
            provider=action.provider,
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


def _check_granted(action: Action[Any], grant: Grant) -> None:
    missing = action.scopes - grant.scopes
    if missing:
        raise InsufficientScope(
            f"{action.name} needs {', '.join(sorted(missing))}, which the user has not granted; connect again with it"
        )


def _conflict(key: str | None, *, begun: int = 0) -> IdempotencyConflict:
    kept = f"; {begun} others of this batch had begun already, and are not undone" if begun else ""
    return IdempotencyConflict(f"idempotency key {key!r} belongs to a job with other content{kept}")
