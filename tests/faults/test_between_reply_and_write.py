"""MongoDB, Redis or Vault goes away while an exchange stands at a step, above all between the reply and the write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import hvac
import pytest
import redis

from actas import GrantStatus, JobRequest, JobStatus
from actas.fault_points import FaultPoint
from tests.faults.every_step import World
from tests.faults.injecting import Struck, heal
from tests.faults.mixing import step_down
from tests.support import connected, eventually, family, made_stale, nothing_is_sent

LEASED, ANSWERED, RESCUED = FaultPoint.EXCHANGE_LEASED, FaultPoint.EXCHANGE_ANSWERED, FaultPoint.EXCHANGE_RESCUED

SECONDS = 90


@dataclass(frozen=True, slots=True)
class Held:
    world: World
    user: str
    job: str
    by: Struck

    def worker(self):
        """The process that has it."""
        (worker,) = [one for one in self.world.stack.processes.values() if one.pid == self.by.pid]
        return worker


@contextmanager
def exchange_held(world: World, user: str, point: FaultPoint) -> Iterator[Held]:
    """A job's exchange stands at this step until the end of this."""
    connected(world.client, world.sandbox, user)
    made_stale(world.documents, user)
    with ExitStack() as held:
        with nothing_is_sent(world.stack):
            job = world.client.schedule("x.post", user=user, payload={"text": "once"}).id
            strike = held.enter_context(world.faults.held(point, job))
        yield Held(world, user, job, strike.happened())


def comes_to_a_good_end(held: Held, posts) -> None:
    """One exchange, one post, and nobody has noticed anything."""
    client = held.world.client
    assert client.wait(held.job, timeout=SECONDS).status is JobStatus.SUCCEEDED
    assert posts(held.user) == ["once"]
    grant, books = client.grant(user=held.user, provider="x"), family(held.world.sandbox, held.user)
    assert (grant.status, grant.generation) == (GrantStatus.ACTIVE, 2)
    assert (books["exchanges"], books["reuse"], books["alive"]) == (1, 0, True)


# --- MongoDB ---


@pytest.mark.parametrize("point", [LEASED, ANSWERED, RESCUED])
def test_mongodb_is_killed_and_comes_back(world, user, posts, point):
    with exchange_held(world, user, point) as held:
        world.stack.servers.mongod.kill()
    world.stack.servers.mongod.start()
    comes_to_a_good_end(held, posts)


@pytest.mark.parametrize("point", [LEASED, ANSWERED, RESCUED])
def test_mongodb_fails_over(world, user, posts, point):
    """The set has one member, so it is its own successor: an election, closed connections, no primary meanwhile."""
    with exchange_held(world, user, point) as held:
        step_down(world)
    comes_to_a_good_end(held, posts)


def test_mongodb_and_then_the_worker_is_killed_and_the_reply_outlives_both(world, user, posts):
    with exchange_held(world, user, RESCUED) as held:
        world.stack.servers.mongod.kill()
        held.worker().kill()
    heal(world.stack)
    comes_to_a_good_end(held, posts)


# --- Redis ---


@pytest.fixture
def flush(stack):
    def flush() -> None:
        with redis.Redis.from_url(stack.servers.valkey.url.get_secret_value()) as admin:
            admin.flushall()

    return flush


@pytest.mark.parametrize("point", [LEASED, ANSWERED, RESCUED])
def test_redis_is_wiped(world, user, posts, flush, point):
    with exchange_held(world, user, point) as held:
        flush()
    comes_to_a_good_end(held, posts)


@pytest.mark.parametrize("point", [LEASED, ANSWERED, RESCUED])
def test_redis_is_killed_and_comes_back_later(world, user, posts, point):
    """The rescue slot is a net: without it the tokens are written all the same, and the post needs no Redis."""
    with exchange_held(world, user, point) as held:
        world.stack.servers.valkey.kill()
    eventually(
        lambda: world.client.job(held.job).status is JobStatus.SUCCEEDED, seconds=60, what="it is done without Redis"
    )
    world.stack.servers.valkey.start()
    comes_to_a_good_end(held, posts)


def test_redis_is_wiped_and_the_worker_killed_with_a_reply_in_both_and_its_loss_is_said(
    world, connect, user, posts, flush
):
    with exchange_held(world, user, RESCUED) as held:
        flush()
        held.worker().kill()
    heal(world.stack)
    eventually(lambda: world.client.job(held.job).status is JobStatus.PARKED, seconds=SECONDS, what="it is parked")
    grant, books = world.client.grant(user=user, provider="x"), family(world.sandbox, user)
    assert (grant.status, grant.failure.code) == (GrantStatus.REAUTHORIZATION_REQUIRED, "lost_rotation")
    assert (books["exchanges"], books["reuse"]) == (1, 1)
    connect(user)
    assert world.client.wait(held.job, timeout=SECONDS).status is JobStatus.SUCCEEDED
    assert posts(user) == ["once"]


def test_neither_mongodb_nor_redis_takes_a_reply_for_a_while_and_its_worker_keeps_it(world, user, posts):
    mongod, valkey = world.stack.servers.mongod, world.stack.servers.valkey
    with exchange_held(world, user, ANSWERED) as held:
        grant, output = world.documents["grants"].find_one({"user": user})["_id"], held.worker().output
        mongod.kill()
        valkey.kill()
    for refusal in (f"rescue.keep grant={grant} redis=", f"exchange.retry grant={grant} n=1"):
        eventually(lambda said=refusal: said in output(), what=refusal)
    mongod.start()
    valkey.start()
    comes_to_a_good_end(held, posts)


# --- Vault ---


@pytest.fixture
def vault_admin(stack) -> hvac.Client:
    return hvac.Client(url=stack.servers.bao.url, token=stack.servers.bao.token.get_secret_value())


@pytest.mark.parametrize("point", [LEASED, ANSWERED, RESCUED])
def test_vault_is_sealed_and_comes_back(world, user, posts, vault_admin, point):
    with exchange_held(world, user, point) as held:
        vault_admin.sys.seal()
    if point is LEASED:
        eventually(
            lambda: "vault_unavailable" in [step.get("code") for step in world.client.job(held.job).history],
            what="its token cannot be read",
        )
    else:
        eventually(lambda: world.client.grant(user=user, provider="x").generation == 2, what="what came needs no Vault")
    world.stack.servers.bao.restart()  # it unseals itself
    comes_to_a_good_end(held, posts)


@pytest.mark.parametrize("point", [LEASED, ANSWERED, RESCUED])
def test_the_workers_own_vault_tokens_end_in_mid_run(world, user, posts, vault_admin, point):
    with exchange_held(world, user, point) as held:
        vault_admin.sys.revoke_prefix("auth/approle/login")
    comes_to_a_good_end(held, posts)


def test_vault_tokens_end_again_and_again_while_jobs_run(world, user, posts, vault_admin):
    """In rounds: who is denied twice in a row, with a token as fresh as can be, waits for an operator, and rightly so."""
    users = [f"{user}-{n}" for n in range(10)]
    for one in users:
        connected(world.client, world.sandbox, one)
    for n in range(5):
        for one in users:
            made_stale(world.documents, one)
        jobs = world.client.schedule_many([JobRequest("x.post", one, {"text": f"post {n}"}) for one in users])
        done = lambda jobs=jobs: sum(world.client.job(job.id).status is JobStatus.SUCCEEDED for job in jobs)  # noqa: E731
        eventually(done, seconds=SECONDS, what="one job is done, others are at it")
        vault_admin.sys.revoke_prefix("auth/approle/login")
        eventually(lambda done=done: done() == len(users), seconds=SECONDS, what="all jobs are done")
    for one in users:
        assert sorted(posts(one)) == [f"post {n}" for n in range(5)]
        books = family(world.sandbox, one)
        assert (books["exchanges"], books["reuse"], books["alive"]) == (5, 0, True)
