"""Vault is sealed, for real, while jobs fall due: they wait, spend nothing, and are done when it is back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hvac
import pytest

from actas import JobStatus
from actas.embedded.child import plain_environment
from actas.embedded.stack import Stack
from actas.errors import VaultUnavailable
from tests.conftest import TIMES
from tests.support import dance, eventually, family, nothing_is_sent, settings_from
from worker.room import Room

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def sealed(stack: Stack) -> Iterator[None]:
    bao = stack.servers.bao
    hvac.Client(url=bao.url, token=bao.token.get_secret_value()).sys.seal()
    yield
    if hvac.Client(url=bao.url).sys.is_sealed():
        bao.restart()


@pytest.fixture
def due_job(client, sandbox, stack, user):
    """A job that needs Vault: its access token has expired, and its data key was never unwrapped. Nobody sends it yet."""
    tokens = dance(client, sandbox, user) | {"expires_in": 0}
    client.store_grant(user=user, provider="x", account=user, tokens=tokens)
    with nothing_is_sent(stack):
        yield client.schedule("x.post", user=user, payload={"text": "patience"})


def test_jobs_wait_for_a_sealed_vault_and_nothing_starts_on_one(client, stack, user, posts, due_job, sealed):
    stack.processes["scheduler"].resume()
    eventually(
        lambda: "vault_unavailable" in [step.get("code") for step in client.job(due_job.id).history],
        what="the job was put back because of Vault",
    )
    waiting = client.job(due_job.id)
    assert (waiting.status in {JobStatus.SCHEDULED, JobStatus.QUEUED, JobStatus.RUNNING}, waiting.attempts) == (True, 0)
    with pytest.raises(VaultUnavailable):
        client.schedule("x.post", user=user, payload={"text": "new"})
    assert refusal_to_start(stack).startswith("actas: Vault is unreachable, sealed or in trouble")
    stack.servers.bao.restart()  # it unseals itself, as a production Vault with auto-unseal does
    done = client.wait(due_job.id, timeout=60)
    assert (done.status, done.attempts) == (JobStatus.SUCCEEDED, 1)
    assert posts(user) == ["patience"]


def refusal_to_start(stack: Stack) -> str:
    env = plain_environment() | stack.role_env("worker") | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "--pool=threads", "--concurrency=1"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("actas: ")]
    return line


def test_a_vault_sealed_during_an_exchange_does_not_cost_the_new_tokens(client, sandbox, stack, user):
    """The provider has rotated; whatever is needed to store the reply must be at hand, even where no key is cached."""
    tokens = dance(client, sandbox, user) | {"expires_in": 0}
    client.store_grant(user=user, provider="x", account=user, tokens=tokens)
    environment = stack.role_env("worker") | TIMES | {"ACTAS_DATA_KEY_CACHE_SECONDS": "0"}
    room = Room.open(settings_from(environment))
    grant = room.grants.get(client.grant(user=user, provider="x").id)
    sandbox.misbehave("token", "hold_after", times=1, account=user)
    with ThreadPoolExecutor(1) as pool:
        exchange = pool.submit(room.exchange.access_token, grant)
        eventually(lambda: sandbox.held() == 1, what="the provider has rotated, its reply is under way")
        hvac.Client(url=stack.servers.bao.url, token=stack.servers.bao.token.get_secret_value()).sys.seal()
        try:
            sandbox.release()
            assert exchange.result(30).grant.generation == 2
        finally:
            stack.servers.bao.restart()
    room.close()
    assert family(sandbox, user)["reuse"] == 0
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "alive"}).id).status is JobStatus.SUCCEEDED
