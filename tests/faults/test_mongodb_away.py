"""MongoDB is killed while a provider's reply is under way: what came is written down when it is back, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actas import JobRequest, JobStatus
from actas.embedded.stack import Stack
from tests.support import eventually, family

JOBS = 20


@pytest.fixture(autouse=True)
def back(stack: Stack) -> Iterator[None]:
    yield
    if not stack.servers.mongod.alive:
        stack.servers.mongod.start()


def killed_while_held(sandbox, stack) -> None:
    """Kill MongoDB while the provider, which has acted, holds its reply; and let that go before it is back."""
    eventually(lambda: sandbox.held() == 1, what="the provider has acted")
    stack.servers.mongod.kill()
    sandbox.release()
    stack.servers.mongod.start()


def test_a_post_is_known_to_be_done_although_its_outcome_could_not_be_written(
    client, connect, sandbox, stack, user, posts
):
    connect(user)
    sandbox.misbehave("tweets", "hold_after", times=1, account=user)
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    killed_while_held(sandbox, stack)
    done = client.wait(job.id, timeout=60)
    assert (done.status, posts(user)) == (JobStatus.SUCCEEDED, ["once"])


def test_rotated_tokens_are_kept_until_they_can_be_written(client, connect, sandbox, stack, user, posts):
    connect(user)
    sandbox.expire_access(user)
    sandbox.misbehave("token", "hold_after", times=1, account=user)
    job = client.schedule("x.post", user=user, payload={"text": "with the new token"})
    killed_while_held(sandbox, stack)
    assert client.wait(job.id, timeout=60).status is JobStatus.SUCCEEDED
    assert posts(user) == ["with the new token"]
    assert (family(sandbox, user)["exchanges"], family(sandbox, user)["reuse"]) == (1, 0)
    assert client.grant(user=user, provider="x").generation == 2


def test_jobs_that_were_due_meanwhile_are_done_once_each(client, connect, stack, user, posts):
    connect(user)
    skipped = lambda: stack.processes["scheduler"].output().count("dispatch.skipped mongodb_unavailable")  # noqa: E731
    before = skipped()
    stack.processes["beat"].pause()  # so that none is done before
    try:
        client.schedule_many([JobRequest("x.post", user, {"text": f"post {n}"}) for n in range(JOBS)])
        stack.servers.mongod.kill()
        stack.processes["beat"].resume()
        eventually(lambda: skipped() > before, what="a tick has found nobody")
    finally:
        stack.processes["beat"].resume()
    stack.servers.mongod.start()
    eventually(
        lambda: len(client.jobs(user=user, status=JobStatus.SUCCEEDED, limit=JOBS)) == JOBS,
        seconds=90,
        what="all jobs have succeeded",
    )
    assert sorted(posts(user)) == sorted(f"post {n}" for n in range(JOBS))
    assert {job.attempts for job in client.jobs(user=user, limit=JOBS)} == {1}
