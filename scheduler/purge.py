"""Purge: blacklist entries that refuse nothing any more, because what they refused has expired by itself."""

from __future__ import annotations

from actas.blacklist import LEEWAY
from scheduler.room import Room

BATCH = 1_000

#: A tick ends after this many batches, so that it never holds up the others; the next one goes on.
BATCHES = 20


def purge_blacklist(room: Room) -> dict[str, int]:
    """Remove entries past their expiry and the leeway, oldest first, never earlier; returns counts."""
    before = room.clock() - LEEWAY
    purged = 0
    for _ in range(BATCHES):
        batch = room.blacklist.purge(before=before, limit=BATCH)
        purged += batch
        if batch < BATCH:
            break
    return {"purged": purged}
