"""Where an import comes from: a collection of somebody else's, in which tokens lie readable."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC
from itertools import islice
from typing import Any, ParamSpec, TypeVar

import pymongo
from bson import Binary, ObjectId
from bson.binary import UUID_SUBTYPE
from pydantic import SecretStr
from pymongo import MongoClient, UpdateOne
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError

from actas.errors import MongoRefused, MongoUnavailable
from actas.importing.mapping import SECRETS, BadImport, SourceDoc, value_at
from actas.stores.database import translated

TIMEOUT_MS = 30_000

#: How long to look for it before saying that it is not there.
PATIENCE_SECONDS = 5

# MongoDB error codes (mongo/src/mongo/base/error_codes.yml).
_UNAUTHORIZED = 13
_AUTHENTICATION_FAILED = 18

P = ParamSpec("P")
R = TypeVar("R")


def at_source(operation: Callable[P, R]) -> Callable[P, R]:
    """As ``translated``, saying that it was the source, which is somebody else's MongoDB."""

    @functools.wraps(operation)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return translated(operation)(*args, **kwargs)
        except MongoUnavailable:
            raise MongoUnavailable("the source's MongoDB does not answer, or has no primary") from None
        except MongoRefused as error:
            raise MongoRefused(f"the source: {error}") from None

    return wrapper


class Source:
    """One collection of somebody else's: read page by page, and relieved of its readable tokens."""

    def __init__(self, url: SecretStr, collection: str, paths: Mapping[str, str]) -> None:
        """Connect lazily; ``paths`` is where in a document what stands, by name.

        Raises:
            BadImport: the address is none, or names no database; or no collection can have this name.
        """
        if not collection or "$" in collection or "\0" in collection or collection[0] == "." or collection[-1] == ".":
            raise BadImport("--collection: no collection has such a name")
        wrong = "the source's address must be mongodb://user:password@host/DATABASE, with the name of the database"
        try:
            self._client: MongoClient[dict[str, Any]] = MongoClient(
                url.get_secret_value(),
                tz_aware=True,
                tzinfo=UTC,
                datetime_conversion="DATETIME_CLAMP",
                w="majority",
                timeoutMS=TIMEOUT_MS,
                appname="actas import-tokens",
            )
        except (InvalidURI, ConfigurationError, ValueError):
            raise BadImport(wrong) from None
        except OSError:  # files for TLS are read here and now
            raise BadImport(
                "the source's address names a file that cannot be read, or is not what it should be"
            ) from None
        try:
            database = self._client.get_default_database()
        except ConfigurationError:
            self._client.close()
            raise BadImport(wrong) from None
        self._database = database
        self._collection = database[collection]
        self._paths = paths
        self.name = f"{database.name}.{collection}"
        #: What a grant remembers of where it came from: a document may hold the tokens of several accounts.
        self.origin = f"{self.name}:{paths['refresh_token']}"

    def close(self) -> None:
        self._client.close()

    @at_source
    def check(self, *, write: bool) -> None:
        """Make sure that there is something to read, and that we may; and write, if that is wanted.

        Raises:
            BadImport: sign-in, permission or name is wrong, or there is nothing.
            MongoUnavailable, MongoRefused.
        """
        try:
            with pymongo.timeout(PATIENCE_SECONDS):
                if self._collection.find_one({}, {"_id": 1}) is None:
                    raise BadImport(f"{self.name} is empty or not there{self._others()}")
                if write:
                    unset = {"$unset": {self._paths["refresh_token"]: ""}}
                    self._collection.update_many({"_id": {"$in": []}}, unset)
        except OperationFailure as error:
            if error.code == _AUTHENTICATION_FAILED:
                raise BadImport("the source refuses user, password or authSource of its address") from None
            if error.code == _UNAUTHORIZED:
                may = "read and update (for --shred)" if write else "read"
                raise BadImport(f"the source's user may not {may} {self.name}") from None
            raise

    def _others(self) -> str:
        try:
            names = sorted(self._database.list_collection_names())[:10]
        except PyMongoError:  # it may not look
            return ""
        return f"; in {self._database.name} there are: {', '.join(names)}" if names else ""

    @at_source
    def count(self) -> int:
        return self._collection.estimated_document_count()

    def pages(self, size: int) -> Iterator[list[SourceDoc]]:
        """Return all documents, in the order of their ids."""
        cursor = self._collection.find({}, self._projection(), batch_size=size).sort("_id", 1)
        while page := self._take(cursor, size):
            yield page

    @at_source
    def _take(self, cursor: Any, size: int) -> list[SourceDoc]:
        return [SourceDoc(doc["_id"], self._fields(doc)) for doc in islice(cursor, size)]

    def _fields(self, doc: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: _secret(value_at(doc, path)) if name in SECRETS else _plain(value_at(doc, path))
            for name, path in self._paths.items()
        }

    def _projection(self) -> dict[str, int]:
        """The mapped fields only. A projection knows no index into a list: from there on, all of it."""
        whole = {_before_index(path) for path in self._paths.values()} | {"_id"}
        return {path: 1 for path in whole if not any(path.startswith(f"{other}.") for other in whole)}

    @at_source
    def unset(self, docs: Sequence[tuple[Any, SecretStr]]) -> int:
        """Unset the tokens of documents that still hold this refresh token; return how many did."""
        gone = {self._paths[name]: "" for name in SECRETS if name in self._paths}
        path = self._paths["refresh_token"]
        updates = [
            UpdateOne({"_id": {"$eq": source_id}, path: {"$eq": token.get_secret_value()}}, {"$unset": gone})
            for source_id, token in docs
        ]
        return self._collection.bulk_write(updates, ordered=False).matched_count

    @at_source
    def still_readable(self, source_ids: Collection[Any]) -> list[Any]:
        """Those of these documents that hold a refresh token."""
        query = {"_id": {"$in": list(source_ids)}, self._paths["refresh_token"]: {"$exists": True}}
        return [doc["_id"] for doc in self._collection.find(query, {"_id": 1})]


def _before_index(path: str) -> str:
    steps = path.split(".")
    return ".".join(steps[: next((n for n, step in enumerate(steps) if step.isdigit() and n), len(steps))])


def _secret(value: Any) -> Any:
    return SecretStr(value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Ids of MongoDB's own kinds as the texts that everybody writes them as."""
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, Binary) and value.subtype == UUID_SUBTYPE:
        return str(value.as_uuid())
    return value
