"""What the installer does in MongoDB: collections, indexes, roles, users. Needs a user with the role root; rarely run.

Everything here looks first and changes only what is not yet so; run again, also after a half-done run, it ends in the
same state.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pymongo
from pydantic import SecretStr
from pymongo import ASCENDING, MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from actas.errors import ActasError, MongoRefused, MongoUnavailable, NotFound, SettingsError
from actas.events import OF_JOBS
from actas.installing import addresses, role_files
from actas.states import JobStatus
from actas.stores.database import DEFAULT_DATABASE, Documents, check, connect, translated

ROLES = ("app", "worker", "scheduler", "operator")

#: By collection: (fields, options). `actas doctor` compares with what is there.
INDEXES: Mapping[str, tuple[tuple[tuple[str, ...], Mapping[str, Any]], ...]] = {
    "jobs": (
        # A tick's cost depends on what is scheduled, not on what is stored.
        (("status", "next_at"), {"partialFilterExpression": {"status": "scheduled"}}),
        (("status", "app", "provider", "next_at"), {"partialFilterExpression": {"status": "scheduled"}}),
        (("deadline",), {"partialFilterExpression": {"status": "scheduled"}}),
        (
            ("app", "idempotency_key"),
            {"unique": True, "partialFilterExpression": {"idempotency_key": {"$exists": True}}},
        ),
        (("next_at", "status"), {"partialFilterExpression": {"status": "uncertain"}}),
        (("status", "claim.until"), {}),
        (("app", "user", "status"), {}),
        (("batch",), {"partialFilterExpression": {"batch": {"$exists": True}}}),
        # Held jobs are parked, too, and no tick looks at them but for those whose deadline has come.
        (("status", "held", "grant"), {}),
        (("status", "deadline"), {"partialFilterExpression": {"status": "parked"}}),
        # For the purge. With the deadline in it, a job that is done and not yet to be removed costs a key, and no read.
        (("status", "finished_at", "deadline"), {"partialFilterExpression": {"finished_at": {"$exists": True}}}),
        (("untold.at",), {"partialFilterExpression": {"untold": {"$exists": True}}}),
    ),
    "grants": (
        (("app", "provider", "account"), {"unique": True}),
        (("app", "user", "provider"), {}),
        (("status", "revocation.tries", "revoke_at"), {"partialFilterExpression": {"status": "revoking"}}),
        (("app", "data_key.key_version", "_id"), {}),
        (("app", "data_key.made_at"), {}),
        (("verify_asked_at",), {"partialFilterExpression": {"verify_asked_at": {"$exists": True}}}),
        (("provider", "care_at"), {"partialFilterExpression": {"status": "active"}}),
        (
            ("app", "provider", "imported.source", "_id"),
            {"partialFilterExpression": {"imported.source": {"$exists": True}}},
        ),
        (("untold.at",), {"partialFilterExpression": {"untold": {"$exists": True}}}),
        (("preflight_at",), {"partialFilterExpression": {"status": "reauthorization_required"}}),
    ),
    "drills": ((("app",), {"unique": True, "partialFilterExpression": {"open": True}}),),
    "effects": (
        (("grant", "started_at"), {}),
        (("grant", "result"), {"partialFilterExpression": {"result": {"$exists": True}}}),
    ),
    # The purge takes expired entries, counted; MongoDB itself takes a day later what no purge took.
    "blacklist": ((("expires_at",), {"expireAfterSeconds": 86_400}),),
    "connects": ((("expires_at",), {"expireAfterSeconds": 0}),),
    "outbox": (
        (("app", "next_at"), {"partialFilterExpression": {"state": "pending"}}),
        (("state", "at"), {}),
        # What is over goes by itself; what is pending has no such time.
        (("purge_at",), {"expireAfterSeconds": 0}),
    ),
    "resolutions": (),
    "files": (
        (("app", "sha256"), {"unique": True, "partialFilterExpression": {"state": "stored"}}),
        (("expires_at",), {}),
    ),
    "file_chunks": (),
    # MongoDB removes them by itself: nobody counts on them.
    "refusals": ((("expires_at",), {"expireAfterSeconds": 0}),),
}

_TEXT, _TIME, _COUNT = {"bsonType": "string"}, {"bsonType": "date"}, {"bsonType": ["int", "long"]}

#: What a document must look like, whoever writes it. Jobs are moved many at a time: one that cannot be read, or that an
#: update cannot be applied to, would hold up everybody's.
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "jobs": {
        "bsonType": "object",
        "required": [
            *("_id", "jws", "app", "user", "grant", "provider", "action", "payload", "run_at", "deadline", "rev"),
            *("status", "next_at", "created_at"),
        ],
        "properties": {
            **dict.fromkeys(("_id", "jws", "app", "user", "grant", "provider", "action"), _TEXT),
            **dict.fromkeys(
                ("run_at", "deadline", "next_at", "created_at", "queued_at", "finished_at", "signed_until"), _TIME
            ),
            **dict.fromkeys(("connection", "rev", "attempts"), _COUNT),
            "payload": {"bsonType": "object"},
            "status": {"enum": [str(status) for status in JobStatus]},
            "held": {"bsonType": "bool"},
            "made": {"bsonType": "array", "items": _TEXT},
            "looks": _COUNT,
            "idempotency_key": _TEXT,
            "batch": _TEXT,
            "claim": {"bsonType": "object", "required": ["owner", "until"]},
            "error": {
                "bsonType": "object",
                "required": ["code", "message", "at"],
                "properties": {"code": _TEXT, "message": _TEXT, "at": _TIME},
            },
            "history": {"bsonType": "array"},
            "untold": {
                "bsonType": "array",
                "items": {
                    "bsonType": "object",
                    "required": ["event", "at"],
                    "properties": {"event": {"enum": [str(event) for event in OF_JOBS.values()]}, "at": _TIME}
                    | {"code": _TEXT, "result": _TEXT},
                    "additionalProperties": False,
                },
            },
        },
    },
}

#: How long to look for a primary before saying that there is none.
PATIENCE_SECONDS = 5

# MongoDB error codes (mongo/src/mongo/base/error_codes.yml).
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18
_ROLE_NOT_FOUND = 31
_NAMESPACE_EXISTS = 48
_INDEX_CONFLICTS = {85, 86}
_DUPLICATE_KEY = 11000

#: What of the installer's own address must not reach the roles': how *it* signs in.
_ITS_OWN = {"authsource", "authmechanism", "authmechanismproperties"}


@translated
def wrong_indexes(database: Documents) -> list[str] | None:
    """What is missing of INDEXES, or is there with other options; None if this role may not list indexes.

    Raises:
        MongoUnavailable, MongoRefused.
    """
    wrong = []
    try:
        for collection, indexes in INDEXES.items():
            there = database[collection].index_information().values()
            for fields, options in indexes:
                same = [index for index in there if index["key"] == [(field, ASCENDING) for field in fields]]
                if not any(_options(index) == options for index in same):
                    state = "has other options" if same else "is missing"
                    wrong.append(f"the index ({', '.join(fields)}) of {collection} {state}")
    except OperationFailure as error:
        if error.code == _UNAUTHORIZED:
            return None
        raise
    return wrong


def _options(index: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in index.items() if name not in {"key", "v", "ns", "background"}}


class MongoInstaller:
    """An open, checked connection with the installer's user."""

    def __init__(self, url: SecretStr) -> None:
        """Connect and check; the path of the address names the database, ``actas`` if it has none.

        Raises:
            SettingsError: not an address, not a replica set, a system's database, or a wrong password.
            MongoUnavailable: nobody answers, or there is no primary.
        """
        self._url = url
        self._database = connect(url)
        try:
            self._check()
        except ActasError:
            self.close()
            raise

    def _check(self) -> None:
        if self._database.name in {"admin", "local", "config"}:
            raise SettingsError(
                f"ACTAS_MONGODB_URL names MongoDB's own database {self._database.name};"
                f" write mongodb://...@host/{DEFAULT_DATABASE}?authSource=admin"
            )
        try:
            with pymongo.timeout(PATIENCE_SECONDS):
                check(self._database)
        except MongoRefused:
            raise SettingsError(
                "MongoDB does not accept user, password or authSource of the installer's ACTAS_MONGODB_URL"
            ) from None

    def close(self) -> None:
        self._database.client.close()

    def prepare(self) -> None:
        """Collections, indexes, the shapes of documents, and roles.

        Raises:
            SettingsError: an index is there with other options, or what is stored breaks it.
            MongoUnavailable, MongoRefused.
        """
        with _translated("list collections"):
            there = set(self._database.list_collection_names())
        for collection, indexes in INDEXES.items():
            if collection not in there:
                self._make_collection(collection)
            for fields, options in indexes:
                self._make_index(collection, fields, options)
        for collection, shape in SHAPES.items():
            with _translated(f"say what {collection} must look like"):
                self._database.command("collMod", collection, validator={"$jsonSchema": shape})
        for role in ROLES:
            self._make_role(role)

    def _make_collection(self, name: str) -> None:
        with _translated(f"make the collection {name}"):
            try:
                self._database.command("create", name)
            except OperationFailure as error:
                if error.code != _NAMESPACE_EXISTS:
                    raise

    def _make_index(self, collection: str, fields: tuple[str, ...], options: Mapping[str, Any]) -> None:
        what = f"the index ({', '.join(fields)}) of {collection}"
        with _translated(f"make {what}"):
            try:
                with pymongo.timeout(None):  # as long as it takes on a full collection
                    self._database[collection].create_index([(field, ASCENDING) for field in fields], **options)
            except OperationFailure as error:
                if error.code in _INDEX_CONFLICTS:
                    raise SettingsError(
                        f"{what} is there with other options; drop it and run `actas init` again"
                    ) from None
                if error.code == _DUPLICATE_KEY:
                    raise SettingsError(f"{what} must be unique, and what is stored is not") from None
                raise

    def _make_role(self, role: str) -> None:
        stated: dict[str, list[str]] = json.loads(role_files.read("mongodb", f"{role}.json"))["privileges"]
        privileges = [
            {"resource": {"db": self._database.name, "collection": collection}, "actions": actions}
            for collection, actions in stated.items()
        ]
        with _translated(f"make the role {role}"):
            exists = self._database.command("rolesInfo", role)["roles"]
            command = "updateRole" if exists else "createRole"
            self._database.command(command, role, privileges=privileges, roles=[])

    def user_url(self, user: str, role: str, kept: SecretStr | None) -> SecretStr:
        """Make sure there is a user with this role and return its address, with the password of a ``kept`` address.

        Args:
            user: its name.
            role: its only role, one of ROLES.
            kept: the address given out earlier, if it still is at hand; else a new password is made.

        Raises:
            NotFound: the roles are not installed here.
            MongoUnavailable, MongoRefused.
        """
        password = (kept and addresses.password_in(kept)) or addresses.new_password()
        database = self._database.name
        url = addresses.given_to(self._url, user, password, without=_ITS_OWN, path=f"/{database}", authSource=database)
        secret: dict[str, Any] = {"pwd": password.get_secret_value(), "mechanisms": ["SCRAM-SHA-256"]}
        with _translated(f"make the user {user}"):
            try:
                if not self._database.command("usersInfo", user)["users"]:
                    self._database.command("createUser", user, roles=[role], **secret)
                elif _can_sign_in(url):
                    self._database.command("updateUser", user, roles=[role])
                else:
                    self._database.command("updateUser", user, roles=[role], **secret)
            except OperationFailure as error:
                if error.code == _ROLE_NOT_FOUND:
                    raise NotFound("actas is not installed in this MongoDB yet; run `actas init` first") from None
                raise
        return url


def _can_sign_in(url: SecretStr) -> bool:
    with MongoClient[dict[str, Any]](url.get_secret_value(), timeoutMS=PATIENCE_SECONDS * 1000) as client:
        try:
            client.get_default_database().command("ping")
        except OperationFailure as error:
            if error.code == _AUTHENTICATION_FAILED:
                return False
            raise
    return True


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Let only errors leave whose text we wrote: pymongo's carry documents, keys and addresses."""
    try:
        yield
    except OperationFailure as error:
        if error.code == _UNAUTHORIZED:
            raise MongoRefused(f"the installer's MongoDB user may not {doing}; it needs the role root") from None
        raise MongoRefused(f"MongoDB refused to {doing} (code {error.code})") from None
    except PyMongoError:
        raise MongoUnavailable from None
