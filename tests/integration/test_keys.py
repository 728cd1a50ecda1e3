"""`actas keys` on the real stack: versions come and go under living grants, and nothing is lost on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import hvac
import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from actas import JobStatus
from actas.cli import app as console_app
from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.envelope import new_data_key
from actas.errors import EnvelopeError, VaultDenied
from actas.ids import new_id
from actas.jws import Claims
from actas.retiring import SETTLING, NotRetired, TooEarly, retire_kek, retire_signing_key
from actas.rewrapping import rewrap
from actas.signing import KeyVersions, sign
from actas.stores.database import connect as open_database
from actas.stores.signed_jobs import SignedJobs
from actas.stores.wrapped_keys import Wrapped, WrappedKeys
from actas.vault.keys import KeyInfo, VaultKeys
from actas.vault.room import VaultRoom, kek_name, key_version, signing_key_name
from tests.support import family, killed_after, made_stale, nothing_is_sent, settings_from


def damaged_under(version: int) -> str:
    """A transit ciphertext of the right form, of which nothing is right."""
    return f"vault:v{version}:AAAA"


@pytest.fixture
def documents(stack: Stack) -> Iterator[Any]:
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True) as admin:
        yield admin["actas"]
        admin["actas"]["grants"].delete_many({"user": "made"})


@pytest.fixture
def quiet(stack: Stack) -> Iterator[None]:
    """The scheduler stands still, so that nobody but the test rewraps."""
    with nothing_is_sent(stack):
        yield


@pytest.fixture
def scheduler(stack: Stack) -> Iterator[tuple[WrappedKeys, VaultKeys]]:
    settings = settings_from(stack.role_env("scheduler"))
    database, vault = open_database(settings.mongodb_url), VaultKeys(settings)
    yield WrappedKeys(database), vault
    vault.close()
    database.client.close()


@pytest.fixture
def operator(stack: Stack) -> Iterator[tuple[WrappedKeys, VaultKeys]]:
    settings = settings_from(stack.role_env("operator"))
    database, vault = open_database(settings.mongodb_url), VaultKeys(settings)
    yield WrappedKeys(database), vault
    vault.close()
    database.client.close()


@pytest.fixture
def worker(stack: Stack) -> Iterator[VaultRoom]:
    with closing(VaultRoom(settings_from(stack.role_env("worker")))) as room:
        yield room


@pytest.fixture
def console(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`actas keys`, with the credentials of a role."""

    def console(role: str, *words: str, answer: str | None = None) -> Any:
        for name, value in stack.role_env(role).items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(console_app, ["keys", *words], input=answer)

    return console


@pytest.fixture
def made(documents: Any, client: Any) -> Callable[[int], list[str]]:
    """Grants with nothing but a data key, really wrapped by the app."""

    def make(count: int) -> list[str]:
        ids = [new_id() for _ in range(count)]
        wrapped = client._room.vault.wrap("demo", [(id_, new_data_key()) for id_ in ids])
        now = utc_now()
        documents["grants"].insert_many(
            {
                "_id": id_,
                "account": id_,
                "app": "demo",
                "user": "made",
                "provider": "x",
                "status": "revoking",
                "exchange_lease": {"owner": "test", "until": now + timedelta(hours=1)},  # nobody is to touch it
                "data_key": {"id": new_id(), "wrapped": text, "key_version": key_version(text), "made_at": now},
            }
            for id_, text in zip(ids, wrapped, strict=True)
        )
        return ids

    return make


def stored(documents: Any, grant: str) -> Any:
    return documents["grants"].find_one({"_id": grant})["data_key"]


def rotated(vault: VaultKeys) -> int:
    vault.rotate(kek_name("demo"))
    return vault.kek("demo").latest


LATER = SETTLING + timedelta(seconds=1)


# --- rotating and rewrapping ---


def test_a_rotation_changes_nothing_for_living_grants_nor_does_the_rewrapping(
    client, connect, console, worker, sandbox, user, posts, documents
):
    grant = connect(user)
    assert console("operator", "rotate", "--app", "demo", "--yes").exit_code == 0
    latest = json.loads(console("operator", "status", "--json").stdout)[0]["kek"]["latest"]
    for text, rewrapped in (("under the old version", False), ("under the new one", True)):
        if rewrapped:
            assert console("scheduler", "rewrap").exit_code == 0
            key = stored(documents, grant.id)
            assert (key["key_version"], key_version(key["wrapped"])) == (latest, latest)
        made_stale(documents, user)
        done = client.wait(client.schedule("x.post", user=user, payload={"text": text}).id)
        assert done.status is JobStatus.SUCCEEDED
    assert family(sandbox, user)["exchanges"] == 2
    assert posts(user) == ["under the old version", "under the new one"]
    assert worker.unwrap("demo", [(grant.id, stored(documents, grant.id)["wrapped"])]), "in no worker's memory"
    assert family(sandbox, user)["reuse"] == 0


def test_rotating_asks_first(console, operator):
    before = operator[1].kek("demo").latest
    assert console("operator", "rotate", "--app", "demo", answer="n\n").exit_code == 1
    assert operator[1].kek("demo").latest == before


def test_an_app_that_does_not_exist_is_said_not_to(console):
    result = console("operator", "status", "--app", "nobody")
    assert "no key actas-kek-nobody" in str(result.exception)


def test_a_name_that_is_nobodys_in_mongodb_is_told_and_holds_up_nobody(console, made, documents):
    """Any app can write it there: roles part collections, not apps."""
    made(1)
    documents["grants"].insert_one({"_id": "nobodys", "app": "nobody-here", "data_key": {"key_version": 1}})
    try:
        for role, verb in (("scheduler", "rewrap"), ("operator", "status")):
            result = console(role, verb)
            assert (result.exit_code, "'nobody-here': passed over" in result.stderr) == (0, True)
    finally:
        documents["grants"].delete_one({"_id": "nobodys"})


def test_a_data_key_that_was_made_anew_between_reading_and_writing_back_wins(
    quiet, scheduler, operator, made, documents, client
):
    keys, vault = scheduler
    mine, other = made(2)
    latest = rotated(operator[1])
    newer = {"id": "newer", "wrapped": client._room.vault.wrap("demo", [(mine, new_data_key())])[0]}

    class Late(WrappedKeys):
        """Somebody is faster with this one."""

        def replace(self, rewrapped: Any) -> int:
            if mine in {old.grant for old, _, _ in rewrapped}:  # other files' grants fill batches of their own
                documents["grants"].update_one({"_id": mine}, {"$set": {"data_key": newer | {"key_version": latest}}})
            return super().replace(rewrapped)

    late = Late.__new__(Late)
    late._grants = keys._grants
    done = rewrap("demo", late, vault)
    assert done.outrun == 1
    assert stored(documents, mine) == newer | {"key_version": latest}
    assert stored(documents, other)["key_version"] == latest


def test_tokens_that_are_exchanged_between_reading_and_writing_back_stay(
    quiet, scheduler, operator, connect, user, documents
):
    """The rewrap writes two fields of the data key and nothing else."""
    keys, vault = scheduler
    grant = connect(user)
    rotated(operator[1])
    swap = {"$set": {"refresh_token": "newer", "generation": 99}}

    class Late(WrappedKeys):
        def replace(self, rewrapped: Any) -> int:
            documents["grants"].update_one({"_id": grant.id}, swap)
            return super().replace(rewrapped)

    late = Late.__new__(Late)
    late._grants = keys._grants
    before = documents["grants"].find_one({"_id": grant.id})
    rewrap("demo", late, vault)
    after = documents["grants"].find_one({"_id": grant.id})
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"refresh_token", "generation", "data_key"}
    assert after["refresh_token"] == "newer"
    changed = {name for name, value in after["data_key"].items() if before["data_key"][name] != value}
    assert changed == {"wrapped", "key_version"}
    documents["grants"].delete_one({"_id": grant.id})


def test_damaged_keys_are_reported_and_left_and_the_others_go_on(quiet, console, operator, made, documents):
    damaged, no_key, number, moved, *sound = made(150)
    # Under a version that is in force: the first one may have been retired by another file's tests.
    ciphertext = damaged_under(operator[1].kek("demo").latest)
    for grant, wrapped in ((damaged, ciphertext), (no_key, "nonsense"), (number, 7)):
        documents["grants"].update_one({"_id": grant}, {"$set": {"data_key.wrapped": wrapped}})
    other = stored(documents, sound[0])["wrapped"]
    documents["grants"].update_one({"_id": moved}, {"$set": {"data_key.wrapped": other}})
    latest = rotated(operator[1])
    result = console("scheduler", "rewrap", "--app", "demo")
    assert result.exit_code == 1
    assert f"grant {damaged} was left as it is: refused_by_vault" in result.stdout
    assert f"grant {no_key} was left as it is: bad_envelope" in result.stdout
    assert f"grant {number} was left as it is: bad_envelope" in result.stdout
    assert f"grant {moved} was left as it is: refused_by_vault" in result.stdout
    left = [stored(documents, grant)["wrapped"] for grant in (damaged, no_key, number, moved)]
    assert left == [ciphertext, "nonsense", 7, other]
    assert {stored(documents, grant)["key_version"] for grant in sound} == {latest}
    with pytest.raises(NotRetired, match=damaged):
        retire_kek("demo", *operator, utc_now() + LATER)


def test_a_key_whose_copied_version_lies_is_found_by_the_console(quiet, console, operator, made, documents):
    grant = made(1)[0]
    latest = rotated(operator[1])
    documents["grants"].update_one({"_id": grant}, {"$set": {"data_key.key_version": 99}})
    console("scheduler", "rewrap")
    key = stored(documents, grant)
    assert (key["key_version"], key_version(key["wrapped"])) == (latest, latest)


def test_with_the_operators_credentials_rewrap_says_who_does_it(quiet, console, operator, made):
    made(1)
    rotated(operator[1])
    result = console("operator", "rewrap", "--app", "demo")
    assert isinstance(result.exception, VaultDenied)
    assert "the scheduler does this by itself within minutes; to do it now, run with scheduler.env" in str(
        result.exception
    )


def test_with_the_schedulers_credentials_rotate_says_whose_it_takes(console):
    result = console("scheduler", "rotate", "--app", "demo", "--yes")
    assert "takes the operator's credentials" in str(result.exception)


def test_wrong_credentials_are_not_mistaken_for_those_of_another_role(stack):
    settings = settings_from(stack.role_env("operator") | {"ACTAS_VAULT_ROLE_ID": new_id()})
    with closing(VaultKeys(settings)) as vault, pytest.raises(VaultDenied, match="role id or secret id is wrong"):
        vault.rotate(kek_name("demo"))


def test_a_console_that_was_killed_in_the_midst_goes_on_where_it_was(
    quiet, stack, operator, made, documents, console, worker
):
    grants = made(3000)
    before = {grant: stored(documents, grant) for grant in (grants[0], grants[-1])}
    keys = worker.unwrap("demo", [(grant, key["wrapped"]) for grant, key in before.items()])
    latest = rotated(operator[1])
    run = killed_after(2, "actas.stores.wrapped_keys:WrappedKeys.replace")
    killed = subprocess.run(
        [*run, "keys", "rewrap", "--app", "demo"], env=os.environ | stack.role_env("scheduler"), timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    done = documents["grants"].count_documents({"app": "demo", "data_key.key_version": latest})
    assert 0 < done < len(grants)
    assert console("scheduler", "rewrap").exit_code == 0
    after = [(grant, stored(documents, grant)["wrapped"]) for grant in before]
    assert {key_version(wrapped) for _, wrapped in after} == {latest}
    assert worker.unwrap("demo", after) == keys, "the same data keys as before"
    assert documents["grants"].count_documents({"_id": {"$in": grants}, "data_key.key_version": latest}) == 3000


def test_a_batch_that_vault_refuses_as_a_whole_is_asked_for_one_by_one(scheduler, client, monkeypatch):
    vault = scheduler[1]
    wrapped = client._room.vault.wrap("demo", [(name, new_data_key()) for name in ("a", "b")])
    real = hvac.api.secrets_engines.transit.Transit.rewrap_data

    def strict(self: Any, *args: Any, batch_input: Any, **kwargs: Any) -> Any:
        reply = real(self, *args, batch_input=batch_input, **kwargs)
        if any(item.get("error") for item in reply["data"]["batch_results"]):
            raise hvac.exceptions.InvalidRequest
        return reply

    monkeypatch.setattr(hvac.api.secrets_engines.transit.Transit, "rewrap_data", strict)
    result = vault.rewrap("demo", [("a", wrapped[0]), ("x", damaged_under(1)), ("b", wrapped[1])])
    assert [text is None for text in result] == [False, True, False]


# --- retiring ---


def test_nothing_is_retired_within_ten_minutes_of_the_rotation(quiet, console, operator):
    rotated(operator[1])
    result = console("operator", "retire", "--app", "demo")
    assert result.exit_code == 1
    assert "nothing can be retired before" in result.stdout
    with pytest.raises(TooEarly):
        retire_kek("demo", *operator, operator[1].kek("demo").latest_at + SETTLING - timedelta(milliseconds=1))


def test_nothing_is_retired_while_an_old_data_key_is_left_whatever_its_copied_version_says(
    quiet, console, operator, made, documents
):
    grant = made(1)[0]
    latest = rotated(operator[1])
    console("scheduler", "rewrap")
    late = made(1)[0]
    old = {"wrapped": "vault:v1:" + "A" * 80, "key_version": latest}
    documents["grants"].update_one({"_id": late}, {"$set": {f"data_key.{name}": old[name] for name in old}})
    with pytest.raises(NotRetired, match=rf"1 data key.*{late}"):
        retire_kek("demo", *operator, utc_now() + LATER)
    assert operator[1].kek("demo").min_decryption_version < latest
    documents["grants"].delete_one({"_id": grant})


def test_after_retirement_vault_refuses_what_is_under_the_old_version(
    quiet, console, operator, made, documents, worker
):
    grant = made(1)[0]
    copied = stored(documents, grant)["wrapped"]
    latest = rotated(operator[1])
    console("scheduler", "rewrap")
    assert worker.unwrap("demo", [(grant, copied)])
    key = retire_kek("demo", *operator, utc_now() + LATER)
    assert key is not None
    assert key.min_decryption_version == latest
    with pytest.raises(EnvelopeError):
        worker.unwrap("demo", [(grant, copied)])
    assert worker.unwrap("demo", [(grant, stored(documents, grant)["wrapped"])])
    assert retire_kek("demo", *operator, utc_now() + LATER) is None
    assert "nothing to retire" in console("operator", "retire").stdout


def test_what_was_left_under_a_retired_version_is_named_so(quiet, console, operator, made, documents):
    late = made(1)[0]
    copied = stored(documents, late)
    rotated(operator[1])
    console("scheduler", "rewrap")
    retire_kek("demo", *operator, utc_now() + LATER)
    documents["grants"].update_one({"_id": late}, {"$set": {"data_key": copied}})  # from a backup
    assert f"grant {late} was left as it is: version_retired" in console("scheduler", "rewrap").stdout


def signed_by(stack: Stack, client: Any, documents: Any, status: JobStatus) -> str:
    """A job, signed for real by the app's key as it is now, in a state of our choice."""
    now = utc_now()
    run_at, deadline = now + timedelta(days=9), now + timedelta(days=10)
    claims = Claims(new_id(), "demo", "made", "g", "x", "x.post", {"text": "x"}, run_at, deadline, now)
    jws = sign(client._room.vault, KeyVersions(client._room.vault), [claims])[0]
    copies = claims.copies() | {"_id": claims.id, "jws": jws, "status": str(status), "next_at": run_at}
    copies.pop("id")
    documents["jobs"].insert_one(copies | {"created_at": now})
    return claims.id


def test_a_signing_version_is_retired_when_no_unfinished_job_was_signed_by_it(
    quiet, console, operator, client, stack, documents
):
    vault = operator[1]
    jobs = SignedJobs(operator[0]._grants.database)
    old = vault.signing_key("demo").latest
    scheduled = signed_by(stack, client, documents, JobStatus.SCHEDULED)
    signed_by(stack, client, documents, JobStatus.SUCCEEDED)
    assert console("operator", "rotate", "--signing", "--yes", "--app", "demo").exit_code == 0
    new = vault.signing_key("demo").latest
    signed_by(stack, client, documents, JobStatus.PARKED)
    counts = jobs.unfinished("demo")
    assert counts[new] == 1
    shown = json.loads(console("operator", "status", "--app", "demo", "--json").stdout)[0]["signing_key"]
    assert {row["version"]: row["unfinished_jobs"] for row in shown["versions"]}[old] == counts[old]
    with pytest.raises(TooEarly):
        retire_signing_key("demo", jobs, vault, utc_now())
    with pytest.raises(NotRetired, match=f"{counts[old]} by version {old}"):
        retire_signing_key("demo", jobs, vault, utc_now() + LATER)
    unfinished = {"status": {"$nin": ["succeeded", "failed", "expired", "cancelled"]}}
    documents["jobs"].delete_many({"$or": [{"_id": scheduled}, unfinished]})
    assert retire_signing_key("demo", jobs, vault, utc_now() + LATER) is not None
    try:
        assert set(KeyVersions(client._room.vault).all(signing_key_name("demo"))) == {new}
    finally:
        vault.retire_before(signing_key_name("demo"), 1)  # the client of all tests may believe in any for minutes
    assert old in KeyVersions(client._room.vault).all(signing_key_name("demo")), "hidden, and not trimmed"


def test_status_tells_of_versions_and_what_is_under_them(quiet, console, operator, made, documents):
    made(2)
    vault = operator[1]
    old = vault.kek("demo").latest
    before = utc_now()
    rotated(vault)
    made(3)
    found = json.loads(console("operator", "status", "--app", "demo", "--json").stdout)[0]
    grants = {row["version"]: row["grants"] for row in found["kek"]["versions"]}
    assert grants[old + 1] == 3
    assert grants[old] >= 2
    days = {f"{moment:%Y-%m-%d}" for moment in (before, utc_now())}  # two at midnight
    assert found["kek"]["versions"][-1]["created_at"][:10] in days
    assert found["oldest_data_key"] is not None
    table = console("operator", "status", "--app", "demo").stdout
    assert "latest" in table
    assert "3 grants" in table


def test_the_next_batch_is_found_after_any_other(operator, made, documents, quiet):
    keys = operator[0]
    grants = set(made(25))
    latest = rotated(operator[1])
    seen: list[str] = []
    after: Wrapped | None = None
    while batch := keys.older("demo", latest, after, 10):
        seen += [each.grant for each in batch]
        after = replace(batch[-1])
    assert len(seen) == len(set(seen))
    assert grants <= set(seen)
    assert isinstance(operator[1].kek("demo"), KeyInfo)
