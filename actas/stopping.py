"""Stopping jobs that were handed over: what a cancellation, a disconnection or a revocation comes to."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from actas.blacklist import Fate
from actas.clock import Clock
from actas.records import Job
from actas.requests import DEFAULT_WINDOW, HORIZON
from actas.stores.blacklist import Blacklist
from actas.stores.jobs import Jobs

log = logging.getLogger(__name__)

#: The longest that a job can live which was signed just before its user was revoked.
WATERMARK_LIFE = HORIZON + DEFAULT_WINDOW


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
class UserRevocation:
    """What became of the jobs of a user who was revoked: those that were unfinished then."""

    #: Jobs that no worker held: these have ended.
    jobs_cancelled: int = 0
    #: Jobs that no worker held: these are parked until they are signed anew.
    jobs_held: int = 0
    #: Jobs a worker holds, or died with: they are cancelled, or held, unless their request is on its way already.
    jobs_stopping: int = 0
    #: Jobs that go on.
    jobs_kept: int = 0


@dataclass(frozen=True, slots=True)
class Stopper:
    """Stops the jobs of one app."""

    app: str
    jobs: Jobs
    blacklist: Blacklist
    clock: Clock

    def stop(self, query: dict[str, Any], *, code: str, message: str, free_keys: bool = False) -> tuple[int, int]:
        """Stop the jobs of this app that fit; return how many are cancelled, and how many a worker has yet to stop.

        Marked first: one that a worker takes, or puts back, between the two writes is marked by then and does not run.
        """
        ours = {**query, "app": self.app}
        asked = self.jobs.ask_to_stop(ours)
        cancelled = self.jobs.cancel_waiting(ours, code=code, message=message, now=self.clock(), free_keys=free_keys)
        return cancelled, max(0, asked - cancelled)  # a job added in between was not asked

    def revoke_user(self, user: str, *, jobs: Fate, keep: str | None, reason: str) -> UserRevocation:
        """Refuse what was issued to a user up to now, and deal with the user's jobs."""
        now = self.clock()
        # First: whoever looks at one of the jobs from now on finds that it was signed before.
        self.blacklist.raise_watermark(
            self.app, user, jobs=jobs, keep=keep, reason=reason, expires_at=now + WATERMARK_LIFE, now=now
        )
        done = self._dealt_with(user, jobs, now)
        log.info("user.revoked app=%s user=%r keep=%s jobs=%s %s", self.app, user, keep is not None, jobs, done)
        return done

    def _dealt_with(self, user: str, jobs: Fate, now: datetime) -> UserRevocation:
        theirs = {"app": self.app, "user": user}
        if jobs is Fate.CANCEL:
            cancelled, stopping = self.stop(theirs, code="revoked", message="its user was logged out everywhere")
            return UserRevocation(jobs_cancelled=cancelled, jobs_stopping=stopping)
        if jobs is Fate.HOLD:
            # Those that a worker holds, or takes meanwhile, are not marked: it finds the watermark, and parks them.
            message = "its user was logged out everywhere; it waits until it is signed anew"
            held = self.jobs.hold(theirs, message=message, now=now)
            return UserRevocation(jobs_held=held, jobs_stopping=self.jobs.count_going_on(theirs))
        return UserRevocation(jobs_kept=self.jobs.count_going_on(theirs))
