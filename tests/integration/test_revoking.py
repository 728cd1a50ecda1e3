"""Revoking a disconnected grant: nothing is shredded that could still be revoked at the provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from actas import Client, GrantStatus
from actas.embedded.stack import Stack
from actas.errors import VaultUnavailable
from actas.fault_points import FaultPoint, listen
from actas.providers import Providers
from actas.sandbox.remote import SandboxControl
from tests.dying import dies_at
from tests.support import dance, family, nothing_is_sent
from worker.chores import revoke_grant
from worker.errors import Stopped


@pytest.fixture
def grants(stack: Stack) -> Iterator[Any]:
    """The collection, with an administrator's powers; nobody asks the stack's own workers to revoke meanwhile."""
    with nothing_is_sent(stack), MongoClient(stack.servers.mongod.url.get_secret_value()) as admin:
        yield admin["actas"]["grants"]


@pytest.fixture
def disconnected(client: Client, connect: Callable[[str], Any], grants: Any, user: str) -> str:
    grant = connect(user)
    client.disconnect(user=user, provider="x")
    return str(grant.id)


def let_the_lease_end(grants: Any, grant: str) -> None:
    assert grants.update_one({"_id": grant}, {"$unset": {"exchange_lease": ""}}).modified_count == 1


def test_while_the_apps_own_credentials_are_refused_the_token_is_kept_for_later(
    sandbox: SandboxControl, room, grants, disconnected, client, user
):
    sandbox.misbehave("revoke", "status", status=401, body={"error": "invalid_client"}, account=user)
    assert revoke_grant(disconnected, room) is False
    assert client.grants(user=user)[0].status is GrantStatus.REVOKING
    assert family(sandbox, user)["alive"]
    sandbox.behave()
    assert revoke_grant(disconnected, room) is True
    assert client.grants(user=user)[0].status is GrantStatus.REVOKED
    assert not family(sandbox, user)["alive"]


def test_a_token_written_by_a_later_release_is_left_to_a_worker_of_that_release(
    sandbox, room, grants, disconnected, client, user
):
    grants.update_one({"_id": disconnected}, {"$set": {"refresh_token.v": 2}})
    assert revoke_grant(disconnected, room) is False
    assert client.grants(user=user)[0].status is GrantStatus.REVOKING
    grants.update_one({"_id": disconnected}, {"$set": {"refresh_token.v": 1}})
    assert revoke_grant(disconnected, room) is True
    assert not family(sandbox, user)["alive"]


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ("status", {"status": 503, "body": {}}),
        ("status", {"status": 429, "body": {}}),
        ("status", {"status": 400, "body": {"error": "temporarily_unavailable"}}),
        ("status", {"status": 400, "body": {"error": "invalid_request"}}),
        ("status", {"status": 200, "body": {"error": "server_error"}}),
        ("drop_after", {}),
    ],
    ids=["503", "429", "it passes", "our mistake, or theirs", "not done in spite of 200", "the answer is lost"],
)
def test_a_provider_in_trouble_is_asked_again(sandbox, room, disconnected, client, user, how, fault):
    sandbox.misbehave("revoke", how, times=1, account=user, **fault)
    assert revoke_grant(disconnected, room) is False
    assert revoke_grant(disconnected, room) is True
    assert client.grants(user=user)[0].status is GrantStatus.REVOKED
    assert not family(sandbox, user)["alive"]


@pytest.mark.parametrize("error", ["unsupported_token_type", "invalid_token", "invalid_grant"])
def test_a_provider_that_says_that_asking_again_cannot_help_ends_it_in_its_own_words(
    sandbox, room, grants, disconnected, user, error
):
    sandbox.misbehave("revoke", "status", status=400, body={"error": error}, account=user)
    assert revoke_grant(disconnected, room) is True
    assert grants.find_one({"_id": disconnected})["revocation"]["said"] == error


def test_where_a_provider_cannot_revoke_nobody_says_that_it_did(
    sandbox, room, grants, client, stack, disconnected, user
):
    known = room.providers["x"].model_copy(update={"revoke_url": None})
    assert revoke_grant(disconnected, replace(room, providers=Providers({"x": known}))) is True
    assert grants.find_one({"_id": disconnected})["revocation"]["said"] == "no_revocation_endpoint"
    assert family(sandbox, user)["alive"]
    assert not list(grants.database["effects"].find({"grant": disconnected, "kind": "revocation"})), "nothing was used"


def test_each_failure_doubles_the_pause_up_to_an_hour_and_says_why(sandbox, room, grants, disconnected, user):
    sandbox.misbehave("revoke", "status", status=503, body={}, account=user)
    pauses = []
    for _ in range(10):
        assert revoke_grant(disconnected, room) is False
        found = grants.find_one({"_id": disconnected})
        pauses.append((found["revoke_at"] - found["revocation"]["at"]).total_seconds())
    first = room.settings.exchange_lease_seconds
    assert pauses == [min(3600, first * 2**n) for n in range(10)]
    assert pauses[-1] == 3600
    assert (found["revocation"]["code"], found["revocation"]["tries"]) == ("provider_unavailable", 10)
    grants.update_one({"_id": disconnected}, {"$set": {"revocation.tries": 100_000}})
    assert revoke_grant(disconnected, room) is False
    assert grants.find_one({"_id": disconnected})["revocation"]["tries"] == 100_001


class Away:
    """Vault, while nobody answers."""

    def client_credentials(self, *_: str) -> Any:
        raise VaultUnavailable


def test_an_outage_of_ours_is_no_failure_of_the_grant(room, grants, disconnected):
    assert revoke_grant(disconnected, replace(room, vault=Away())) is False
    found = grants.find_one({"_id": disconnected})
    assert "revocation" not in found
    assert "exchange_lease" in found, "its end is the pause"
    let_the_lease_end(grants, disconnected)
    assert revoke_grant(disconnected, room) is True


def test_a_5xx_leaves_open_whether_it_was_revoked(sandbox, room, grants, disconnected, user):
    sandbox.misbehave("revoke", "status", status=503, body={}, times=1, account=user)
    assert revoke_grant(disconnected, room) is False
    (row,) = grants.database["effects"].find({"grant": disconnected, "kind": "revocation"})
    assert row["state"] == "unknown"


def test_once_the_token_has_ended_by_itself_asking_again_is_pointless(sandbox, room, grants, disconnected, user):
    sandbox.misbehave("revoke", "status", status=400, body={"error": "invalid_request"}, account=user)
    grants.update_one({"_id": disconnected}, {"$set": {"refresh_expires_at": room.clock() + timedelta(hours=1)}})
    assert revoke_grant(disconnected, room) is False
    over = {"refresh_expires_at": room.clock() - timedelta(seconds=1)}
    grants.update_one({"_id": disconnected}, {"$set": over | {"unanswered_at": room.clock()}})
    assert revoke_grant(disconnected, room) is False, "it may have a successor, which lives longer"
    grants.update_one({"_id": disconnected}, {"$unset": {"unanswered_at": ""}})
    assert revoke_grant(disconnected, room) is True
    assert grants.find_one({"_id": disconnected})["revocation"]["said"] == "expired"


def test_what_nobody_can_read_any_more_is_shredded(room, grants, disconnected, client, user):
    grants.update_one({"_id": disconnected}, {"$set": {"refresh_token.ciphertext": b"damaged"}})
    assert revoke_grant(disconnected, room) is True
    assert client.grants(user=user)[0].status is GrantStatus.REVOKED
    assert not {"refresh_token", "access_token", "data_key"} & grants.find_one({"_id": disconnected}).keys()


def test_a_token_that_only_a_rescue_slot_knows_is_revoked_too(sandbox, room, grants, client, user):
    stored = client.store_grant(user=user, provider="x", account=user, tokens=stale(client, sandbox, user))
    dies_at(FaultPoint.EXCHANGE_RESCUED, lambda: room.exchange.access_token(room.grants.get(stored.id)))
    client.disconnect(user=user, provider="x")
    let_the_lease_end(grants, stored.id)
    newest = grants.find_one({"_id": stored.id})["generation"]
    assert revoke_grant(stored.id, room) is False, "first it takes what was rescued"
    assert grants.find_one({"_id": stored.id})["generation"] == newest + 1
    assert revoke_grant(stored.id, room) is True
    assert not family(sandbox, user)["alive"]
    assert "refresh_token" not in grants.find_one({"_id": stored.id})


def test_whoever_connects_right_before_the_request_keeps_what_was_granted(
    sandbox, room, grants, disconnected, client, connect, user
):
    """At many providers a revocation takes the whole authorization along, the new one too."""
    read = room.keys.read

    class ConnectsMeanwhile:
        def __getattr__(self, name):
            return getattr(room.keys, name)

        def read(self, *args):
            token = read(*args)
            connect(user)
            return token

    assert revoke_grant(disconnected, replace(room, keys=ConnectsMeanwhile())) is False
    grant = client.grant(user=user, provider="x")
    assert (grant.id, grant.status, grant.generation) == (disconnected, GrantStatus.ACTIVE, 2)
    assert [each["alive"] for each in sandbox.ledger()["families"] if each["account"] == user] == [True, True]


def test_an_exchange_in_flight_neither_revives_a_disconnected_grant_nor_leaves_a_token_alive(
    sandbox, room, grants, client, user
):
    stored = client.store_grant(user=user, provider="x", account=user, tokens=stale(client, sandbox, user))

    def meanwhile(point: FaultPoint) -> None:
        if point is FaultPoint.EXCHANGE_ANSWERED:
            client.disconnect(user=user, provider="x")
            assert revoke_grant(stored.id, room) is False, "the exchange has the lease"

    listen(meanwhile)
    try:
        with pytest.raises(Stopped):
            room.exchange.access_token(room.grants.get(stored.id))
    finally:
        listen(None)
    found = room.grants.get(stored.id)
    assert (found.status, found.generation) == (GrantStatus.REVOKING, 2), "its newest token is known"
    (row,) = grants.database["effects"].find({"grant": stored.id, "kind": "exchange"})
    assert (row["state"], row.get("code")) == ("done", None), "it took place, whatever the grant has become"
    assert revoke_grant(stored.id, room) is True
    assert not family(sandbox, user)["alive"]


def stale(client: Client, sandbox: SandboxControl, user: str) -> dict[str, Any]:
    return dance(client, sandbox, user) | {"expires_in": 0}
