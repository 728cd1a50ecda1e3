"""Dispatch: what is due goes to the workers."""

from __future__ import annotations

from actas.celery_config import ACT_QUEUE
from actas.ids import new_id
from scheduler.room import Room

#: Messages that may wait in the broker; the rest of a backlog waits in MongoDB, where it can be cancelled and seen.
QUEUE_BOUND = 500

BATCH = 250


def dispatch(room: Room) -> dict[str, int]:
    """Queue the due jobs, oldest first, as far as there is room; returns counts.

    A crash between the mark and the send leaves jobs ``queued`` without a message; rescue brings those back.
    """
    sent = 0
    while (free := QUEUE_BOUND - room.queue.waiting(ACT_QUEUE)) > 0:
        now = room.clock()
        ids = room.jobs.due(now, min(BATCH, free))
        jobs = room.jobs.enqueue(ids, batch=new_id(), now=now) if ids else []
        if not jobs:
            break
        room.queue.send_jobs(jobs)
        sent += len(jobs)
    return {"sent": sent}
