"""Jobs moved and run by hand, by a worker of the test's own process, whose stores can be made to fail at one call."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from actas import Job
from actas.errors import MongoUnavailable

#: Far enough ahead that the stack's own workers leave a job alone.
LATER = timedelta(hours=1)


class Failing:
    """A store one of whose methods fails at first: before it has written, or after, so that only its answer is lost."""

    def __init__(
        self, store: Any, method: str, *, written: bool, times: int = 1, error: type[Exception] = MongoUnavailable
    ) -> None:
        self._store, self._method, self._written, self._left, self._error = store, method, written, times, error

    def __getattr__(self, name: str) -> Any:
        whole = getattr(self._store, name)

        def failing(*args: Any, **kwargs: Any) -> Any:
            if not self._left:
                return whole(*args, **kwargs)
            self._left -= 1
            if self._written:
                whole(*args, **kwargs)
            raise self._error

        return failing if name == self._method else whole


def send_again(documents: Any, job: Job) -> None:
    """As dispatch would."""
    moved = documents["jobs"].update_one({"_id": job.id, "status": "scheduled"}, {"$set": {"status": "queued"}})
    assert moved.modified_count == 1


def row(documents: Any, job: Job) -> Any:
    return documents["effects"].find_one({"_id": f"{job.id}:1"})
