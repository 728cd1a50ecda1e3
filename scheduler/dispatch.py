"""Dispatch: what is due goes to the workers, in turns, and no faster than they take it."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from actas.celery_config import ACT_QUEUE
from actas.gates import AtGate, after_opening, all_gate, called, client_gate, grant_gate, provider_gate
from actas.ids import new_id
from actas.records import JobError
from actas.stores.dispatching import Due, Pair
from scheduler.room import Room
from scheduler.turns import turns

#: What the fleet is taken for while no worker process has said how many jobs it runs at once.
DEFAULT_SLOTS = 64

#: Messages that may wait in the broker for each slot of the fleet: enough to keep it busy between two looks. The rest
#: of a backlog waits in MongoDB, where it can be cancelled and seen, and where whoever comes late still gets a turn.
WAITING_PER_SLOT = 1

#: The part of the fleet that one app, or one provider, may hold while others have jobs that are due some time.
CROWDED = 0.75

#: Jobs moved at once.
BATCH = 250

#: Apps, each with a provider, that one tick serves; if there are more with due jobs, the next ticks go on from there.
#: Each costs some queries, and a tick that looked at thousands would leave the fleet idle meanwhile.
PAIRS = 200

#: How often a tick reads on past those jobs of one app and provider whose user must wait.
LOOKS = 10

#: A tick goes on refilling so long: a backlog is not bound to one batch a second. The next tick comes after a second.
SECONDS = 0.8
PAUSE_SECONDS = 0.1


def dispatch(room: Room) -> dict[str, int]:
    """Queue the due jobs as far as there is room, the oldest of each app and provider first; returns counts.

    A crash between the mark and the send leaves jobs ``queued`` without a message; rescue brings those back.
    """
    ends_at = room.monotonic() + SECONDS
    sent = 0
    if room.dispatching.is_anything_due(room.clock()):
        pairs = room.dispatching.due_pairs(room.clock(), after=room.round.after, limit=PAIRS)
        room.round.after = pairs[-1] if len(pairs) == PAIRS else None
        crowd = Crowd(
            apps=room.dispatching.are_several("app", {pair.app for pair in pairs}),
            providers=room.dispatching.are_several("provider", {pair.provider for pair in pairs}),
        )
        due = at_open_gates(room, pairs)
        while due:
            sent += refill(room, due, crowd)
            if not due or room.monotonic() + PAUSE_SECONDS > ends_at:
                break
            room.pause(PAUSE_SECONDS)
    return {"sent": sent}


def at_open_gates(room: Room, pairs: Sequence[Pair]) -> set[Pair]:
    """Those whose jobs a worker would not put back at once. When a gate's time is over, they are sent: one will try."""
    gates = {pair: {provider_gate(pair.provider), client_gate(pair.app, pair.provider)} for pair in pairs}
    workers = {all_gate(worker) for worker in room.living_workers()}
    closed = room.gates.closed(sorted(workers.union(*gates.values()))).keys()
    if workers and workers <= closed:  # as long as one of them is well, it has the jobs the others give back
        return set()
    return {pair for pair, on_its_way in gates.items() if not on_its_way & closed}


@dataclass(frozen=True, slots=True)
class Crowd:
    """Whether there are several of them with jobs that are due, or will be."""

    apps: bool
    providers: bool


def refill(room: Room, due: set[Pair], crowd: Crowd) -> int:
    """Queue as many due jobs as there is room for now; return how many. Takes out of ``due`` who has no more."""
    living = room.living_workers()
    slots = sum(living.values()) or DEFAULT_SLOTS
    free = min(BATCH, WAITING_PER_SLOT * slots - room.queue.waiting(ACT_QUEUE))
    in_flight = room.dispatching.in_flight(living) if free > 0 else Counter[Pair]()
    cap = max(1, math.floor(CROWDED * slots))
    app_cap, provider_cap = (cap if crowd.apps else math.inf), (cap if crowd.providers else math.inf)
    sent = 0
    deal = partial(turns, app_cap=app_cap, provider_cap=provider_cap, lot=room.jitter)
    while free > 0 and (dealt := deal(free, due, in_flight)):
        now = room.clock()
        ids = oldest_of(room, dealt, due, now)
        jobs = room.jobs.enqueue(ids, batch=new_id(), now=now) if ids else []
        room.queue.send_jobs(sorted(jobs, key=lambda job: ids.index(job.id)))
        in_flight.update(Pair(job.app, job.provider) for job in jobs)
        free -= len(ids)
        sent += len(jobs)
    return sent


def oldest_of(room: Room, dealt: Sequence[Pair], due: set[Pair], now: datetime) -> list[str]:
    """A job's id for each turn, in their order; takes out of ``due`` who had fewer than that."""
    shares = Counter(dealt)
    found = {pair: oldest_unlimited(room, pair, now, share) for pair, share in shares.items()}
    due -= {pair for pair, ids in found.items() if len(ids) < shares[pair]}
    left = {pair: iter(ids) for pair, ids in found.items()}
    return [job_id for pair in dealt for job_id in itertools.islice(left[pair], 1)]


def oldest_unlimited(room: Room, pair: Pair, now: datetime, share: int) -> list[str]:
    """The oldest due jobs but for those whose user has reached a limit: these wait in MongoDB until that is over.

    Sent, each would cost a worker's turn, and one user's thousands would stand before all others'.
    """
    free: list[str] = []
    limit = share
    for _ in range(LOOKS):
        found = room.dispatching.oldest_due(pair, now, limit)
        limited = put_back_limited(room, found, now)
        free = [job.id for job in found if job not in limited][:share]
        if not limited or len(free) == share or len(found) < limit:
            break
        limit = max(share, BATCH)
    return free


def put_back_limited(room: Room, found: Sequence[Due], now: datetime) -> Collection[Due]:
    """Put back those of these jobs whose user's gate is closed, until it opens; returns them."""
    gates = {job: grant_gate(job.grant, job.action) for job in found if not job.orphaned}
    limited: dict[Due, datetime] = {}
    for gate, until in room.gates.closed(sorted(set(gates.values()))).items():
        wait = partial(after_opening, until, now=now)
        its = {job: wait(deadline=job.deadline, jitter=room.jitter()) for job, at in gates.items() if at == gate}
        error = AtGate(until, gate=called(gate))
        room.jobs.put_back(its, error=JobError(error.code, str(error), now))
        limited |= its
    return limited
