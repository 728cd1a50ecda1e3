"""Redis loses everything while jobs are queued: all of them are done, none twice."""

from __future__ import annotations

import redis

from actas import JobRequest, JobStatus
from tests.support import eventually

JOBS = 20


def test_jobs_whose_messages_are_gone_are_sent_again(client, connect, stack, user, posts):
    connect(user)
    workers = [stack.processes[name] for name in ("worker1", "worker2")]
    for worker in workers:
        worker.pause()  # so that the messages stay where they will be lost
    try:
        jobs = client.schedule_many([JobRequest("x.post", user, {"text": f"post {n}"}) for n in range(JOBS)])
        queued = lambda: len(client.jobs(user=user, status=JobStatus.QUEUED))  # noqa: E731
        eventually(lambda: queued() == JOBS, what="all are queued")
        with redis.Redis.from_url(stack.servers.valkey.url.get_secret_value()) as admin:
            admin.flushall()
    finally:
        for worker in workers:
            worker.resume()
    eventually(
        lambda: len(client.jobs(user=user, status=JobStatus.SUCCEEDED, limit=JOBS)) == JOBS,
        seconds=90,
        what="all jobs have succeeded",
    )
    assert sorted(posts(user)) == sorted(f"post {n}" for n in range(JOBS))
    assert {job.status for job in map(client.job, [job.id for job in jobs])} == {JobStatus.SUCCEEDED}
