"""Two beats, one of which stands still for a while and comes back with old ticks: no job twice, none late for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from actas import JobRequest, JobStatus
from actas.embedded.child import Child
from actas.embedded.processes import CELERY, Process
from tests.support import eventually

STILL_SECONDS = 15
JOBS = 75

#: A tick a second, and a machine that others use, too; far less than a beat stands still.
LATE = timedelta(seconds=5)


@pytest.fixture
def beats(stack) -> Iterator[list[Child]]:
    """The stack's own, and another one that knows nothing of it."""
    schedule = stack.directory / "beat2-schedule"
    other = Process(
        stack._place,
        "beat2",
        *(*CELERY, "scheduler.app", "beat", f"--schedule={schedule}", "--loglevel=INFO"),
        settings=stack.role_env("scheduler"),
        says="beat: Starting",
    )
    other.start()
    yield [stack.processes["beat"], other]
    other.kill()


@pytest.mark.parametrize("still", [0, 1])
def test_no_job_runs_twice_and_none_is_late(stack, client, connect, user, posts, beats, still):
    connect(user)
    begin = datetime.now(UTC) + timedelta(seconds=2)
    times = [begin + timedelta(seconds=(STILL_SECONDS + 8) * n / JOBS) for n in range(JOBS)]
    jobs = client.schedule_many(
        [JobRequest("x.post", user, {"text": f"post {n}"}, at=at) for n, at in enumerate(times)]
    )
    time.sleep((times[10] - datetime.now(UTC)).total_seconds())  # some have gone, with both
    beats[still].pause()
    try:
        time.sleep(STILL_SECONDS)
    finally:
        beats[still].resume()
    done = lambda: client.jobs(user=user, status=JobStatus.SUCCEEDED, limit=JOBS)  # noqa: E731
    eventually(lambda: len(done()) == JOBS, seconds=60, what="all have succeeded")
    late = sorted(_began(client.job(job.id)) - job.run_at for job in jobs)
    print(f"\nlateness p50 {late[JOBS // 2]}, worst {late[-1]}")  # noqa: T201
    assert late[0] >= timedelta(0)
    assert late[-1] < LATE
    assert sorted(posts(user)) == sorted(f"post {n}" for n in range(JOBS))
    assert [step["to"] for step in client.job(jobs[0].id).history] == ["queued", "running", "succeeded"]


def _began(job) -> datetime:
    (began,) = (step["at"] for step in job.history if step["to"] == "running")
    return began
