"""The threads that send events, shared out: no app's endpoint holds up another's, nor the ticks."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Of this process' threads, so many send events at most; the rest are the ticks'.
THREADS = 16

#: And so many for one app.
SHARE = 4

#: An endpoint that did not answer has one of them for so many seconds, or until it answers.
SLOW_SECONDS = 60


class Shares:
    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()
        self._slow_until: dict[str, float] = {}

    @contextmanager
    def taken(self, app: str) -> Iterator[bool]:
        """A thread for an app, while this lasts; False: it has its share, or nobody gets any more."""
        with self._lock:
            slow = self._slow_until.get(app, 0.0) > self._monotonic()
            free = self._busy.total() < THREADS and self._busy[app] < (1 if slow else SHARE)
            self._busy[app] += free
        try:
            yield free
        finally:
            with self._lock:
                self._busy[app] -= free
                self._busy += Counter()  # forgets those that have none

    def answered(self, app: str, *, answers: bool) -> None:
        with self._lock:
            self._slow_until.pop(app, None)
            if not answers:
                self._slow_until[app] = self._monotonic() + SLOW_SECONDS
