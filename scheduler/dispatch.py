"""Dispatch: what is due goes to the workers, in turns, and no faster than they take it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from actas.celery_config import ACT_QUEUE
from actas.gates import all_gate, client_gate, provider_gate
from actas.ids import new_id
from actas.stores.dispatching import Pair
from scheduler.oldest import oldest
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

#: So many of those who have due jobs are looked at together: each costs some queries, and if thousands were looked at
#: before anything is sent, the fleet would stand idle meanwhile.
PAIRS = 200

#: A tick goes on refilling so long: a backlog is not bound to one batch a second. The next tick comes after a second.
SECONDS = 0.8
PAUSE_SECONDS = 0.1


def dispatch(room: Room) -> dict[str, int]:
    """Queue the due jobs as far as there is room, the oldest of each app and provider first; returns counts.

    A crash between the mark and the send leaves jobs ``queued`` without a message; rescue brings those back.
    """
    tick = Tick(room.monotonic() + SECONDS)
    seen: set[Pair] = set()
    rest = room.dispatching.is_anything_due(room.clock())
    while rest:
        pairs = room.dispatching.due_pairs(room.clock(), after=room.round.after, limit=PAIRS)
        rest = len(pairs) == PAIRS and not seen.issuperset(pairs)
        seen.update(pairs)
        if not serve(Window.of(pairs, room), tick, room, others=rest):
            break  # the next tick begins with the same ones
        room.round.after = pairs[-1] if pairs else None
        rest = rest and not tick.is_over(room)
    return {"sent": tick.sent, "put_back": tick.put_back}


@dataclass(slots=True)
class Tick:
    ends_at: float
    sent: int = 0
    #: Jobs of users whose limit is exhausted.
    put_back: int = 0

    def is_over(self, room: Room, *, after: float = 0) -> bool:
        return room.monotonic() + after > self.ends_at


@dataclass(slots=True)
class Window:
    """Some of those who have due jobs."""

    #: Who may have more of them, and has no closed gate.
    due: set[Pair]
    #: Of those, whose oldest ones were put back: it is worth to read on.
    wading: set[Pair]
    #: Whether there are several apps, or providers, with jobs that are due, or will be.
    several_apps: bool
    several_providers: bool

    @classmethod
    def of(cls, pairs: Sequence[Pair], room: Room) -> Window:
        return cls(
            due=at_open_gates(room, pairs),
            wading=set(),
            several_apps=room.dispatching.are_several("app", {pair.app for pair in pairs}),
            several_providers=room.dispatching.are_several("provider", {pair.provider for pair in pairs}),
        )


def at_open_gates(room: Room, pairs: Sequence[Pair]) -> set[Pair]:
    """Those whose jobs a worker would not put back at once. When a gate's time is over, they are sent: one will try."""
    gates = {pair: {provider_gate(pair.provider), client_gate(pair.app, pair.provider)} for pair in pairs}
    workers = {all_gate(worker) for worker in room.living_workers()}
    closed = room.gates.closed(sorted(workers.union(*gates.values()))).keys()
    if workers and workers <= closed:  # as long as one of them is well, it has the jobs the others give back
        return set()
    return {pair for pair, on_its_way in gates.items() if not on_its_way & closed}


def serve(window: Window, tick: Tick, room: Room, *, others: bool) -> bool:
    """Send their jobs as there is room, while there is time; False if there was no room at all.

    If there are ``others``, they come as soon as these cannot use what is free.
    """
    had_room = not window.due
    while window.due:
        fleet = Fleet.of(room)
        if fleet.free > 0:
            had_room = True
            left = refill(window, fleet, tick, room)
            if left and others:
                break
        if not window.due or tick.is_over(room, after=PAUSE_SECONDS):
            break
        room.pause(PAUSE_SECONDS)
    return had_room


@dataclass(frozen=True, slots=True)
class Fleet:
    living: Collection[str]
    slots: int
    #: Messages for which there is room in the queue.
    free: int

    @classmethod
    def of(cls, room: Room) -> Fleet:
        living: Mapping[str, int] = room.living_workers()
        slots = sum(living.values()) or DEFAULT_SLOTS
        return cls(living.keys(), slots, min(BATCH, WAITING_PER_SLOT * slots - room.queue.waiting(ACT_QUEUE)))


def refill(window: Window, fleet: Fleet, tick: Tick, room: Room) -> int:
    """Queue as many of the window's due jobs as there is room for; returns how many more there would have been."""
    free, in_flight = fleet.free, room.dispatching.in_flight(fleet.living)
    cap = max(1, math.floor(CROWDED * fleet.slots))
    app_cap, provider_cap = (cap if window.several_apps else math.inf), (cap if window.several_providers else math.inf)
    deal = partial(turns, app_cap=app_cap, provider_cap=provider_cap, lot=room.jitter)
    while free > 0 and (dealt := deal(free, window.due, in_flight)):
        ids, put_back = oldest(dealt, window.due, window.wading, room, ahead=BATCH)
        jobs = room.jobs.enqueue(ids, batch=new_id(), now=room.clock()) if ids else []
        room.queue.send_jobs(sorted(jobs, key=lambda job: ids.index(job.id)))
        in_flight.update(Pair(job.app, job.provider) for job in jobs)
        free -= len(ids)
        tick.sent += len(jobs)
        tick.put_back += put_back
        if tick.is_over(room):
            break
    return free
