"""Reconcile: jobs of which nobody knows whether they were done are looked for by a worker, which alone can decrypt."""

from __future__ import annotations

from actas.celery_config import GRANTS_QUEUE, RECONCILE_TASK
from scheduler.room import Room

BATCH = 100

#: So many chores may wait already; a job is asked for again until somebody has looked.
FEW = 50


def reconcile(room: Room) -> dict[str, int]:
    """Ask for a look at what is uncertain and due for one, the longest due first; returns counts."""
    if room.queue.waiting(GRANTS_QUEUE) > FEW:
        return {"asked": 0}  # the workers have not taken up yet what was asked before
    jobs = room.jobs.uncertain(room.clock(), BATCH)
    room.queue.ask(RECONCILE_TASK, jobs)
    return {"asked": len(jobs)}
