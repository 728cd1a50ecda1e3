"""The threads that send events, shared out: no app's endpoint holds up another's, nor the ticks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

#: Of this process' threads, so many send events at most; the rest are the ticks'.
THREADS = 16

#: And so many for one app, once its endpoint has answered; until then one, so that many that hang do not have all of
#: them after a restart.
SHARE = 4

#: An app whose endpoint did not answer has one of them until it answers, and all of those together have so many.
FOR_SLOW = THREADS // 2


class Shares:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()
        #: Whether an app's endpoint answered when it was last asked.
        self._answers: dict[str, bool] = {}
        self._rests: dict[str, datetime] = {}

    @contextmanager
    def taken(self, app: str) -> Iterator[bool]:
        """A thread for an app, while this lasts; False: it has its share, or nobody gets any more."""
        with self._lock:
            free = self._is_free(app)
            self._busy[app] += free
        try:
            yield free
        finally:
            with self._lock:
                self._busy[app] -= free
                self._busy += Counter()  # forgets those that have none

    def _is_free(self, app: str) -> bool:
        if self._busy.total() >= THREADS:
            return False
        if self._answers.get(app):
            return self._busy[app] < SHARE
        if self._busy[app] > 0:
            return False
        return (
            not self.is_slow(app) or sum(count for each, count in self._busy.items() if self.is_slow(each)) < FOR_SLOW
        )

    def answered(self, app: str, *, answers: bool) -> None:
        with self._lock:
            self._answers[app] = answers

    def is_slow(self, app: str) -> bool:
        return self._answers.get(app) is False

    def rest(self, app: str, until: datetime) -> None:
        """Leave an app's endpoint alone: it has said until when it wants no more."""
        with self._lock:
            self._rests[app] = max(until, self._rests.get(app, until))

    def rests(self, app: str, now: datetime) -> bool:
        until = self._rests.get(app)
        return until is not None and now < until
