"""The exchange where something is missing: a reply, a holder, Redis, MongoDB. A worker of this process is made to do it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from pymongo import MongoClient

from actas import Client, Grant, GrantStatus, JobStatus
from actas.embedded.stack import Stack
from actas.envelope import Purpose
from actas.errors import GrantDead, MongoUnavailable, ProviderUnavailable
from actas.fault_points import FaultPoint, listen
from actas.gates import exchange_gate
from actas.http import NoReply, NotSent
from actas.oauth import TokenEndpoint
from actas.providers import Providers
from actas.providers.model import RefreshProfile
from actas.sandbox.remote import SandboxControl
from actas.settings import ClientCredentials
from scheduler.resume import resume
from scheduler.room import Queue
from scheduler.room import Room as SchedulerRoom
from tests.conftest import TIMES
from tests.dying import dies_at
from tests.support import dance, eventually, family, nothing_is_sent, settings_from
from worker.chores import revoke_grant
from worker.errors import NeedsUser, TokenPending, WrongClient
from worker.renewal import renew_data_key
from worker.rescue_slots import PREFIX, RescueSlots, SlotsUnavailable
from worker.room import Room
from worker.run import run


@pytest.fixture(scope="module")
def room(stack: Stack) -> Iterator[Room]:
    room = Room.open(settings_from(stack.role_env("worker") | TIMES))
    yield room
    room.close()


@pytest.fixture(scope="module")
def documents(stack: Stack) -> Iterator[Any]:
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]


@pytest.fixture(scope="module")
def slots(stack: Stack) -> Iterator[Any]:
    """Redis with an administrator's powers."""
    with redis.Redis.from_url(stack.servers.valkey.url.get_secret_value(), decode_responses=True) as admin:
        yield admin


@pytest.fixture
def stale(client: Client, sandbox: SandboxControl, user: str, room: Room) -> Grant:
    """A grant whose access token is known to have expired."""
    tokens = dance(client, sandbox, user) | {"expires_in": 0}
    stored = client.store_grant(user=user, provider="x", account=user, tokens=tokens)
    return look(room, stored)


def look(room: Room, grant: Grant) -> Grant:
    found = room.grants.get(grant.id)
    assert found is not None
    return found


def lease_ends(documents: Any, grant: Grant) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    assert documents.grants.update_one({"_id": grant.id}, {"$set": {"exchange_lease.until": past}}).matched_count == 1


def rows(documents: Any, grant: Grant) -> list[dict[str, Any]]:
    return list(documents.effects.find({"grant": grant.id, "kind": "exchange"}).sort("_id", 1))


# --- a holder that never comes back ---


def test_what_a_dead_worker_had_received_is_taken_from_its_rescue_slot(room, documents, slots, sandbox, stale, user):
    dies_at(FaultPoint.EXCHANGE_RESCUED, lambda: room.exchange.access_token(stale))
    (name,) = slots.scan_iter(f"{PREFIX}{stale.id}:*")
    assert 6 * 86_400 < slots.ttl(name) <= 7 * 86_400
    lease_ends(documents, stale)
    with pytest.raises(TokenPending):
        room.exchange.access_token(stale)  # it has written down what was there, and says: look again
    there = look(room, stale)
    access = room.exchange.access_token(there)
    assert (access.exchanged, there.generation, there.unanswered_at, there.failure) == (False, 2, None, None)
    assert (family(sandbox, user)["exchanges"], family(sandbox, user)["reuse"]) == (1, 0)
    assert list(slots.scan_iter(f"{PREFIX}{stale.id}:*")) == []


@pytest.mark.parametrize("point", [FaultPoint.EXCHANGE_LEASED, FaultPoint.EXCHANGE_JOURNALED])
def test_a_worker_that_died_before_it_sent_costs_nothing(room, documents, sandbox, stale, user, point):
    dies_at(point, lambda: room.exchange.access_token(stale))
    lease_ends(documents, stale)
    after = room.exchange.access_token(stale).grant
    assert (after.generation, after.unanswered_at, after.failure) == (2, None, None)
    assert (family(sandbox, user)["exchanges"], family(sandbox, user)["reuse"]) == (1, 0)


def test_a_reply_that_died_with_its_worker_is_the_cause_that_is_kept(room, documents, sandbox, stale, user):
    dies_at(FaultPoint.EXCHANGE_ANSWERED, lambda: room.exchange.access_token(stale))
    lease_ends(documents, stale)
    with pytest.raises(NeedsUser):
        room.exchange.access_token(stale)
    dead = look(room, stale)
    assert (dead.status, dead.failure.code) == (GrantStatus.REAUTHORIZATION_REQUIRED, "lost_rotation")
    assert [row["state"] for row in rows(documents, stale)] == ["started", "refused"]


def test_the_mark_outlives_a_holder_that_came_back_with_nothing(room, documents, sandbox, stale, user):
    dies_at(FaultPoint.EXCHANGE_ANSWERED, lambda: room.exchange.access_token(stale))
    lease_ends(documents, stale)
    sandbox.misbehave("token", "status", status=429, times=1, account=user)
    with pytest.raises(ProviderUnavailable):
        room.exchange.access_token(stale)
    room.gates.open(exchange_gate(stale.app, stale.provider))
    assert look(room, stale).unanswered_at is not None
    with pytest.raises(NeedsUser):
        room.exchange.access_token(stale)
    assert look(room, stale).failure.code == "lost_rotation"


# --- a reply that is late ---


def test_a_late_reply_heals_the_grant_and_its_jobs_go_on(client, room, documents, sandbox, stack, stale, user, posts):
    """The holder stands still with the reply in hand; meanwhile the grant is called dead, and its job is parked."""
    job = []

    def meanwhile(point: FaultPoint) -> None:
        if point is not FaultPoint.EXCHANGE_ANSWERED or job:
            return
        lease_ends(documents, stale)
        sandbox.misbehave("token", "status", status=400, body={"error": "invalid_grant"}, times=1, account=user)
        job.append(client.schedule("x.post", user=user, payload={"text": "late, not lost"}))
        eventually(lambda: client.job(job[0].id).status is JobStatus.PARKED, what="the job is parked")
        assert look(room, stale).failure.code == "lost_rotation"

    listen(meanwhile)
    try:
        healed = room.exchange.access_token(stale).grant
    finally:
        listen(None)
    assert (healed.status, healed.generation) == (GrantStatus.ACTIVE, 2)
    assert healed.failure.code == "lost_rotation"  # until the next success: a provider may have seen reuse meanwhile
    with closing(SchedulerRoom.open(settings_from(stack.role_env("scheduler")), Queue(None, None, None))) as scheduler:
        resume(scheduler)  # beat sends that tick each half a minute; tests/faults/test_stood_still.py waits for it
    assert client.wait(job[0].id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["late, not lost"]
    documents.grants.update_one({"_id": stale.id}, {"$unset": {"access_token": ""}})
    after = room.exchange.access_token(look(room, stale)).grant
    assert (after.generation, after.failure, after.unanswered_at) == (3, None, None)


def test_whoever_has_lost_the_lease_calls_nothing_dead(room, documents, sandbox, stale, user):
    """The token it sent had been sent by another before, whose reply is still on its way."""
    sandbox.misbehave("token", "status", status=400, body={"error": "invalid_grant"}, times=1, account=user)

    def meanwhile(point: FaultPoint) -> None:
        if point is FaultPoint.EXCHANGE_JOURNALED:
            documents.grants.update_one({"_id": stale.id}, {"$set": {"exchange_lease.owner": "another"}})

    listen(meanwhile)
    try:
        with pytest.raises(TokenPending):
            room.exchange.access_token(stale)
    finally:
        listen(None)
    assert look(room, stale).status is GrantStatus.ACTIVE


def test_a_late_reply_does_not_heal_what_the_provider_itself_has_ended(room, documents, sandbox, stale, user):
    def meanwhile(point: FaultPoint) -> None:
        if point is FaultPoint.EXCHANGE_ANSWERED:
            owner = documents.grants.find_one({"_id": stale.id})["exchange_lease"]["owner"]
            assert room.grants.require_reauthorization(look(room, stale), "access_denied", room.clock(), owner=owner)

    listen(meanwhile)
    try:
        with pytest.raises(NeedsUser):
            room.exchange.access_token(stale)
    finally:
        listen(None)
    after = look(room, stale)
    assert (after.status, after.failure.code) == (GrantStatus.REAUTHORIZATION_REQUIRED, "access_denied")
    assert after.generation == 2, "its newest token is known, for whoever revokes it"


# --- what a provider says ---


@pytest.mark.parametrize(
    ("how", "rotated"),
    [
        ({"how": "status_after", "status": 500, "body": {}}, True),
        ({"how": "drop_after"}, True),
        ({"how": "status", "status": 400, "body": {"error": "invalid_grant"}}, False),
        ({"how": "status", "status": 200, "body": {"error": "invalid_grant"}}, False),
    ],
    ids=["500 after rotating", "reply dropped", "refused", "refused with 200"],
)
def test_the_cause_of_an_end_is_the_true_one(room, sandbox, stale, user, how, rotated):
    sandbox.misbehave("token", times=1, account=user, **how)
    for _ in range(2):
        with pytest.raises((NeedsUser, ProviderUnavailable)):
            room.exchange.access_token(stale)
    dead = look(room, stale)
    expected = "lost_rotation" if rotated else "invalid_grant"
    assert (dead.status, dead.failure.code) == (GrantStatus.REAUTHORIZATION_REQUIRED, expected)


def test_a_reply_lost_in_the_first_try_is_not_forgotten_for_what_the_second_says(
    room, documents, sandbox, stale, user, monkeypatch
):
    send, tries = TokenEndpoint.refresh, []

    def refresh(self, *args, **kwargs):
        tries.append(1)
        if len(tries) == 2:
            raise NotSent
        return send(self, *args, **kwargs)

    monkeypatch.setattr(TokenEndpoint, "refresh", refresh)
    sandbox.misbehave("token", "drop_after", times=1, account=user)
    with pytest.raises(NotSent):
        room.exchange.access_token(stale)
    (row,) = rows(documents, stale)
    assert (row["state"], look(room, stale).unanswered_at is None) == ("unknown", False)


@pytest.mark.parametrize("lost", [1, 2], ids=["in this exchange", "in the one before"])
@pytest.mark.parametrize("then", [0, 1], ids=["at the next exchange", "long after"])
def test_a_request_that_the_provider_acts_on_late_is_the_cause_that_is_named(
    room, documents, sandbox, stale, user, monkeypatch, lost, then
):
    """Nobody withdrew anything: it takes the request that a later one had overtaken for reuse."""
    refresh, sent = TokenEndpoint.refresh, []

    def overtaken(*args, **kwargs):
        sent.append((args, kwargs))
        if len(sent) <= lost:
            raise NoReply
        return refresh(*args, **kwargs)

    def exchange() -> None:
        documents.grants.update_one({"_id": stale.id}, {"$unset": {"access_token": ""}})
        room.exchange.access_token(look(room, stale))

    monkeypatch.setattr(TokenEndpoint, "refresh", overtaken)
    if lost == 2:  # both tries
        with pytest.raises(NoReply):
            exchange()
    exchange()
    there = look(room, stale)
    assert (there.status, there.generation, there.failure, there.unanswered_at) == (GrantStatus.ACTIVE, 2, None, None)
    for _ in range(then):
        exchange()
    with pytest.raises(GrantDead):
        refresh(*sent[0][0], **sent[0][1])
    with pytest.raises(NeedsUser):
        exchange()
    assert look(room, stale).failure.code == ("lost_rotation" if not then else "invalid_request")


def test_failures_are_counted_since_the_last_success(room, sandbox, stale, user):
    sandbox.misbehave("token", "status", status=429, times=2, account=user)
    sandbox.misbehave("token", "status", status=400, body={"error": "temporarily_unavailable"}, times=1, account=user)
    seen = []
    for _ in range(3):
        with pytest.raises(Exception, match="token endpoint"):
            room.exchange.access_token(stale)
        seen.append(look(room, stale).failure)
        room.gates.open(exchange_gate(stale.app, stale.provider))
    assert [(failure.code, failure.count) for failure in seen] == [
        ("provider_busy", 1),
        ("provider_busy", 2),
        ("temporarily_unavailable", 3),
    ]
    assert seen[0].first_at == seen[2].first_at < seen[2].last_at
    assert room.exchange.access_token(stale).grant.failure is None


def test_a_reply_without_expires_in_is_taken_for_its_providers_default(room, sandbox, stale, user):
    sandbox.misbehave("token", "no_expires_in", times=1, account=user)
    after = room.exchange.access_token(stale).grant
    assert timedelta(seconds=7100) < after.access_token.expires_at - room.clock() <= timedelta(seconds=7200)


def test_a_refresh_token_that_comes_back_unchanged_has_no_new_life(client, room, documents, sandbox, user):
    tokens = dance(client, sandbox, user) | {"expires_in": 0}
    grant = client.store_grant(user=user, provider="x", account=user, tokens=tokens)
    ends_at = datetime(2027, 1, 1, tzinfo=UTC)
    documents.grants.update_one({"_id": grant.id}, {"$set": {"refresh_absolute_at": ends_at}})
    static = room.providers["x"].model_copy(
        update={"refresh": RefreshProfile(kind="static", lifetime_seconds=365 * 86_400)}
    )
    exchange = replace(room.exchange, providers=Providers({"x": static}))
    body = {"access_token": "another", "refresh_token": tokens["refresh_token"], "expires_in": 0}
    sandbox.misbehave("token", "status", status=200, body=body, times=1, account=user)
    after = exchange.access_token(look(room, grant)).grant
    assert (after.generation, after.refresh_absolute_at, after.refresh_expires_at) == (2, ends_at, ends_at)
    body |= {"refresh_token": "a new one"}
    sandbox.misbehave("token", "status", status=200, body=body, times=1, account=user)
    assert exchange.access_token(after).grant.refresh_absolute_at > ends_at


# --- Redis or MongoDB away ---


class NoRedis(RescueSlots):
    def __init__(self) -> None:
        pass

    def keep(self, *_: Any) -> bool:
        return False

    def find(self, *_: Any) -> None:
        raise SlotsUnavailable

    def drop(self, *_: Any) -> None:
        pass


def test_without_redis_an_exchange_goes_on_unless_a_token_may_lie_there(room, documents, sandbox, stale, user):
    without = replace(room.exchange, slots=NoRedis())
    dies_at(FaultPoint.EXCHANGE_RESCUED, lambda: room.exchange.access_token(stale))
    lease_ends(documents, stale)
    with pytest.raises(SlotsUnavailable):
        without.access_token(stale)
    assert family(sandbox, user)["reuse"] == 0
    with pytest.raises(TokenPending):
        room.exchange.access_token(stale)
    documents.grants.update_one({"_id": stale.id}, {"$unset": {"access_token": ""}})
    assert without.access_token(look(room, stale)).grant.generation == 3


def test_an_answer_lost_on_the_way_from_mongodb_is_recognised(room, sandbox, stale, user):
    class LostAnswer:
        def __init__(self, grants: Any) -> None:
            self._grants, self._lost = grants, False

        def __getattr__(self, name: str) -> Any:
            return getattr(self._grants, name)

        def swap_tokens(self, *args: Any, **kwargs: Any) -> Any:
            swapped = self._grants.swap_tokens(*args, **kwargs)
            if not self._lost:
                self._lost = True
                raise MongoUnavailable
            return swapped

    after = replace(room.exchange, grants=LostAnswer(room.grants)).access_token(stale)
    assert (after.grant.generation, family(sandbox, user)["exchanges"]) == (2, 1)


def test_a_connection_made_meanwhile_wins_and_the_late_tokens_are_dropped(
    client, room, documents, slots, sandbox, stale, user
):
    def meanwhile(point: FaultPoint) -> None:
        if point is FaultPoint.EXCHANGE_ANSWERED:
            client.store_grant(user=user, provider="x", account=user, tokens=dance(client, sandbox, user))

    listen(meanwhile)
    try:
        with pytest.raises(TokenPending):
            room.exchange.access_token(stale)
    finally:
        listen(None)
    after = look(room, stale)
    assert (after.status, after.generation, room.exchange.is_live(after)) == (GrantStatus.ACTIVE, 2, True)
    assert family(sandbox, user)["alive"], "ours was not revoked: that could have taken the new one along"
    assert list(slots.scan_iter(f"{PREFIX}{stale.id}:*")) == []
    (row,) = rows(documents, stale)
    assert (row["state"], row["code"]) == ("done", "outrun"), "it took place all the same"


# --- the client ---


class OtherClient:
    """Vault, after somebody has stored the credentials of another client of the same provider."""

    def __init__(self, vault: Any) -> None:
        self._vault = vault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    def client_credentials(self, app: str, provider: str) -> ClientCredentials:
        return ClientCredentials(client_id="another", client_secret=SecretStr("s"))


def test_with_another_clients_credentials_nothing_is_sent_and_no_grant_is_called_dead(
    room, documents, sandbox, stale, user
):
    """A provider says invalid_grant to them (RFC 6749 section 5.2), of each grant that is used."""
    other = replace(room.exchange, vault=OtherClient(room.vault))
    sandbox.misbehave("token", "status", status=400, body={"error": "invalid_grant"}, account=user)
    with pytest.raises(WrongClient) as caught:
        other.access_token(stale)
    assert "store the former's again" in str(caught.value)
    there = look(room, stale)
    assert (there.status, there.failure.code, there.unanswered_at) == (GrantStatus.ACTIVE, "wrong_client", None)
    assert rows(documents, stale) == []
    sandbox.behave()
    assert room.exchange.access_token(there).grant.generation == 2
    assert family(sandbox, user)["alive"]


def test_another_clients_credentials_hold_up_their_grants_only_and_end_no_job(
    client, room, documents, stale, user, connect
):
    other, well = replace(room, exchange=replace(room.exchange, vault=OtherClient(room.vault))), user + "-well"
    connect(well)
    job = client.schedule("x.post", user=user, payload={"text": "later"}, at=datetime.now(UTC) + timedelta(hours=1))
    documents.jobs.update_one({"_id": job.id}, {"$set": {"status": "queued"}})
    ahead = replace(other, clock=lambda: room.clock() + timedelta(hours=1, seconds=1))
    outcome = run(job.id, ahead)
    assert (outcome.status, outcome.decision.code, outcome.decision.counts) == (JobStatus.SCHEDULED, "wrong_client", 0)
    done = client.wait(client.schedule("x.post", user=well, payload={"text": "now"}).id)
    assert done.status is JobStatus.SUCCEEDED, "the gate of the app's client is open"


def test_with_another_clients_credentials_a_revocation_waits(client, room, documents, sandbox, stack, stale, user):
    with nothing_is_sent(stack):
        client.disconnect(user=user, provider="x")
        assert not revoke_grant(stale.id, replace(room, vault=OtherClient(room.vault)))
        assert family(sandbox, user)["alive"]
        assert documents.grants.find_one({"_id": stale.id})["revocation"]["code"] == "wrong_client"
        assert revoke_grant(stale.id, room)
    assert not family(sandbox, user)["alive"]


# --- making the data key anew ---


@pytest.fixture
def quiet(stack: Stack) -> Iterator[None]:
    """The scheduler stands still, so that nobody but the test has data keys renewed."""
    with nothing_is_sent(stack):
        yield


def made_long_ago(documents: Any, room: Room, grant: Grant) -> Grant:
    long_ago = room.clock() - timedelta(days=room.settings.data_key_max_age_days + 1)
    documents.grants.update_one({"_id": grant.id}, {"$set": {"data_key.made_at": long_ago}})
    return look(room, grant)


def test_an_old_data_key_is_replaced_and_the_tokens_are_the_same(quiet, room, documents, sandbox, stale, user):
    before = made_long_ago(documents, room, stale)
    token = room.keys.read(before, Purpose.REFRESH)
    assert renew_data_key(stale.id, room)
    after = look(room, stale)
    assert (after.generation, after.data_key.id == before.data_key.id) == (2, False)
    assert (after.data_key.wrapped == before.data_key.wrapped, after.failure) == (False, None)
    assert room.keys.read(after, Purpose.REFRESH) == token
    assert family(sandbox, user)["exchanges"] == 0, "no provider was asked"
    assert not renew_data_key(stale.id, room), "it is new now"
    assert room.exchange.access_token(after).grant.generation == 3


def test_a_data_key_is_left_alone_while_an_answer_is_missing(quiet, room, documents, sandbox, stale, user):
    """Under another generation, the answer that may still come would be thrown away."""
    made_long_ago(documents, room, stale)
    dies_at(FaultPoint.EXCHANGE_JOURNALED, lambda: room.exchange.access_token(look(room, stale)))
    lease_ends(documents, stale)
    assert not renew_data_key(stale.id, room)
    assert look(room, stale).generation == 1
    noted = documents.grants.find_one({"_id": stale.id})["renewal"]
    assert noted["code"] == "unanswered", "or it would be the first to be asked for at each tick, before all others"


def test_a_grant_of_a_provider_that_is_gone_is_noted_and_holds_up_nobody(quiet, room, documents, stale):
    made_long_ago(documents, room, stale)
    documents.grants.update_one({"_id": stale.id}, {"$set": {"provider": "gone"}})
    assert not renew_data_key(stale.id, room)
    assert documents.grants.find_one({"_id": stale.id})["renewal"]["code"] == "unknown_provider"
    documents.grants.delete_one({"_id": stale.id})


def test_a_rescue_slot_is_applied_before_a_data_key_is_replaced(quiet, room, documents, sandbox, stale, user):
    made_long_ago(documents, room, stale)
    dies_at(FaultPoint.EXCHANGE_RESCUED, lambda: room.exchange.access_token(look(room, stale)))
    documents.grants.update_one({"_id": stale.id}, {"$unset": {"exchange_lease": ""}})
    assert not renew_data_key(stale.id, room)
    assert look(room, stale).generation == 2
    assert renew_data_key(stale.id, room)
    documents.grants.update_one({"_id": stale.id}, {"$unset": {"access_token": ""}})
    assert room.exchange.access_token(look(room, stale)).grant.generation == 4
    assert family(sandbox, user)["reuse"] == 0


def test_a_data_key_is_not_replaced_by_whoever_has_lost_the_lease(quiet, room, documents, sandbox, stale, user):
    made_long_ago(documents, room, stale)

    def meanwhile(point: FaultPoint) -> None:
        if point is FaultPoint.RENEWAL_WRAPPED:
            documents.grants.update_one({"_id": stale.id}, {"$set": {"exchange_lease.owner": "another"}})

    listen(meanwhile)
    try:
        assert not renew_data_key(stale.id, room)
    finally:
        listen(None)
    assert look(room, stale).generation == 1
    (row,) = documents.effects.find({"grant": stale.id, "kind": "renewal"})
    assert (row["state"], row["code"]) == ("refused", "awaiting_token"), "nothing came of it, and nobody says so"
