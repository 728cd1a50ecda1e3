"""The primary of three is killed while a provider's reply is under way; another takes over, and what came is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actas import GrantStatus, JobRequest, JobStatus
from tests.conftest import app_settings, client, sandbox
from tests.faults.conftest import documents
from tests.faults.replica_set import ReplicatedStack
from tests.support import eventually, family, made_stale

#: Their own here, because they are those of another stack (see conftest.py).
__all__ = ["app_settings", "client", "documents", "sandbox"]

JOBS = 20
SECONDS = 90


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, times: dict[str, str], fault_directory: Path
) -> Iterator[ReplicatedStack]:
    stack = ReplicatedStack(tmp_path_factory.mktemp("three"), workers=2, settings=times)
    with stack:
        stack.start()
        yield stack


def killed_while_held(sandbox, stack) -> None:
    """The primary dies while the provider, which has acted, holds its reply; that arrives before another leads."""
    eventually(lambda: sandbox.held() == 1, what="the provider has acted")
    stack.servers.mongod.kill()
    sandbox.release()
    eventually(stack.another_leads, seconds=SECONDS, what="another leads")


def test_a_rotated_token_is_kept_by_the_next_primary(client, connect, documents, sandbox, stack, user, posts):
    connect(user)
    made_stale(documents, user)
    sandbox.misbehave("token", "hold_after", times=1, account=user)
    job = client.schedule("x.post", user=user, payload={"text": "with the new token"})
    killed_while_held(sandbox, stack)
    assert client.wait(job.id, timeout=SECONDS).status is JobStatus.SUCCEEDED
    assert posts(user) == ["with the new token"]
    grant, books = client.grant(user=user, provider="x"), family(sandbox, user)
    assert (grant.status, grant.generation) == (GrantStatus.ACTIVE, 2)
    assert (books["exchanges"], books["reuse"], books["alive"]) == (1, 0, True)


def test_a_posts_outcome_is_known_to_the_next_primary(client, connect, sandbox, stack, user, posts):
    connect(user)
    sandbox.misbehave("tweets", "hold_after", times=1, account=user)
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    killed_while_held(sandbox, stack)
    assert client.wait(job.id, timeout=SECONDS).status is JobStatus.SUCCEEDED
    assert posts(user) == ["once"]


def test_what_is_due_while_the_primary_dies_is_done_once_each(client, connect, stack, user, posts):
    connect(user)
    client.schedule_many([JobRequest("x.post", user, {"text": f"post {n}"}) for n in range(JOBS)])
    stack.servers.mongod.kill()
    done = lambda: len(client.jobs(user=user, status=JobStatus.SUCCEEDED, limit=JOBS)) == JOBS  # noqa: E731
    eventually(stack.another_leads, seconds=SECONDS, what="another leads")
    stack.servers.mongod.start()  # which leads again, once it has what it missed
    eventually(done, seconds=SECONDS, what="all jobs have succeeded")
    assert sorted(posts(user)) == sorted(f"post {n}" for n in range(JOBS))
    assert {job.attempts for job in client.jobs(user=user, limit=JOBS)} == {1}
