"""After the last fault everything is there again, also what ends by itself only then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from actas.embedded import EmbeddedError
from tests.chaos.strikes import RESTARTS, Strikes


@dataclass
class Ends:
    """A process that ends by itself so many times while it starts."""

    times: int
    name: str = "worker2"
    alive: bool = True
    launched: int = 0
    state: str = "exited with status 1"

    @property
    def died(self) -> bool:
        return not self.alive

    def resume(self) -> None:
        """It was not paused."""

    def launch(self) -> None:
        assert not self.alive
        self.alive, self.launched = True, self.launched + 1

    def wait_ready(self) -> None:
        if self.launched < self.times:
            self.alive = False
            raise EmbeddedError(f"{self.name} stopped while starting")


def strikes(child: Ends) -> Strikes:
    return Strikes(SimpleNamespace(children=[child], line=Mock()), Mock(), Mock(), Mock())


@pytest.mark.parametrize("times", [0, 1, RESTARTS])
def test_who_ends_after_the_last_fault_is_started_again(times):
    child = Ends(times)
    ours = strikes(child)
    ours.recover()
    assert (child.alive, child.launched) == (True, times)
    assert ours.counts == Counter({"worker: ended by itself": times} if times else {})


def test_who_ends_again_and_again_is_a_failure_of_the_run():
    with pytest.raises(EmbeddedError, match="worker2"):
        strikes(Ends(RESTARTS + 1)).recover()
