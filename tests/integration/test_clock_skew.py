"""Clocks of app, scheduler and worker differ by some seconds: nothing is lost, doubled or early, and late by no more.

Everything is real but time, which each of the three reads in its own way, and which passes by the second.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from actas import Client, JobStatus
from actas.clock import utc_now
from actas.embedded.stack import Stack
from scheduler.dispatch import dispatch
from scheduler.rescue import rescue
from scheduler.room import Queue
from scheduler.room import Room as SchedulerRoom
from tests.support import nothing_is_sent, settings_from
from worker.room import Room as WorkerRoom
from worker.run import run

#: How far a clock is off, in seconds: behind, right, ahead. Two differ by 5 at most, and as much may a job seem to be
#: signed in the future.
OFF = (-2.5, 0, 2.5)
APART = timedelta(seconds=5)

SECOND = timedelta(seconds=1)


@dataclass
class Machines:
    """The app's, the scheduler's and the worker's, and the true time."""

    client: Client
    scheduler: SchedulerRoom
    worker: WorkerRoom
    now: datetime
    sent: list[str]

    def second(self, job_id: str) -> JobStatus | None:
        """Let a second pass; what became of the job in it, if it was run."""
        self.now += SECOND
        rescue(self.scheduler)
        before = len(self.sent)
        dispatch(self.scheduler)
        outcomes = [run(sent, self.worker) for sent in self.sent[before:] if sent == job_id]
        assert len(outcomes) <= 1
        return outcomes[0] and outcomes[0].status if outcomes else None


@pytest.fixture
def machines(stack: Stack) -> Iterator[Callable[..., Machines]]:
    with ExitStack() as open_, nothing_is_sent(stack):

        def make(app: float, scheduler: float, worker: float) -> Machines:
            sent: list[str] = []
            queue = Queue(lambda jobs: sent.extend(job.id for job in jobs), lambda *_: None, lambda _: 0)
            off = [timedelta(seconds=seconds) for seconds in (app, scheduler, worker)]
            clocks = [lambda by=by: machines.now + by for by in off]
            client = Client(settings_from(stack.role_env("app-demo")), clock=clocks[0])
            schedulers = SchedulerRoom.open(settings_from(stack.role_env("scheduler")), queue, clock=clocks[1])
            workers = WorkerRoom.open(settings_from(stack.role_env("worker")), clock=clocks[2])
            for room in (client, schedulers, workers):
                open_.enter_context(closing(room))
            machines = Machines(client, replace(schedulers, pause=lambda _: None), workers, utc_now(), sent)
            return machines

        yield make


@pytest.mark.parametrize(("app", "scheduler", "worker"), list(itertools.product(OFF, repeat=3)))
def test_a_job_is_done_once_and_not_before_its_time(machines, connect, user, posts, app, scheduler, worker):
    connect(user)
    house = machines(app, scheduler, worker)
    at = house.now + 8 * SECOND
    job = house.client.schedule("x.post", user=user, payload={"text": "on time"}, at=at)
    done_at = None
    while done_at is None and house.now < at + 20 * SECOND:
        if house.second(job.id) is JobStatus.SUCCEEDED:
            done_at = house.now
        assert (posts(user) == []) == (done_at is None)
    assert done_at is not None, house.client.job(job.id)
    assert done_at + worker * SECOND >= at, "not early by the clock of who does it"
    assert done_at - at <= APART + SECOND, "nor later than two clocks can be apart"
    assert house.sent.count(job.id) <= 3, "and sent in vain at most twice"
    assert [house.second(job.id) for _ in range(15)] == [None] * 15
    assert posts(user) == ["on time"]


@pytest.mark.parametrize(("app", "scheduler", "worker"), list(itertools.product(OFF, repeat=3)))
def test_what_is_due_now_is_done_whoevers_clock_is_right(machines, connect, user, posts, app, scheduler, worker):
    connect(user)
    house = machines(app, scheduler, worker)
    job = house.client.schedule("x.post", user=user, payload={"text": "now"})
    outcomes = [house.second(job.id) for _ in range(15)]
    assert outcomes.count(JobStatus.SUCCEEDED) == 1, house.client.job(job.id)
    assert posts(user) == ["now"]


def test_a_scheduler_that_is_ahead_expires_nothing_that_a_worker_would_begin(machines, connect, user, posts):
    connect(user)
    house = machines(0, APART.seconds, 0)
    job = house.client.schedule("x.post", user=user, payload={"text": "just in time"}, deadline=house.now + 2 * SECOND)
    assert house.second(job.id) is JobStatus.SUCCEEDED
    assert posts(user) == ["just in time"]
