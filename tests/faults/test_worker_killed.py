"""A worker is killed with SIGKILL, for real, at the two moments that matter most; nothing is lost, nothing is doubled."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from actas import Client, Job, JobStatus
from actas.embedded.stack import Stack
from actas.sandbox.remote import SandboxControl
from tests.support import eventually, family

WORKERS = ("worker1", "worker2")


@pytest.fixture(autouse=True)
def workers_return(stack: Stack) -> Iterator[None]:
    yield
    for name in WORKERS:
        if not stack.processes[name].alive:
            stack.processes[name].restart()


def kill_the_worker_that_holds(client: Client, sandbox: SandboxControl, stack: Stack, job: Job, *, what: str) -> str:
    """Kill the process that has the job while the provider holds its request, and no other; its process id.

    Both stand still while we look, so that the request cannot have ended by the time of the kill.
    """
    workers = {str(stack.processes[name].pid): stack.processes[name] for name in WORKERS}

    def killed() -> str | None:
        eventually(lambda: sandbox.held() == 1, what=what)
        for worker in workers.values():
            worker.pause()
        try:
            now = client.job(job.id)
            if now.status is not JobStatus.RUNNING or sandbox.held() != 1:
                return None
            pid: str = now.history[-1]["owner"].split(":")[1]  # the claim names the process first: host:pid:...
            workers[pid].kill()
            return pid
        finally:
            for worker in workers.values():
                worker.resume()

    return eventually(killed, what=f"{what}, and its worker is killed in the midst of it")


def test_killed_while_its_job_waits_for_a_token_the_job_finishes_elsewhere(
    client, connect, sandbox, stack, user, posts
):
    connect(user)
    sandbox.expire_access(user)
    # Held before anything changes at the provider, and dropped when the caller is gone: the token stays good.
    sandbox.misbehave("token", "hold_before", account=user)
    job = client.schedule("x.post", user=user, payload={"text": "elsewhere"})
    killed = kill_the_worker_that_holds(client, sandbox, stack, job, what="the exchange is under way")
    sandbox.behave()
    done = client.wait(job.id, timeout=60)
    assert done.status is JobStatus.SUCCEEDED
    assert posts(user) == ["elsewhere"]
    assert family(sandbox, user)["reuse"] == 0
    assert family(sandbox, user)["exchanges"] == 1
    owners = [step["owner"].split(":")[1] for step in done.history if step["to"] == "running"]
    assert owners[-1] != killed, "another process finished it"
    assert "rescued" in [step.get("code") for step in done.history]


@pytest.mark.parametrize(
    ("moment", "posted"),
    [("hold_before", []), ("hold_after", ["once"])],
    ids=["before the provider acted", "after the provider acted"],
)
def test_killed_after_its_effect_row_the_job_is_looked_for_and_not_repeated_blindly(
    client, connect, sandbox, stack, user, posts, moment, posted
):
    connect(user)
    sandbox.misbehave("tweets", moment, times=1, account=user)
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    kill_the_worker_that_holds(client, sandbox, stack, job, what="the post is under way")
    done = eventually(
        lambda: (now := client.job(job.id)).status is JobStatus.SUCCEEDED and now, seconds=120, what="it is settled"
    )
    steps = [step["to"] for step in done.history]
    assert "uncertain" in steps
    assert steps.count("running") == (2 if posted else 3), "repeated only where it was not done"
    assert posts(user) == ["once"]


def found(client, job):
    """It was uncertain, and then it was looked for."""
    return eventually(lambda: client.job(job.id).status is JobStatus.SUCCEEDED, seconds=90, what="it is found")


def killed_while_posting(client, sandbox, stack, user, **options):
    sandbox.misbehave("tweets", "hold_after", times=1, account=user)
    job = client.schedule("x.post", user=user, payload={"text": "out there"}, **options)
    kill_the_worker_that_holds(client, sandbox, stack, job, what="the post is under way")
    return job


def test_a_deadline_that_passes_meanwhile_does_not_call_a_sent_post_expired(
    client, connect, sandbox, stack, user, posts
):
    connect(user)
    # Before the dead worker's lease ends, and so long after the start that its request is surely under way by then.
    deadline = datetime.now(UTC) + timedelta(seconds=20)
    job = killed_while_posting(client, sandbox, stack, user, deadline=deadline)
    assert found(client, job)
    assert posts(user) == ["out there"]


def test_cancelling_an_orphan_does_not_call_a_sent_post_cancelled(client, connect, sandbox, stack, user, posts):
    connect(user)
    job = killed_while_posting(client, sandbox, stack, user)
    stack.processes["scheduler"].pause()  # so that the cancellation comes while nobody has looked yet
    try:
        assert client.cancel(job.id, timeout=0.5).outcome == "too_late"
    finally:
        stack.processes["scheduler"].resume()
    assert found(client, job)
    assert posts(user) == ["out there"]


def test_cancelling_an_orphan_that_had_sent_nothing_cancels_it(client, connect, sandbox, stack, user, posts):
    connect(user)
    sandbox.expire_access(user)
    sandbox.misbehave("token", "hold_before", account=user)
    job = client.schedule("x.post", user=user, payload={"text": "never"})
    kill_the_worker_that_holds(client, sandbox, stack, job, what="the exchange is under way")
    client.cancel(job.id, timeout=0.5)
    assert client.wait(job.id, timeout=60).status is JobStatus.CANCELLED
    assert posts(user) == []
