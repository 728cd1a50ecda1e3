"""A job's whole path. Read ``run`` top to bottom."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, ParamSpec, TypeVar

from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from actas import blacklist, jws
from actas.actions import Action, NotReady, Payload, Refused, Result
from actas.blacklist import Fate
from actas.errors import (
    ActasError,
    InvalidPayload,
    JobRefused,
    MongoRefused,
    MongoUnavailable,
    ProviderUnavailable,
    UnknownAction,
)
from actas.fault_points import FaultPoint, reached
from actas.files import FileReference
from actas.gates import grant_gate
from actas.http import NotSent
from actas.ids import new_id
from actas.records import EffectState, Grant, Job
from actas.states import JobStatus
from actas.stores.effects import Effect, row_id
from actas.stores.jobs import HISTORY_LENGTH
from worker import stored_files
from worker.audit import error_code
from worker.closing import Whose
from worker.decision import INTERNAL_ERROR, Decision, decide, time_to_return
from worker.errors import (
    AccessTokenRefused,
    FileUnread,
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

#: An uncertain job is looked for at once: what is found is found. What is not there counts much later.
FIRST_LOOK = timedelta(seconds=2)

#: What a provider's profile calls a refusal of what is there already.
DUPLICATE = "duplicate"

#: After these the provider has certainly done nothing.
NOTHING_DONE = (NotSent, ProviderUnavailable, RateLimited, AccessTokenRefused, Refused, NotReady)

#: Bytes of a stored file: (file, start, size).
ReadFile = Callable[[FileReference, int, int], bytes]

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


@dataclass(slots=True)
class Turn:
    """One worker's turn at a job."""

    job: Job
    #: Who we are, in this turn only.
    owner: str
    #: On the monotonic clock, counted from before we asked for the lease, so never too late.
    lease_ends_at: float
    claimed_at: datetime
    #: What is known of the job, its grant and the blacklist was so then; on the monotonic clock.
    seen_at: float
    #: What the steps that are done have made, in order, whoever did them.
    made: list[str]
    #: The next step was begun, by whomever, and nobody knows whether it was done: so it is until it is done.
    unknown: bool = False


def run(job_id: str, room: Room, watch: Watch = lambda _: None) -> Outcome | None:
    """Do one job, if it is there to be done; None if it is not (unknown, taken, settled, stopped).

    Raises:
        AtGate: this process does not reach Vault or MongoDB; the job is as it was, for others to take.
        MongoUnavailable, MongoRefused: nothing is lost, the end of the job's lease brings the job back, if we had it.
    """
    room.outage.check()
    owner, begun_at, now = f"{room.name}:{new_id()}", time.monotonic(), room.clock()
    job = room.jobs.claim(job_id, owner=owner, lease_seconds=room.settings.job_lease_seconds, now=now)
    if job is None:
        return None
    reached(FaultPoint.JOB_CLAIMED)
    ends_at = begun_at + room.settings.job_lease_seconds
    turn = Turn(job, owner, ends_at, claimed_at=now, seen_at=begun_at, made=[])
    # Not a case for a decision: nothing may be decided without it. The lease ends, and the next worker asks again.
    journal = room.effects.of_job(job.id, job.grant) if has_run_before(job) else {}
    turn.unknown = is_open(journal)
    try:
        if not left_behind(turn, journal, room):
            do(turn, room, watch)
    except Exception as error:  # noqa: BLE001 - every error becomes a decision, none ends a worker
        return settled(turn, error, room)
    reached(FaultPoint.JOB_RECORDED)
    attempts = job.attempts + 1
    done = room.jobs.settle(job, owner, JobStatus.SUCCEEDED, room.clock(), attempts=attempts, **results_of(turn.made))
    reached(FaultPoint.JOB_SETTLED)
    if not done and not room.jobs.settle_late(job.id, room.clock(), **results_of(turn.made)):
        # Too slow, and it was rescued. Whoever has it now finds in the journal what we did. If it was even called over,
        # nobody will look there but who reads this.
        log.warning("job.done_late job=%s: it may say something else; its journal knows", job.id)
        return None
    log.info("job.succeeded job=%s action=%s attempt=%d", job.id, job.action, attempts)
    return Outcome(job, JobStatus.SUCCEEDED, result=turn.made[0])


def has_run_before(job: Job) -> bool:
    """Whether a worker had the job before us, and may have left something in the journal."""
    turns = sum(step["to"] == JobStatus.RUNNING for step in job.history)
    return job.orphaned or turns > 1 or len(job.history) >= HISTORY_LENGTH


def left_behind(turn: Turn, journal: Mapping[int, Effect], room: Room) -> bool:
    """What was done already, before anything else is decided about the job; True if that is all of it.

    Neither a deadline nor a cancellation may call a job undone whose request was perhaps sent.

    Raises:
        OutcomeUnknown: somebody was about to send, and did not say how it ended.
        Stopped: nothing is under way, and nothing more shall be.
    """
    if journal:
        turn.made += [effect.result or "" for effect in done_so_far(journal)]
        if is_open(journal) and not is_repeatable(turn.job, room):
            raise OutcomeUnknown("a worker before this one began the request and did not say how it ended")
        action = room.actions[turn.job.action]
        if turn.made and len(turn.made) >= action.steps(action.parse(turn.job.payload)):
            return True
    if turn.job.stop:
        raise Stopped
    return False


def is_open(journal: Mapping[int, Effect]) -> bool:
    return any(effect.open for effect in journal.values())


def is_repeatable(job: Job, room: Room) -> bool:
    """Whether it may be done twice; of what this release does not know, nobody can say that."""
    try:
        action = room.actions[job.action]
        return action.is_idempotent(action.parse(job.payload))
    except (UnknownAction, InvalidPayload):
        return False


def do(turn: Turn, room: Room, watch: Watch) -> None:
    """From the signature to the act, and to the next one if there are several; every other way out is an exception."""
    claims = verified(turn.job, room)
    action = room.actions[claims.action]
    payload = action.parse(claims.payload)
    if action.provider_of(payload) != claims.provider:
        raise JobRefused(f"{action.name} is not an action of {claims.provider}", code="wrong_provider")
    whose = Whose(claims.app, claims.provider, claims.grant, action.name, asked_by=claims.id)
    while len(turn.made) < action.steps(payload):
        grant = looked_up(claims, room)
        with room.gates.pass_through(whose, seconds=room.settings.job_lease_seconds) as said:
            access = token_for(grant, turn.job, room, watch)
            if access.exchanged:  # that took time: ask again what may have changed meanwhile
                look_again(turn, claims, room)
            check_time(turn, claims, room)
            reached(FaultPoint.JOB_READY)
            api = api_for(claims.provider, access, said, room, read_file=file_reader(turn, claims, said, room))
            result = act_once(turn, claims, action, payload, access, api, room)
        turn.made.append(result.reference)


def done_so_far(journal: Mapping[int, Effect]) -> list[Effect]:
    """The steps that are done, from the first to the last before one that is not."""
    steps = (journal.get(step) for step in range(1, len(journal) + 1))
    return [effect for effect in takewhile(lambda effect: effect and effect.state is EffectState.DONE, steps) if effect]


def results_of(made: Sequence[str]) -> dict[str, Any]:
    """What the job's document says of what its steps have made."""
    several = {"made": list(made)} if len(made) > 1 else {}
    return {"result": made[0] or None, **several} if made else {}


def verified(job: Job, room: Room) -> jws.Claims:
    """What the app signed, if its time is now.

    Raises:
        JobRefused, NotYet, TooLate.
    """
    claims, now = signed_by_app(job, room), room.clock()
    if now >= claims.deadline:
        raise TooLate(held_up_by=job.error)
    if now < claims.run_at:
        raise NotYet(time_to_return(claims.run_at, now=now, deadline=claims.deadline))
    return claims


def signed_by_app(job: Job, room: Room) -> jws.Claims:
    """What the app signed, if it is signed, and says the same as its document.

    Raises:
        JobRefused.
    """
    claims = jws.verify(job.jws, room.key_versions.get, room.clock())
    for name, signed in claims.copies().items():
        if getattr(job, name) != signed:
            raise JobRefused(f"the job's document does not say what was signed: {name}", code="altered")
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
    return allowed(grant, claims)


def allowed(grant: Grant | None, claims: jws.Claims) -> Grant:
    """The grant, if it is the one that was signed for, and works.

    Raises:
        Stopped, NeedsUser, JobRefused.
    """
    grant = of_its_user(grant, claims)
    if grant.connection != claims.connection:  # and has connected again, which brings back no job
        raise Stopped("its user disconnected", code="disconnected")
    return grant


def of_its_user(grant: Grant | None, claims: jws.Claims) -> Grant:
    """The grant, if it is the user's whom the job was signed for, and works; maybe of a later connection.

    Raises:
        Stopped, NeedsUser, JobRefused.
    """
    check_usable(grant)
    assert grant is not None
    if (grant.app, grant.user, grant.provider) != (claims.app, claims.user, claims.provider):
        raise JobRefused("the grant is another user's", code="foreign_grant")
    return grant


def look_again(turn: Turn, claims: jws.Claims, room: Room) -> None:
    """Make sure that the job is wanted still.

    Raises:
        As ``looked_up``.
    """
    seen_at = time.monotonic()
    looked_up(claims, room)
    if room.jobs.stop_requested(turn.job.id):
        raise Stopped
    turn.seen_at = seen_at


def token_for(grant: Grant, job: Job, room: Room, watch: Watch) -> Access:
    if not room.exchange.is_live(grant):
        watch("awaiting_token")
    return room.exchange.access_token(grant, asked_by=job.id)


def check_time(turn: Turn, claims: jws.Claims, room: Room) -> None:
    """Make sure a request sent now is sent before the deadline, and over before the job's lease is.

    Raises:
        TooLate, LeaseTooShort.
    """
    if room.clock() >= claims.deadline:
        raise TooLate(held_up_by=turn.job.error)
    # By both clocks: one stands still while a machine is suspended, the other may be set.
    passed = (room.clock() - turn.claimed_at).total_seconds()
    left = min(turn.lease_ends_at - time.monotonic(), room.settings.job_lease_seconds - passed)
    if left < room.settings.http_timeout_seconds + LEASE_MARGIN_SECONDS:
        raise LeaseTooShort


def act_once(
    turn: Turn,
    claims: jws.Claims,
    action: Action[Any],
    payload: Payload,
    access: Access,
    api: ProviderApi,
    room: Room,
) -> Result:
    """Write down that the next step's request is about to be sent, send it, write down what came of it.

    Raises:
        OutcomeUnknown: nobody can say whether the provider acted; it must not be asked again blindly.
        Anything else: it did not act.
    """
    row = row_id(turn.job.id, len(turn.made) + 1)
    finish = functools.partial(room.effects.finish, row, owner=turn.owner)
    repeatable = action.is_idempotent(payload)
    left = begun(row, turn, claims, access, room, repeat=repeatable)
    if left is not None and left.grant != claims.grant:
        raise JobRefused("another's row is in its journal", code="altered")
    if left is not None:
        result = result_of(left)
        turn.unknown = False
        return result
    # That nothing was done this time does not say that nothing was done the time before.
    before, undone = turn.unknown, EffectState.UNKNOWN if turn.unknown else EffectState.REFUSED
    reached(FaultPoint.JOB_JOURNALED)
    try:
        if time.monotonic() - turn.seen_at > FRESH_SECONDS:  # MongoDB may have taken its time, or we stood still
            look_again(turn, claims, room)
        check_time(turn, claims, room)  # the last thing: what comes before takes some
    except Exception as error:
        patiently(finish, undone, now=room.clock(), code=error_code(error))
        raise
    turn.unknown = True
    try:
        result = action.perform_step(api, payload, turn.job.id, turn.made)
    except NOTHING_DONE as error:
        if is_our_own_duplicate(error, turn, len(turn.made) + 1, room):
            patiently(finish, EffectState.UNKNOWN, now=room.clock(), code=DUPLICATE)
            raise OutcomeUnknown("it had been called undone, and the provider says that it is there") from None
        # A 503 says that nothing was done; where it comes from a proxy, that may be wrong.
        doubted = {"doubted": True} if isinstance(error, ProviderUnavailable) else {}
        patiently(finish, undone, now=room.clock(), code=error_code(error), **doubted)
        turn.unknown = before
        warn_others(error, claims, action, access, room)
        raise
    except Exception as error:
        # A lost reply, or a mistake of ours after sending: either way nobody knows.
        patiently(finish, EffectState.UNKNOWN, now=room.clock(), code=type(error).__name__)
        if repeatable:
            raise
        raise OutcomeUnknown(f"{action.name}: the request was sent, its outcome is not known") from None
    reached(FaultPoint.JOB_ANSWERED)
    patiently(finish, EffectState.DONE, now=room.clock(), result=result.reference)
    turn.unknown = False
    return result


def warn_others(error: Exception, claims: jws.Claims, action: Action[Any], access: Access, room: Room) -> None:
    """Let others know what a refused access token says about them, too; the rest the gates have seen."""
    if isinstance(error, AccessTokenRefused):
        refused_again = patiently(
            room.grants.refuse_access_token, claims.grant, generation=access.grant.generation, now=room.clock()
        )
        if refused_again is not None:  # a new token was no better; asking for more of them would not help either
            room.gates.close(grant_gate(claims.grant, action.name), refused_again)


def api_for(
    provider: str, access: Access, said: list[ActasError | None], room: Room, *, read_file: ReadFile | None = None
) -> ProviderApi:
    """The provider's API; what it says is noted for the gates, which move once that is in the journal."""
    seconds = room.settings.http_timeout_seconds
    return ProviderApi(
        room.http,
        room.providers[provider],
        access.token,
        seconds,
        room.clock,
        said.append,
        account=access.grant.account,
        read_file=read_file,
    )


def file_reader(turn: Turn, claims: jws.Claims, said: Sequence[ActasError | None], room: Room) -> ReadFile:
    """For an action to read its app's files with; ``said``: what the provider has said in this step."""

    def read(file: FileReference, start: int, size: int) -> bytes:
        try:
            data = stored_files.read(room.files, claims.app, file, start, size)
            check_time(turn, claims, room)  # that took some, and what comes next may be the request
        except (MongoUnavailable, MongoRefused, LeaseTooShort, TooLate) as error:
            if said:  # something has been sent already, so it is not known what was done
                raise
            room.outage.seen(error)
            raise FileUnread(f"a stored file was not read in time: {error.code}") from None
        return data

    return read


def begun(row: str, turn: Turn, claims: jws.Claims, access: Access, room: Room, *, repeat: bool) -> Effect | None:
    """Begin the journal's row; what stood there already, if there was one that is not to be begun anew."""
    now = room.clock()
    try:
        return room.effects.begin(
            row,
            owner=turn.owner,
            now=now,
            until=now + timedelta(seconds=turn.lease_ends_at - time.monotonic()),
            kind="act",
            app=claims.app,
            user=claims.user,
            grant=claims.grant,
            action=claims.action,
            key_version=access.grant.data_key.key_version if access.grant.data_key else None,
            attempt=turn.job.attempts + 1,
            repeat=repeat,
        )
    except MongoUnavailable as error:
        # The row may be there, and would make the next worker believe that something was sent.
        ours = {"owner": turn.owner, "grant": claims.grant}
        patiently(room.effects.withdraw, row, **ours, now=room.clock(), code=error.code, unknown=turn.unknown)
        raise


def is_our_own_duplicate(error: Exception, turn: Turn, step: int, room: Room) -> bool:
    """Whether the provider refuses a repetition of what this very step did, although nobody had found it there."""
    if not (isinstance(error, Refused) and error.refusal == DUPLICATE and has_run_before(turn.job)):
        return False
    return patiently(room.effects.of_job, turn.job.id, turn.job.grant)[step].doubted


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


def decided(turn: Turn, error: Exception, now: datetime, room: Room) -> Decision:
    """What becomes of the job; what was perhaps done goes on, or is looked for, and has neither failed nor ended."""
    ask = functools.partial(
        decide, attempt=turn.job.attempts, now=now, deadline=turn.job.deadline, jitter=room.jitter()
    )
    decision = ask(error)
    if not turn.unknown or decision.to in {JobStatus.SCHEDULED, JobStatus.UNCERTAIN}:
        return decision
    return ask(OutcomeUnknown(f"it was begun, nobody knows how that ended, and it goes on no more: {decision.code}"))


def settled(turn: Turn, error: Exception, room: Room) -> Outcome | None:
    """Turn an error into what happens next, and write that down."""
    room.outage.seen(error)
    now, job = room.clock(), turn.job
    decision = decided(turn, error, now, room)
    if decision.code == INTERNAL_ERROR:
        log.error("job.error job=%s", job.id, exc_info=error)
    made = results_of(turn.made)
    fields: dict[str, Any] = {"attempts": job.attempts + decision.counts, **made}
    if decision.at is not None:
        fields["next_at"] = decision.at
    if decision.to is JobStatus.UNCERTAIN:
        fields |= {"next_at": now + FIRST_LOOK, "looks": 0}
    if decision.to is JobStatus.PARKED and isinstance(error, Held):
        fields["held"] = True
    if decision.to is JobStatus.SCHEDULED and turn.unknown:
        fields["orphaned"] = True  # nobody shall call it cancelled or expired without a look into the journal
    if not room.jobs.settle(job, turn.owner, decision.to, now, error=decision.as_error(now), **fields):
        # Asked to stop while we held it, it ends here instead of coming back; or else it is no longer ours to move.
        decision = decided(turn, Stopped("stopped before its request was sent"), now, room)
        looks = {"next_at": now + FIRST_LOOK, "looks": 0} if decision.to is JobStatus.UNCERTAIN else {}
        if not room.jobs.settle(job, turn.owner, decision.to, now, error=decision.as_error(now), **made, **looks):
            return None
    log.info("job.%s job=%s code=%s made=%d", decision.to, job.id, decision.code, len(turn.made))
    return Outcome(job, decision.to, decision=decision)
