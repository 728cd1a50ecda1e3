"""On time, as far as faults allow: how long after its time the first post of each job was made. Pure.

While things break, one outage after another may explain almost any lateness: a provider's gate alone is closed for up
to five minutes. So that is only measured then, and bounded by what the last fault can have left behind: as long as a
run waits for its rest. It waits twice, so without this, what is late for the first rest would be in time for the
second. What is asked for when nothing is broken has no such excuse.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from actas import Job, JobStatus
from tests.ledger import CUT, Asked, Books, Discrepancy, Kind, job_key, text_key

#: Of a job that is asked for when nothing is broken, nothing moves and no gate is closed. What faults can still have
#: left behind: an exchange's lease (16 s) of a worker that was killed, or a message that is gone (15 s, and 5 until that
#: is seen), and after either two gates, each half open, at which others wait for the probe (2 s, and 2 of spread).
PROMPT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Start:
    """A job's first post, where that was made after the job's time."""

    asked: Asked
    job: Job
    at: datetime

    @property
    def late(self) -> timedelta:
        return self.at - self.job.run_at

    @property
    def waited_for_user(self) -> bool:
        return any(step["to"] == JobStatus.PARKED for step in self.job.history)

    @property
    def promised(self) -> bool:
        """Its app was told in time that it will be done, and nobody was waited for: all of the lateness is ours."""
        told_at = self.asked.told_at
        return told_at is not None and told_at <= self.job.run_at and not self.waited_for_user


@dataclass(frozen=True, slots=True)
class Lateness:
    """Of several jobs, in seconds."""

    seconds: Sequence[float]

    @property
    def p50(self) -> float | None:
        return self._percentile(0.5)

    @property
    def p99(self) -> float | None:
        return self._percentile(0.99)

    @property
    def worst(self) -> float | None:
        return self._percentile(1)

    def _percentile(self, part: float) -> float | None:
        """The least of which so many are no later."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(part * len(ordered)) - 1] if ordered else None

    def as_dict(self) -> dict[str, float | None]:
        return {"jobs": len(self.seconds), "p50": self.p50, "p99": self.p99, "worst": self.worst}

    def __str__(self) -> str:
        if not self.seconds:
            return "nothing"
        return f"p50 {self.p50:.3f} s, p99 {self.p99:.3f} s, worst {self.worst:.3f} s of {len(self.seconds)}"


def check_lateness(books: Books) -> list[Discrepancy]:
    """What was done so late that nothing explains it."""
    return [Discrepancy(Kind.UNEXPLAINED, why, start.job.id) for start in _starts(books) if (why := _why(start, books))]


def lateness(books: Books, *, at_rest: bool) -> Lateness:
    """Of the jobs that were promised: those that were due while things broke, or those asked for at rest."""
    promised = (start for start in _starts(books) if start.promised and _is_at_rest(start, books) is at_rest)
    return Lateness([round(max(start.late, timedelta()).total_seconds(), 3) for start in promised])


def _why(start: Start, books: Books) -> str | None:
    if _is_at_rest(start, books):
        due = max(start.job.run_at, start.asked.told_at or start.job.run_at)
        if start.at > due + PROMPT and not start.waited_for_user:
            return f"posted at {start.at}, for {due}; nothing was broken, nor any gate closed, when it was asked for"
    elif books.whole_since is not None and start.at > max(start.job.run_at, books.whole_since) + books.patience:
        return f"posted at {start.at}, for {start.job.run_at}; nothing had been broken since {books.whole_since}"
    return None


def _is_at_rest(start: Start, books: Books) -> bool:
    return books.quiet_since is not None and start.job.run_at >= books.quiet_since


def _starts(books: Books) -> Iterator[Start]:
    """Not of jobs that nobody asked for, and not of those that had begun before they were moved: the ledger has them."""
    asked = {job_key(one): one for one in books.asked}
    posts: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for post in books.posts:
        posts[text_key(post["account"], post["text"])].append(post)
    for job in books.jobs:
        if (one := asked.get(job_key(job))) is None:
            continue
        times = [datetime.fromisoformat(post["at"]) for post in posts[text_key(one.account, one.texts[0])]]
        if times and min(times) >= job.run_at - CUT:
            yield Start(one, job, min(times))
