"""How a gate moves: closed by failures, opened to one probe, closed for longer or opened to all. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from actas.gates import Standing
from worker.closing import Pauses

#: Failures further apart than this are no run.
RUN_SECONDS = timedelta(seconds=60)

#: So long after its time a gate that nobody has passed still waits for its probe.
UNPROBED = timedelta(hours=1)


def failed(gate: Standing, now: datetime, pauses: Pauses, by: str) -> Standing:
    """After a failure: counted while the gate is open; the probe's closes it for longer; late ones say nothing new.

    Counted once, whoever tries again and again: what fails may be that one request, and no matter of the provider's.
    """
    if gate.probing:
        return _closed(gate.level + 1, now, pauses)
    if gate.level > 0:
        return gate
    failures = tuple(dict.fromkeys([*gate.failures, by]))
    if len(failures) < pauses.run:
        return replace(gate, failures=failures)
    return _closed(1, now, pauses)


def _closed(level: int, now: datetime, pauses: Pauses) -> Standing:
    growth = 2 ** min(level - 1, 30)
    return Standing(now + min(pauses.first * growth, pauses.longest), level)


def shut(gate: Standing, now: datetime, until: datetime, *, probe: bool) -> Standing:
    """After being told until when: the latest that was said holds."""
    if gate.closed(now) and not gate.probing and gate.until >= until:
        return gate
    return Standing(until, gate.level + 1 if probe else gate.level)


def half_open(gate: Standing, now: datetime) -> bool:
    """Whether the time is over, and nobody knows yet whether the cause is: the next one to come is the probe."""
    return gate.level > 0 and not gate.closed(now)


def taken(gate: Standing, now: datetime, seconds: float) -> Standing:
    """While a probe is under way it is closed to all others, for so long at most."""
    return Standing(now + timedelta(seconds=seconds), gate.level, probing=True)


def given_back(gate: Standing, now: datetime) -> Standing:
    """The probe came back without having asked: the next one may."""
    return Standing(now, gate.level)


def kept_until(gate: Standing, now: datetime) -> datetime:
    """When it may be forgotten."""
    if gate.level > 0:
        return gate.until + UNPROBED
    return max(gate.until, now + RUN_SECONDS) if gate.failures else gate.until
