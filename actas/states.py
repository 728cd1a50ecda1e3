"""The life of a job, as data: every legal move, and nothing else. Pure."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class JobStatus(StrEnum):
    SCHEDULED = "scheduled"  # waits in MongoDB for its time, however far away
    QUEUED = "queued"  # its id is in the broker
    RUNNING = "running"  # a worker owns it, for a bounded time
    PARKED = "parked"  # its grant needs the user, and it resumes when they reconnect; or it is held, until signed anew
    UNCERTAIN = "uncertain"  # the provider may or may not have acted; never repeated blindly
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


_S = JobStatus

MOVES: MappingProxyType[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {
        _S.SCHEDULED: frozenset({_S.QUEUED, _S.PARKED, _S.CANCELLED, _S.EXPIRED}),
        _S.QUEUED: frozenset({_S.RUNNING, _S.SCHEDULED, _S.PARKED, _S.CANCELLED, _S.EXPIRED}),
        _S.RUNNING: frozenset(
            {_S.SUCCEEDED, _S.FAILED, _S.EXPIRED, _S.CANCELLED, _S.SCHEDULED, _S.PARKED, _S.UNCERTAIN}
        ),
        _S.PARKED: frozenset({_S.SCHEDULED, _S.CANCELLED, _S.EXPIRED}),
        _S.UNCERTAIN: frozenset({_S.SUCCEEDED, _S.FAILED, _S.SCHEDULED, _S.EXPIRED}),
        _S.SUCCEEDED: frozenset(),
        _S.FAILED: frozenset(),
        _S.EXPIRED: frozenset(),
        _S.CANCELLED: frozenset(),
    }
)

#: The one way out of a final state, for operators only: `actas jobs retry`, while the signature is good.
OPERATOR_MOVES: MappingProxyType[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {_S.FAILED: frozenset({_S.SCHEDULED}), _S.EXPIRED: frozenset({_S.SCHEDULED})}
)

FINAL: frozenset[JobStatus] = frozenset(status for status, moves in MOVES.items() if not moves)

#: From here a cancellation needs nobody's consent: no worker holds the job.
WAITING: frozenset[JobStatus] = frozenset({_S.SCHEDULED, _S.QUEUED, _S.PARKED})


class IllegalMove(Exception):
    """The state table has no such move."""


def check_move(from_: JobStatus, to: JobStatus) -> None:
    """Refuse a move that the table does not have.

    Raises:
        IllegalMove: always a mistake in actas itself.
    """
    if to not in MOVES[from_]:
        raise IllegalMove(f"{from_} -> {to}")
