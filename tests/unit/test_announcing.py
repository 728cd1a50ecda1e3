"""A worker process says how many jobs it runs at once, and takes none while something of ours is away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from actas.clock import utc_now
from tests.support import eventually
from worker.announcing import Announcer


class Slots:
    """What of one worker is known in Redis."""

    def __init__(self) -> None:
        self.said: set[int] = set()

    def announce(self, worker: str, count: int) -> None:
        assert worker == "w"
        self.said.add(count)

    def withdraw(self, worker: str, count: int) -> None:
        assert worker == "w"
        self.said.discard(count)


class Outage:
    """As ``worker.outage`` has it; what is away is said by the test."""

    def __init__(self) -> None:
        self.moved = lambda: None
        self.begins = False
        self.away: Any = None
        self.when_asked = lambda: None

    def seems_to_begin(self) -> bool:
        return self.begins

    def lasts(self) -> Any:
        self.when_asked()
        if isinstance(self.away, Exception):
            raise self.away
        return self.away


@pytest.fixture
def slots() -> Slots:
    return Slots()


@pytest.fixture
def outage() -> Outage:
    return Outage()


@pytest.fixture
def taking() -> list[bool]:
    """What the process was told."""
    return []


@pytest.fixture
def announcer(slots: Any, outage: Any, taking: list[bool]) -> Iterator[Announcer]:
    announcer = Announcer("w", 64, slots, outage, taking.append, utc_now)
    announcer.start()
    eventually(lambda: slots.said == {64}, seconds=5)
    yield announcer
    announcer.end()
    eventually(lambda: slots.said == set(), seconds=5, what="it is taken back")


@pytest.mark.usefixtures("announcer")
def test_who_is_sick_says_none_and_takes_none_until_it_is_well(slots, outage, taking):
    outage.away = utc_now() + timedelta(hours=1)
    outage.moved()
    eventually(lambda: (slots.said, taking) == ({0}, [False]), seconds=5)
    outage.away = None
    eventually(lambda: (slots.said, taking) == ({64}, [False, True]), seconds=5, what="it looks by itself")


@pytest.mark.usefixtures("announcer")
def test_who_seems_to_be_sick_takes_none_while_it_asks(slots, outage, taking):
    asked = []
    outage.when_asked = lambda: asked.append((set(slots.said), list(taking))) if outage.begins else None
    outage.begins = True
    outage.moved()
    eventually(lambda: asked, seconds=5)
    outage.begins = False
    assert asked[0] == ({0}, [False])
    eventually(lambda: (slots.said, taking[-1]) == ({64}, True), seconds=5)


@pytest.mark.usefixtures("announcer")
def test_who_cannot_tell_takes_messages(slots, outage, taking):
    outage.away = utc_now() + timedelta(hours=1)
    outage.moved()
    eventually(lambda: taking == [False], seconds=5)
    outage.away = RuntimeError()
    eventually(lambda: (slots.said, taking) == ({64}, [False, True]), seconds=5)


def test_who_runs_no_jobs_announces_none_and_takes_no_messages_either_while_it_is_sick(outage, taking):
    announcer = Announcer("w", 64, None, outage, taking.append, utc_now)
    announcer.start()
    outage.away = utc_now() + timedelta(hours=1)
    outage.moved()
    eventually(lambda: taking == [False], seconds=5)
    announcer.end()
