"""Revoke: disconnected grants are handed to a worker, which alone can decrypt what must be revoked."""

from __future__ import annotations

from actas.celery_config import GRANTS_QUEUE, REVOKE_TASK
from scheduler.room import Room

BATCH = 100

#: Of those that did not work out before: an endpoint that hangs must not hold up what was disconnected just now.
AGAIN = 10


def revoke(room: Room) -> dict[str, int]:
    """Ask for the revocation of grants that are being disconnected, until it is done; returns counts."""
    if room.queue.waiting(GRANTS_QUEUE):
        return {"asked": 0}  # the workers have not taken up yet what was asked before
    grants = room.grants.revoking(room.clock(), fresh=BATCH, tried=AGAIN)
    room.queue.ask(REVOKE_TASK, grants)
    return {"asked": len(grants)}
