"""What happens next: one pure function of (error, attempt, now, deadline)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from actas.actions import NotReady, Refused
from actas.errors import (
    ActasError,
    ClientRefused,
    EnvelopeVersionError,
    GrantDead,
    InvalidRequest,
    JobRefused,
    MongoRefused,
    NotFound,
    TokenEndpointError,
    Unavailable,
    UnknownAction,
    UnknownProvider,
    VaultDenied,
)
from actas.gates import AtGate, after_opening
from actas.http import NoReply, NotSent, ReplyTooLarge
from actas.records import JobError
from actas.states import JobStatus
from worker import errors

#: The code of an error that is none of ours: a mistake somewhere.
INTERNAL_ERROR = "internal_error"

#: A provider's refusals that may pass are asked again this often; outages and gates do not count.
MAX_ATTEMPTS = 5

#: Full jitter: a uniform part of BASE * 2^attempt, at most CAP, so that what failed together does not return together.
BACKOFF_BASE = timedelta(seconds=2)
BACKOFF_CAP = timedelta(minutes=5)

#: How soon to look again while something of ours, or the provider, is away.
OUTAGE_PAUSE = timedelta(seconds=5)
TOKEN_PAUSE = timedelta(seconds=1)
OPERATOR_PAUSE = timedelta(minutes=1)

#: A message may be early by so much because clocks differ; by more, something else is wrong.
CLOCK_SKEW = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the job goes; ``at`` only for ``scheduled``; ``counts`` if that spent an attempt."""

    to: JobStatus
    code: str
    message: str
    at: datetime | None = None
    counts: bool = False

    def as_error(self, now: datetime) -> JobError:
        return JobError(self.code, self.message, now)


def decide(error: Exception, *, attempt: int, now: datetime, deadline: datetime, jitter: float) -> Decision:
    """Decide what becomes of a job whose path ended in an error.

    ``attempt`` is the number of attempts spent before this one; ``jitter`` is uniform in [0, 1).
    """
    to, at, counts = _next(error, attempt, now, jitter)
    if isinstance(error, AtGate):
        at = after_opening(error.until, now=now, deadline=deadline, jitter=jitter)
    # An error that is none of ours is a mistake somewhere; its text may hold anything, so only its kind is shown.
    code = _code(error)
    message = str(error) if isinstance(error, ActasError) else f"unexpected {type(error).__name__}"
    if to is JobStatus.SCHEDULED and at is not None and at >= deadline:
        return Decision(JobStatus.EXPIRED, "expired", f"the deadline comes first; it was held up by: {code}")
    return Decision(to, code, message, at, counts)


#: These end the job's run, whatever the time and the attempt.
ENDS: Mapping[type[Exception], JobStatus] = {
    errors.Stopped: JobStatus.CANCELLED,
    errors.TooLate: JobStatus.EXPIRED,
    errors.OutcomeUnknown: JobStatus.UNCERTAIN,
    errors.Held: JobStatus.PARKED,
    errors.NeedsUser: JobStatus.PARKED,
    GrantDead: JobStatus.PARKED,
    JobRefused: JobStatus.FAILED,
    InvalidRequest: JobStatus.FAILED,
    Refused: JobStatus.FAILED,
}

#: These are waited out, and spend no attempt: the pause before looking again, at least.
PAUSES: Mapping[type[Exception], timedelta] = {
    errors.TokenPending: TOKEN_PAUSE,
    errors.LeaseTooShort: TOKEN_PAUSE,
    # The app's credentials at the provider, a policy, or this release must be mended; no user and no job is to blame.
    ClientRefused: OPERATOR_PAUSE,
    errors.WrongClient: OPERATOR_PAUSE,
    NotFound: OPERATOR_PAUSE,
    VaultDenied: OPERATOR_PAUSE,
    MongoRefused: OPERATOR_PAUSE,
    EnvelopeVersionError: OPERATOR_PAUSE,
    # A worker of an older release, or without the package that brings it: another one knows it, or soon will.
    UnknownAction: OPERATOR_PAUSE,
    UnknownProvider: OPERATOR_PAUSE,
    # It is well, and will say the same again: what is asked for must be mended, and no gate closes meanwhile.
    errors.Redirected: OPERATOR_PAUSE,
    ReplyTooLarge: OPERATOR_PAUSE,
    Unavailable: OUTAGE_PAUSE,
    NotSent: OUTAGE_PAUSE,
    NoReply: OUTAGE_PAUSE,
}

#: These may pass, and are worth asking again a few times; so is what nobody thought of.
REPEATABLE = (errors.AccessTokenRefused, TokenEndpointError)


def time_to_return(run_at: datetime, *, now: datetime, deadline: datetime) -> datetime:
    """When a job whose message was early is to be sent again, so that it comes at ``run_at`` by our clock.

    The sender's clock is ahead by as much as the message was early: sent at ``run_at`` by that clock, the job would
    only come as early as before, again and again.
    """
    early = run_at - now
    return run_at + early if early <= CLOCK_SKEW and run_at + early < deadline else run_at


def _next(error: Exception, attempt: int, now: datetime, jitter: float) -> tuple[JobStatus, datetime | None, bool]:
    if (known := _told(error, now)) is not None:
        return JobStatus.SCHEDULED, known, False
    for kind, pause in PAUSES.items():
        if isinstance(error, kind):
            return JobStatus.SCHEDULED, now + pause * (1 + jitter), False
    for kind, to in ENDS.items():
        if isinstance(error, kind):
            return to, None, False
    hopeless = isinstance(error, ActasError) and not isinstance(error, REPEATABLE)
    if hopeless or attempt + 1 >= MAX_ATTEMPTS:
        return JobStatus.FAILED, None, True
    return JobStatus.SCHEDULED, now + jitter * min(BACKOFF_CAP, BACKOFF_BASE * 2**attempt), True


def _told(error: Exception, now: datetime) -> datetime | None:
    """When to come back, if the error says so."""
    match error:
        case errors.NotYet():
            return error.at
        case AtGate():
            return error.until
        case NotReady():
            return now + timedelta(seconds=error.seconds)
    return None


def _code(error: Exception) -> str:
    match error:
        case Refused():
            return error.refusal
        case errors.Stopped():
            return error.reason
        case ActasError():
            return error.code
    return INTERNAL_ERROR
