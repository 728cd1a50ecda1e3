"""SIGSTOP at every named step of an exchange, for longer than its lease; then SIGCONT, while others have gone on."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from actas import GrantStatus, JobStatus
from actas.fault_points import FaultPoint
from tests.faults.every_step import Victim, World
from tests.faults.injecting import heal
from tests.support import eventually, family

OF_EXCHANGE = [point for point in FaultPoint if point.startswith("exchange.")]

#: The provider has rotated and only the process that stands still has its reply: what others try meanwhile is reuse.
REPLY_IN_HAND = {FaultPoint.EXCHANGE_ANSWERED}

SECONDS = 90


#: What this provider says of a dead token.
DEAD_TOKEN = {"error": "invalid_request", "error_description": "Value passed for the token was invalid."}


@pytest.fixture(scope="module")
def stood_still(world: World) -> Mapping[str, Victim]:
    """While worker1 stood still, worker2 took over what could be taken over; then worker1 went on."""
    points = {str(point): point for point in OF_EXCHANGE} | {"tolerated": FaultPoint.EXCHANGE_ANSWERED}
    victims = world.hold_in("worker1", points)
    world.sandbox.misbehave("token", "status", account=victims["tolerated"].user, status=400, body=DEAD_TOKEN)
    processes, documents = world.stack.processes, world.documents
    processes["worker1"].pause()
    for victim in victims.values():
        victim.strike.release()  # as soon as it can move
    processes["worker2"].start()
    # Each job has been taken away from worker1, and brought to where it stays.
    jobs = [victim.job for victim in victims.values()]
    settled = {"_id": {"$in": jobs}, "status": {"$in": ["succeeded", "parked"]}}
    eventually(
        lambda: documents["jobs"].count_documents(settled) == len(jobs), seconds=SECONDS, what="others have gone on"
    )
    world.sandbox.behave()
    heal(world.stack)
    return victims


@pytest.mark.parametrize("point", [point for point in OF_EXCHANGE if point not in REPLY_IN_HAND])
def test_who_stood_still_lets_go(world, stood_still, posts, point):
    """Before its request nothing is sent any more; after it, others had found the reply."""
    victim = stood_still[point]
    eventually(lambda: nobody_is_at(world, victim), what="it has let go")
    assert world.client.job(victim.job).status is JobStatus.SUCCEEDED
    assert posts(victim.user) == [f"held at {point}"]
    grant, books = world.client.grant(user=victim.user, provider="x"), family(world.sandbox, victim.user)
    assert (grant.status, grant.failure, grant.generation) == (GrantStatus.ACTIVE, None, 2)
    assert (books["exchanges"], books["reuse"], books["alive"]) == (1, 0, True)


@pytest.mark.parametrize("point", sorted(REPLY_IN_HAND))
def test_a_late_reply_is_taken_although_its_grant_was_called_dead(world, stood_still, point):
    """At this provider it comes too late, because reuse has killed all its tokens: the cause stays what it was."""
    victim, client = stood_still[point], world.client
    assert family(world.sandbox, victim.user)["exchanges"] == 1
    eventually(lambda: client.grant(user=victim.user, provider="x").generation == 2, what="the late reply is stored")
    # Its job goes on, is refused with the token that came late, and is parked again.
    eventually(
        lambda: client.grant(user=victim.user, provider="x").status is GrantStatus.REAUTHORIZATION_REQUIRED,
        seconds=SECONDS,
        what="the provider has refused the late token",
    )
    eventually(lambda: client.job(victim.job).status is JobStatus.PARKED, what="its job is parked")
    grant = client.grant(user=victim.user, provider="x")
    assert (grant.failure.code, grant.generation) == ("lost_rotation", 2)


def test_a_late_reply_heals_a_grant_whose_provider_tolerates_reuse(world, stood_still, posts):
    victim, client = stood_still["tolerated"], world.client
    done = client.wait(victim.job, timeout=SECONDS)
    assert done.status is JobStatus.SUCCEEDED
    story = [f"{step['to']} {step.get('code') or ''}".strip() for step in done.history]
    assert "parked reauthorization_required" in story, "; ".join(story)
    grant = client.grant(user=victim.user, provider="x")
    assert (grant.status, grant.generation) == (GrantStatus.ACTIVE, 2)
    assert posts(victim.user) == [f"held at {victim.strike.point}"]


def nobody_is_at(world: World, victim: Victim) -> bool:
    return not world.documents["grants"].find_one({"_id": victim.grant}).get("exchange_lease")
