"""Rotate: refresh tokens that would die of age or idleness, although an exchange would let them live on, get one.

When, stands in the grant: ``care_at``, by its provider's profile, at a moment of its own (``actas.refresh_life``). A
grant that jobs use in time is never due, and neither is one that an exchange cannot help.
"""

from __future__ import annotations

from actas.celery_config import EXCHANGE_TASK, GRANTS_QUEUE
from scheduler.room import Room

#: Of each provider, a tick: what an outage of ours has held up must not come over it at once. 144,000 a day.
PER_PROVIDER = 50
#: So many may wait already: a leak drill keeps some waiting for hours, and what nears its end must not die meanwhile.
FEW = 50


def rotate(room: Room) -> dict[str, int]:
    """Ask for the exchange of tokens that near their end, a bounded number at each provider; returns counts."""
    if room.queue.waiting(GRANTS_QUEUE) > FEW:
        return {"asked": 0}  # nobody takes them up, or what users or an operator asked for has to go first
    grants = room.care.due(room.clock(), per_provider=PER_PROVIDER)
    room.queue.ask(EXCHANGE_TASK, grants)
    return {"asked": len(grants)}
