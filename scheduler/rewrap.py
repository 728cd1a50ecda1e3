"""Rewrap: data keys that are still under an older version of their app's KEK move to the newest."""

from __future__ import annotations

import logging
from collections import Counter

from actas import rewrapping
from actas.errors import ActasError, Unavailable
from scheduler.room import Room

log = logging.getLogger(__name__)

#: A tick ends after about this many, some seconds' work; the next one goes on where it left off.
MOST = 20_000

#: And after this many seconds: a slow Vault must not hold it until beat sends the next one.
SECONDS = 20


def rewrap(room: Room) -> dict[str, int]:
    """Rewrap what is under older versions, app by app; returns counts.

    A key that cannot be rewrapped is named in the log and left; neither it nor one app's trouble holds up the others.

    Raises:
        Unavailable: Vault or MongoDB; the next tick goes on.
    """
    counts = Counter(rewrapped=0, outrun=0, failed=0)
    at, ends_at = room.rewrapping, room.monotonic() + SECONDS
    apps = room.wrapped_keys.apps()
    for app in [*(app for app in apps if app >= at.app), *(app for app in apps if app < at.app)]:
        if counts.total() >= MOST or room.monotonic() >= ends_at:
            at.app, at.after = app, None
            return dict(counts)
        try:
            done = rewrapping.rewrap(
                app,
                room.wrapped_keys,
                room.vault,
                most=MOST - counts.total(),
                go_on=lambda: room.monotonic() < ends_at,
                after=at.after if app == at.app else None,
            )
        except Unavailable:
            raise
        except ActasError as error:
            log.warning("rewrap.refused app=%s code=%s %s", app, error.code, error)
            counts["failed"] += 1
            continue
        for grant, code in list(done.failed.items())[:10]:
            log.warning("rewrap.failed app=%s grant=%s code=%s", app, grant, code)
        counts.update(rewrapped=done.rewrapped, outrun=done.outrun, failed=len(done.failed))
        if done.left_off is not None:
            at.app, at.after = app, done.left_off
            return dict(counts)
    at.app, at.after = "", None
    return dict(counts)
