"""Two hundred who want one token at once, from several processes: one exchange, and the grant lives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from actas import GrantStatus, JobRequest, JobStatus
from actas.embedded.child import plain_environment
from actas.embedded.stack import Stack
from tests.support import dance, eventually, family

JOBS = 200
PROCESSES, THREADS, EXPIRIES = 4, 50, 20
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("known_to_be_expired", [True, False], ids=["expired by its own time", "refused with 401"])
def test_two_hundred_jobs_due_at_once_make_one_exchange(client, sandbox, user, posts, known_to_be_expired):
    tokens = dance(client, sandbox, user)
    sandbox.expire_access(user)
    stored = tokens | ({"expires_in": 0} if known_to_be_expired else {})
    client.store_grant(user=user, provider="x", account=f"id-of-{user}", tokens=stored)
    # A little ahead, so that all are there when the tick comes that finds them due, and both processes get a share.
    at = datetime.now(UTC) + timedelta(seconds=3)
    jobs = client.schedule_many([JobRequest("x.post", user, {"text": f"post {n}"}, at=at) for n in range(JOBS)])
    eventually(
        lambda: len(client.jobs(user=user, status=JobStatus.SUCCEEDED, limit=JOBS)) == JOBS,
        seconds=90,
        what="all jobs have succeeded",
    )
    assert sorted(posts(user)) == sorted(f"post {n}" for n in range(JOBS))
    books = family(sandbox, user)
    assert (books["exchanges"], books["reuse"], books["alive"]) == (1, 0, True)
    grant = client.grant(user=user, provider="x")
    assert (grant.status, grant.generation) == (GrantStatus.ACTIVE, 2)
    done = [client.job(job.id) for job in jobs]
    processes = {step["owner"].split(":")[1] for job in done for step in job.history if "owner" in step}
    assert len(processes) == 2, "both processes took part"


@contextmanager
def process_of_many_threads(stack: Stack, grant: str) -> Iterator[subprocess.Popen[str]]:
    env = plain_environment() | stack.role_env("worker") | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "tests.faults.many_threads", grant, str(THREADS)]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> dict:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"it ended with {process.wait()}"
    return json.loads(line)


def test_fifty_threads_in_each_of_four_processes_make_one_exchange_for_each_expiry(
    client, connect, sandbox, stack, user, stale
):
    grant = connect(user)
    tokens = set()
    with ExitStack() as running:
        processes = [running.enter_context(process_of_many_threads(stack, grant.id)) for _ in range(PROCESSES)]
        assert {hear(process)["ready"] for process in processes} == {True}
        for _ in range(EXPIRIES):
            sandbox.expire_access(user)
            stale(user)
            for process in processes:
                say(process, "go")
            rounds = [hear(process) for process in processes]
            assert [one["errors"] for one in rounds] == [[]] * PROCESSES
            assert [one["threads"] for one in rounds] == [THREADS] * PROCESSES
            (current,) = {token for one in rounds for token in one["tokens"]}
            tokens.add(current)
    assert len(tokens) == EXPIRIES, "each time a new one"
    books = family(sandbox, user)
    assert (books["exchanges"], books["reuse"], books["alive"]) == (EXPIRIES, 0, True)
    assert client.grant(user=user, provider="x").generation == 1 + EXPIRIES
