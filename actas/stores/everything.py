"""Everything MongoDB holds, for whoever searches it for what must not be there. Needs an administrator's address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from actas.stores.database import connect, translated

_UNAUTHORIZED = 13  # mongo/src/mongo/base/error_codes.yml


@translated
def documents(url: SecretStr) -> list[tuple[str, bytes]]:
    """Return every document of every database, the oplog's included: (database.collection, some documents as BSON).

    A few of the server's own collections are closed to everybody but itself; their bytes are in its files.

    Raises:
        MongoUnavailable, MongoRefused.
    """
    with _client(url) as client:
        return list(_documents(client))


@translated
def flush(url: SecretStr) -> None:
    """Let the server write everything it holds to its files, beyond the journal.

    Raises:
        MongoUnavailable, MongoRefused.
    """
    with _client(url) as client:
        client.admin.command("fsync")


@contextmanager
def _client(url: SecretStr) -> Iterator[MongoClient[dict[str, Any]]]:
    with connect(url).client as client:
        yield client


def _documents(client: MongoClient[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for database in client.list_database_names():
        for name in client[database].list_collection_names(filter={"type": "collection"}):
            # "local" reads what was not replicated yet, and is all that the database of that name knows.
            collection = client[database].get_collection(name, read_concern=ReadConcern("local"))
            try:
                for batch in collection.find_raw_batches():
                    yield f"{database}.{name}", cast("bytes", batch)  # pymongo's own annotation says documents
            except OperationFailure as error:
                if error.code != _UNAUTHORIZED:
                    raise
