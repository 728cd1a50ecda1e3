"""SIGKILL at every named step of exchange, renewal and revocation: each grant works, or says truly why not.

A step that is added to ``FaultPoint`` is tried here, or on the job's path, without anybody's doing.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from actas import GrantStatus, JobStatus
from actas.fault_points import FaultPoint
from tests.faults.every_step import Victim, World
from tests.faults.injecting import heal
from tests.faults.test_killed_on_a_jobs_path import ON_JOBS_PATH
from tests.support import connected, eventually, family, made_stale

#: The provider had rotated, and its reply died with the process: lost for good.
LOST = {FaultPoint.EXCHANGE_ANSWERED}

OF_EXCHANGE, OF_RENEWAL, OF_REVOCATION = (
    [point for point in FaultPoint if point.startswith(kind)] for kind in ("exchange.", "renewal.", "revocation.")
)

#: A dead worker's leases must end, first the grant's, then the job's; and the rescue must come by.
SECONDS = 90


def test_every_step_is_tried():
    of_the_scheduler = {FaultPoint.EVENTS_COPIED}  # tests/integration/test_delivering.py
    assert {*OF_EXCHANGE, *OF_RENEWAL, *OF_REVOCATION, *ON_JOBS_PATH} | of_the_scheduler == set(FaultPoint)


@pytest.fixture(scope="module")
def killed(world: World) -> Mapping[str, Victim]:
    victims = world.hold_in("worker1", {str(point): point for point in (*OF_EXCHANGE, *OF_RENEWAL, *OF_REVOCATION)})
    world.stack.processes["worker1"].kill()
    heal(world.stack)
    return victims


@pytest.mark.parametrize("point", [point for point in OF_EXCHANGE if point not in LOST])
def test_killed_in_an_exchange_the_grant_works_and_the_job_is_done_once(world, killed, posts, point):
    victim = killed[point]
    assert world.client.wait(victim.job, timeout=SECONDS).status is JobStatus.SUCCEEDED
    assert posts(victim.user) == [f"held at {point}"]
    grant, books = world.client.grant(user=victim.user, provider="x"), family(world.sandbox, victim.user)
    assert (grant.status, grant.failure, grant.generation) == (GrantStatus.ACTIVE, None, 2)
    assert (books["exchanges"], books["reuse"], books["alive"]) == (1, 0, True)


@pytest.mark.parametrize("point", sorted(LOST))
def test_killed_with_the_only_copy_of_a_reply_the_grant_says_that_it_was_lost(world, killed, posts, point):
    victim, client = killed[point], world.client
    eventually(lambda: client.job(victim.job).status is JobStatus.PARKED, seconds=SECONDS, what="the job is parked")
    grant = client.grant(user=victim.user, provider="x")
    assert (grant.status, grant.failure.code) == (GrantStatus.REAUTHORIZATION_REQUIRED, "lost_rotation")
    books = family(world.sandbox, victim.user)
    assert (books["exchanges"], books["reuse"]) == (1, 1), "asked with the old token, once: nobody could know better"
    connected(client, world.sandbox, victim.user)
    assert client.wait(victim.job, timeout=SECONDS).status is JobStatus.SUCCEEDED
    assert posts(victim.user) == [f"held at {point}"]


@pytest.mark.parametrize("point", OF_RENEWAL)
def test_killed_while_its_data_key_is_renewed_a_grant_still_works(world, killed, posts, point):
    victim, client = killed[point], world.client
    done = client.wait(client.schedule("x.post", user=victim.user, payload={"text": "with the token there is"}).id)
    assert done.status is JobStatus.SUCCEEDED, "a live access token needs no lease"
    made_stale(world.documents, victim.user)
    job = client.schedule("x.post", user=victim.user, payload={"text": "after an exchange"})
    assert client.wait(job.id, timeout=SECONDS).status is JobStatus.SUCCEEDED
    assert posts(victim.user) == ["with the token there is", "after an exchange"]
    books = family(world.sandbox, victim.user)
    assert (books["exchanges"], books["reuse"], books["alive"]) == (1, 0, True)


@pytest.mark.parametrize("point", OF_REVOCATION)
def test_killed_while_a_grant_is_revoked_it_ends_revoked_at_the_provider_too(world, killed, point):
    victim = killed[point]
    stored = lambda: world.documents["grants"].find_one({"_id": victim.grant})  # noqa: E731
    eventually(lambda: stored()["status"] == "revoked", seconds=SECONDS, what="the grant is revoked")
    assert not {"refresh_token", "access_token", "data_key"} & set(stored())
    books = family(world.sandbox, victim.user)
    assert (books["alive"], books["reuse"]) == (False, 0)
