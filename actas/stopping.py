"""Stopping jobs that were handed over: what a cancellation, or a disconnection, comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from actas.clock import Clock
from actas.records import Job
from actas.stores.jobs import Jobs


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What a cancellation came to.

    ``too_late``: the job had ended already, or its outcome is uncertain; or a worker still holds it. That one has been
    asked to stop, and does so unless the request is on its way: the job's own end will tell.
    """

    outcome: Literal["cancelled", "too_late"]
    job: Job


@dataclass(frozen=True, slots=True)
class Disconnection:
    """What a disconnection stopped; the provider is told by the worker, soon after."""

    grants: int
    #: Jobs that no worker held: these have ended.
    jobs_cancelled: int
    #: Jobs a worker holds, or died with: they stop unless their request is on its way already.
    jobs_stopping: int


@dataclass(frozen=True, slots=True)
class Stopper:
    """Stops the jobs of one app."""

    app: str
    jobs: Jobs
    clock: Clock

    def stop(self, query: dict[str, Any], *, code: str, message: str, free_keys: bool = False) -> tuple[int, int]:
        """Stop the jobs of this app that fit; return how many are cancelled, and how many a worker has yet to stop.

        Marked first: one that a worker takes, or puts back, between the two writes is marked by then and does not run.
        """
        ours = {**query, "app": self.app}
        asked = self.jobs.ask_to_stop(ours)
        cancelled = self.jobs.cancel_waiting(ours, code=code, message=message, now=self.clock(), free_keys=free_keys)
        return cancelled, max(0, asked - cancelled)  # a job added in between was not asked
