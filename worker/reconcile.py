"""Reconcile: an uncertain job's effect is looked for at the provider. Read ``reconcile`` top to bottom.

Nothing is done for the user here but looking. What is found settles the job; what is not there settles it only when it
would have to be there, and only the second time. What cannot be settled so waits for `actas jobs resolve`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from actas import jws
from actas.actions import Action, Payload, Search
from actas.errors import ActasError, InvalidRequest, JobRefused
from actas.fault_points import FaultPoint, reached
from actas.gates import AtGate
from actas.jws import CLOCK_SKEW
from actas.records import EffectState, Grant, Job, JobError
from actas.states import JobStatus
from actas.stores.effects import ABSENT, RESOLVED, Effect, row_id
from worker.audit import error_code
from worker.closing import Whose
from worker.errors import AccessTokenRefused, CannotTell, NotNow
from worker.exchange import Access
from worker.provider_api import ProviderApi
from worker.room import Room
from worker.run import DUPLICATE, api_for, done_so_far, of_its_user, results_of, signed_by_app, token_for

log = logging.getLogger(__name__)

#: How much older than its request what is found may seem: clocks differ, and providers may tell whole seconds only.
OLDER = timedelta(seconds=10) + CLOCK_SKEW

#: So many looks that find nothing, when it would have to be there, say that there is nothing.
LOOKS = 2

#: How soon to look again: the longer a job has been uncertain already, the later.
SOON, LATE = timedelta(seconds=5), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be found out: whether the provider did the step of a job."""

    job: Job
    step: int
    effect: Effect
    made: tuple[str, ...]

    @property
    def begun_at(self) -> datetime:
        """When it was written down, the last time, that the request is about to be sent."""
        return self.effect.started_at or self.job.run_at

    @property
    def since(self) -> datetime:
        """Nothing that it has made is older."""
        return self.effect.since or self.begun_at


def reconcile(job_id: str, room: Room) -> bool:
    """Find out what became of an uncertain job, if it is time to look; True if it is uncertain no more.

    Raises:
        MongoUnavailable, MongoRefused: the next look comes by itself.
    """
    now, lease = room.clock(), timedelta(seconds=room.settings.job_lease_seconds)
    job = room.jobs.begin_look(job_id, now=now, until=now + lease)
    if job is None:
        return False
    reached(FaultPoint.RECONCILE_BEGUN)
    try:
        conclude(job, room)
    except Exception as error:  # noqa: BLE001 - whatever it is, the job stays uncertain, and says why
        room.outage.seen(error)
        return not look_later(job, error, room)
    return settle(job, room)


def conclude(job: Job, room: Room) -> None:
    """Bring the journal to where it says what became of the step that nobody knows of, if there is one.

    Raises:
        NotNow, CannotTell: it stays open; so do all other errors.
    """
    case = open_case(job, room)
    if case is None or resolved(case, room) or not case.effect.open:
        return
    found = look(case, room)
    reached(FaultPoint.RECONCILE_LOOKED)
    if found is not None:
        write(case, EffectState.DONE, room, result=found)
    else:
        check_absence_counts(case, room)
        write(case, EffectState.REFUSED, room, code=ABSENT, doubted=True)
    reached(FaultPoint.RECONCILE_CONCLUDED)


def open_case(job: Job, room: Room) -> Case | None:
    """The step of which the journal does not know what became of it, or knows it only from a look."""
    journal = room.effects.of_job(job.id, job.grant)
    made = tuple(effect.result or "" for effect in done_so_far(journal))
    effect = journal.get(len(made) + 1)
    if effect is None or not (effect.open or effect.code == ABSENT):
        return None
    return Case(job, len(made) + 1, effect, made)


def resolved(case: Case, room: Room) -> bool:
    """Whether an operator has said what became of it; then it is in the journal."""
    says = room.resolutions.find(case.job.id, case.step, case.effect.started_at)
    if says is None:
        return False
    if not says.happened:
        write(case, EffectState.REFUSED, room, code=RESOLVED, doubted=True)
        return True
    claims = signed_by_app(case.job, room)
    action = room.actions[claims.action]
    if says.reference is None and case.step < action.steps(action.parse(claims.payload)):
        raise CannotTell("the next step needs to know what this one made; resolve it again, with --reference")
    write(case, EffectState.DONE, room, result=says.reference)
    return True


def look(case: Case, room: Room) -> str | None:
    """Ask the provider for what the step may have made; None if it is not there now.

    Raises:
        CannotTell, NotNow.
        AtGate, TokenPending, NeedsUser, Stopped, and other errors on the way to the provider.
    """
    room.outage.check()
    claims = signed_by_app(case.job, room)
    action = room.actions[claims.action]
    grant = of_its_user(room.grants.get(claims.grant), claims)  # to look, a connection made since will do
    whose = Whose(claims.app, claims.provider, grant.id, f"{action.name}:find")
    with room.gates.pass_through(whose, seconds=room.settings.job_lease_seconds) as said:
        access = token_for(grant, case.job, room, watch=lambda _: None)
        api = api_for(claims.provider, access, said, room)
        found = found_by(action, action.parse(claims.payload), case, access, api, room)
    if found is None:
        raise CannotTell
    return ours(case, claims, grant, found, room)


def found_by(
    action: Action[Any], payload: Payload, case: Case, access: Access, api: ProviderApi, room: Room
) -> Sequence[str] | None:
    """What the action itself finds, with an audit row written before it looks."""
    grant = access.grant
    search = Search(grant.account, case.since - OLDER, case.made)
    use = f"{case.job.id}:{case.step}:{room.clock():%Y%m%dT%H%M%S.%f}"
    with room.audit.use("look", grant, use, asked_by=case.job.id, unknown=lambda _: False):
        try:
            return action.find(api, payload, case.job.id, search)
        except AccessTokenRefused:
            room.grants.refuse_access_token(grant.id, generation=grant.generation, now=room.clock())
            raise


def ours(case: Case, claims: jws.Claims, grant: Grant, found: Sequence[str], room: Room) -> str | None:
    """Of what was found, what no other job has made; from now on it is said of this one.

    Raises:
        NotNow: another job may be making the same just now, and has not written down yet what is its own.
    """
    owners = room.effects.jobs_that_made(grant.id, found) if found else {}
    for reference in sorted(found, key=lambda reference: owners.get(reference) != claims.id):  # what is ours already
        if owners.get(reference, claims.id) != claims.id:
            continue
        since, now = case.since - timedelta(hours=1), room.clock()
        not_over_by = now - time_to_settle(claims.provider, room)
        if room.effects.others_are_at_it(grant.id, job_id=claims.id, since=since, not_over_by=not_over_by):
            raise NotNow(now + SOON)
        if room.effects.claim_found(grant.id, reference, job_id=claims.id, now=now):
            return reference
    return None


def check_absence_counts(case: Case, room: Room) -> None:
    """Make sure that what is not there will not come any more.

    Raises:
        NotNow: it may, or this was the first look.
        CannotTell: the provider has said that it is there.
    """
    effect, now = case.effect, room.clock()
    if effect.code == DUPLICATE:
        raise CannotTell
    # Whoever said that it does not know has stopped; whoever said nothing may have begun the request until its lease's
    # end. Neither the request nor what it does may be under way any more.
    over = (effect.finished_at if effect.state is EffectState.UNKNOWN else effect.until) or case.begun_at
    counts_from = over + time_to_settle(case.job.provider, room)
    if now < counts_from:
        raise NotNow(counts_from)
    if case.job.looks + 1 < LOOKS:
        settle = timedelta(seconds=room.providers[case.job.provider].settle_seconds)
        raise NotNow(now + max(settle, SOON), looks=case.job.looks + 1)


def time_to_settle(provider: str, room: Room) -> timedelta:
    """How long after its last moment to begin a request may go on, and what it does may stay unseen."""
    seconds = room.settings.http_timeout_seconds + room.providers[provider].settle_seconds
    return timedelta(seconds=seconds) + CLOCK_SKEW


def write(case: Case, state: EffectState, room: Room, **outcome: str | bool | None) -> None:
    """Write into the journal what was found out, unless somebody who knew better was faster."""
    row = row_id(case.job.id, case.step)
    room.effects.finish(row, state, owner=case.effect.owner, now=room.clock(), **outcome)


def settle(job: Job, room: Room) -> bool:
    """Move the job to where the journal says."""
    journal, now = room.effects.of_job(job.id, job.grant), room.clock()
    if any(effect.open for effect in journal.values()):
        return not look_later(job, NotNow(now + SOON), room)  # begun anew meanwhile: not ours to judge
    made = [effect.result or "" for effect in done_so_far(journal)]
    action = room.actions[job.action]
    fields, error = results_of(made), None
    if made and len(made) >= action.steps(action.parse(job.payload)):
        to = JobStatus.SUCCEEDED
    elif now >= job.deadline:
        to = JobStatus.EXPIRED
        error = JobError("expired", "its request had done nothing, and the deadline has passed", now)
    else:
        to, fields["next_at"] = JobStatus.SCHEDULED, now
    moved = room.jobs.settle_looked(job, to, now, error=error, **fields)
    log.info("job.reconciled job=%s to=%s moved=%s", job.id, to, moved)
    return moved


def look_later(job: Job, error: Exception, room: Room) -> bool:
    """Let the job stay uncertain, and say until when and why; False if it was taken out of our hands."""
    now = room.clock()
    since = job.error.at if job.error else now
    at, looks = now + min(max((now - since) / 4, SOON), LATE), job.looks
    match error:
        case NotNow():
            at, looks = error.at, max(looks, error.looks)
        case AtGate():
            at = error.until
        case CannotTell() | JobRefused() | InvalidRequest():
            at = now + LATE
    if not isinstance(error, ActasError):
        log.error("reconcile.error job=%s", job.id, exc_info=error)
    code = error_code(error)
    log.info("job.uncertain job=%s code=%s next=%s", job.id, code, f"{at:%H:%M:%S}")
    message = f"{job.error.message.partition('; ')[0] if job.error else ''}; looked for: {code}"
    return room.jobs.look_later(job, at, looks=looks, message=message)
