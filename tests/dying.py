"""A worker of this process that dies at a named step, as far as it is concerned: nothing is put in order after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actas.fault_points import FaultPoint, listen
from worker.exchange import Exchange


class Died(BaseException):
    """The process ends here."""


def dies_at(point: FaultPoint, what: Callable[[], Any]) -> None:
    """Do something, die at a point on the way, and leave the lease as a killed process would."""

    def die(at: FaultPoint) -> None:
        if at is point:
            raise Died

    let_go = Exchange._let_go
    Exchange._let_go = lambda *_: None
    listen(die)
    try:
        with pytest.raises(Died):
            what()
    finally:
        listen(None)
        Exchange._let_go = let_go
