"""Rewrap: data keys that are still under an older version of their app's KEK move to the newest."""

from __future__ import annotations

import logging
from collections import Counter

from actas import rewrapping
from actas.errors import ActasError, Unavailable
from scheduler.room import Room

log = logging.getLogger(__name__)

#: A tick ends after about this many, some seconds' work; the next one goes on.
MOST = 20_000


def rewrap(room: Room) -> dict[str, int]:
    """Rewrap what is under older versions, app by app; returns counts.

    A key that cannot be rewrapped is named in the log and left; one app's trouble does not hold up the others.

    Raises:
        Unavailable: Vault or MongoDB; the next tick goes on.
    """
    counts = Counter(rewrapped=0, outrun=0, failed=0)
    for app in room.wrapped_keys.apps():
        try:
            done = rewrapping.rewrap(app, room.wrapped_keys, room.vault, most=MOST - counts["rewrapped"])
        except Unavailable:
            raise
        except ActasError as error:
            log.warning("rewrap.refused app=%s code=%s %s", app, error.code, error)
            counts["failed"] += 1
            continue
        for grant, code in list(done.failed.items())[:10]:
            log.warning("rewrap.failed app=%s grant=%s code=%s", app, grant, code)
        counts.update(rewrapped=done.rewrapped, outrun=done.outrun, failed=len(done.failed))
        if counts["rewrapped"] >= MOST:
            break
    return dict(counts)
