"""Redis is killed while workers have messages in hand: no process ends of it, and each job is done once."""

from __future__ import annotations

import pytest

from actas import JobRequest, JobStatus
from tests.support import eventually

JOBS, ROUNDS = 8, 3


@pytest.mark.parametrize("held", ["with jobs in hand", "idle"])
def test_no_process_ends_when_its_broker_is_killed(client, connect, sandbox, stack, user, posts, held):
    """Celery closes what is left of a lost connection, kombu wants to put back its messages meanwhile, and fails."""
    connect(user)
    of_celery = [stack.processes[name] for name in ("worker1", "worker2", "scheduler")]
    pids = [process.pid for process in of_celery]
    for number in range(ROUNDS):
        if held != "idle":
            sandbox.misbehave("tweets", "hold_after", times=JOBS, account=user)
        jobs = client.schedule_many([JobRequest("x.post", user, {"text": f"{number} {n}"}) for n in range(JOBS)])
        if held != "idle":
            eventually(lambda: sandbox.held() > 1, what="the provider has some of them in hand")
        stack.servers.valkey.kill()
        sandbox.behave()
        sandbox.release()
        stack.servers.valkey.start()
        done = [client.wait(job.id, timeout=90).status for job in jobs]
        assert done == [JobStatus.SUCCEEDED] * JOBS
        assert [process.died for process in of_celery] == [False] * len(of_celery)
    assert [process.pid for process in of_celery] == pids
    assert sorted(posts(user)) == sorted(f"{number} {n}" for number in range(ROUNDS) for n in range(JOBS))
