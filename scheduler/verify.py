"""Verify: grants that an import wants read back are handed to a worker, which alone can decrypt."""

from __future__ import annotations

from actas.celery_config import GRANTS_QUEUE, VERIFY_TASK
from scheduler.room import Room

BATCH = 250


def verify(room: Room) -> dict[str, int]:
    """Ask for the reading back of grants, until it is done; returns counts."""
    if room.queue.waiting(GRANTS_QUEUE):
        return {"asked": 0}  # the workers have not taken up yet what was asked before
    grants = room.verifications.to_verify(BATCH)
    room.queue.ask(VERIFY_TASK, grants)
    return {"asked": len(grants)}
