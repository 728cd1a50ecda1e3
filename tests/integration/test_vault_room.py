"""The vault room against a real Vault-compatible server, under the roles' own credentials."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import closing

import hvac
import pytest
from pydantic import SecretBytes, SecretStr

from actas.envelope import Purpose, new_data_key
from actas.errors import EnvelopeError, NotFound, VaultDenied, VaultUnavailable
from actas.vault.keys import VaultKeys
from actas.vault.room import BATCH, KV, YOUNG_SECONDS, VaultRoom, key_version
from tests.support import settings_from
from worker.keys import DataKeys


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def rooms(stack) -> Iterator[dict[str, VaultRoom]]:
    rooms = {role: VaultRoom(settings_from(stack.role_env(role))) for role in ("app-demo", "worker")}
    yield rooms
    for room in rooms.values():
        room.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(stack, clock) -> Iterator[VaultRoom]:
    room = VaultRoom(settings_from(stack.role_env("worker")), clock=clock)
    yield room
    room.close()


def test_many_keys_are_wrapped_and_unwrapped_in_order(rooms, stack):
    with closing(VaultKeys(settings_from(stack.role_env("operator")))) as vault:
        latest = vault.kek("demo").latest  # other files' tests rotate this app's KEK
    keys = [(f"grant-{n}", new_data_key()) for n in range(2 * BATCH + 50)]
    wrapped = rooms["app-demo"].wrap("demo", keys)
    assert {key_version(text) for text in wrapped} == {latest}
    named = [(grant, text) for (grant, _), text in zip(keys, wrapped, strict=True)]
    assert rooms["worker"].unwrap("demo", named) == [key for _, key in keys]


def test_a_key_wrapped_for_one_grant_does_not_unwrap_for_another(rooms):
    wrapped = rooms["app-demo"].wrap("demo", [("mine", new_data_key()), ("theirs", new_data_key())])
    with pytest.raises(EnvelopeError):
        rooms["worker"].unwrap("demo", [("mine", wrapped[0]), ("mine", wrapped[1])])


@pytest.mark.parametrize("damaged", ["vault:v1:AAAA", "vault:v9:AAAA", "nonsense", ""])
def test_a_damaged_wrapped_key_is_refused(rooms, damaged):
    with pytest.raises(EnvelopeError):
        rooms["worker"].unwrap("demo", [("g", damaged)])


def test_an_app_cannot_unwrap_what_it_wrapped(rooms):
    wrapped = rooms["app-demo"].wrap("demo", [("g", new_data_key())])
    with pytest.raises(VaultDenied):
        rooms["app-demo"].unwrap("demo", [("g", wrapped[0])])


def test_a_token_that_vault_forgot_is_replaced_without_anybody_noticing(worker, stack):
    worker.check()
    hvac.Client(url=stack.servers.bao.url, token=worker._client.token).auth.token.revoke_self()
    worker.check()
    assert worker._sign_ins == 2


def test_refusals_sign_in_anew_once_a_minute_at_most(worker, clock):
    """Policies may have changed since; but a refusal after the other must not be a sign-in after the other."""
    worker.check()
    for sign_ins in (1, 2, 3):
        for _ in range(3):
            with pytest.raises(VaultDenied):
                worker.sign("demo", [b"x"], version=1)
        assert worker._sign_ins == sign_ins
        clock.now += YOUNG_SECONDS


def test_a_token_that_is_revoked_as_soon_as_it_is_there_is_an_outage_and_no_refusal(worker, rooms, clock):
    """As it is while an operator revokes all there are: that takes its time, and also those made meanwhile go."""
    vault = rooms["app-demo"]
    wrapped = vault.wrap("demo", [("g", new_data_key())])
    sign_in, ended = worker._sign_in, []

    def sign_in_in_vain() -> None:
        sign_in()
        ended.append(1)
        worker._client.auth.token.revoke_self()

    worker._sign_in = sign_in_in_vain
    with pytest.raises(VaultUnavailable, match="right after"):
        worker.unwrap("demo", [("g", wrapped[0])])
    assert len(ended) == 2, "it tried once more, and left it at that"
    is_known = worker._is_known
    clock.now += YOUNG_SECONDS

    def another_thread_is_faster() -> bool:
        sign_in()
        return is_known()

    worker._is_known = another_thread_is_faster
    with pytest.raises(VaultUnavailable):
        worker.unwrap("demo", [("g", wrapped[0])])
    worker._sign_in = sign_in
    assert len(worker.unwrap("demo", [("g", wrapped[0])])) == 1


def test_a_token_is_renewed_at_two_thirds_of_its_lease(worker, clock):
    worker.check()
    lease, token = worker._lease, worker._client.token
    clock.now += lease * 2 / 3 - 1
    worker.check()
    due = worker._renew_at
    clock.now += 2
    worker.check()
    assert worker._renew_at > due
    assert (worker._sign_ins, worker._client.token) == (1, token)


def test_a_renewal_that_shrinks_the_lease_is_followed_by_a_new_sign_in(worker, clock):
    worker.check()
    worker._lease *= 1000  # as if the token were near its maximum, where Vault silently gives less than it did
    clock.now = worker._renew_at + 1
    worker.check()
    assert worker._sign_ins == 2


def test_missing_client_credentials_are_named_with_their_place(rooms):
    with pytest.raises(NotFound, match="kv/actas/demo/nowhere"):
        rooms["app-demo"].client_credentials("demo", "nowhere")


@pytest.mark.parametrize(
    ("stored", "field"),
    [
        ({"clientid": "canary"}, "client_id"),
        ({"client_id": 4711, "client_secret": "canary"}, "client_id"),
        ({"client_id": "", "client_secret": "canary"}, "client_id"),
        ({"client_id": None, "client_secret": "canary"}, "client_id"),
        ({"client_id": ["canary"]}, "client_id"),
        ({"client_id": "canary", "client_secret": 4711}, "client_secret"),
        ({"client_id": "canary", "client_secret": False}, "client_secret"),
        ({"client_id": "canary", "client_secret": {"canary": "canary"}}, "client_secret"),
        ({"client_id": "canary", "other_client_secrets": 4711}, "other_client_secrets"),
        ({"client_id": "canary", "other_client_secrets": {"canary": "canary"}}, "other_client_secrets"),
        ({"client_id": "canary", "other_client_secrets": ["canary", 4711]}, "other_client_secrets"),
    ],
)
def test_client_credentials_stored_in_another_form_are_missing_and_the_field_is_named(rooms, stack, stored, field):
    store(stack, stored)
    with pytest.raises(NotFound, match=f"kv/actas/demo/mistyped.*{field} ") as missing:
        rooms["worker"].client_credentials("demo", "mistyped")
    assert "canary" not in str(missing.value)
    assert "4711" not in str(missing.value)


@pytest.mark.parametrize("public", [{}, {"client_secret": None}, {"client_secret": ""}])
def test_a_client_without_a_secret_is_a_public_one(rooms, stack, public):
    store(stack, {"client_id": "c"} | public)
    assert rooms["worker"].client_credentials("demo", "mistyped").client_secret is None


@pytest.mark.parametrize(
    ("others", "read"),
    [(["b", "c"], ("b", "c")), ("b", ("b",)), ("", ()), ([], ()), (None, ()), (["", "b"], ("b",))],
)
def test_further_secrets_are_a_list_or_what_a_shell_can_write(rooms, stack, others, read):
    store(stack, {"client_id": "c", "client_secret": "a", "other_client_secrets": others})
    found = rooms["worker"].client_credentials("demo", "mistyped")
    assert found.client_secret == SecretStr("a")
    assert found.other_client_secrets == tuple(map(SecretStr, read))


def store(stack, entry) -> None:
    """By an operator's hand, as documented: whatever may come of that."""
    root = hvac.Client(url=stack.servers.bao.url, token=stack.servers.bao.token.get_secret_value())
    root.secrets.kv.v2.create_or_update_secret("actas/demo/mistyped", entry, mount_point=KV)


def test_a_signing_key_nobody_has_is_no_error_and_has_no_versions(rooms):
    assert rooms["worker"].public_keys("actas-app-nobody") == {}


# --- the worker's cache of unwrapped keys ---


@pytest.fixture
def counted(rooms, monkeypatch):
    calls = []
    unwrap = VaultRoom.unwrap
    monkeypatch.setattr(VaultRoom, "unwrap", lambda self, app, keys: calls.append(keys) or unwrap(self, app, keys))
    return calls


@pytest.fixture
def grant(client, connect, user):
    connect(user)
    return client._room.grants.get(client.grant(user=user, provider="x").id)


def test_a_key_is_unwrapped_once_until_its_time_is_over(rooms, clock, grant, counted):
    keys = DataKeys(rooms["worker"], seconds=300, clock=clock)
    for _ in range(3):
        keys.read(grant, Purpose.REFRESH)
        keys.read(grant, Purpose.ACCESS)
    assert len(counted) == 1
    clock.now += 301
    keys.read(grant, Purpose.REFRESH)
    assert len(counted) == 2


def test_a_cache_of_no_time_keeps_nothing(rooms, clock, grant, counted):
    keys = DataKeys(rooms["worker"], seconds=0, clock=clock)
    keys.read(grant, Purpose.REFRESH)
    keys.read(grant, Purpose.REFRESH)
    assert len(counted) == 2
    assert len(keys._keys) == 0


def test_the_cache_is_bounded_and_forgets_the_least_recently_used(rooms, clock, connect, client, user, counted):
    grants = []
    for name in ("a", "b", "c"):
        connect(f"{user}{name}")
        grants.append(client._room.grants.get(client.grant(user=f"{user}{name}", provider="x").id))
    keys = DataKeys(rooms["worker"], seconds=300, capacity=2, clock=clock)
    a, b, c = grants
    for grant in (a, b, a, c):  # b has not been used for longest when c comes
        keys.get(grant)
    counted.clear()
    keys.get(a)
    assert counted == []
    keys.get(b)
    assert len(counted) == 1


def test_a_cached_key_that_does_not_fit_is_unwrapped_afresh_once(rooms, clock, grant, counted):
    keys = DataKeys(rooms["worker"], seconds=300, clock=clock)
    keys._keys[(grant.id, grant.data_key.id)] = (clock.now + 300, SecretBytes(os.urandom(32)))
    assert keys.read(grant, Purpose.REFRESH).get_secret_value()
    assert len(counted) == 1


def test_another_grants_cached_key_is_never_used(rooms, clock, grant, counted):
    keys = DataKeys(rooms["worker"], seconds=300, clock=clock)
    keys.get(grant)
    stolen = dataclasses.replace(grant, id="another", data_key=grant.data_key)
    with pytest.raises(EnvelopeError):
        keys.read(stolen, Purpose.REFRESH)
