"""Purge: blacklist entries that refuse nothing any more, jobs that ended long ago, files that were kept long enough."""

from __future__ import annotations

from actas.blacklist import LEEWAY
from scheduler.room import Room

BATCH = 1_000

#: A tick ends after this many batches, so that it never holds up the others; the next one goes on.
BATCHES = 20

#: A file has up to 512 chunks.
BATCH_OF_FILES = 20


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


def purge_jobs(room: Room) -> dict[str, int]:
    """Remove jobs that ended long enough ago, the oldest first; returns counts.

    Never before the deadline and the leeway: until then its signature is good, and the document is what makes an id
    that is sent again the same job. With the job, its idempotency key is free. Its journal stays.
    """
    now = room.clock()
    purged = {}
    for status, keep in room.keep.items():
        purged[str(status)] = 0
        for _ in range(BATCHES):
            batch = room.jobs.purge(status, finished_before=now - keep, ended_before=now - LEEWAY, limit=BATCH)
            purged[str(status)] += batch
            if batch < BATCH:
                break
    return purged


def purge_files(room: Room) -> dict[str, int]:
    """Remove stored files past their time and the leeway, and what was given up while it was stored; returns counts.

    No job waits for one: its deadline is before its files' time, or it was not accepted.
    """
    before = room.clock() - LEEWAY
    purged = 0
    for _ in range(BATCHES):
        batch = room.files.purge(before=before, limit=BATCH_OF_FILES)
        purged += batch
        if batch < BATCH_OF_FILES:
            break
    return {"purged": purged}
