"""The token endpoint is slow, drops its replies, or says 500 after rotating; reuse of a token kills its family there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from actas import Client, GrantStatus, JobStatus
from tests.faults.every_step import World
from tests.support import connected, eventually, family, made_stale

#: Two tries of four seconds are an exchange here; this is longer than either, and over before the next exchange.
TOO_SLOW_SECONDS = 6

#: As long as the second try, its token and the post may take before the provider acts on the first.
MUCH_TOO_SLOW_SECONDS = 14

LOST = "lost_rotation"

SECONDS = 60


#: The token endpoint's first answer to one user, and nothing is lost by it.
HARMLESS: Mapping[str, dict[str, Any]] = {
    "drops the connection before it acts": {"how": "drop_before"},
    "answers 500": {"how": "status", "status": 500},
    "answers 503": {"how": "status", "status": 503, "headers": {"retry-after": "1"}},
    "answers 429": {"how": "status", "status": 429, "headers": {"retry-after": "1"}},
    "answers 200 with a page": {"how": "malformed"},
    "answers 200 with nothing": {"how": "empty"},
    "answers 200 with an error that passes": {
        "how": "status",
        "status": 200,
        "body": {"error": "temporarily_unavailable"},
    },
    "is slow": {"how": "slow", "seconds": 1.5},
    "does not say expires_in": {"how": "no_expires_in"},
    "keeps the refresh token": {"how": "keep_refresh_token"},
}

#: It has rotated, and its reply tells nothing.
LOSING: Mapping[str, dict[str, Any]] = {
    "drops its reply": {"how": "drop_after"},
    "answers 500 after rotating": {"how": "status_after", "status": 500},
    "answers 502 with rubbish after rotating": {"how": "status_after", "status": 502, "body": "<"},
}

#: It acts on a request when nobody waits for its reply any more.
LATE: Mapping[str, dict[str, Any]] = {
    "acts late on both requests": {"how": "slow", "seconds": TOO_SLOW_SECONDS, "times": 2},
    "acts late on the first": {"how": "slow", "seconds": MUCH_TOO_SLOW_SECONDS},
}

FATAL: Mapping[str, dict[str, Any]] = {
    "answers 200 with an error that does not pass": {
        "how": "status",
        "status": 200,
        "body": {"error": "invalid_grant", "error_description": "bad refresh token"},
    }
}


@dataclass(frozen=True, slots=True)
class Case:
    user: str
    job: str


@pytest.fixture(scope="module")
def cases(world: World) -> Mapping[str, Case]:
    """All at once, each with a user of its own: there is much to wait for, and none is in another's way."""
    rules = {**HARMLESS, **LOSING, **LATE, **FATAL}
    return {name: begun(world, f"u{uuid4().hex[:12]}", rule) for name, rule in rules.items()}


def begun(world: World, user: str, rule: dict[str, Any]) -> Case:
    connected(world.client, world.sandbox, user)
    made_stale(world.documents, user)
    world.sandbox.misbehave("token", account=user, **{"times": 1, **rule})
    return Case(user, world.client.schedule("x.post", user=user, payload={"text": "done"}).id)


@pytest.fixture(autouse=True)
def well_behaved() -> None:
    """Here its rules are used up by themselves."""


def stands_dead(client: Client, case: Case) -> str:
    """Wait until the job is parked, because its grant no longer works; the cause that stands there."""
    eventually(lambda: client.job(case.job).status is JobStatus.PARKED, seconds=SECONDS, what="the job is parked")
    grant = client.grant(user=case.user, provider="x")
    assert grant.status is GrantStatus.REAUTHORIZATION_REQUIRED
    return grant.failure.code


@pytest.mark.parametrize("name", HARMLESS)
def test_what_has_lost_nothing_costs_nothing(client, sandbox, posts, cases, name):
    case = cases[name]
    assert client.wait(case.job, timeout=SECONDS).status is JobStatus.SUCCEEDED
    grant, books = client.grant(user=case.user, provider="x"), family(sandbox, case.user)
    assert (grant.status, grant.failure, grant.generation) == (GrantStatus.ACTIVE, None, 2)
    assert (books["exchanges"], books["reuse"], books["alive"]) == (1, 0, True)
    assert posts(case.user) == ["done"]


@pytest.mark.parametrize("name", LOSING)
def test_a_provider_that_rotates_and_loses_its_reply_leaves_a_lost_rotation(
    client, connect, sandbox, posts, cases, name
):
    case = cases[name]
    assert stands_dead(client, case) == LOST
    books = family(sandbox, case.user)
    assert (books["exchanges"], books["reuse"]) == (1, 1), "tried once more, and then believed"
    connect(case.user)
    assert client.wait(case.job, timeout=SECONDS).status is JobStatus.SUCCEEDED
    assert posts(case.user) == ["done"]


def test_a_provider_that_acts_late_on_both_requests_leaves_a_lost_rotation(client, sandbox, cases):
    case = cases["acts late on both requests"]
    assert stands_dead(client, case) == LOST
    assert family(sandbox, case.user)["exchanges"] == 1


def test_a_provider_that_acts_late_on_a_request_whose_repetition_it_has_answered_leaves_a_lost_rotation(
    client, sandbox, posts, cases, stale
):
    """It takes the late one for reuse, and says what it says when a user withdraws: nobody did."""
    case = cases["acts late on the first"]
    assert client.wait(case.job, timeout=SECONDS).status is JobStatus.SUCCEEDED
    eventually(lambda: family(sandbox, case.user)["reuse"] == 1, what="it has taken the late request for reuse")
    stale(case.user)
    again = client.schedule("x.post", user=case.user, payload={"text": "afterwards"})
    assert stands_dead(client, Case(case.user, again.id)) == LOST
    assert posts(case.user) == ["done"]


def test_an_error_that_comes_with_http_200_is_an_error(client, posts, cases):
    case = cases["answers 200 with an error that does not pass"]
    assert stands_dead(client, case) == "invalid_grant"
    assert posts(case.user) == []
