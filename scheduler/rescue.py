"""Rescue: jobs that nobody works on any more go back to where they can be seen, and late ones to their end."""

from __future__ import annotations

from datetime import datetime, timedelta

from actas.celery_config import ACT_QUEUE
from scheduler.room import Room

#: A message that workers should have taken up this long ago is gone.
LOST_AFTER = timedelta(seconds=15)

#: This much may our clock be ahead of a worker's: who expires a job does so when no worker would begin it any more.
CLOCK_SKEW = timedelta(seconds=5)

BATCH = 1000
#: In one tick; the next one goes on.
BATCHES = 10


def rescue(room: Room) -> dict[str, int]:
    """Put back orphaned and lost jobs, expire what is too late; returns counts."""
    now = room.clock()
    running = room.jobs.rescue_running(now)
    queued_expired = room.jobs.expire_queued(now, before=now - CLOCK_SKEW)
    queued = rescue_queued(room, now)
    return {
        "running": running,
        "queued": queued,
        "queued_expired": queued_expired,
        "scheduled_expired": expire_scheduled(room, now),
        "parked_expired": room.jobs.expire_parked(now),
    }


def rescue_queued(room: Room, now: datetime) -> int:
    """Put back the jobs whose messages are gone: the queue is empty, or workers have come to much younger ones.

    Wrongly rescued, a job is sent twice and claimed once; so being quick costs little.
    """
    come_to = now if room.queue.waiting(ACT_QUEUE) == 0 else room.dispatching.last_taken_up()
    return room.jobs.rescue_queued(now, before=min(now, come_to) - LOST_AFTER) if come_to else 0


def expire_scheduled(room: Room, now: datetime) -> int:
    """What could not be sent: its gate is closed, or the queue was full."""
    expired = 0
    for _ in range(BATCHES):
        batch = room.jobs.expire_scheduled(now, before=now - CLOCK_SKEW, limit=BATCH)
        expired += batch
        if batch < BATCH:
            break
    return expired
