"""The connection to MongoDB, and the one way its errors leave this room."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC
from typing import Any, ParamSpec, TypeVar

from bson.codec_options import DatetimeConversion
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from actas.errors import MongoRefused, MongoUnavailable, SettingsError

DEFAULT_DATABASE = "actas"

#: One operation, retries inside pymongo included.
TIMEOUT_MS = 10_000

Documents = Database[dict[str, Any]]

P = ParamSpec("P")
R = TypeVar("R")


def translated(operation: Callable[P, R]) -> Callable[P, R]:
    """Let an operation raise only errors whose text we wrote.

    pymongo's carry documents, keys and addresses. What is no refusal is an outage: *unknown*, not failed, and each
    caller says what that means for it.

    Raises:
        MongoUnavailable: no primary, a lost connection, a timeout, a write not confirmed in time.
        MongoRefused: everything else but a duplicate key, which is an answer and passes.
    """

    @functools.wraps(operation)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return operation(*args, **kwargs)
        except DuplicateKeyError:
            raise
        except OperationFailure as error:
            if _is_outage(error):
                raise MongoUnavailable(f"MongoDB did not confirm (code {error.code})") from None
            raise MongoRefused(f"MongoDB refused {operation.__name__} (code {error.code})") from None
        except PyMongoError:
            raise MongoUnavailable from None

    return wrapper


#: Elections and shutdowns: NotWritablePrimary, PrimarySteppedDown, InterruptedAtShutdown,
#: InterruptedDueToReplStateChange, ShutdownInProgress, MaxTimeMSExpired; and where a write was made and not confirmed:
#: WriteConcernFailed, UnknownReplWriteConcern, UnsatisfiableWriteConcern (mongo/src/mongo/base/error_codes.yml).
TRANSIENT_CODES = frozenset({10107, 189, 11600, 11602, 91, 50, 64, 79, 100})

_DUPLICATE_KEY = 11000


def _is_outage(error: OperationFailure) -> bool:
    if isinstance(error, BulkWriteError):  # its own code and timeout say nothing of why
        refusals = {each["code"] for each in error.details.get("writeErrors", [])} - {_DUPLICATE_KEY}
        return refusals <= TRANSIENT_CODES and bool(refusals or error.details.get("writeConcernErrors"))
    unconfirmed = isinstance(error, WriteConcernError) or error.timeout or error.has_error_label("RetryableWriteError")
    return unconfirmed or error.code in TRANSIENT_CODES


def connect(url: SecretStr) -> Documents:
    """Open a connection lazily: nothing is sent before the first operation, so it is safe to make early in a process.

    Writes are ``majority`` and journaled, reads ``majority``: a token or an effect row that was confirmed survives a
    failover, and one that could still be rolled back is never acted on.

    Raises:
        SettingsError: the address cannot be understood, or names a file that is of no use.
    """
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(
            url.get_secret_value(),
            tz_aware=True,
            tzinfo=UTC,
            datetime_conversion="DATETIME_CLAMP",  # a time beyond the year 9999 is read as its last, and is no crash
            w="majority",
            journal=True,
            readConcernLevel="majority",
            timeoutMS=TIMEOUT_MS,
            serverSelectionTimeoutMS=5_000,
            maxPoolSize=100,
            appname="actas",
        )
        return client.get_default_database(DEFAULT_DATABASE)
    except (InvalidURI, ConfigurationError, ValueError):
        raise SettingsError("ACTAS_MONGODB_URL is not a MongoDB address: mongodb://user:password@host/actas") from None
    except OSError:  # files for TLS are read here and now
        raise SettingsError(
            "ACTAS_MONGODB_URL names a file that cannot be read or is not what it should be: tlsCAFile,"
            " tlsCertificateKeyFile or tlsCRLFile"
        ) from None


def unclamped(database: Documents) -> Documents:
    """The same, with a time that Python cannot have read as MongoDB's own: to find a document again as it was read."""
    options = database.codec_options.with_options(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
    return database.with_options(codec_options=options)


def is_within_reach(database: Documents) -> bool:
    """Whether a primary is known, by what the driver has seen last; nobody is asked."""
    return database.client.topology_description.has_writable_server()


@translated
def check(database: Documents) -> None:
    """Make sure this is a MongoDB we can keep promises on.

    Raises:
        MongoUnavailable: nobody answers.
        SettingsError: a lone server: its writes can be lost after they were confirmed.
    """
    hello = database.client.admin.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise SettingsError(
            "this MongoDB is not a replica set, so confirmed writes could be lost;"
            " start mongod with --replSet and run rs.initiate() (one node is enough)"
        )
