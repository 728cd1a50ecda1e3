"""The leak drill, end to end: whoever copied everything before it holds nothing that works after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from actas import Client, JobStatus
from actas.cli import app as console_app
from actas.cli import leak_drill
from actas.clock import utc_now
from actas.drilling import Drilling, Progress
from actas.embedded.stack import Stack
from actas.envelope import Purpose
from actas.errors import EnvelopeError
from actas.fault_points import FaultPoint, listen
from actas.gates import AtGate, exchange_gate
from actas.jws import CLOCK_SKEW
from actas.providers import Providers
from actas.records import Grant
from actas.sandbox.remote import SandboxControl
from actas.stores.database import connect as open_database
from actas.stores.drills import Drills
from actas.stores.renewals import Renewals
from actas.vault.keys import VaultKeys
from actas.vault.room import VaultRoom, kek_name
from tests.support import eventually, family, nothing_is_sent, settings_from
from worker.keys import DataKeys
from worker.renewal import renew_data_key


@pytest.fixture
def documents(stack: Stack) -> Iterator[Any]:
    """MongoDB with an administrator's powers; each drill has the grants of its own test only."""
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True) as admin:
        for name in ("grants", "drills"):
            admin["actas"][name].delete_many({})
        yield admin["actas"]
        for name in ("grants", "drills"):
            admin["actas"][name].delete_many({})


@pytest.fixture
def vault(stack: Stack) -> Iterator[VaultKeys]:
    with closing(VaultKeys(settings_from(stack.role_env("operator")))) as vault:
        yield vault


@pytest.fixture
def drill(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`actas keys leak-drill` with the operator's credentials."""

    def drill(*words: str) -> Any:
        for name, value in stack.role_env("operator").items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(console_app, ["keys", "leak-drill", "--app", "demo", "--yes", *words])

    return drill


@pytest.fixture
def users(connect: Callable[..., Any], documents: Any, user: str) -> list[str]:
    names = [f"{user}-{n}" for n in range(5)]
    for name in names:
        connect(name)
    return names


def copied(documents: Any, user: str) -> Grant:
    return Grant.from_doc(documents["grants"].find_one({"user": user}))


def test_what_was_copied_before_a_drill_is_worthless_after_it_and_all_grants_work(
    drill, documents, users, client: Client, sandbox: SandboxControl, stack, vault, monkeypatch
):
    thief = copied(documents, users[0])
    with closing(VaultRoom(settings_from(stack.role_env("worker")))) as room:
        # The worst case: the thief had not only the copy but could unwrap, and so holds the token itself.
        token = DataKeys(room, seconds=0).read(thief, Purpose.REFRESH)
        before = {name: copied(documents, name) for name in users}
        monkeypatch.setattr("actas.retiring.SETTLING", timedelta(seconds=3))
        result = drill()
        assert result.exit_code == 0, result.output
        for line in (
            "data keys replaced: 5",
            "exchanged at the provider, old ones worthless: 5 x",
            "are retired; Vault no longer unwraps a copied data key",
            "access tokens from before may work until",
        ):
            assert line in result.stdout
        with pytest.raises(EnvelopeError):
            DataKeys(room, seconds=0).read(thief, Purpose.REFRESH)
    for name in users:
        after = copied(documents, name)
        assert after.data_key.id != before[name].data_key.id
        assert after.data_key.key_version == vault.kek("demo").latest
        assert (family(sandbox, name)["exchanges"], family(sandbox, name)["reuse"]) == (1, 0)
        job = client.wait(client.schedule("x.post", user=name, payload={"text": "still here"}).id)
        assert job.status is JobStatus.SUCCEEDED
    (kept,) = documents["drills"].find()
    assert kept["finished_at"] is not None
    assert kept["report"]["replaced"] == 5
    credentials = client._room.vault.client_credentials("demo", "x")
    reply = httpx.post(
        f"{sandbox.base_url}/2/oauth2/token",
        data={"grant_type": "refresh_token", "refresh_token": token.get_secret_value()},
        auth=(credentials.client_id, credentials.client_secret.get_secret_value()),
    )
    assert reply.status_code == 400


def test_a_drill_whose_console_was_killed_goes_on_and_the_kek_is_rotated_once(
    drill, documents, users, stack, vault, sandbox
):
    before = vault.kek("demo").latest
    stack.processes["worker1"].pause()
    stack.processes["worker2"].pause()
    try:
        run = [sys.executable, "-c", "from actas.cli import main; main()", "keys", "leak-drill", "--yes", "--no-wait"]
        console = subprocess.Popen(run, env=os.environ | stack.role_env("operator"), stdout=subprocess.DEVNULL)
        eventually(lambda: documents["drills"].count_documents({"key_version": before + 1}))
        console.send_signal(signal.SIGKILL)
        console.wait()
    finally:
        stack.processes["worker1"].resume()
        stack.processes["worker2"].resume()
    result = drill("--no-wait")
    assert result.exit_code == 0, result.output
    assert "data keys replaced: 5" in result.stdout
    assert f"versions before {before + 1} still work" in result.stdout
    assert "actas keys retire --app demo" in result.stdout
    assert vault.kek("demo").latest == before + 1
    assert documents["drills"].count_documents({}) == 1
    assert {family(sandbox, name)["reuse"] for name in users} == {0}


def test_a_rotation_that_could_not_be_noted_is_not_made_twice(drill, documents, users, vault):
    before = vault.kek("demo").latest
    began = {"open": True, "app": "demo", "from_version": before, "key_version": None, "finished_at": None}
    unnoted = {"to_renew": 0, "access_tokens_until": None, "began_at": copied(documents, users[0]).created_at}
    documents["drills"].insert_one({"_id": "d", **began, **unnoted})
    vault.rotate(kek_name("demo"))
    assert drill("--no-wait").exit_code == 0
    assert vault.kek("demo").latest == before + 1
    assert documents["drills"].find_one()["report"]["replaced"] == 5


def test_a_grant_that_cannot_be_renewed_holds_up_nobody_and_is_told_with_its_code(
    drill, documents, users, sandbox, monkeypatch
):
    broken = copied(documents, users[0])
    documents["grants"].update_one({"_id": broken.id}, {"$set": {"data_key.wrapped": "vault:v1:AAAA"}})
    look, waited = Drilling.progress, [0.0]

    def as_if_waited_for(drilling: Drilling, drill: Any) -> Progress:
        """All that can move has: whoever looks once more has waited in vain for as long as anybody does."""
        progress = look(drilling, drill)
        if (progress.left, progress.failed) == (1, {"bad_envelope": [broken.id]}):
            waited[0] += leak_drill.PATIENCE_SECONDS
        return progress

    monkeypatch.setattr(Drilling, "progress", as_if_waited_for)
    monkeypatch.setattr(leak_drill, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + waited[0]))
    result = drill("--no-wait")
    assert result.exit_code == 1
    assert "data keys replaced: 4" in result.stdout
    assert f"could not be renewed (bad_envelope): 1: {broken.id}" in result.stdout
    assert "the drill stays open" in result.stdout
    assert documents["drills"].find_one()["finished_at"] is None
    drill("--give-up")
    kept = documents["drills"].find_one()
    assert kept["finished_at"] is not None
    assert kept["report"]["failed"] == {"bad_envelope": 1}
    assert "no drill is open for demo" in str(drill("--give-up").exception)


def test_what_is_no_longer_active_is_told_and_not_renewed(drill, documents, users, sandbox):
    documents["grants"].update_one({"user": users[0]}, {"$set": {"status": "reauthorization_required"}})
    result = drill("--no-wait")
    assert result.exit_code == 0
    assert "data keys replaced: 4" in result.stdout
    assert "not active, and so not renewed: 1 reauthorization_required" in result.stdout
    assert family(sandbox, users[0])["exchanges"] == 0


@pytest.fixture
def drilling(stack: Stack, vault: VaultKeys) -> Iterator[Drilling]:
    settings = settings_from(stack.role_env("operator"))
    database = open_database(settings.mongodb_url)
    yield Drilling(Drills(database), Renewals(database), vault, Providers.load(settings.providers_file), utc_now)
    database.client.close()


def aged(documents: Any, user: str) -> Grant:
    made_at = utc_now() - timedelta(days=100)
    documents["grants"].update_one({"user": user}, {"$set": {"data_key.made_at": made_at}})
    return copied(documents, user)


@pytest.mark.parametrize("point", [FaultPoint.RENEWAL_LEASED, FaultPoint.RENEWAL_WRAPPED])
def test_what_a_renewal_for_age_makes_while_a_drill_begins_does_not_pass_for_the_drills_work(
    stack, room, drilling, documents, connect, sandbox, user, point
):
    """Tried: it had looked for a drill and found none; then came the drill, with all it does, and then its own write."""
    with nothing_is_sent(stack):
        connect(user)
        grant, drills = aged(documents, user), []
        listen(lambda reached: drills.append(drilling.begin("demo")) if reached is point and not drills else None)
        try:
            assert renew_data_key(grant.id, room)
        finally:
            listen(None)
        (begun,) = drills
        assert drilling.report(begun).replaced == 0
        assert drilling.progress(begun).left == 1
        later = replace(room, clock=lambda: utc_now() + CLOCK_SKEW)
        assert renew_data_key(grant.id, replace(later, exchange=replace(room.exchange, clock=later.clock)))
        assert family(sandbox, user)["exchanges"] == 1, "the refresh token was changed, too"
        report = drilling.finish(begun)
        assert (dict(report.rotated), report.untried) == ({"x": 1}, 0)


def test_nothing_is_renewed_for_age_between_a_drills_opening_and_its_rotation(
    stack, room, drilling, documents, connect, sandbox, user
):
    with nothing_is_sent(stack):
        connect(user)
        grant = aged(documents, user)
        documents["drills"].insert_one(
            {"_id": "d", "app": "demo", "open": True, "began_at": utc_now(), "from_version": 1, "key_version": None}
            | {"to_renew": 0, "access_tokens_until": None}
        )
        assert not renew_data_key(grant.id, room)
        assert copied(documents, user).data_key.id == grant.data_key.id


def test_a_drill_stops_asking_where_the_apps_client_is_refused(
    stack, room, drilling, documents, connect, sandbox, user
):
    with nothing_is_sent(stack):
        connect(user)
        grant = copied(documents, user)
        begun = drilling.begin("demo")
        later = replace(room, clock=lambda: utc_now() + CLOCK_SKEW)
        sandbox.misbehave("token", "status", status=401, body={"error": "invalid_client"}, account=user)
        assert not renew_data_key(grant.id, later)
        assert drilling.progress(begun).failed == {"client_refused": [grant.id]}
        gate = exchange_gate("demo", "x")
        with pytest.raises(AtGate):
            later.gates.check([gate])
        later.gates.close(gate, utc_now() + timedelta(milliseconds=1))
