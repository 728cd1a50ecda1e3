"""Preflight: apps learn today of broken grants that jobs wait for until tomorrow; each once a day at most."""

from __future__ import annotations

from datetime import timedelta

from scheduler.room import Room

#: How far it looks ahead.
AHEAD = timedelta(days=1)

#: A broken grant that no such job waits for is looked at again after this.
AGAIN_AFTER = timedelta(hours=1)

#: Broken grants at once; and how often in one tick. The next tick goes on.
BATCH, BATCHES = 500, 5


def preflight(room: Room) -> dict[str, int]:
    """Tell apps of broken grants with jobs due within a day; returns counts.

    Costs what broken grants there are that were not looked at lately, and the jobs that wait for them; no other job is
    read.
    """
    warned = 0
    for _ in range(BATCHES):
        now = room.clock()
        broken = room.preflight.broken(now, BATCH)
        waiting = room.preflight.waiting([grant.id for grant in broken], now + AHEAD) if broken else {}
        for grant in broken:
            if grant.id in waiting:
                warned += room.preflight.warn(grant, waiting[grant.id], now)
        room.preflight.look_later([grant.id for grant in broken if grant.id not in waiting], now + AGAIN_AFTER)
        if len(broken) < BATCH:
            break
    return {"warned": warned}
