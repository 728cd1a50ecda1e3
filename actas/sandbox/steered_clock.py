"""A clock that tests can put ahead, so that a day passes in seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from actas.clock import Clock


class SteeredClock:
    """Another clock, and so much ahead of it. Never put back: no time passes twice."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return self._clock() + self._ahead

    def put_ahead(self, seconds: float) -> bool:
        """Be so many seconds ahead from now on, counted from the other clock; False if that would be a step back."""
        ahead = timedelta(seconds=seconds)
        if ahead < self._ahead:
            return False
        self._ahead = ahead
        return True
