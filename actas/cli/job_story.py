"""What a job's document and its journal tell somebody who wants to know what to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from actas.actions import Actions
from actas.errors import ActasError
from actas.records import EffectState, Job
from actas.states import OPERATOR_MOVES, JobStatus
from actas.stores.effects import Effect

Journal = Mapping[int, Effect]


def open_step(journal: Journal) -> int | None:
    """The first step that is not done, if nobody knows what became of it."""
    step = 1
    while step in journal and journal[step].state is EffectState.DONE:
        step += 1
    return step if step in journal and journal[step].open else None


def is_last_step(job: Job, step: int) -> bool:
    """Whether no further step builds on this one, as far as the copy of the payload tells."""
    try:
        action = Actions()[job.action]
        return step >= action.steps(action.parse(job.payload))
    except ActasError:
        return True


def is_repeatable(job: Job) -> bool:
    """Whether it done twice is the same as done once, as far as the copy of the payload tells."""
    try:
        action = Actions()[job.action]
        return action.is_idempotent(action.parse(job.payload))
    except ActasError:
        return False


def why_not_retried(job: Job, journal: Journal, now: datetime) -> str | None:
    """Why a job cannot be retried; None if it can."""
    if job.status not in OPERATOR_MOVES:
        return f"the job is {job.status}"
    if now >= job.deadline:
        return "its signature has expired: only its app can ask for it again"
    if job.stop:
        return "somebody wanted it stopped: only its app can ask for it again"
    if (step := open_step(journal)) is not None and not is_repeatable(job):
        return f"nobody knows what became of its step {step}: the provider may have acted, and would act twice"
    return None


def advice(job: Job, journal: Journal, now: datetime) -> str:
    """What happens next, and what somebody can do about it; empty where there is nothing."""
    if job.status is JobStatus.UNCERTAIN:
        return _uncertain(job, journal)
    if job.status in OPERATOR_MOVES:
        why_not = why_not_retried(job, journal, now)
        return f"when the cause is mended: actas jobs retry {job.id}" if why_not is None else why_not
    return _going_on(job, now)


def _going_on(job: Job, now: datetime) -> str:
    match job.status:
        case JobStatus.SCHEDULED:
            why = f", held up by {job.error.code}" if job.error else ""
            return f"waits until {_at(job.next_at)}{why}" if job.next_at > now else f"is sent within seconds{why}"
        case JobStatus.QUEUED:
            return "its message is in the broker; a worker takes it"
        case JobStatus.RUNNING:
            return "a worker has it; if that one dies, another gets it when its lease is over"
        case JobStatus.PARKED if job.held:
            return f"held: its app must sign it anew (reschedule) before {_at(job.deadline)}"
        case JobStatus.PARKED:
            return f"its user must connect again before {_at(job.deadline)}; see: actas grants show {job.grant}"
    return ""


def _uncertain(job: Job, journal: Journal) -> str:
    if job.history and str(job.history[-1].get("code", "")).startswith("resolved"):
        return f"resolved at {_at(job.history[-1]['at'])}; a worker writes it down and settles the job"
    step = open_step(journal)
    which = f" of step {step}" if step is not None and (step > 1 or not is_last_step(job, step)) else ""
    return (
        f"workers look for it, next at {_at(job.next_at)}. If you know what became{which}: "
        f"actas jobs resolve {job.id} --happened [--reference ID_AT_THE_PROVIDER] | --did-not"
    )


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
