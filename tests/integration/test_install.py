"""The installer: it ends in one state wherever it began, keeps what works, and says in one line what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import pytest
import redis
import redis.exceptions
import requests
import typer
from pydantic import SecretStr
from pymongo import MongoClient, monitoring
from pymongo.errors import OperationFailure, PyMongoError
from typer.testing import CliRunner

from actas.cli import admin, doctor
from actas.embedded import binaries
from actas.embedded.child import stop_all
from actas.embedded.place import Place
from actas.embedded.servers import Servers
from actas.errors import ActasError, MongoRefused, NotFound, SettingsError, Unavailable, VaultDenied, VaultUnavailable
from actas.installing import addresses, env_files, installer, role_files
from actas.settings import Settings
from actas.stores import installing as stores_installing
from actas.stores.importing import ImportedGrants
from actas.stores.installing import INDEXES
from actas.vault.room import VaultRoom
from tests.support import eventually

ENV_FILES = {"worker", "scheduler", "operator", "flower", "producer"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    place = Place(tmp_path_factory.mktemp("install") / "stack")
    place.enter()
    servers = Servers.find(place, place.ports(["valkey", "mongod", "bao", "bao-cluster"]))
    try:
        servers.start()
        yield servers
    finally:
        stop_all(list(servers))
        place.leave()


class Installation:
    """What is given to the installer, and what it left behind."""

    def __init__(self, servers: Servers, out: Path) -> None:
        self.servers = servers
        self.out = out
        self.vault = {"vault_addr": servers.bao.url, "vault_token": servers.bao.token}
        self.for_apps = self.vault | {"mongodb_url": servers.mongod.url, "out": out}
        self.given = self.for_apps | {"redis_url": servers.valkey.url}

    def run(self, **other: Any) -> None:
        installer.install(**self.given | other)

    def mend(self) -> None:
        self.run()
        installer.add_app("web", **self.for_apps)

    def env(self, role: str) -> dict[str, str]:
        return env_files.read(self.out / f"{role}.env")

    def files(self) -> dict[str, str]:
        return {file.name: file.read_text() for file in self.out.iterdir()}

    def root(self) -> hvac.Client:
        return hvac.Client(self.servers.bao.url, self.servers.bao.token.get_secret_value())

    @contextmanager
    def mongo(self, role: str | None = None) -> Iterator[Any]:
        url = self.env(role)["ACTAS_MONGODB_URL"] if role else self.servers.mongod.url.get_secret_value()
        with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=3000) as client:
            yield client["actas"]

    @contextmanager
    def redis(self, url: str | None = None) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(url or self.servers.valkey.url.get_secret_value(), decode_responses=True) as client:
            yield client

    def sign_in_everywhere(self, role: str) -> None:
        sign_in_everywhere(self.env(role))

    def state(self) -> Any:
        """Everything the installer is responsible for, in the three servers."""
        root = self.root()
        policies = root.sys.list_policies()["data"]["policies"]
        roles = root.auth.approle.list_roles()["data"]["keys"]
        keys = root.secrets.transit.list_keys()["data"]["keys"] if self.has_keys() else []
        with self.mongo() as database, self.redis() as admin_client:
            return {
                "mounts": {
                    path: (mount["type"], mount["options"])
                    for path, mount in root.sys.list_mounted_secrets_engines()["data"].items()
                },
                "policies": {name: root.sys.read_policy(name)["data"]["rules"] for name in policies},
                "approles": {name: root.auth.approle.read_role(name)["data"] for name in roles},
                "secret ids": {name: len(self.secret_ids(name)) for name in roles},
                "keys": {name: root.secrets.transit.read_key(name)["data"]["keys"] for name in keys},
                "collections": sorted(database.list_collection_names()),
                "indexes": {name: database[name].index_information() for name in INDEXES},
                "roles": database.command("rolesInfo", 1, showPrivileges=True)["roles"],
                "users": [
                    (user["user"], user["roles"], user["mechanisms"])
                    for user in database.command("usersInfo", 1)["users"]
                ],
                "acl": admin_client.acl_list(),
            }

    def has_keys(self) -> bool:
        try:
            self.root().secrets.transit.list_keys()
        except hvac.exceptions.InvalidPath:
            return False
        return True

    def secret_ids(self, name: str) -> list[str]:
        try:
            return self.root().auth.approle.list_secret_id_accessors(name)["data"]["keys"]
        except hvac.exceptions.InvalidPath:
            return []


def sign_in_everywhere(env: dict[str, str]) -> None:
    """Use every credential of an env file."""
    if "ACTAS_VAULT_ADDR" in env:
        vault = hvac.Client(env["ACTAS_VAULT_ADDR"])
        vault.auth.approle.login(env["ACTAS_VAULT_ROLE_ID"], env["ACTAS_VAULT_SECRET_ID"])
    if "ACTAS_MONGODB_URL" in env:
        with MongoClient[Any](env["ACTAS_MONGODB_URL"], serverSelectionTimeoutMS=3000) as client:
            client.get_default_database().command("ping")
    for name in {"ACTAS_REDIS_URL", "ACTAS_BROKER_URL"} & set(env):
        with redis.Redis.from_url(env[name]) as client:
            client.ping()


@pytest.fixture(scope="module")
def house(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Installed, with an app; for tests that look, that end with it mended, or are refused before a change."""
    house = Installation(servers, tmp_path_factory.mktemp("house") / "secrets")
    house.mend()
    return house


@pytest.fixture
def house_to_break(house: Installation) -> Iterator[Installation]:
    """The same, mended afterwards."""
    yield house
    house.mend()


# --- what comes out -------------------------------------------------------------------------------------------------------


def test_each_role_gets_a_file_that_only_its_owner_reads_and_that_works(house: Installation) -> None:
    assert {file.stem for file in house.out.iterdir()} == ENV_FILES | {"app-web"}
    assert stat.S_IMODE(house.out.stat().st_mode) == 0o700
    for file in house.out.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        house.sign_in_everywhere(file.stem)


@pytest.mark.parametrize("role", ["worker", "scheduler", "operator", "app-web"])
def test_a_process_that_sourced_its_file_has_its_settings(
    house: Installation, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = subprocess.run(
        ["/bin/sh", "-c", f". {house.out / role}.env && env -0"], capture_output=True, text=True, check=True, env={}
    ).stdout
    sourced = dict(line.split("=", 1) for line in exported.split("\0") if line.startswith("ACTAS_"))
    assert sourced == house.env(role)
    for name, value in sourced.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env()
    assert settings.app == ("web" if role == "app-web" else None)
    VaultRoom(settings).check()


def test_values_survive_the_shell_whatever_is_in_them(tmp_path: Path) -> None:
    values = {"ACTAS_A": 'it\'s "$HOME" `id` \\ #x\n!', "ACTAS_B": "", "ACTAS_C": "a=b"}
    env_files.write(tmp_path / "x.env", values)
    assert env_files.read(tmp_path / "x.env") == values
    said = subprocess.run(
        ["/bin/sh", "-c", f'. {tmp_path}/x.env; printf %s "$ACTAS_A"'], capture_output=True, text=True, check=True
    ).stdout
    assert said == values["ACTAS_A"]


def test_no_file_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_files.write(tmp_path / "x.env", {"A": "1"})

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(SettingsError, match="No space left"):
        env_files.write(tmp_path / "x.env", {"A": "2"})
    assert [file.name for file in tmp_path.iterdir()] == ["x.env"]
    assert env_files.read(tmp_path / "x.env") == {"A": "1"}


def test_client_credentials_reach_the_app_and_the_worker_only(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installer.set_client_credentials(
        app="web", provider="x", client_id="id", client_secret=SecretStr("s3cret"), **house.vault
    )
    installer.set_client_credentials(app="web", provider="public", client_id="id2", client_secret=None, **house.vault)
    for role in ("app-web", "worker"):
        with monkeypatch.context() as patch:
            for name, value in house.env(role).items():
                patch.setenv(name, value)
            room = VaultRoom(Settings.from_env())
        found = room.client_credentials("web", "x")
        assert (found.client_id, found.client_secret) == ("id", SecretStr("s3cret"))
        assert room.client_credentials("web", "public").client_secret is None


def test_each_index_serves_the_question_it_was_made_for(house: Installation) -> None:
    questions: dict[str, list[dict[str, Any]]] = {
        "jobs": [
            {"status": "scheduled", "next_at": {"$lte": 1}},
            {"app": "a", "idempotency_key": {"$in": ["k"]}},
            {"status": "running", "claim.until": {"$lt": 1}},
            {"app": "a", "user": "u", "status": "queued"},
            {"batch": "b"},
            {"grant": "g", "status": "parked"},
            {"status": "parked", "deadline": {"$lte": 1}},
        ],
        "grants": [{"app": "a", "provider": "x", "account": "1"}, {"app": "a", "user": "u"}, {"status": "revoking"}],
        "blacklist": [{"expires_at": {"$lt": 1}}],
    }
    with house.mongo() as database:
        for collection, queries in questions.items():
            for query in queries:
                plan = json.dumps(database[collection].find(query).explain()["queryPlanner"]["winningPlan"])
                assert "IXSCAN" in plan, query
        pipeline = [{"$match": {"status": "parked", "held": {"$ne": True}}}, {"$group": {"_id": "$grant"}}]
        hint = {"status": 1, "held": 1, "grant": 1}
        command = {"aggregate": "jobs", "pipeline": pipeline, "hint": hint, "cursor": {}}
        plan = json.dumps(database.command("explain", command), default=str)
        assert ("SCAN" in plan, "FETCH" in plan, "COLLSCAN" in plan) == (True, False, False)


def test_what_an_import_asks_about_its_own_grants_leaves_all_others_alone(house: Installation) -> None:
    """As sent, seen by a listener and explained: a sample to read back, and pages of grants to compare."""
    asked = Commands({"find", "aggregate"})
    url = house.servers.mongod.url.get_secret_value()
    with MongoClient[dict[str, Any]](url, event_listeners=[asked]) as client:
        database = client["actas"]
        others = [{"app": "web", "provider": "x", "account": f"own-{n}"} for n in range(300)]
        imported = [
            {"app": "web", "provider": "x", "account": f"{source}-{n}", "refresh_token": {}}
            | {"_id": f"{source}-{n:03}", "imported": {"source": source, "source_id": n, "fingerprint": b"1"}}
            for source in ("db.users", "db.others")
            for n in range(30)
        ]
        database.grants.insert_many([*others, *imported])
        try:
            grants = ImportedGrants(database, "web", "x")
            sample = grants.sample("db.users", 5)
            page = grants.comparable("db.users", after="db.users-004", limit=10)
            asked.over = True
            plans = [database.command("explain", command, verbosity="executionStats") for command in asked.seen]
        finally:
            database.grants.delete_many({})
    assert {"db.users-000", "db.users-029"} <= set(sample)
    assert sorted(page) == [f"db.users-{n:03}" for n in range(5, 15)]
    assert len(plans) == 4
    for plan in plans:
        stages = set(values_of(list(values_of(plan, "winningPlan")), "stage"))
        assert "IXSCAN" in stages
        assert not {"COLLSCAN", "SORT"} & stages
        assert max(values_of(plan, "totalDocsExamined")) <= 30
        assert max(values_of(plan, "totalKeysExamined")) <= 31


class Commands(monitoring.CommandListener):
    """The commands of these names that were sent."""

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self.seen: list[dict[str, Any]] = []
        self.over = False

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in self._names and not self.over:
            ours = {"lsid", "$db", "$clusterTime", "$readPreference", "txnNumber"}
            self.seen.append({name: value for name, value in event.command.items() if name not in ours})

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


def values_of(plan: Any, name: str) -> Iterator[Any]:
    """All values that stand somewhere in a plan under this name."""
    if isinstance(plan, dict):
        if name in plan:
            yield plan[name]
        plan = plan.values()
    elif not isinstance(plan, list):
        return
    for each in plan:
        yield from values_of(each, name)


def test_jobs_without_an_idempotency_key_do_not_collide_and_with_one_they_do(house: Installation) -> None:
    with house.mongo() as database:
        any_shape = {"bypass_document_validation": True}
        jobs = [{"app": "a"}, {"app": "a"}, {"app": "b", "idempotency_key": "k"}]
        database.jobs.insert_many(jobs, **any_shape)
        database.jobs.insert_one({"app": "a", "idempotency_key": "k"}, **any_shape)
        with pytest.raises(PyMongoError, match="E11000"):
            database.jobs.insert_one({"app": "a", "idempotency_key": "k"}, **any_shape)
        database.jobs.delete_many({})


# --- again, and again after something went wrong ------------------------------------------------------------------------------


def test_running_it_again_changes_nothing(house: Installation) -> None:
    state, files = house.state(), house.files()
    house.mend()
    assert house.state() == state
    assert house.files() == files
    assert all(count == 1 for name, count in state["secret ids"].items() if name in NAMES)


NAMES = {"actas-worker", "actas-scheduler", "actas-operator", "actas-app-web"}


@pytest.mark.parametrize("role", ["worker", "flower", "app-web"])
def test_a_role_whose_file_is_gone_gets_new_credentials_and_the_old_ones_die(house: Installation, role: str) -> None:
    old, others = house.env(role), {name: text for name, text in house.files().items() if name != f"{role}.env"}
    (house.out / f"{role}.env").unlink()
    house.mend()

    house.sign_in_everywhere(role)
    assert {name: text for name, text in house.files().items() if name != f"{role}.env"} == others
    for name in set(old) - {"ACTAS_APP", "ACTAS_VAULT_ADDR"}:
        one = {name: old[name]}
        if name == "ACTAS_VAULT_ROLE_ID":
            continue
        if name == "ACTAS_VAULT_SECRET_ID":
            one = {key: old[key] for key in old if "VAULT" in key}
        with pytest.raises((hvac.exceptions.VaultError, OperationFailure, redis.exceptions.AuthenticationError)):
            sign_in_everywhere(one)


def lose_everything_in_redis(house: Installation) -> None:
    with house.redis() as client:
        client.acl_deluser("actas-worker", "actas-scheduler", "actas-operator", "actas-flower")


def lose_the_databases_users(house: Installation) -> None:
    with house.mongo() as database:
        database.command("dropAllUsersFromDatabase")
        database.command("dropAllRolesFromDatabase")


def lose_a_collection_and_an_index(house: Installation) -> None:
    with house.mongo() as database:
        database.outbox.drop()
        database.jobs.drop_index("status_1_next_at_1")


def lose_approles_and_policies(house: Installation) -> None:
    root = house.root()
    for name in NAMES:
        root.auth.approle.delete_role(name)
        root.sys.delete_policy(name)


def lose_secret_ids(house: Installation) -> None:
    for name in NAMES:
        for accessor in house.secret_ids(name):
            house.root().auth.approle.destroy_secret_id_accessor(name, accessor)


def widen_everything(house: Installation) -> None:
    root = house.root()
    root.sys.create_or_update_policy("actas-scheduler", 'path "transit/decrypt/*" { capabilities = ["update"] }')
    root.auth.approle.create_or_update_approle("actas-worker", token_policies=["root"], token_max_ttl="99h")
    with house.mongo() as database:
        database.command("grantRolesToUser", "app-web", roles=["worker"])
        database.command("grantPrivilegesToRole", "app", privileges=[EFFECTS_TOO])
    with house.redis() as client:
        client.execute_command("ACL SETUSER", "actas-flower", "allkeys", "+@all", "nopass")
        client.execute_command("ACL SETUSER", "default", "on")


EFFECTS_TOO = {"resource": {"db": "actas", "collection": "effects"}, "actions": ["insert"]}


@pytest.mark.parametrize(
    "accident",
    [
        lose_everything_in_redis,
        lose_the_databases_users,
        lose_a_collection_and_an_index,
        lose_approles_and_policies,
        lose_secret_ids,
        widen_everything,
    ],
)
def test_it_mends_what_was_lost_or_changed_by_hand(
    house: Installation, accident: Callable[[Installation], None]
) -> None:
    state, files = house.state(), house.files()
    accident(house)
    house.mend()

    after = house.state()
    assert after == state
    for role in (*ENV_FILES, "app-web"):
        house.sign_in_everywhere(role)
    if accident not in (lose_approles_and_policies, lose_secret_ids):
        assert house.files() == files  # passwords are put back, so running processes go on


@pytest.mark.parametrize("written", range(len(ENV_FILES)))
def test_dying_between_any_two_files_leaves_nothing_that_another_run_does_not_finish(
    house_to_break: Installation, tmp_path: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = Installation(house_to_break.servers, tmp_path / "secrets")
    write, left = env_files.write, iter([True] * written)

    def dying(file: Path, values: dict[str, str]) -> None:
        if not next(left, False):
            raise KeyboardInterrupt
        write(file, values)

    with monkeypatch.context() as patch:
        patch.setattr(env_files, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            house.run()
    files = house.files()
    assert len(files) == written
    house.run()
    assert files.items() <= house.files().items()
    for role in ENV_FILES:
        house.sign_in_everywhere(role)


def test_what_an_operator_added_to_a_file_stays(house: Installation) -> None:
    file = house.out / "worker.env"
    file.write_text("# ours\n" + file.read_text() + "export ACTAS_JOB_LEASE_SECONDS=120\n")
    before = house.env("worker")
    house.run()
    assert house.env("worker") == before
    assert before["ACTAS_JOB_LEASE_SECONDS"] == "120"


def test_a_new_address_is_taken_up_with_the_old_password(house_to_break: Installation) -> None:
    house = house_to_break
    elsewhere = house.servers.mongod.url.get_secret_value().replace("127.0.0.1", "localhost")
    before = house.env("worker")["ACTAS_MONGODB_URL"]
    house.run(mongodb_url=SecretStr(elsewhere))
    after = house.env("worker")["ACTAS_MONGODB_URL"]
    assert "@localhost:" in after
    assert addresses.password_in(SecretStr(after)) == addresses.password_in(SecretStr(before))


def test_the_installers_token_is_sent_for_the_installer_only(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hvac takes VAULT_TOKEN, which the console has, for every client that was given none."""
    sent: list[tuple[str, str | None]] = []
    send = requests.Session.send

    def sending(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        sent.append((str(request.url), request.headers.get("X-Vault-Token")))
        return send(session, request, **options)

    monkeypatch.setenv("VAULT_TOKEN", "CANARY")
    monkeypatch.setattr(requests.Session, "send", sending)
    house.run()
    sign_ins = [token for url, token in sent if url.endswith("/auth/approle/login")]
    assert len(sign_ins) == 3  # worker, scheduler, operator
    assert set(sign_ins) == {None}
    assert "CANARY" not in str(sent)


def test_roles_survive_a_restart_of_redis(house: Installation) -> None:
    house.servers.valkey.restart()
    house.sign_in_everywhere("worker")
    house.sign_in_everywhere("flower")


def test_the_operator_may_rotate_for_apps_that_came_later(house: Installation) -> None:
    env = house.env("operator")
    operator = hvac.Client(env["ACTAS_VAULT_ADDR"])
    operator.auth.approle.login(env["ACTAS_VAULT_ROLE_ID"], env["ACTAS_VAULT_SECRET_ID"])
    installer.add_app("later", **house.for_apps)
    house.run()
    operator.secrets.transit.rotate_key("actas-kek-later")
    assert "later" in installer.list_apps(**house.vault)


def test_the_address_names_the_database(house_to_break: Installation) -> None:
    house = house_to_break
    url = house.servers.mongod.url.get_secret_value().replace("/?", "/second?")
    house.run(mongodb_url=SecretStr(url), out=house.out.with_name("second"))
    env = env_files.read(house.out.with_name("second") / "worker.env")
    with MongoClient[Any](env["ACTAS_MONGODB_URL"]) as client:
        assert client.get_default_database().name == "second"
        client.second.jobs.find_one()
        with pytest.raises(OperationFailure):
            client.actas.jobs.find_one()


# --- what is refused, in one line that says what to do and no secret --------------------------------------------------------------

BROKEN = SecretStr("hvs.CANARY")


@contextmanager
def refused(error: type[ActasError], *words: str) -> Iterator[None]:
    with pytest.raises(error) as refusal:
        yield
    text = str(refusal.value)
    assert all(word in text for word in words), text
    assert "\n" not in text
    assert "CANARY" not in text
    # Nothing that a library said hangs on it either: its text may hold what was sent.
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


def nowhere() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for_listener(port: int) -> None:
    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    eventually(listens, seconds=30, what=f"somebody listens on {port}")


def test_a_vault_that_is_not_there(house: Installation) -> None:
    with refused(VaultUnavailable, "unreachable"):
        house.run(vault_addr=f"http://127.0.0.1:{nowhere()}")


@pytest.mark.parametrize("file", ["/nowhere/CANARY.pem", "/", __file__])
def test_a_file_for_vaults_tls_that_is_none(house: Installation, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.setenv("VAULT_CACERT", file)
    with refused(SettingsError, "VAULT_CACERT", "PEM"):
        house.run()


def test_a_token_that_is_not_valid(house: Installation) -> None:
    with refused(VaultDenied, "VAULT_TOKEN"):
        house.run(vault_token=BROKEN)


def test_a_token_that_may_not_install(house: Installation) -> None:
    weak = house.root().auth.token.create(policies=["default"])["auth"]["client_token"]
    with refused(VaultDenied, "VAULT_TOKEN may not mount transit/", "root"):
        house.run(vault_token=SecretStr(weak))


def test_a_sealed_vault(house_to_break: Installation) -> None:
    house = house_to_break
    house.root().sys.seal()
    try:
        with refused(VaultUnavailable, "sealed", "unseal"):
            house.run()
    finally:
        house.servers.bao.restart()  # unseals itself


def test_a_mount_path_taken_by_something_else(house_to_break: Installation) -> None:
    house = house_to_break
    root = house.root()
    root.sys.disable_secrets_engine("kv")
    root.sys.enable_secrets_engine("kv", path="kv", options={"version": "1"})
    try:
        with refused(SettingsError, "kv/", "version 2"):
            house.run()
    finally:
        root.sys.disable_secrets_engine("kv")


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("actas-kek-unfit", {"key_type": "aes256-gcm96", "derived": False}),
        ("actas-kek-unfit", {"key_type": "aes256-gcm96", "derived": True, "exportable": True}),
        ("actas-kek-unfit", {"key_type": "aes256-gcm96", "derived": True, "allow_plaintext_backup": True}),
        ("actas-app-unfit", {"key_type": "ecdsa-p256"}),
    ],
)
def test_a_key_that_is_there_and_unfit(house: Installation, name: str, how: dict[str, Any]) -> None:
    transit = house.root().secrets.transit
    transit.create_key(name, **how)
    try:
        with refused(SettingsError, name, "not fit"):
            installer.add_app("unfit", **house.for_apps)
    finally:
        transit.update_key_configuration(name, deletion_allowed=True)
        transit.delete_key(name)


def test_a_mongodb_that_is_not_there(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores_installing, "PATIENCE_SECONDS", 0.5)
    with refused(Unavailable, "MongoDB"):
        house.run(mongodb_url=SecretStr(f"mongodb://a:CANARY@127.0.0.1:{nowhere()}/"))


def test_a_mongodb_that_is_no_replica_set(house: Installation, tmp_path: Path) -> None:
    port = nowhere()
    (tmp_path / "data").mkdir()
    program = binaries.find(binaries.MONGOD, tmp_path)
    arguments = ["--dbpath", tmp_path / "data", "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    lone = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
    try:
        wait_for_listener(port)
        with refused(SettingsError, "replica set", "--replSet"):
            house.run(mongodb_url=SecretStr(f"mongodb://127.0.0.1:{port}/"))
    finally:
        lone.kill()
        lone.wait()


def test_a_wrong_mongodb_password(house: Installation) -> None:
    wrong = house.servers.mongod.address
    with refused(SettingsError, "ACTAS_MONGODB_URL", "authSource"):
        house.run(mongodb_url=SecretStr(f"mongodb://admin:CANARY@{wrong}/?authSource=admin"))


def test_a_file_for_mongodbs_tls_that_is_none(house: Installation) -> None:
    with refused(SettingsError, "ACTAS_MONGODB_URL", "tlsCAFile"):
        house.run(mongodb_url=SecretStr("mongodb://admin:CANARY@h/?tls=true&tlsCAFile=/nowhere/CANARY.pem"))


def test_a_mongodb_user_who_may_not_install(house: Installation) -> None:
    with refused(MongoRefused, "root"):
        house.run(mongodb_url=SecretStr(house.env("worker")["ACTAS_MONGODB_URL"]))


def test_a_database_that_is_mongodbs_own(house: Installation) -> None:
    url = house.servers.mongod.url.get_secret_value().replace("/?", "/admin?")
    with refused(SettingsError, "admin", "authSource"):
        house.run(mongodb_url=SecretStr(url))


def test_an_index_that_is_there_with_other_options(house_to_break: Installation) -> None:
    house = house_to_break
    with house.mongo() as database:
        database.connects.drop_index("expires_at_1")
        database.connects.create_index("expires_at", expireAfterSeconds=999)
        try:
            with refused(SettingsError, "index (expires_at) of connects", "drop it"):
                house.run()
        finally:
            database.connects.drop_index("expires_at_1")


def test_stored_documents_that_break_a_unique_index(house_to_break: Installation) -> None:
    house = house_to_break
    with house.mongo() as database:
        database.grants.drop_index("app_1_provider_1_account_1")
        database.grants.insert_many([{"app": "a"}, {"app": "a"}])
        try:
            with refused(SettingsError, "unique"):
                house.run()
        finally:
            database.grants.delete_many({})


def test_a_redis_that_is_not_there(house: Installation) -> None:
    with refused(Unavailable, "Redis"):
        house.run(redis_url=SecretStr(f"redis://a:CANARY@127.0.0.1:{nowhere()}/0"))


@pytest.mark.parametrize("url", ["redis://admin:CANARY@{address}/0", "redis://{address}/0"])
def test_a_wrong_redis_password(house: Installation, url: str) -> None:
    with refused(SettingsError, "ACTAS_REDIS_URL"):
        house.run(redis_url=SecretStr(url.format(address=house.servers.valkey.address)))


def test_a_redis_user_who_may_not_install(house: Installation) -> None:
    with refused(ActasError, "Redis user"):
        house.run(redis_url=SecretStr(house.env("worker")["ACTAS_REDIS_URL"]))


@pytest.mark.parametrize(
    "url",
    [
        "http://CANARY",
        "CANARY",
        "redis://u:CANARY/ss@h",
        "redis://u:CANARY@h?CANARY=1",
        "rediss://u:CANARY@h?ssl_cert_reqs=CANARY",
    ],
)
def test_what_is_no_redis_address(house: Installation, url: str) -> None:
    with refused(SettingsError, "redis://"):
        house.run(redis_url=SecretStr(url))


def test_a_redis_that_lets_anybody_administer_it(house: Installation) -> None:
    with house.redis() as client:
        client.execute_command("ACL SETUSER", "default", "on", "nopass", "~*", "&*", "+@all")
        try:
            with refused(SettingsError, "anybody"):
                house.run(redis_url=SecretStr(f"redis://{house.servers.valkey.address}/0"))
        finally:
            client.execute_command("ACL SETUSER", "default", "reset")


def test_an_administrator_called_default_is_not_locked_out(house_to_break: Installation) -> None:
    house = house_to_break
    with house.redis() as client:
        client.execute_command("ACL SETUSER", "default", "on", ">CANARY", "~*", "&*", "+@all")
        try:
            house.run(redis_url=SecretStr(f"redis://:CANARY@{house.servers.valkey.address}/0"))
            assert "on" in client.acl_getuser("default")["flags"]
            assert "CANARY" not in str(house.files())
        finally:
            client.execute_command("ACL SETUSER", "default", "reset")


def test_a_redis_that_would_forget_its_users(house_to_break: Installation, tmp_path: Path) -> None:
    house = house_to_break
    port = nowhere()
    program = binaries.find(binaries.VALKEY, tmp_path)
    forgetful = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "pw", "--save", ""],
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        wait_for_listener(port)
        with refused(SettingsError, "forget", "aclfile"):
            house.run(redis_url=SecretStr(f"redis://:pw@127.0.0.1:{port}/0"))
    finally:
        forgetful.kill()
        forgetful.wait()


@pytest.mark.parametrize("name", ["", "Web", "a b", "a/b", "../x", "a*", "a+", "a" * 41, "web\n", "é"])
def test_a_name_that_no_app_can_have(house: Installation, name: str) -> None:
    with refused(SettingsError, "a-z, 0-9"):
        installer.add_app(name, **house.for_apps)
    with refused(SettingsError, "a-z, 0-9"):
        installer.set_client_credentials(
            app="web", provider=name, client_id="i", client_secret=SecretStr("CANARY"), **house.vault
        )


def test_an_app_before_anything_is_installed(house_to_break: Installation) -> None:
    house = house_to_break
    elsewhere = house.servers.mongod.url.get_secret_value().replace("/?", "/empty?")
    with refused(NotFound, "actas init"):
        installer.add_app("web", **house.for_apps | {"mongodb_url": SecretStr(elsewhere)})
    house.root().auth.approle.delete_role("actas-worker")
    with refused(NotFound, "actas init"):
        installer.add_app("web", **house.for_apps)


def test_credentials_of_an_app_that_was_not_added(house: Installation) -> None:
    with refused(NotFound, "actas apps add"):
        installer.set_client_credentials(
            app="ghost", provider="x", client_id="i", client_secret=SecretStr("CANARY"), **house.vault
        )


def test_a_directory_that_others_can_read(house: Installation, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with refused(SettingsError, "chmod 700"):
        house.run(out=tmp_path / "open")


@pytest.mark.parametrize("text", ["export A='open", "rm -rf x\n"])
def test_an_env_file_that_is_something_else(house: Installation, tmp_path: Path, text: str) -> None:
    before = house.state()
    (tmp_path / "new").mkdir(mode=0o700)
    (tmp_path / "new" / "operator.env").write_text(text)
    with refused(SettingsError, "operator.env", "move it away"):
        house.run(out=tmp_path / "new")
    assert (tmp_path / "new" / "operator.env").read_text() == text
    assert house.state() == before


def test_nothing_is_changed_while_anything_given_is_wrong(house_to_break: Installation, tmp_path: Path) -> None:
    house = house_to_break
    widen_everything(house)
    state = house.state()
    for wrong in ({"vault_token": BROKEN}, {"mongodb_url": SecretStr("http://CANARY")}, {"redis_url": BROKEN}):
        with pytest.raises(ActasError):
            house.run(out=tmp_path / "new", **wrong)
        assert house.state() == state
        assert list((tmp_path / "new").iterdir()) == []


# --- files and console ---------------------------------------------------------------------------------------------------------


def test_role_files_are_found_inside_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = role_files.read("vault", "app.hcl", app="web")
    shutil.copytree(Path(role_files.__file__).parents[2] / "deploy" / "roles", tmp_path / "actas" / "_roles")
    monkeypatch.setattr(role_files, "_PACKAGE", tmp_path / "actas")
    assert role_files.read("vault", "app.hcl", app="web") == expected
    assert "{app}" not in expected


@pytest.fixture
def examine(house: Installation, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[int, list[str]]]:
    """What `actas doctor` says to a role: exit status and lines."""
    app = typer.Typer()
    app.command()(doctor.doctor)

    def run(role: str) -> tuple[int, list[str]]:
        with monkeypatch.context() as patch:
            for name, value in house.env(role).items():
                patch.setenv(name, value)
            result = CliRunner().invoke(app)
        return result.exit_code, result.output.splitlines()

    return run


def test_the_doctor_finds_all_in_order_after_an_installation(examine: Callable[[str], tuple[int, list[str]]]) -> None:
    names = ("settings", "vault", "mongodb", "indexes", "providers")
    assert examine("operator") == (0, [f"ok    {name}" for name in names])


@pytest.mark.parametrize("role", ["worker", "scheduler", "app-web"])
def test_the_doctor_says_that_a_role_may_not_look_at_indexes_and_calls_that_no_fault(
    examine: Callable[[str], tuple[int, list[str]]], role: str
) -> None:
    status, lines = examine(role)
    assert status == 0
    assert "-     indexes: this role may not list them; the operator's may" in lines


def test_the_doctor_names_indexes_that_are_missing_or_others(
    house_to_break: Installation, examine: Callable[[str], tuple[int, list[str]]]
) -> None:
    with house_to_break.mongo() as database:
        database.jobs.drop_index("status_1_next_at_1")
        database.jobs.create_index("status")  # what only begins like one of ours is not it
        database.connects.drop_index("expires_at_1")
        database.connects.create_index("expires_at", expireAfterSeconds=999)
        database.grants.drop_index("app_1_provider_1_account_1")
        database.grants.create_index(["app", "provider", "account"])
        database.blacklist.drop()
        try:
            status, lines = examine("operator")
        finally:
            database.jobs.drop_index("status_1")
            database.connects.drop_index("expires_at_1")
            database.grants.drop_index("app_1_provider_1_account_1")
    assert status == 1
    (wrong,) = [line for line in lines if not line.startswith("ok ")]
    assert wrong == (
        "wrong indexes: the index (status, next_at) of jobs is missing,"
        " the index (app, provider, account) of grants has other options,"
        " the index (expires_at) of blacklist is missing,"
        " the index (expires_at) of connects has other options; run `actas init`"
    )


def test_the_doctor_says_that_mongodb_is_away_and_looks_at_the_rest(
    house: Installation, examine: Callable[[str], tuple[int, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actas.stores.database.TIMEOUT_MS", 500)  # it is away for longer than anybody waits
    away = house.env("operator") | {"ACTAS_MONGODB_URL": f"mongodb://u:CANARY@127.0.0.1:{nowhere()}/actas"}
    monkeypatch.setattr(house, "env", lambda _: away)
    status, lines = examine("operator")
    assert status == 1
    assert lines[2].startswith("wrong mongodb: MongoDB does not answer")
    assert lines[-1] == "ok    providers"
    assert "CANARY" not in str(lines)


@pytest.fixture
def console(house: Installation, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    app = typer.Typer()
    app.command("init")(admin.init)
    app.command("add")(admin.apps_add)
    app.command("list")(admin.apps_list)
    monkeypatch.setenv("VAULT_TOKEN", house.servers.bao.token.get_secret_value())
    monkeypatch.setenv("ACTAS_MONGODB_URL", house.servers.mongod.url.get_secret_value())
    monkeypatch.setenv("ACTAS_REDIS_URL", house.servers.valkey.url.get_secret_value())
    monkeypatch.setenv("ACTAS_VAULT_ADDR", house.servers.bao.url)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        if result.exception:
            raise result.exception
        return result.output

    return run


def test_the_console_installs_adds_and_lists(
    house_to_break: Installation, console: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "by-console"
    said = console("init", "--out", str(out)) + console("add", "shop", "--out", str(out))
    assert {file.stem for file in out.iterdir()} == ENV_FILES | {"app-shop"}
    assert {"shop", "web"} <= set(console("list").split())
    assert {"shop", "web"} <= set(json.loads(console("list", "--json")))
    for file in out.iterdir():
        assert file.name in said
        for name, value in env_files.read(file).items():
            assert name in {"ACTAS_APP", "ACTAS_VAULT_ADDR"} or value not in said


@pytest.mark.parametrize("name", ["VAULT_TOKEN", "ACTAS_MONGODB_URL", "ACTAS_REDIS_URL"])
def test_the_console_says_which_credential_it_misses(
    console: Callable[..., str], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(name)
    with refused(SettingsError, name):
        console("init", "--out", str(tmp_path / "new"))
