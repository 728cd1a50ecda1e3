"""Resume: parked jobs whose grant works, although nobody sent them on their way."""

from __future__ import annotations

from scheduler.room import Room

BATCH = 1_000


def resume(room: Room) -> dict[str, int]:
    """Put back parked jobs whose user has connected again; returns counts.

    Connecting does that itself. But an app may die before it has, or be faster than the worker that parks a job.
    """
    now, waited_for = room.clock(), room.jobs.parked_grants()
    resumed = 0
    for start in range(0, len(waited_for), BATCH):
        for grant in room.grants.active_among(waited_for[start : start + BATCH]):
            resumed += room.jobs.resume_parked(grant, now)
    return {"resumed": resumed}
