"""A job's whole path. Read ``run`` top to bottom."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from actas import blacklist, jws
from actas.actions import Action, Refused, Result
from actas.blacklist import Fate
from actas.errors import ClientRefused, JobRefused, MongoRefused, MongoUnavailable, ProviderUnavailable
from actas.gates import client_gate, grant_gate
from actas.http import NotSent
from actas.ids import new_id
from actas.records import EffectState, Grant, Job
from actas.states import JobStatus
from actas.stores.effects import Effect
from worker.audit import error_code
from worker.decision import INTERNAL_ERROR, Decision, decide, time_to_return
from worker.errors import (
    AccessTokenRefused,
    Held,
    LeaseTooShort,
    NotYet,
    OutcomeUnknown,
    RateLimited,
    Stopped,
    TooLate,
)
from worker.exchange import Access, check_usable
from worker.provider_api import ProviderApi
from worker.room import Room

log = logging.getLogger(__name__)

#: Between the end of a request's time and the end of the job's lease, for writing down how it went.
LEASE_MARGIN_SECONDS = 5

#: What was seen of a job, its grant and the blacklist longer ago than this is looked at again before the request.
FRESH_SECONDS = 1

#: The single step of a single request; actions of several requests number their own.
STEP = "1"

#: After these the provider has certainly done nothing.
NOTHING_DONE = (NotSent, ProviderUnavailable, RateLimited, AccessTokenRefused, Refused)

#: Told to whoever watches, while a job waits for its token.
Watch = Callable[[str], None]


P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one delivery of a job's message."""

    job: Job
    status: JobStatus
    #: The provider's id of what was made, when the job succeeded.
    result: str | None = None
    decision: Decision | None = None


def run(job_id: str, room: Room, watch: Watch = lambda _: None) -> Outcome | None:
    """Do one job, if it is there to be done; None if it is not (unknown, taken, settled, stopped).

    Raises:
        MongoUnavailable, MongoRefused: nothing is lost, the end of the job's lease brings the job back.
    """
    owner = f"{room.name}:{new_id()}"
    lease_ends_at = time.monotonic() + room.settings.job_lease_seconds  # from before we ask, so never too late
    job = room.jobs.claim(job_id, owner=owner, lease_seconds=room.settings.job_lease_seconds, now=room.clock())
    if job is None:
        return None
    # Not a case for a decision: nothing may be decided without it. The lease ends, and the next worker asks again.
    left = room.effects.look(effect_id(job)) if job.orphaned else None
    try:
        result = left_behind(job, left, room) or do(job, owner, lease_ends_at, room, watch)
    except Exception as error:  # noqa: BLE001 - every error becomes a decision, none ends a worker
        return settled(job, owner, error, room)
    done = room.jobs.settle(
        job, owner, JobStatus.SUCCEEDED, room.clock(), result=result.reference, attempts=job.attempts + 1
    )
    if not done and not room.jobs.settle_late(job.id, room.clock(), result=result.reference):
        return None  # we were too slow and it was rescued; whoever has it now finds in the journal what we did
    log.info("job.succeeded job=%s action=%s attempt=%d", job.id, job.action, job.attempts + 1)
    return Outcome(job, JobStatus.SUCCEEDED, result=result.reference)


def do(job: Job, owner: str, lease_ends_at: float, room: Room, watch: Watch) -> Result:
    """From the signature to the act; every way out but the last is an exception."""
    seen_at = lease_ends_at - room.settings.job_lease_seconds  # the claim told whether it is to be stopped
    claims = verified(job, room)
    action = room.actions[claims.action]
    grant = looked_up(claims, room)
    room.gates.check([grant_gate(grant.id, action.name), client_gate(claims.app, claims.provider)])
    access = token_for(grant, job, room, watch)
    if access.exchanged:  # that took time: ask again what may have changed meanwhile
        seen_at = time.monotonic()
        look_again(job, claims, room)
    check_time(job, claims, lease_ends_at, room)
    return act_once(job, owner, lease_ends_at, seen_at, claims, action, access, room)


def left_behind(job: Job, left: Effect | None, room: Room) -> Result | None:
    """What a worker that died with this job had done already, before anything else is decided about it.

    Neither a deadline nor a cancellation may call a job undone whose request was perhaps sent.

    Raises:
        OutcomeUnknown: it was about to send, and did not say how it ended.
        Stopped: nothing was sent, and nothing shall be.
    """
    if left is not None and left.state is not EffectState.REFUSED and not room.actions[job.action].idempotent:
        return result_of(left)
    if job.stop:
        raise Stopped
    return None


def verified(job: Job, room: Room) -> jws.Claims:
    """What the app signed, if it is signed, says the same as its document, and its time is now.

    Raises:
        JobRefused, NotYet, TooLate.
    """
    now = room.clock()
    claims = jws.verify(job.jws, room.key_versions.get, now)
    for name, signed in claims.copies().items():
        if getattr(job, name) != signed:
            raise JobRefused(f"the job's document does not say what was signed: {name}", code="altered")
    if now >= claims.deadline:
        raise TooLate(held_up_by=job.error)
    if now < claims.run_at:
        raise NotYet(time_to_return(claims.run_at, now=now, deadline=claims.deadline))
    return claims


def looked_up(claims: jws.Claims, room: Room) -> Grant:
    """The grant, if it may be used for this job now: one read brings it and the blacklist's word.

    Raises:
        Stopped, Held, NeedsUser, JobRefused.
    """
    ids = blacklist.ids_for(claims.app, jti=claims.id, user=claims.user)
    grant, entries = room.grants.read_for_job(claims.grant, ids)
    match blacklist.fate(entries, issued_at=claims.issued_at):
        case Fate.CANCEL:
            raise Stopped("it is on the blacklist", code="revoked")
        case Fate.HOLD:
            raise Held
    check_usable(grant)
    assert grant is not None
    if (grant.app, grant.user, grant.provider) != (claims.app, claims.user, claims.provider):
        raise JobRefused("the grant is another user's", code="foreign_grant")
    if grant.connection != claims.connection:  # and has connected again, which brings back no job
        raise Stopped("its user disconnected", code="disconnected")
    return grant


def look_again(job: Job, claims: jws.Claims, room: Room) -> None:
    """Make sure that the job is wanted still.

    Raises:
        As ``looked_up``.
    """
    looked_up(claims, room)
    if room.jobs.stop_requested(job.id):
        raise Stopped


def token_for(grant: Grant, job: Job, room: Room, watch: Watch) -> Access:
    if not room.exchange.is_live(grant):
        watch("awaiting_token")
    try:
        return room.exchange.access_token(grant, asked_by=job.id)
    except ClientRefused:
        room.gates.close_to_client(grant.app, grant.provider)
        raise


def check_time(job: Job, claims: jws.Claims, lease_ends_at: float, room: Room) -> None:
    """Make sure a request sent now is sent before the deadline, and over before the job's lease is.

    Raises:
        TooLate, LeaseTooShort.
    """
    if room.clock() >= claims.deadline:
        raise TooLate(held_up_by=job.error)
    if lease_ends_at - time.monotonic() < room.settings.http_timeout_seconds + LEASE_MARGIN_SECONDS:
        raise LeaseTooShort


def act_once(
    job: Job,
    owner: str,
    lease_ends_at: float,
    seen_at: float,
    claims: jws.Claims,
    action: Action[Any],
    access: Access,
    room: Room,
) -> Result:
    """Write down that the request is about to be sent, send it, write down what came of it.

    Raises:
        OutcomeUnknown: nobody can say whether the provider acted; it must not be asked again blindly.
        Anything else: it did not act.
    """
    payload = action.parse(claims.payload)
    provider = room.providers[claims.provider]
    api = ProviderApi(room.http, provider, access.token, room.settings.http_timeout_seconds, room.clock)
    finish = functools.partial(room.effects.finish, effect_id(job), owner=owner)
    left = begun(job, owner, claims, access, room)
    if left is not None and not action.idempotent:
        return result_of(left)
    try:
        if time.monotonic() - seen_at > FRESH_SECONDS:  # MongoDB may have taken its time, or we stood still
            look_again(job, claims, room)
        check_time(job, claims, lease_ends_at, room)  # the last thing: what comes before takes some
    except Exception as error:
        patiently(finish, EffectState.REFUSED, now=room.clock(), code=error_code(error))
        raise
    try:
        result = action.perform(api, payload, job.id)
    except NOTHING_DONE as error:
        patiently(finish, EffectState.REFUSED, now=room.clock(), code=error.code)
        if isinstance(error, RateLimited):
            room.gates.close(grant_gate(claims.grant, action.name), error.until)
        if isinstance(error, AccessTokenRefused):
            refused_again = patiently(
                room.grants.refuse_access_token, claims.grant, generation=access.grant.generation, now=room.clock()
            )
            if refused_again is not None:  # a new token was no better; asking for more of them would not help either
                room.gates.close(grant_gate(claims.grant, action.name), refused_again)
        raise
    except Exception as error:
        # A lost reply, or a mistake of ours after sending: either way nobody knows.
        patiently(finish, EffectState.UNKNOWN, now=room.clock(), code=type(error).__name__)
        if action.idempotent:
            raise
        raise OutcomeUnknown(f"{action.name}: the request was sent, its outcome is not known") from None
    patiently(finish, EffectState.DONE, now=room.clock(), result=result.reference)
    return result


def begun(job: Job, owner: str, claims: jws.Claims, access: Access, room: Room) -> Effect | None:
    """Begin the journal's row; what stood there already, if there was one."""
    try:
        return room.effects.begin(
            effect_id(job),
            owner=owner,
            now=room.clock(),
            kind="act",
            app=claims.app,
            user=claims.user,
            grant=claims.grant,
            action=claims.action,
            key_version=access.grant.data_key.key_version if access.grant.data_key else None,
            attempt=job.attempts + 1,
        )
    except MongoUnavailable as error:
        # The row may be there, and would make the next worker believe that something was sent.
        patiently(room.effects.withdraw, effect_id(job), owner=owner, now=room.clock(), code=error.code)
        raise


def effect_id(job: Job) -> str:
    return f"{job.id}:{STEP}"


def patiently(write: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Write what only this process knows: whatever MongoDB says meanwhile, as long as the process lives."""
    retrying = Retrying(
        retry=retry_if_exception_type((MongoUnavailable, MongoRefused)),
        before_sleep=lambda state: log.warning("journal.retry attempt=%d", state.attempt_number),
        wait=wait_random_exponential(multiplier=0.1, max=2),
        reraise=True,
    )
    return retrying(write, *args, **kwargs)


def result_of(left: Effect) -> Result:
    """What a worker before us left in the journal."""
    if left.state is EffectState.DONE and left.result is not None:
        return Result(left.result)
    raise OutcomeUnknown("a worker before this one began the request and did not say how it ended")


def settled(job: Job, owner: str, error: Exception, room: Room) -> Outcome | None:
    """Turn an error into what happens next, and write that down."""
    now = room.clock()
    decision = decide(error, attempt=job.attempts, now=now, deadline=job.deadline, jitter=room.jitter())
    if decision.code == INTERNAL_ERROR:
        log.error("job.error job=%s", job.id, exc_info=error)
    fields: dict[str, Any] = {"attempts": job.attempts + decision.counts}
    if decision.at is not None:
        fields["next_at"] = decision.at
    if isinstance(error, Held):
        fields["held"] = True
    if not room.jobs.settle(job, owner, decision.to, now, error=decision.as_error(now), **fields):
        # Asked to stop while we held it, it ends here instead of coming back; or else it is no longer ours to move.
        decision = Decision(JobStatus.CANCELLED, "cancelled", "stopped before its request was sent")
        if not room.jobs.settle(job, owner, decision.to, now, error=decision.as_error(now)):
            return None
    log.info("job.%s job=%s code=%s", decision.to, job.id, decision.code)
    return Outcome(job, decision.to, decision=decision)
