"""Care and the story of a grant: what is done for it while nobody needs it, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from actas import GrantStatus, JobStatus
from actas.cli import app as console
from actas.embedded.stack import Stack
from actas.gates import AtGate, chore_gate, exchange_gate
from tests.support import eventually, family, nothing_is_sent
from worker.chores import CARE_PAUSE, exchange_grant


@pytest.fixture(scope="module")
def grants(stack: Stack) -> Iterator[Any]:
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]["grants"]


def due(grants: Any, grant_id: str) -> datetime:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    grants.update_one({"_id": grant_id}, {"$set": {"care_at": at}})
    return at


def test_beat_has_a_grant_exchanged_that_nears_its_end(connect, grants, sandbox, user):
    grant = connect(user)
    due(grants, grant.id)
    found = eventually(
        lambda: (now := grants.find_one({"_id": grant.id}))["generation"] == 2 and now, seconds=90, what="cared for"
    )
    assert found["care_at"] is None, "of X no end is known, so there will be no need again"
    assert (family(sandbox, user)["exchanges"], family(sandbox, user)["reuse"]) == (1, 0)


@pytest.fixture
def quiet(stack: Stack) -> Iterator[None]:
    """The scheduler stands still, so that nobody but the test cares for what is due."""
    with nothing_is_sent(stack):
        yield


def test_without_need_nothing_is_exchanged(quiet, connect, grants, room, sandbox, user):
    grant = connect(user)
    assert exchange_grant(grant.id, room) is False
    grants.update_one({"_id": grant.id}, {"$set": {"care_at": datetime.now(UTC) + timedelta(hours=1)}})
    assert exchange_grant(grant.id, room) is False
    due(grants, grant.id)
    grants.update_one({"_id": grant.id}, {"$set": {"status": str(GrantStatus.REAUTHORIZATION_REQUIRED)}})
    assert exchange_grant(grant.id, room) is False
    assert exchange_grant("no-such-grant", room) is False
    assert family(sandbox, user)["exchanges"] == 0


def test_care_that_does_not_work_out_is_put_off(quiet, connect, grants, room, sandbox, user):
    grant = connect(user)
    sandbox.misbehave("token", "status", status=503, body={}, account=user)
    due(grants, grant.id)
    exchange_grant(grant.id, room)
    found = grants.find_one({"_id": grant.id})
    assert found["care_at"] > datetime.now(UTC) + CARE_PAUSE * 0.9
    assert (found["failure"]["code"], found["status"]) == ("provider_unavailable", "active")


def test_a_busy_provider_is_left_alone_for_a_minute_by_all_that_no_job_waits_for(
    quiet, connect, grants, room, sandbox, user, caplog
):
    """429 at its token endpoint, to care; the drill's exchanges go the same way. Jobs have their own pause."""
    first, second = connect(user), connect(user + "-2")
    sandbox.misbehave("token", "status", status=429, body={}, account=user)
    for grant in (first, second):
        due(grants, grant.id)
        assert exchange_grant(grant.id, room) is False
    codes = [record.getMessage().rpartition("code=")[2] for record in caplog.records if "grant.care" in record.message]
    assert codes == ["provider_busy", "at_gate"]
    assert family(sandbox, user + "-2")["exchanges"] == 0
    with pytest.raises(AtGate):
        room.gates.check([chore_gate(first.app, "x")])
    room.gates.check([exchange_gate(first.app, "x")])
    room.gates.close(chore_gate(first.app, "x"), room.clock() + timedelta(milliseconds=1))


def test_a_grants_story_is_told_to_the_operator(client, connect, stack, sandbox, user, monkeypatch):
    grant = connect(user)
    sandbox.expire_access(user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "secret plans"}).id)
    assert job.status is JobStatus.SUCCEEDED
    for name, value in stack.role_env("operator").items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(console, ["grants", "show", grant.id, "--json"], catch_exceptions=False)
    story = json.loads(shown.stdout)
    latest = story["key_version"]  # other tests rotate this app's KEK
    assert (story["status"], story["generation"]) == ("active", 2)
    # The row of an act is begun anew after a refusal; that there was one is in the job's own history.
    assert [(use["kind"], use["state"], use["for"]) for use in story["uses"]] == [
        ("exchange", "done", job.id),
        ("act", "done", job.id),
    ]
    assert {use["key_version"] for use in story["uses"]} == {latest}
    plain = CliRunner().invoke(console, ["grants", "show", grant.id], catch_exceptions=False).stdout
    assert f"exchange generation 1 done key v{latest}  by {story['uses'][0]['by']} for {job.id}" in plain
    stored = grants_bytes(stack, grant.id)
    assert not [text for text in stored if text in plain + shown.stdout]
    assert "secret plans" not in plain + shown.stdout


def grants_bytes(stack: Stack, grant_id: str) -> list[str]:
    with MongoClient(stack.servers.mongod.url.get_secret_value()) as admin:
        return [admin["actas"]["grants"].find_one({"_id": grant_id})["data_key"]["wrapped"]]


def test_an_app_sees_its_own_grant_and_not_the_journal(connect, stack, user, monkeypatch):
    grant = connect(user)
    for name, value in stack.role_env("app-demo").items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(console, ["grants", "show", grant.id], catch_exceptions=False)
    assert "active" in shown.stdout
    assert "closed to apps" in shown.stderr
    with pytest.raises(Exception, match="no grant 'nobody'"):
        CliRunner().invoke(console, ["grants", "show", "nobody"], catch_exceptions=False)
