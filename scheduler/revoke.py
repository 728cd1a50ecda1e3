"""Revoke: disconnected grants are handed to a worker, which alone can decrypt what must be revoked."""

from __future__ import annotations

from scheduler.room import Room

BATCH = 100


def revoke(room: Room) -> dict[str, int]:
    """Ask for the revocation of grants that are being disconnected, until it is done; returns counts."""
    grants = room.grants.revoking(BATCH)
    room.queue.send_revocations(grants)
    return {"asked": len(grants)}
