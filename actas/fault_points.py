"""Named places where tests stop, kill or hold a process that is at work. Free when nobody listens.

Nothing from outside (no setting, no message) can make a process listen: only a test that imports this
module and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class FaultPoint(StrEnum):
    """The steps between which a crash must lose no job and no grant, in the order of the paths."""

    JOB_CLAIMED = "job.claimed"
    JOB_READY = "job.ready"
    JOB_JOURNALED = "job.journaled"
    JOB_ANSWERED = "job.answered"
    JOB_RECORDED = "job.recorded"
    JOB_SETTLED = "job.settled"
    RECONCILE_BEGUN = "reconcile.begun"
    RECONCILE_LOOKED = "reconcile.looked"
    RECONCILE_CONCLUDED = "reconcile.concluded"

    EXCHANGE_LEASED = "exchange.leased"
    EXCHANGE_JOURNALED = "exchange.journaled"
    EXCHANGE_ANSWERED = "exchange.answered"
    EXCHANGE_RESCUED = "exchange.rescued"
    EXCHANGE_STORED = "exchange.stored"
    EXCHANGE_DONE = "exchange.done"
    RENEWAL_LEASED = "renewal.leased"
    RENEWAL_WRAPPED = "renewal.wrapped"
    RENEWAL_STORED = "renewal.stored"
    REVOCATION_LEASED = "revocation.leased"
    REVOCATION_TOLD = "revocation.told"
    REVOCATION_SHREDDED = "revocation.shredded"
    EVENTS_COPIED = "events.copied"


_listener: Callable[[FaultPoint], None] | None = None


def reached(point: FaultPoint) -> None:
    """Say where we are."""
    if _listener is not None:
        _listener(point)


def listen(listener: Callable[[FaultPoint], None] | None) -> None:
    """Tell this function of every step from now on; None: nobody."""
    global _listener  # noqa: PLW0603 - one process, one listener, in tests only
    _listener = listener
