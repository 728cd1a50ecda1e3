"""Drill: while a leak drill is open, workers renew grant after grant of its app."""

from __future__ import annotations

from datetime import timedelta

from actas.celery_config import GRANTS_QUEUE, RENEW_KEY_TASK
from scheduler.room import Room

BATCH = 100

#: A grant that could not be renewed is not tried again before this.
AGAIN_AFTER = timedelta(minutes=1)


def drill(room: Room) -> dict[str, int]:
    """Ask for the renewal of grants whose data key is from before an open drill; returns counts."""
    if room.queue.waiting(GRANTS_QUEUE):
        return {"asked": 0}  # the workers have not taken up yet what was asked before
    # Before the KEK is rotated, for sure and by all clocks, a new data key is no better than the old one.
    now = room.clock()
    drills = [drill for drill in room.drills.all_open() if drill.key_version is not None and drill.began_at <= now]
    asked, tried_before = 0, now - AGAIN_AFTER
    for each in drills:
        limit = max(1, BATCH // len(drills))
        grants = room.renewals.due(each.app, made_before=each.began_at, tried_before=tried_before, limit=limit)
        room.queue.ask(RENEW_KEY_TASK, grants)
        asked += len(grants)
    return {"asked": asked}
