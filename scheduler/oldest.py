"""The oldest due jobs of those whose turn it is, but for users who must wait: theirs go back to where they wait."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime

from actas.gates import AtGate, after_opening, called, grant_gate
from actas.records import JobError
from actas.stores.dispatching import Due, Pair
from scheduler.room import Room


def oldest(
    dealt: Sequence[Pair], due: set[Pair], wading: set[Pair], room: Room, *, ahead: int
) -> tuple[list[str], int]:
    """A job's id for each turn, in their order, as far as there are; and how many jobs were put back.

    Takes out of ``due`` who has no more. In ``wading`` are those of whom some were put back; so many jobs ``ahead`` are
    read of them together, for there may be thousands.
    """
    now, shares = room.clock(), Counter(dealt)
    further = ahead // max(1, len(wading & shares.keys()))
    limits = {pair: max(share, further) if pair in wading else share for pair, share in shares.items()}
    found = {pair: room.dispatching.oldest_due(pair, now, limit) for pair, limit in limits.items()}
    limited = put_back_limited([job for jobs in found.values() for job in jobs], now, room)
    ids: dict[Pair, list[str]] = {}
    for pair, jobs in found.items():
        ids[pair] = [job.id for job in jobs if job not in limited]
        if len(jobs) < limits[pair] and len(ids[pair]) <= shares[pair]:
            due.discard(pair)
        elif len(ids[pair]) < len(jobs):
            wading.add(pair)
    left = {pair: iter(of_this) for pair, of_this in ids.items()}
    return [job_id for pair in dealt for job_id in itertools.islice(left[pair], 1)], len(limited)


def put_back_limited(found: Collection[Due], now: datetime, room: Room) -> set[Due]:
    """Put back those of these jobs whose user's gate is closed, until it opens; returns them.

    Sent, each would cost a worker's turn to come to the same, and one user's thousands would stand before all others'.
    Not those which a worker would not let wait: it must look up what an orphan has done, cancel what is to be stopped,
    and expire what could only go on past its deadline.
    """
    gates = {job: grant_gate(job.grant, job.action) for job in found if not (job.orphaned or job.stop)}
    closed = room.gates.closed(sorted(set(gates.values())))
    limited = {job: closed[gate] for job, gate in gates.items() if gate in closed and closed[gate] < job.deadline}
    if limited:
        room.jobs.put_back({job: _waiting(gates[job], until, job, now, room) for job, until in limited.items()})
    return set(limited)


def _waiting(gate: str, until: datetime, job: Due, now: datetime, room: Room) -> tuple[datetime, JobError]:
    why = AtGate(until, gate=called(gate))
    at = after_opening(until, now=now, deadline=job.deadline, jitter=room.jitter())
    return at, JobError(why.code, str(why), now)
