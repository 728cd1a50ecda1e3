"""`actas import-tokens`: readable tokens become grants, each once, whatever interrupts it; then they are readable no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bson import ObjectId, encode
from click.testing import Result
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern
from typer.testing import CliRunner

import actas
from actas import GrantStatus, JobStatus, Settings, cli
from actas.clock import utc_now
from actas.embedded.child import plain_environment
from actas.embedded.stack import Stack
from actas.errors import ActasError, MongoUnavailable
from actas.importing.after import NotVerified, shred, verify
from actas.importing.mapping import parse_map
from actas.importing.run import Importer
from actas.providers import BUILT_IN
from actas.providers.model import RefreshProfile
from actas.refresh_life import FIRST_CARE_WITHIN
from actas.stores.database import connect as open_database
from actas.stores.import_source import Source
from actas.stores.importing import ImportedGrants
from actas.stores.verifications import Verifications
from actas.vault.room import VaultRoom
from tests.support import dance, eventually, family, killed_after, nothing_is_sent

ACCOUNTS = "user=handle,refresh_token=x.refresh_token,account=x.id"
NAMELESS = "user=handle,refresh_token=x.refresh_token"

Docs = Collection[dict[str, Any]]


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True) as admin:
        yield admin


@pytest.fixture
def source(admin: MongoClient[dict[str, Any]]) -> Iterator[Docs]:
    """The database of the app as it was: one collection of its own for each test."""
    collection = admin["legacy"][f"users-{uuid4().hex[:8]}"]
    yield collection
    collection.drop()


@dataclass
class Console:
    """The console as the app runs it, with the app's settings; as a process of its own where that matters."""

    env: dict[str, str]

    @property
    def url(self) -> str:
        return self.env["IMPORT_MONGODB_URL"]

    def __call__(self, collection: str, *options: str, mapping: str = ACCOUNTS, provider: str = "x") -> Result:
        arguments = ["import-tokens", *self._arguments(collection, mapping, provider), *options]
        done = CliRunner(env=self.env).invoke(cli.app, arguments)
        shown = f"{done.stdout}{done.stderr}{done.exception!r}"
        assert "canary" not in shown, "no token is ever printed"
        assert isinstance(done.exception, ActasError | SystemExit | None), done.exception
        return done

    def json(self, collection: str, *options: str, **how: str) -> dict[str, Any]:
        done = self(collection, "--json", *options, **how)
        assert done.exit_code == 0, done.exception
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def refusal(self, collection: str, *options: str, **how: str) -> str:
        done = self(collection, *options, **how)
        assert isinstance(done.exception, ActasError)
        return str(done.exception)

    def started(self, collection: str, *options: str, **how: Any) -> subprocess.Popen[bytes]:
        argv = self._argv([sys.executable, "-c", "from actas.cli import main; main()"], collection, *options)
        return subprocess.Popen(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)

    def killed_after(self, calls: int, method: str, collection: str, *options: str) -> None:
        """Killed in the midst, by SIGKILL."""
        argv = self._argv(killed_after(calls, method), collection, *options)
        done = subprocess.run(argv, env=self.env, capture_output=True, timeout=120, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr

    def _argv(self, program: list[str], collection: str, *options: str) -> list[str]:
        return [*program, "import-tokens", *self._arguments(collection, ACCOUNTS, "x"), *options]

    @staticmethod
    def _arguments(collection: str, mapping: str, provider: str) -> list[str]:
        return ["--collection", collection, "--map", mapping, "--provider", provider]


@pytest.fixture
def console(stack: Stack) -> Console:
    url = addressed(stack.servers.mongod.url.get_secret_value(), "legacy")
    ours = {"PYTHONPATH": str(Path(actas.__file__).parents[1]), "IMPORT_MONGODB_URL": url}
    return Console(plain_environment() | stack.role_env("app-demo") | ours)


def addressed(url: str, database: str) -> str:
    """The administrator's address, with another database in its path."""
    host, _, options = url.partition("?")
    return f"{host.rsplit('/', 1)[0]}/{database}?{options or 'authSource=admin'}"


@pytest.fixture
def grants(admin: MongoClient[dict[str, Any]], user: str) -> Iterator[Docs]:
    """The stored grants; thousands of them are not left for the tests of other files."""
    yield admin["actas"]["grants"]
    admin["actas"]["grants"].delete_many(of(user))


@contextmanager
def importer(
    settings: Settings, url: str, source: Docs, mapping: str = ACCOUNTS
) -> Iterator[tuple[Importer, Verifications]]:
    """The steps one by one, as the console takes them."""
    documents = open_database(settings.mongodb_url)
    with (
        closing(documents.client),
        closing(VaultRoom(settings)) as vault,
        closing(Source(SecretStr(url), source.name, parse_map(mapping))) as theirs,
    ):
        grants = ImportedGrants(documents, "demo", "x")
        yield (
            Importer(
                "demo",
                "x",
                BUILT_IN["x"].refresh,
                "actas-demo",
                frozenset({"tweet.write"}),
                theirs,
                grants,
                vault,
                utc_now,
            ),
            Verifications(documents),
        )


def ignore(_: int) -> None:
    pass


def doc(user: str, token: str | None = None, **more: Any) -> dict[str, Any]:
    token = token or f"canary-{uuid4().hex}"
    return {"handle": user, "x": {"id": f"id-{user}", "refresh_token": token} | more, "plan": "free"}


def of(user: str) -> dict[str, Any]:
    return {"user": {"$regex": f"^{user}"}}


def readable(source: Docs) -> int:
    return source.count_documents(
        {"$or": [{"x.refresh_token": {"$exists": True}}, {"x.access_token": {"$exists": True}}]}
    )


def test_without_run_it_counts_and_writes_nothing(console, source, grants, connect, client, user):
    taken = connect(user)
    source.insert_many(
        [
            doc(f"{user}-a"),
            doc(f"{user}-b"),
            doc(f"{user}-b"),
            {"_id": "no-token", "handle": f"{user}-c", "x": {"id": "1"}},
            {"_id": "no-user", "x": {"id": "2", "refresh_token": "canary-2"}},
            {
                "_id": "canary-3-is-the-token",
                "handle": f"{user}-d",
                "x": {"id": "3", "refresh_token": "canary-3-is-the-token"},
            },
            {"handle": user, "x": {"id": taken.account, "refresh_token": "canary-older"}},
        ]
    )
    before = list(source.find()), list(grants.find(of(user)))
    told = console.json(source.name, "--shred")
    assert {name: told[name] for name in ("run", "found", "importable", "connected_here", "already_stored")} == {
        "run": False,
        "found": 7,
        "importable": 2,
        "connected_here": 1,
        "already_stored": 0,
    }
    assert told["duplicates"]["count"] == 1
    assert {tally["count"] for tally in told["unusable"].values()} == {1}
    examples = [tally["examples"] for tally in told["unusable"].values()]
    assert sorted(examples) == [[], ["no-token"], ["no-user"]]
    assert (told["scopes_assumed"], "tweet.write" in told["scopes"]) == (True, True)
    said = console(source.name).stdout
    assert "nothing was written" in said
    assert "assumed" in said
    assert (list(source.find()), list(grants.find(of(user)))) == before


def test_tokens_are_stored_read_back_and_unset_and_work(console, source, grants, client, sandbox, user, posts, admin):
    mine = dance(client, sandbox, user)
    # An access token that is no good any more, so that the job must exchange the refresh token.
    docs = [doc(user, mine["refresh_token"], access_token=f"canary-of-{user}", until=1)]
    docs += [doc(f"{user}-{n}", access_token=f"canary-{n}-of-{user}", until=2_000_000_000) for n in range(5)]
    source.insert_many(docs)
    tokens = [each["x"][name] for each in docs for name in ("refresh_token", "access_token")]
    mapping = f"{ACCOUNTS},access_token=x.access_token,expires_at=x.until"
    told = console.json(
        source.name, "--run", "--shred", "--yes", "--scopes", "tweet.write tweet.read users.read", mapping=mapping
    )
    assert (told["stored"], told["verified"]) == ({"new": 6, "anew": 0}, 6)
    assert told["shredded"] == {"unset": 6, "changed_since": 0, "used_here_and_changed_there": 0, "left": 0}
    assert readable(source) == 0
    assert source.count_documents({"plan": "free", "x.id": {"$exists": True}}) == 6, "and nothing else is gone"
    stored = list(grants.find(of(user)))
    assert {each["generation"] for each in stored} == {1}
    assert {each["verified"]["ok"] for each in stored} == {True}
    assert sum(each["access_token"] is not None for each in stored) == 5
    assert not [each for each in stored if "fingerprint" in each["imported"] or "verify_asked_at" in each]
    raw = b"".join(
        encode(each) for name in admin["actas"].list_collection_names() for each in admin["actas"][name].find()
    )
    assert not [token for token in tokens if token.encode() in raw]
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "moved"}).id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["moved"]
    again = console.json(source.name, "--run", "--shred", "--yes", mapping=mapping)
    assert (again["stored"], again["shredded"]["unset"]) == ({"new": 0, "anew": 0}, 0)


def test_killed_midway_and_run_again_each_token_is_stored_once(console, source, grants, user):
    source.insert_many([doc(f"{user}-{n:05}") for n in range(2_000)])
    console.killed_after(5, "actas.stores.importing:ImportedGrants.insert", source.name, "--run")
    first = {each["_id"]: each["refresh_token"] for each in grants.find(of(user))}
    assert 0 < len(first) < 2_000
    told = console.json(source.name, "--run")
    assert (told["already_stored"], told["stored"]["new"]) == (len(first), 2_000 - len(first))
    stored = {each["_id"]: each for each in grants.find(of(user))}
    assert len({each["account"] for each in stored.values()}) == len(stored) == 2_000
    assert all(stored[grant]["refresh_token"] == token for grant, token in first.items()), "nothing was overwritten"
    assert told["verified"] >= 200
    console.killed_after(2, "actas.stores.import_source:Source.unset", source.name, "--run", "--shred", "--yes")
    left = readable(source)
    assert 0 < left < 2_000
    told = console.json(source.name, "--run", "--shred", "--yes")
    assert told["shredded"]["unset"] == left
    assert readable(source) == 0
    assert grants.count_documents(of(user) | {"imported.fingerprint": {"$exists": True}}) == 0


def test_what_was_stored_and_not_confirmed_reads_as_an_outage_and_is_not_stored_twice(
    console, source, grants, user, app_settings
):
    """As in a failover: each write is made, and no majority says so."""
    source.insert_many([doc(f"{user}-{n}") for n in range(3)])
    with (
        importer(app_settings, console.url, source) as (one, _),
        closing(open_database(app_settings.mongodb_url).client) as ours,
    ):
        nobody_confirms = ours["actas"].with_options(write_concern=WriteConcern(w=3, wtimeout=50))
        with pytest.raises(MongoUnavailable):
            replace(one, grants=ImportedGrants(nobody_confirms, "demo", "x")).store(one.survey(ignore), ignore)
        before = list(grants.find(of(user)))
        assert one.store(one.survey(ignore), ignore).total() == 0, "whether a majority shows it already or not yet"
    assert len(before) == 3
    assert list(grants.find(of(user))) == before


def test_a_token_that_changed_since_is_not_unset_and_stored_anew_when_run_again(
    console, source, grants, client, sandbox, user, posts
):
    source.insert_many([doc(f"{user}-still"), doc(user)])
    console.json(source.name, "--run")
    newer = dance(client, sandbox, user)["refresh_token"]
    source.update_one({"handle": user}, {"$set": {"x.refresh_token": newer}})
    survey = console.json(source.name)
    assert (survey["of_these_changed_since"], survey["already_stored"]) == (1, 1)
    told = console.json(source.name, "--run", "--shred", "--yes")
    assert (told["stored"], told["shredded"]["unset"]) == ({"new": 0, "anew": 1}, 2)
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "newer"}).id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["newer"]


def test_a_token_that_changes_while_it_is_unset_stays(console, source, grants, user, app_settings, monkeypatch):
    """The old app writes between our reading and our writing: what it wrote is nowhere else."""
    source.insert_many([doc(f"{user}-a"), doc(f"{user}-b")])
    told = console.json(source.name, "--run")
    assert told["stored"]["new"] == 2
    with importer(app_settings, console.url, source) as (one, _):
        unset = one.source.unset

        def old_app_is_faster(docs: Any) -> int:
            source.update_one({"handle": f"{user}-b"}, {"$set": {"x.refresh_token": "canary-written-meanwhile"}})
            return unset(docs)

        monkeypatch.setattr(one.source, "unset", old_app_is_faster)
        done = shred(one, ignore)
    assert (done.unset, done.changed_since) == (1, 1)
    assert source.find_one({"handle": f"{user}-b"})["x"]["refresh_token"] == "canary-written-meanwhile"
    assert [each["user"] for each in grants.find(of(user) | {"imported.fingerprint": {"$exists": True}})] == [
        f"{user}-b"
    ]


def test_a_grant_that_was_used_is_left_alone_when_its_source_changed(console, source, grants, client, sandbox, user):
    source.insert_one(doc(user, dance(client, sandbox, user)["refresh_token"]))
    console.json(source.name, "--run")
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "used"}).id).status is JobStatus.SUCCEEDED
    source.update_one({"handle": user}, {"$set": {"x.refresh_token": "canary-other"}})
    before = grants.find_one({"user": user})["refresh_token"]
    told = console.json(source.name, "--run", "--shred", "--yes")
    assert told["used_here_and_changed_there"] == told["shredded"]["used_here_and_changed_there"] == 1
    assert grants.find_one({"user": user})["refresh_token"] == before
    assert readable(source) == 1


def test_users_without_an_account_get_it_when_they_connect_and_keep_their_grant(
    console, source, grants, client, connect, sandbox, user, posts
):
    source.insert_many(
        [doc(user, dance(client, sandbox, user)["refresh_token"]), {"handle": ObjectId(), "x": doc("")["x"]}]
    )
    assert console.json(source.name, "--run", mapping=NAMELESS)["stored"]["new"] == 2
    (grant,) = client.grants(user=user)
    assert grant.account == f"imported:{user}"
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "1"}).id).status is JobStatus.SUCCEEDED
    connected = connect(user)
    assert [(each.id, each.account) for each in client.grants(user=user)] == [(grant.id, connected.account)]
    assert (connected.id, connected.generation, connected.account.isdigit()) == (grant.id, 3, True)
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "2"}).id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["1", "2"]
    again = console.json(source.name, "--run", "--shred", "--yes", mapping=NAMELESS)
    assert again["stored"]["new"] == 0, "who has connected is not imported once more"
    assert (again["shredded"]["unset"], readable(source)) == (2, 0)


def test_a_run_that_is_behind_does_not_put_back_a_token_that_is_just_being_exchanged(
    console, source, client, sandbox, user, app_settings, posts
):
    """Its page is in memory; meanwhile another run has stored and unset all, and a worker is at the provider."""
    source.insert_one(doc(user, dance(client, sandbox, user)["refresh_token"]))
    with importer(app_settings, console.url, source) as (late, _):
        batch = list(late._to_do(late.survey(ignore)))
        console.json(source.name, "--run", "--shred", "--yes")
        sandbox.misbehave("token", "hold_after", times=1, account=user)
        job = client.schedule("x.post", user=user, payload={"text": "once"})
        eventually(lambda: sandbox.held() == 1, what="the exchange is under way")
        late._store(batch)
    sandbox.release()
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["once"]
    assert (family(sandbox, user)["alive"], family(sandbox, user)["reuse"]) == (True, 0)


def test_a_user_who_connects_in_the_midst_of_an_import_has_one_account_to_act_as(
    console, source, client, connect, user, app_settings, posts
):
    source.insert_one(doc(user))
    with importer(app_settings, console.url, source, NAMELESS) as (one, _):
        insert = one.grants.insert

        def connects_first(*args: Any) -> int:
            connect(user)
            return insert(*args)

        one.grants.insert = connects_first
        one.store(one.survey(ignore), ignore)
    assert len(client.grants(user=user)) == 2
    assert client.grant(user=user, provider="x").account == connect(user).account
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "it"}).id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["it"]


def test_a_verdict_that_goes_when_its_user_connects_again_was_given_all_the_same(
    console, source, grants, connect, user, app_settings
):
    source.insert_many([doc(user), doc(f"{user}-b")])
    with importer(app_settings, console.url, source, NAMELESS) as (one, verifications):
        one.store(one.survey(ignore), ignore)
        ids = [each["_id"] for each in grants.find(of(user))]
        first = str(grants.find_one({"user": user})["_id"])

        class OneAfterTheOther:
            def __init__(self) -> None:
                self.connected = False

            def ask_to_verify(self, *args: Any) -> None:
                verifications.ask_to_verify(*args)

            def verdicts(self, asked: list[str]) -> dict[str, str | None]:
                found = verifications.verdicts(asked)
                if first in found and not self.connected:
                    self.connected = True
                    connect(user)
                    return {first: found[first]}
                return found

        verify(OneAfterTheOther(), ids, ignore, clock=utc_now)


def test_a_document_with_two_tokens_is_relieved_of_each_by_its_own_run(console, source, client, sandbox, user):
    two = {**doc(user), "y": {"id": f"{user}-y", "refresh_token": dance(client, sandbox, user)["refresh_token"]}}
    source.insert_one(two)
    other = "user=handle,refresh_token=y.refresh_token,account=y.id"
    for mapping in (ACCOUNTS, other):
        console.json(source.name, "--run", mapping=mapping)
    console.json(source.name, "--run", "--shred", "--yes")
    account = f"{user}-y"
    job = client.schedule("x.post", user=user, payload={"text": "used"}, account=account)
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    told = console.json(source.name, "--run", "--shred", "--yes", mapping=other)
    assert (told["shredded"]["unset"], told["shredded"]["used_here_and_changed_there"]) == (1, 0)


def test_a_user_who_disconnected_is_not_brought_back(console, source, client, connect, user):
    connect(user)
    client.disconnect(user=user, provider="x")
    source.insert_one(doc(user))
    told = console.json(source.name, "--run", mapping=NAMELESS)
    assert (told["stored"]["new"], told["connected_here"]) == (0, 1)
    assert [each.status for each in client.grants(user=user)] != [GrantStatus.ACTIVE]


def test_what_may_have_lain_idle_for_long_is_exchanged_within_days(console, source, grants, user, app_settings):
    """Nobody knows how old an imported token is: cared for at 70 % of a life counted from today, it may be dead."""
    source.insert_many([doc(f"{user}-{n}") for n in range(3)])
    began = utc_now()
    with importer(app_settings, console.url, source) as (one, _):
        half_a_year = replace(one, refresh=RefreshProfile(kind="rotating", lifetime_seconds=180 * 86400))
        half_a_year.store(half_a_year.survey(ignore), ignore)
    stored = list(grants.find(of(user)))
    assert len({each["care_at"] for each in stored}) == 3
    assert all(began <= each["care_at"] <= utc_now() + FIRST_CARE_WITHIN for each in stored)


def test_nothing_is_unset_when_a_stored_token_cannot_be_read_back(console, source, grants, user):
    source.insert_many([doc(f"{user}-a"), doc(f"{user}-b")])
    console.json(source.name, "--run")
    grants.update_one({"user": f"{user}-a"}, {"$set": {"refresh_token.ciphertext": b"damaged"}})
    assert "cannot read 1 of 2 stored grants (bad_envelope: 1)" in console.refusal(
        source.name, "--run", "--shred", "--yes"
    )
    assert readable(source) == 2


def test_without_a_worker_and_a_scheduler_it_says_so_and_unsets_nothing(console, source, stack, user, app_settings):
    source.insert_one(doc(user))
    with nothing_is_sent(stack), importer(app_settings, console.url, source) as (one, grants_of_ours):
        one.store(one.survey(ignore), ignore)
        ids = one.grants.sample(one.source.origin, 10)
        with pytest.raises(NotVerified, match="read 0: are a worker, a scheduler"):
            verify(grants_of_ours, ids, ignore, clock=utc_now, patience=0.5)
    assert readable(source) == 1


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 1), (b"y\n", 0)], ids=["no", "yes"])
def test_it_asks_before_it_unsets(console, source, user, answer, left):
    source.insert_one(doc(user))
    keyboard, terminal = os.openpty()
    try:
        running = console.started(source.name, "--run", "--shred", stdin=terminal)
        os.write(keyboard, answer)
        told, asked = running.communicate(timeout=60)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert b"unset the readable tokens" in asked
    assert readable(source) == left
    assert (running.returncode, b"oplog and backups" in told) == (left, not left)


@pytest.mark.parametrize(
    ("options", "how", "words"),
    [
        ([], {"mapping": "user=handle"}, "refresh_token must be there"),
        ([], {"mapping": "user=handle,refresh_token=nowhere"}, "none of the 1 documents"),
        ([], {"provider": "nobody"}, "no provider 'nobody'"),
        (["--scopes", "tweet.write \\"], {}, "no scope"),
        (["--from-mongodb", "mongodb://127.0.0.1:1/"], {}, "DATABASE"),
        (["--from-mongodb", "canary://u:canary@h/x"], {}, "DATABASE"),
        (
            ["--from-mongodb", "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=300"],
            {},
            "source's MongoDB does not answer",
        ),
        (["--run", "--shred"], {}, "--yes"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(console, source, user, options, how, words):
    source.insert_one(doc(user))
    said = console.refusal(source.name, *options, **how)
    assert words in said
    assert "\n" not in said


def test_a_collection_that_is_not_there_is_told_with_those_that_are(console, source, user):
    source.insert_one(doc(user))
    said = console.refusal("nobody")
    assert "legacy.nobody is empty or not there; in legacy there are: " in said
    assert source.name in said


def test_a_source_that_lets_us_not_in_or_not_write_is_told_before_anything_is_stored(
    console, source, grants, admin, stack, user
):
    source.insert_one(doc(user))
    name = f"reader-{uuid4().hex[:6]}"
    admin["legacy"].command("createUser", name, pwd="canary-pw", roles=["read"])
    host = stack.servers.mongod.address
    console.env["IMPORT_MONGODB_URL"] = f"mongodb://{name}:canary-pw@{host}/legacy"
    assert console(source.name).exit_code == 0
    assert "may not read and update" in console.refusal(source.name, "--run", "--shred", "--yes")
    console.env["IMPORT_MONGODB_URL"] = f"mongodb://{name}:canary-wrong@{host}/legacy"
    assert "refuses user, password" in console.refusal(source.name)
    assert list(grants.find(of(user))) == []


def test_without_the_apps_own_credentials_nothing_is_stored(console, source, stack, grants, user):
    source.insert_one(doc(user))
    providers = Path(console.env["ACTAS_PROVIDERS_FILE"])
    other = providers.with_name("providers-for-import.toml")
    other.write_text(f"{providers.read_text()}\n{providers.read_text().replace('[providers.x]', '[providers.y]')}" + Y)
    console.env["ACTAS_PROVIDERS_FILE"] = str(other)
    assert "no client credentials for y" in console.refusal(source.name, "--run", provider="y")
    assert list(grants.find(of(user))) == []


Y = """
account_path = "/me"
account_id = ["id"]
refresh = {kind = "static"}
"""
