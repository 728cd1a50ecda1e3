"""P3, least privilege by role. The attacker has stolen one role's env file, as `actas init` wrote it, and nothing else.

Signs in to Vault, MongoDB and Redis as that role, and speaks to them as it likes, without our code. What is tried:
every verb of every other role, what none may do, another's AppRole. What a role may do is written here once more, by
hand, so that a slip in deploy/roles does not pass as its own proof. Whatever is not allowed must be *denied* (403, code
13, NOPERM), not merely fail.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import pytest
import redis
import redis.exceptions
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure

import actas
from actas.embedded.child import stop_all
from actas.embedded.place import Place
from actas.embedded.servers import Servers
from actas.installing import env_files, installer
from worker.gates import MOVE, OPEN

APPS = ("a", "a-b")  # the one's name begins the other's
ROLES = ("app-a", "app-a-b", "worker", "scheduler", "operator")


@dataclass(frozen=True)
class House:
    """An installed house, and every role's own way in."""

    servers: Servers
    out: Path

    def env(self, role: str) -> dict[str, str]:
        return env_files.read(self.out / f"{role}.env")

    def vault(self, role: str) -> hvac.Client:
        env, client = self.env(role), hvac.Client(self.servers.bao.url)
        client.auth.approle.login(env["ACTAS_VAULT_ROLE_ID"], env["ACTAS_VAULT_SECRET_ID"])
        return client

    def root(self) -> hvac.Client:
        return hvac.Client(self.servers.bao.url, self.servers.bao.token.get_secret_value())

    def mongo(self, role: str) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.env(role)["ACTAS_MONGODB_URL"])

    def redis(self, role: str) -> redis.Redis:
        env = self.env(role)
        return redis.Redis.from_url(env.get("ACTAS_REDIS_URL") or env["ACTAS_BROKER_URL"], decode_responses=True)

    def redis_admin(self) -> redis.Redis:
        return redis.Redis.from_url(self.servers.valkey.url.get_secret_value(), decode_responses=True)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    place = Place(tmp_path_factory.mktemp("roles") / "stack")
    place.enter()
    servers = Servers.find(place, place.ports(["valkey", "mongod", "bao", "bao-cluster"]))
    try:
        servers.start()
        house = House(servers, place.path.parent / "secrets")
        vault = {"vault_addr": servers.bao.url, "vault_token": servers.bao.token}
        where = vault | {"mongodb_url": servers.mongod.url, "out": house.out}
        installer.install(**where, redis_url=servers.valkey.url)
        for app in APPS:
            installer.add_app(app, **where)
            installer.set_client_credentials(
                app=app, provider="x", client_id="id", client_secret=SecretStr("secret"), **vault
            )
            url = SecretStr("https://app.example/")
            installer.set_webhook(app, url, new_secret=False, development=False, **vault)
        yield house
    finally:
        stop_all(list(servers))
        place.leave()


# --- Vault ---------------------------------------------------------------------------------------------------------------

CONTEXT = base64.b64encode(b"grant-1").decode()
INPUT = base64.b64encode(b"x" * 32).decode()


def write(path: str, **data: Any) -> Callable[[hvac.Client, str], Any]:
    return lambda vault, _: vault.write_data(path, data=data)


def read(path: str) -> Callable[[hvac.Client, str], Any]:
    def verb(vault: hvac.Client, _: str) -> Any:
        found = vault.read(path)
        assert found is not None, f"{path} is not there"
        return found

    return verb


def of_each_app(app: str) -> dict[str, Callable[[hvac.Client, str], Any]]:
    kek, key = f"transit/keys/actas-kek-{app}", f"transit/keys/actas-app-{app}"
    return {
        f"wrap for {app}": write(f"transit/encrypt/actas-kek-{app}", plaintext=INPUT, context=CONTEXT),
        f"unwrap for {app}": lambda vault, wrapped: vault.write_data(
            f"transit/decrypt/actas-kek-{app}", data={"ciphertext": json.loads(wrapped)[app], "context": CONTEXT}
        ),
        f"rewrap for {app}": lambda vault, wrapped: vault.write_data(
            f"transit/rewrap/actas-kek-{app}", data={"ciphertext": json.loads(wrapped)[app], "context": CONTEXT}
        ),
        f"make a data key for {app}": write(f"transit/datakey/plaintext/actas-kek-{app}", context=CONTEXT),
        f"make a wrapped data key for {app}": write(f"transit/datakey/wrapped/actas-kek-{app}", context=CONTEXT),
        f"sign as {app}": write(f"transit/sign/actas-app-{app}", input=INPUT, marshaling_algorithm="jws"),
        f"sign as {app}, algorithm in the path": write(f"transit/sign/actas-app-{app}/sha2-256", input=INPUT),
        f"hmac as {app}": write(f"transit/hmac/actas-app-{app}", input=INPUT),
        f"hmac with the KEK of {app}": write(f"transit/hmac/actas-kek-{app}", input=INPUT),
        f"read the signing key of {app}": read(key),
        f"read the KEK of {app}": read(kek),
        f"rotate the signing key of {app}": write(f"{key}/rotate"),
        f"rotate the KEK of {app}": write(f"{kek}/rotate"),
        f"retire versions of the signing key of {app}": write(f"{key}/config", min_decryption_version=1),
        f"retire versions of the KEK of {app}": write(f"{kek}/config", min_decryption_version=1),
        f"bar the KEK of {app} from encrypting": write(f"{kek}/config", min_encryption_version=1),
        f"make the KEK of {app} exportable": write(f"{kek}/config", exportable=True),
        f"make the KEK of {app} exportable in passing": write(
            f"{kek}/config", min_decryption_version=1, exportable=True
        ),
        f"make the signing key of {app} exportable": write(f"{key}/config", exportable=True),
        f"allow backups of the KEK of {app}": write(f"{kek}/config", allow_plaintext_backup=True),
        f"allow deleting the KEK of {app}": write(f"{kek}/config", deletion_allowed=True),
        f"back up the KEK of {app}": read(f"transit/backup/actas-kek-{app}"),
        f"export the KEK of {app}": read(f"transit/export/encryption-key/actas-kek-{app}"),
        f"export the signing key of {app}": read(f"transit/export/signing-key/actas-app-{app}"),
        f"trim the KEK of {app}": write(f"{kek}/trim", min_available_version=1),
        f"import into the KEK of {app}": write(f"{kek}/import_version", ciphertext=INPUT),
        f"delete the KEK of {app} softly": lambda vault, _: vault.adapter.delete(f"/v1/{kek}/soft-delete"),
        f"delete the KEK of {app}": lambda vault, _: vault.delete(kek),
        f"read credentials of {app}": read(f"kv/data/actas/{app}/x"),
        f"read the metadata of credentials of {app}": read(f"kv/metadata/actas/{app}/x"),
        f"read the webhook's secret of {app}": read(f"kv/data/actas/{app}/webhook"),
        f"move the webhook of {app}": write(f"kv/data/actas/{app}/webhook", data={"url": "https://mallory.example/"}),
        f"list credentials of {app}": lambda vault, _: vault.list(f"kv/metadata/actas/{app}"),
        f"write credentials of {app}": write(f"kv/data/actas/{app}/y", data={"client_id": "mallory"}),
        f"delete credentials of {app}": lambda vault, _: vault.delete(f"kv/data/actas/{app}/y"),
        f"read the secret ids of {app}": lambda vault, _: vault.list(f"auth/approle/role/actas-app-{app}/secret-id"),
        f"make a secret id for {app}": write(f"auth/approle/role/actas-app-{app}/secret-id"),
    }


def with_client_keys_of(app: str) -> dict[str, Callable[[hvac.Client, str], Any]]:
    """The keys that an app proves itself with at providers; x is there already."""
    name = f"actas-client-{app}.x"
    key = f"transit/keys/{name}"
    return {
        f"make a client key of {app}": write(f"transit/keys/actas-client-{app}.made", type="ecdsa-p256"),
        f"make a client key of {app} for encryption": write(f"transit/keys/actas-client-{app}.y", type="aes256-gcm96"),
        f"make an exportable client key of {app}": write(
            f"transit/keys/actas-client-{app}.y", type="ed25519", exportable=True
        ),
        f"import a client key of {app}": write(
            f"transit/keys/actas-client-{app}.y/import", type="ed25519", ciphertext=INPUT
        ),
        f"prove to be the client of {app}": write(f"transit/sign/{name}", input=INPUT, marshaling_algorithm="jws"),
        f"prove to be the client of {app}, algorithm in the path": write(f"transit/sign/{name}/sha2-256", input=INPUT),
        f"hmac with the client key of {app}": write(f"transit/hmac/{name}", input=INPUT),
        f"read the client key of {app}": read(key),
        f"rotate the client key of {app}": write(f"{key}/rotate"),
        f"retire versions of the client key of {app}": write(f"{key}/config", min_decryption_version=1),
        f"bar the client key of {app} from signing": write(f"{key}/config", min_encryption_version=1),
        f"make the client key of {app} exportable": write(f"{key}/config", exportable=True),
        f"make the client key of {app} exportable in passing": write(
            f"{key}/config", min_decryption_version=1, exportable=True
        ),
        f"allow backups of the client key of {app}": write(f"{key}/config", allow_plaintext_backup=True),
        f"allow deleting the client key of {app}": write(f"{key}/config", deletion_allowed=True),
        f"back up the client key of {app}": read(f"transit/backup/{name}"),
        f"export the client key of {app}": read(f"transit/export/signing-key/{name}"),
        f"trim the client key of {app}": write(f"{key}/trim", min_available_version=1),
        f"import into the client key of {app}": write(f"{key}/import_version", ciphertext=INPUT),
        f"delete the client key of {app} softly": lambda vault, _: vault.adapter.delete(f"/v1/{key}/soft-delete"),
        f"take back that the client key is deleted softly, of {app}": write(f"{key}/soft-delete-restore"),
        f"sign a certificate request with the client key of {app}": write(f"{key}/csr"),
        f"delete the client key of {app}": lambda vault, _: vault.delete(key),
        f"list below the client key of {app}": lambda vault, _: vault.list(key),
    }


VAULT_VERBS: dict[str, Callable[[hvac.Client, str], Any]] = {
    "renew its own token": write("auth/token/renew-self"),
    "look up its own token": read("auth/token/lookup-self"),
    **of_each_app("a"),
    **of_each_app("a-b"),
    **with_client_keys_of("a"),
    **with_client_keys_of("a-b"),
    "make a client key of nobody's": write("transit/keys/actas-client-nobody.x", type="ed25519"),
    "make a client key of an app whose name only begins so": write("transit/keys/actas-client-aa.x", type="ed25519"),
    "wrap under a key that does not exist": write("transit/encrypt/actas-kek-new", plaintext=INPUT, context=CONTEXT),
    "make a KEK": write("transit/keys/actas-kek-made", derived=True),
    "make a signing key": write("transit/keys/actas-app-made", type="ed25519"),
    "list keys": lambda vault, _: vault.list("transit/keys"),
    "read a key of somebody else in this mount": read("transit/keys/theirs"),
    "rotate a key of somebody else in this mount": write("transit/keys/theirs/rotate"),
    "decrypt with a key of somebody else in this mount": write("transit/encrypt/theirs", plaintext=INPUT),
    "read secrets of somebody else in kv": read("kv/data/theirs/x"),
    "read secrets one level up": read("kv/data/actas/shallow"),
    "read secrets one level down": read("kv/data/actas/a/x/deep"),
    "list apps": lambda vault, _: vault.list("auth/approle/role"),
    "read the worker's role id": read("auth/approle/role/actas-worker/role-id"),
    "make a secret id for the worker": write("auth/approle/role/actas-worker/secret-id"),
    "give the scheduler the worker's policy": write(
        "auth/approle/role/actas-scheduler", token_policies=["actas-worker"]
    ),
    "read the worker's policy": read("sys/policies/acl/actas-worker"),
    "widen the app's policy": write("sys/policies/acl/actas-app-a", policy='path "*" { capabilities = ["read"] }'),
    "make a token with another policy": write("auth/token/create", policies=["actas-worker"]),
    "make any token": write("auth/token/create"),
    "mount another engine": write("sys/mounts/mine", type="kv"),
    "seal": write("sys/seal"),
}

EVERYBODY = {"renew its own token", "look up its own token"}


def app_may(app: str) -> set[str]:
    of_its_own = {f"read credentials of {app}", f"read the webhook's secret of {app}"}
    proving = f"prove to be the client of {app}"
    of_its_own |= {proving, f"{proving}, algorithm in the path", f"read the client key of {app}"}
    return {f"wrap for {app}", f"sign as {app}", f"read the signing key of {app}"} | of_its_own


def may_for_all_apps(*verbs: str) -> set[str]:
    return {f"{verb} {app}" for verb in verbs for app in APPS}


VAULT_ALLOWED = {
    "app-a": app_may("a"),
    "app-a-b": app_may("a-b"),
    "worker": may_for_all_apps(
        "wrap for",
        "unwrap for",
        "read the signing key of",
        "read credentials of",
        "read the client key of",
        "prove to be the client of",
    )
    | {f"prove to be the client of {app}, algorithm in the path" for app in APPS},
    "scheduler": may_for_all_apps("rewrap for", "read the KEK of", "read the webhook's secret of"),
    "operator": may_for_all_apps(
        "read the KEK of",
        "read the signing key of",
        "rotate the KEK of",
        "rotate the signing key of",
        "retire versions of the KEK of",
        "retire versions of the signing key of",
        "make a client key of",
        "read the client key of",
        "rotate the client key of",
        "retire versions of the client key of",
        # Below such a key, and without parameters: its policy cannot name them, and neither is of use to a thief.
        "take back that the client key is deleted softly, of",
        "sign a certificate request with the client key of",
    ),
}


@pytest.fixture(scope="module")
def vault_of(house: House) -> dict[str, hvac.Client]:
    root = house.root()
    root.write_data("transit/keys/theirs", data={})
    for app in APPS:
        root.write_data(f"transit/keys/actas-client-{app}.x", data={"type": "ed25519"})
    for path in ("theirs/x", "actas/shallow", "actas/a/x/deep"):
        root.write_data(f"kv/data/{path}", data={"data": {"secret": "theirs"}})
    return {role: house.vault(role) for role in ROLES}


@pytest.fixture(scope="module")
def wrapped(house: House) -> str:
    """A data key of each app, wrapped by the app itself."""
    keys = {
        app: house.vault(f"app-{app}").write_data(
            f"transit/encrypt/actas-kek-{app}", data={"plaintext": INPUT, "context": CONTEXT}
        )["data"]["ciphertext"]
        for app in APPS
    }
    return json.dumps(keys)


@pytest.mark.parametrize("verb", VAULT_VERBS)
@pytest.mark.parametrize("role", ROLES)
def test_vault_lets_each_role_do_its_own_work_and_nothing_else(
    vault_of: dict[str, hvac.Client], wrapped: str, role: str, verb: str
) -> None:
    if verb in VAULT_ALLOWED[role] | EVERYBODY:
        VAULT_VERBS[verb](vault_of[role], wrapped)
    else:
        with pytest.raises(hvac.exceptions.Forbidden):
            VAULT_VERBS[verb](vault_of[role], wrapped)


@pytest.mark.parametrize("other", ROLES)
@pytest.mark.parametrize("role", ROLES)
def test_a_roles_secret_id_signs_in_as_that_role_only(house: House, role: str, other: str) -> None:
    secret_id, role_id = house.env(role)["ACTAS_VAULT_SECRET_ID"], house.env(other)["ACTAS_VAULT_ROLE_ID"]
    vault = hvac.Client(house.servers.bao.url)
    if role == other:
        vault.auth.approle.login(role_id, secret_id)
    else:
        with pytest.raises(hvac.exceptions.InvalidRequest):
            vault.auth.approle.login(role_id, secret_id)


def test_every_role_that_has_credentials_is_tried_with_them(house: House) -> None:
    """All but the second app's in MongoDB, which is the first one's role."""
    have: dict[str, set[str]] = {
        "VAULT_SECRET_ID": set(),
        "MONGODB_URL": set(),
        "REDIS_URL": set(),
        "BROKER_URL": set(),
    }
    for file in house.out.glob("*.env"):
        for what, roles in have.items():
            if house.env(file.stem).get(f"ACTAS_{what}"):
                roles.add(file.stem)
    assert have["VAULT_SECRET_ID"] - {"app-gone"} == set(ROLES)
    assert have["MONGODB_URL"] - {"app-gone"} == MONGO_ALLOWED.keys() | {"app-a-b"}
    assert have["REDIS_URL"] | have["BROKER_URL"] == REDIS_ALLOWED.keys()


def test_vault_itself_refuses_to_unwrap_one_grants_key_under_another(
    vault_of: dict[str, hvac.Client], wrapped: str
) -> None:
    other = base64.b64encode(b"grant-2").decode()
    with pytest.raises(hvac.exceptions.InvalidRequest, match="message authentication failed"):
        vault_of["worker"].write_data(
            "transit/decrypt/actas-kek-a", data={"ciphertext": json.loads(wrapped)["a"], "context": other}
        )


@pytest.mark.parametrize("app", APPS)
def test_keys_cannot_leave_vault_even_by_the_hand_of_root(house: House, app: str) -> None:
    for name in (f"actas-kek-{app}", f"actas-app-{app}"):
        key = house.root().secrets.transit.read_key(name)["data"]
        assert (key["exportable"], key["allow_plaintext_backup"]) == (False, False)


def test_no_vault_verb_was_denied_only_because_it_does_not_exist(house: House) -> None:
    """Root tries them, on an app of its own, and mends what it broke by installing once more."""
    where = {
        "vault_addr": house.servers.bao.url,
        "vault_token": house.servers.bao.token,
        "mongodb_url": house.servers.mongod.url,
        "out": house.out,
    }
    installer.add_app("gone", **where)
    root = house.root()
    ciphertext = write("transit/encrypt/actas-kek-gone", plaintext=INPUT, context=CONTEXT)(root, "")["data"][
        "ciphertext"
    ]
    apps = [verbs for app in APPS for verbs in (of_each_app(app), with_client_keys_of(app))]
    mine = {name: verb for name, verb in VAULT_VERBS.items() if not any(name in verbs for verbs in apps)}
    try:
        for name, verb in (mine | FIRST | of_each_app("gone") | with_client_keys_of("gone")).items():
            if name in {"seal", "renew its own token"}:  # exists, surely; and a root token cannot be renewed
                continue
            # Understood, and refused for reasons of its own. A path that Vault does not know is an InvalidPath.
            with suppress(hvac.exceptions.InvalidRequest, hvac.exceptions.InternalServerError):
                verb(root, json.dumps({"gone": ciphertext}))
    finally:
        installer.install(**where, redis_url=house.servers.valkey.url)


FIRST = {
    "": write("kv/data/actas/gone/x", data={"client_id": "id"}),
    "and a webhook": write("kv/data/actas/gone/webhook", data={"url": "https://app.example/"}),
    "and a client key": write("transit/keys/actas-client-gone.x", type="ed25519"),
}


# --- MongoDB -----------------------------------------------------------------------------------------------------------

COLLECTIONS = (
    *("jobs", "grants", "drills", "effects", "blacklist", "connects", "outbox", "refusals", "resolutions"),
    *("files", "file_chunks"),
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

SERIAL = itertools.count()


def document() -> dict[str, Any]:
    """A document that every collection takes: a job, with what the others' indexes want."""
    names = ("jws", "app", "user", "grant", "provider", "action")
    times = ("run_at", "deadline", "next_at", "created_at", "expires_at")
    job = dict.fromkeys(names, "x") | dict.fromkeys(times, NOW) | {"payload": {}, "rev": 0, "status": "cancelled"}
    return job | {"_id": f"job-{next(SERIAL)}", "account": next(SERIAL)}


DATA_VERBS: dict[str, Callable[[Any], Any]] = {
    "find": lambda collection: list(collection.find({"_id": "none"})),
    "insert": lambda collection: collection.insert_one(document()),
    "update": lambda collection: collection.update_one({"_id": "none"}, {"$set": {"x": 1}}),
    "remove": lambda collection: collection.delete_one({"_id": "none"}),
    "take out": lambda collection: collection.find_one_and_delete({"_id": "none"}),
}

NEEDED = {"take out": {"find", "remove"}}

#: What each role's code does, and no verb more.
MONGO_ALLOWED = {
    "app-a": {
        "jobs": "find insert update",
        "grants": "find insert update",
        "connects": "find insert remove",
        "blacklist": "find insert update",
        "files": "find insert update",
        "file_chunks": "insert",
    },
    "worker": {
        "jobs": "find insert update",
        "grants": "find update",
        "drills": "find",
        "effects": "find insert update",
        "blacklist": "find",
        "outbox": "insert",
        "refusals": "insert",
        "resolutions": "find",
        "files": "find",
        "file_chunks": "find",
    },
    "scheduler": {
        "jobs": "find remove update",
        "grants": "find update",
        "drills": "find",
        "blacklist": "find remove",
        "outbox": "find insert update",
        "files": "find remove update",
        "file_chunks": "remove",
    },
    "operator": {
        "jobs": "find update",
        "grants": "find",
        "drills": "find insert update",
        "effects": "find",
        "outbox": "find update",
        "refusals": "find",
        "resolutions": "find insert update",
    },
}

#: What changes the house and not its contents: for the installer alone.
HOUSE_VERBS: dict[str, Callable[[Any], Any]] = {
    "index": lambda db: db.jobs.create_index("x"),
    "let jobs have any shape": lambda db: db.command("collMod", "jobs", validator={}),
    "drop an index": lambda db: db.jobs.drop_index("status_1_next_at_1"),
    "drop a collection": lambda db: db.blacklist.drop(),
    "make a collection": lambda db: db.create_collection("mine"),
    "rename a collection": lambda db: db.jobs.rename("mine"),
    "shorten the life of blacklist entries": lambda db: db.command(
        "collMod", "blacklist", index={"keyPattern": {"expires_at": 1}, "expireAfterSeconds": 1}
    ),
    "cap a collection": lambda db: db.command("convertToCapped", "effects", size=4096),
    "drop the database": lambda db: db.client.drop_database(db.name),
    "make a user": lambda db: db.command("createUser", "mallory", pwd="x", roles=["worker"]),
    "change a password": lambda db: db.command("updateUser", "worker", pwd="x"),
    "widen a role": lambda db: db.command("grantRolesToRole", "app", roles=["worker"]),
    "read users": lambda db: db.command("usersInfo", {"forAllDBs": True}, showCredentials=True),
    "copy a collection": lambda db: list(db.jobs.aggregate([{"$merge": "copy"}])),
    "read another database": lambda db: db.client.other.things.find_one(),
    "read the oplog": lambda db: db.client.local["oplog.rs"].find_one(),
    "list databases' contents": lambda db: db.list_collection_names(),
    "see others' operations": lambda db: list(db.client.admin.aggregate([{"$currentOp": {"allUsers": True}}])),
    "shut down": lambda db: db.client.admin.command("shutdown"),
    "read the server's log": lambda db: db.client.admin.command("getLog", "global"),
    "read the server's options": lambda db: db.client.admin.command("getCmdLineOpts"),
}


@pytest.fixture(scope="module")
def mongo_of(house: House) -> Iterator[dict[str, MongoClient[dict[str, Any]]]]:
    clients = {role: house.mongo(role) for role in MONGO_ALLOWED}
    yield clients
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("verb", DATA_VERBS)
@pytest.mark.parametrize("collection", COLLECTIONS)
@pytest.mark.parametrize("role", MONGO_ALLOWED)
def test_mongodb_lets_each_role_at_its_own_collections(
    mongo_of: dict[str, MongoClient[dict[str, Any]]], role: str, collection: str, verb: str
) -> None:
    target = mongo_of[role].get_default_database()[collection]
    if NEEDED.get(verb, {verb}) <= set(MONGO_ALLOWED[role].get(collection, "").split()):
        DATA_VERBS[verb](target)
    else:
        with pytest.raises(OperationFailure) as denial:
            DATA_VERBS[verb](target)
        assert denial.value.code == UNAUTHORIZED


UNAUTHORIZED = 13


@pytest.mark.parametrize("verb", HOUSE_VERBS)
@pytest.mark.parametrize("role", MONGO_ALLOWED)
def test_mongodb_lets_no_role_change_the_house(
    mongo_of: dict[str, MongoClient[dict[str, Any]]], role: str, verb: str
) -> None:
    with pytest.raises(OperationFailure) as denial:
        HOUSE_VERBS[verb](mongo_of[role].get_default_database())
    assert denial.value.code == UNAUTHORIZED


@pytest.mark.parametrize("role", MONGO_ALLOWED)
def test_no_role_can_leave_a_job_in_another_shape_than_jobs_have(
    mongo_of: dict[str, MongoClient[dict[str, Any]]], role: str
) -> None:
    jobs = mongo_of[role].get_default_database().jobs
    with pytest.raises(OperationFailure) as denial:
        jobs.insert_one(document() | {"history": "none"}, bypass_document_validation=True)
    assert denial.value.code == UNAUTHORIZED
    if "insert" in MONGO_ALLOWED[role]["jobs"].split():
        with pytest.raises(OperationFailure, match="Document failed validation"):
            jobs.insert_one(document() | {"history": "none"})


def test_the_worker_reads_grant_and_blacklist_at_once(mongo_of: dict[str, MongoClient[dict[str, Any]]]) -> None:
    join = {"from": "blacklist", "pipeline": [{"$match": {"_id": "x"}}], "as": "refusals"}
    list(mongo_of["worker"].get_default_database().grants.aggregate([{"$lookup": join}]))


@pytest.mark.parametrize("stage", ["$out", "$merge"])
@pytest.mark.parametrize("role", sorted(set(MONGO_ALLOWED) - {"worker"}))
def test_nobody_but_the_worker_writes_the_journal_by_way_of_a_pipeline(
    mongo_of: dict[str, MongoClient[dict[str, Any]]], role: str, stage: str
) -> None:
    with pytest.raises(OperationFailure) as denial:
        list(mongo_of[role].get_default_database().jobs.aggregate([{stage: "effects"}]))
    assert denial.value.code == UNAUTHORIZED


def test_an_app_cannot_read_the_journal_through_a_join(mongo_of: dict[str, MongoClient[dict[str, Any]]]) -> None:
    join = {"from": "effects", "pipeline": [], "as": "stolen"}
    with pytest.raises(OperationFailure) as denial:
        list(mongo_of["app-a"].get_default_database().grants.aggregate([{"$lookup": join}]))
    assert denial.value.code == UNAUTHORIZED


def test_the_operator_may_check_indexes(mongo_of: dict[str, MongoClient[dict[str, Any]]]) -> None:
    database = mongo_of["operator"].get_default_database()
    assert all("_id_" in database[collection].index_information() for collection in COLLECTIONS)


# --- Redis ---------------------------------------------------------------------------------------------------------------

ACT, GRANTS, SCHEDULER, GATE = "actas:actas.act", "actas:actas.grants", "actas:actas.scheduler", "actas:gate:x"
SUBMIT = "actas:actas.submit"
EVENTS = "actas:actas.events"
REDIS_VERBS: dict[str, tuple[Any, ...]] = {
    "count the workers' queue": ("LLEN", ACT),
    "count a queue of low priority": ("LLEN", f"{ACT}\x06\x163"),
    "add to the workers' queue": ("LPUSH", ACT, "m"),
    "add to the workers' queue, with priority": ("LPUSH", f"{ACT}\x06\x169", "m"),
    "add to the workers' second queue": ("LPUSH", GRANTS, "m"),
    "put back into the workers' queue": ("RPUSH", ACT, "m"),
    "take from the workers' queue": ("BRPOP", ACT, 0.01),
    "take from the workers' second queue": ("BRPOP", GRANTS, 0.01),
    "clear the workers' queue": ("DEL", ACT),
    "overwrite the workers' queue": ("SET", f"{ACT}\x06\x166", "m"),
    "peek into the workers' queue": ("LRANGE", ACT, 0, -1),
    "add to the scheduler's queue": ("LPUSH", SCHEDULER, "m"),
    "take from the scheduler's queue": ("BRPOP", SCHEDULER, 0.01),
    "hand over a signed job": ("LPUSH", SUBMIT, "m"),
    "put back a signed job": ("RPUSH", SUBMIT, "m"),
    "take a signed job": ("BRPOP", SUBMIT, 0.01),
    "peek at signed jobs": ("LRANGE", SUBMIT, 0, -1),
    "clear the queue of signed jobs": ("DEL", SUBMIT),
    "count signed jobs": ("LLEN", SUBMIT),
    "ask for events to be sent": ("LPUSH", EVENTS, "m"),
    "take from the queue of events": ("BRPOP", EVENTS, 0.01),
    "bind a queue to the workers' exchange": ("SADD", "actas:_kombu.binding.actas.act", "m"),
    "unbind the workers' queue": ("SREM", "actas:_kombu.binding.actas.act", "m"),
    "see who waits unacknowledged": ("ZRANGE", "actas:unacked_index", 0, -1),
    "read what is unacknowledged": ("HGET", "actas:unacked", "m"),
    "forget what is unacknowledged": ("HDEL", "actas:unacked", "m"),
    "count what is unacknowledged": ("HLEN", "actas:unacked"),
    "close a gate": ("SET", GATE, "until"),
    "look at a gate": ("GET", GATE),
    "look at gates": ("MGET", GATE, "actas:gate:y"),
    "open a gate": ("DEL", GATE),
    "move a gate by a script": ("EVAL", "return redis.call('SET', KEYS[1], 'x')", 1, GATE),
    "move a gate as workers do": ("EVAL", MOVE, 1, "actas:gate:provider:x", "", "1 1 0 0", 4_102_444_800_000),
    "open a gate as workers do": ("EVAL", OPEN, 2, "actas:gate:provider:x", "actas:gate:client:a:x"),
    "reach a gate past the script's keys": ("EVAL", f"return redis.call('SET', '{GATE}', 'x')", 0),
    "find gates": ("SCAN", 0, "MATCH", "actas:gate:*"),
    "say how many jobs a worker runs at once": ("ZADD", "actas:slots", 1, "host:1:64"),
    "forget what workers said long ago": ("ZREMRANGEBYSCORE", "actas:slots", "-inf", 0),
    "take back what a worker said": ("ZREM", "actas:slots", "host:1:64"),
    "see how many jobs workers run at once": ("ZRANGEBYSCORE", "actas:slots", 0, "+inf"),
    "keep a token in a rescue slot": ("SET", "actas:rescue:1", "sealed"),
    "read a rescue slot": ("GET", "actas:rescue:1"),
    "read somebody else's key": ("GET", "theirs"),
    "write somebody else's key": ("SET", "theirs", "x"),
    "reach somebody else's key by a script": ("EVAL", "return redis.call('GET', 'theirs')", 0),
    "send workers a command": ("PUBLISH", "actas:/0.celery.pidbox", ""),
    "send an event": ("PUBLISH", "actas:/0.celeryev/task.succeeded", ""),
    "publish anywhere": ("PUBLISH", "theirs", ""),
    "listen to everything": ("PSUBSCRIBE", "*"),
    "listen to somebody else": ("SUBSCRIBE", "theirs"),
    "list keys": ("KEYS", "*"),
    "wipe": ("FLUSHALL",),
    "read the configuration": ("CONFIG", "GET", "*"),
    "change the configuration": ("CONFIG", "SET", "appendonly", "no"),
    "list users": ("ACL", "LIST"),
    "change a user": ("ACL", "SETUSER", "actas-flower", "+@all"),
    "watch all commands": ("MONITOR",),
    "see slow commands": ("SLOWLOG", "GET"),
    "list connections": ("CLIENT", "LIST"),
    "end connections": ("CLIENT", "KILL", "TYPE", "normal"),
    "replicate to a server of its own": ("REPLICAOF", "127.0.0.1", 1),
    "shut down": ("SHUTDOWN",),
    "see how the server is": ("INFO",),
}

_COUNT = {"count the workers' queue", "count a queue of low priority", "count signed jobs"}
_ADD = {
    "add to the workers' queue",
    "add to the workers' queue, with priority",
    "add to the workers' second queue",
    "put back into the workers' queue",
    "hand over a signed job",
    "put back a signed job",
}
_BROKER = {
    "add to the scheduler's queue",
    "take from the scheduler's queue",
    "ask for events to be sent",
    "take from the queue of events",
    "bind a queue to the workers' exchange",
    "unbind the workers' queue",
    "see who waits unacknowledged",
    "read what is unacknowledged",
    "forget what is unacknowledged",
    "send workers a command",
    "send an event",
}
_LOOK = {"look at a gate", "look at gates"}
REDIS_ALLOWED = {
    "worker": _COUNT
    | _ADD
    | _BROKER
    | _LOOK
    | {
        "take from the workers' queue",
        "take from the workers' second queue",
        "clear the workers' queue",
        "take a signed job",
        "clear the queue of signed jobs",
        "overwrite the workers' queue",
        "close a gate",
        "open a gate",
        "move a gate by a script",
        "move a gate as workers do",
        "open a gate as workers do",
        "reach a gate past the script's keys",
        "find gates",
        "say how many jobs a worker runs at once",
        "forget what workers said long ago",
        "take back what a worker said",
        "see how many jobs workers run at once",
        "keep a token in a rescue slot",
        "read a rescue slot",
    },
    "scheduler": _COUNT | _ADD | _BROKER | _LOOK | {"see how many jobs workers run at once"},
    "operator": _COUNT | _LOOK | {"count what is unacknowledged", "find gates", "see how the server is"},
    "flower": _COUNT | {"see who waits unacknowledged", "send workers a command"},
    "producer": {"hand over a signed job"},
}


@pytest.mark.parametrize("verb", REDIS_VERBS)
@pytest.mark.parametrize("role", REDIS_ALLOWED)
def test_redis_lets_each_role_do_its_own_work_and_nothing_else(house: House, role: str, verb: str) -> None:
    with house.redis(role) as client:
        if verb in REDIS_ALLOWED[role]:
            client.execute_command(*REDIS_VERBS[verb])
        else:
            with pytest.raises(redis.exceptions.ResponseError) as denial:
                client.execute_command(*REDIS_VERBS[verb])
            inside_a_script = "script" in str(denial.value)  # said differently by 7.0 and later
            assert isinstance(denial.value, redis.exceptions.NoPermissionError) or inside_a_script


def test_redis_knows_nobody_without_a_name(house: House) -> None:
    with (
        redis.Redis.from_url(f"redis://{house.servers.valkey.address}/0") as anybody,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        anybody.ping()


def test_apps_flower_and_producers_hold_no_credentials_beyond_their_own(house: House) -> None:
    assert set(house.env("flower")) == set(house.env("producer")) == {"ACTAS_BROKER_URL"}
    assert set(house.env("app-a")) == {
        "ACTAS_APP",
        "ACTAS_VAULT_ADDR",
        "ACTAS_VAULT_ROLE_ID",
        "ACTAS_VAULT_SECRET_ID",
        "ACTAS_MONGODB_URL",
    }


# --- the real Celery and Flower under these users ------------------------------------------------------------------------------

#: Configured as worker and scheduler are, in more of a hurry; tasks leave files behind, so that a test sees what ran.
CELERY_APP = """
import os, pathlib, time
from celery import Celery
from pydantic import SecretStr
from actas.celery_config import celery_config

app = Celery("throwaway")
app.conf.update(celery_config(SecretStr(os.environ["BROKER"])))
app.conf.broker_transport_options |= {"visibility_timeout": 3, "unacked_restore_interval": 1}
app.conf.beat_schedule = {
    "tick": {"task": "tick", "schedule": 0.5, "options": {"queue": "actas.scheduler", "expires": 1}},
}

@app.task(name="tick")
def tick():
    app.send_task("act", queue="actas.act")
    app.send_task("chore", queue="actas.grants")

@app.task(name="act")
def act():
    pathlib.Path("act.done").touch()

@app.task(name="chore")
def chore():
    pathlib.Path("chore.done").touch()

@app.task(name="stand", bind=True)
def stand(self):
    if self.request.delivery_info["redelivered"]:
        pathlib.Path("stand.done").touch()
    else:
        pathlib.Path("stand.begun").touch()
        time.sleep(60)
"""


ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(actas.__file__).parents[1])}


@dataclass
class Fleet:
    """Processes of a throwaway Celery app, each with the credentials of its role."""

    house: House
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]]

    def start(self, name: str, role: str, *arguments: str) -> None:
        env = self.house.env(role)
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "throwaway", *arguments],
                cwd=self.folder,
                env={
                    **ENVIRONMENT,
                    "BROKER": env.get("ACTAS_REDIS_URL") or env["ACTAS_BROKER_URL"],
                    "FLOWER_UNAUTHENTICATED_API": "1",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float = 45) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            gone = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not gone, f"{gone} ended while waiting for {what}: {self.logs()}"
            assert time.monotonic() < deadline, f"no {what}: {self.logs()}"
            time.sleep(0.05)

    def logs(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def fleet(house: House, tmp_path: Path) -> Iterator[Fleet]:
    with house.redis_admin() as admin:
        admin.flushall()
        admin.acl_log_reset()
    (tmp_path / "throwaway.py").write_text(CELERY_APP)
    fleet = Fleet(house, tmp_path, {})
    yield fleet
    fleet.stop()


def test_celery_and_flower_run_under_their_users_and_flower_cannot_enqueue(house: House, fleet: Fleet) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    act = ("worker", "-P", "threads", "-c", "2", "-Q", "actas.act,actas.grants", "-l", "INFO")
    fleet.start("worker", "worker", *act, "-n", "worker@here")
    fleet.start("scheduler", "scheduler", "worker", "-P", "threads", "-c", "2", "-Q", "actas.scheduler", "-n", "s@here")
    fleet.start("beat", "scheduler", "beat", "-s", "beat.db")
    fleet.start("flower", "flower", "flower", "--address=127.0.0.1", f"--port={port}")

    def ask(path: str, data: bytes | None = None) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=20) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return {}

    # beat -> the scheduler's queue -> the scheduler's worker -> the workers' queues -> the worker
    done = [fleet.folder / "act.done", fleet.folder / "chore.done"]
    fleet.wait_for("tick that led to both tasks", lambda: all(file.exists() for file in done))

    # Flower hears events, inspects workers, counts queues
    def succeeded() -> set[str]:
        tasks = ask("/api/tasks")
        return {task["name"] for task in tasks.values() if task["state"] == "SUCCESS"} if tasks else set()

    fleet.wait_for("events at Flower", lambda: succeeded() >= {"tick", "act", "chore"})
    fleet.wait_for("inspection by Flower", lambda: {"worker@here", "s@here"} <= set(ask("/api/workers?refresh=1")))
    queues = {queue["name"] for queue in ask("/api/queues/length")["active_queues"]}
    assert queues >= {"actas.act", "actas.grants", "actas.scheduler"}

    # a worker dies with a task; what it had is put back (by the scheduler's sweep or the next worker's) and done
    subprocess.run(
        [sys.executable, "-c", "from throwaway import app; app.send_task('stand', queue='actas.act')"],
        cwd=fleet.folder,
        env={**ENVIRONMENT, "BROKER": house.env("scheduler")["ACTAS_REDIS_URL"]},
        check=True,
    )
    fleet.wait_for("task begun", (fleet.folder / "stand.begun").exists)
    fleet.processes["worker"].send_signal(signal.SIGKILL)
    fleet.processes.pop("worker").wait()
    fleet.start("worker2", "worker", *act, "-n", "worker2@here")
    fleet.wait_for("redelivery", (fleet.folder / "stand.done").exists)

    with house.redis_admin() as admin:
        assert [(entry["username"], entry["object"]) for entry in admin.acl_log()] == []

        # What Flower itself offers to anybody when its API is left open; its Redis user cannot.
        beat = fleet.processes.pop("beat")
        beat.terminate()
        beat.wait(20)
        # The ticks first: each puts something into the workers' queues.
        queues_and_hands = (lambda: admin.llen(SCHEDULER), lambda: admin.hlen("actas:unacked"), lambda: admin.llen(ACT))
        fleet.wait_for("end of all work", lambda: not any(left() for left in queues_and_hands))
        (fleet.folder / "stand.begun").unlink()
        before = set(admin.scan_iter("*actas.act*"))
        assert ask("/api/task/async-apply/stand", b'{"args": []}') in {500, 503}
        assert {entry["username"] for entry in admin.acl_log()} == {"actas-flower"}
        assert set(admin.scan_iter("*actas.act*")) == before
        admin.acl_log_reset()

    fleet.stop()  # in order: the goodbyes are commands, too
    with house.redis_admin() as admin:
        assert [(entry["username"], entry["object"]) for entry in admin.acl_log()] == []
    assert not (fleet.folder / "stand.begun").exists()
