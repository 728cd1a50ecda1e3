"""Rescue: jobs that nobody works on any more go back to where they can be seen."""

from __future__ import annotations

from datetime import timedelta

from actas.celery_config import ACT_QUEUE
from scheduler.room import Room

#: A message that has not been taken up for this long, with the queue empty, is gone.
LOST_AFTER = timedelta(seconds=30)


def rescue(room: Room) -> dict[str, int]:
    """Put back orphaned jobs, expire parked ones; returns counts."""
    now = room.clock()
    running = room.jobs.rescue_running(now)
    # Wrongly rescued, a job is sent twice and claimed once; so being quick costs little.
    queued = room.jobs.rescue_queued(now, before=now - LOST_AFTER) if room.queue.waiting(ACT_QUEUE) == 0 else 0
    return {"running": running, "queued": queued, "parked_expired": room.jobs.expire_parked(now)}
