"""Renew keys: no data key grows older than it may. Few at a time: what was connected on one day is spread."""

from __future__ import annotations

import logging
from datetime import timedelta

from actas.celery_config import GRANTS_QUEUE, RENEW_KEY_TASK
from scheduler.room import Room

log = logging.getLogger(__name__)

#: For all apps together, a tick; so 144,000 a day.
BATCH = 100

#: A grant that could not be renewed is not tried again before this.
AGAIN_AFTER = timedelta(hours=1)

#: A leak drill rotates in seconds; nothing is renewed while one stands before that.
ABANDONED = timedelta(minutes=10)


def renew_keys(room: Room) -> dict[str, int]:
    """Ask for new data keys where they are too old, an equal share for each app; returns counts."""
    if room.queue.waiting(GRANTS_QUEUE):
        return {"asked": 0}  # what users or an operator asked for goes first
    now, asked = room.clock(), 0
    for drill in room.drills.all_open():
        if drill.key_version is None and now - drill.began_at > ABANDONED:
            log.warning("renew_keys.held_up app=%s: its leak drill did not rotate the KEK; run it again", drill.app)
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
