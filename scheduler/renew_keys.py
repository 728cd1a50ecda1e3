"""Renew keys: no data key grows older than it may. Few at a time: what was connected on one day is spread."""

from __future__ import annotations

from datetime import timedelta

from actas.celery_config import GRANTS_QUEUE, RENEW_KEY_TASK
from scheduler.room import Room

#: For all apps together, a tick; so 144,000 a day.
BATCH = 100

#: A grant that could not be renewed is not tried again before this.
AGAIN_AFTER = timedelta(hours=1)


def renew_keys(room: Room) -> dict[str, int]:
    """Ask for new data keys where they are too old, an equal share for each app; returns counts."""
    if room.queue.waiting(GRANTS_QUEUE):
        return {"asked": 0}  # what users or an operator asked for goes first
    now, asked = room.clock(), 0
    apps = room.wrapped_keys.apps()
    for app in apps:
        grants = room.renewals.due(
            app,
            made_before=now - room.data_key_max_age,
            tried_before=now - AGAIN_AFTER,
            limit=max(1, BATCH // len(apps)),
        )
        room.queue.ask(RENEW_KEY_TASK, grants)
        asked += len(grants)
    return {"asked": asked}
