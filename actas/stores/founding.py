"""A MongoDB of one's own, from an empty directory: its replica set, its first user, and its moving to another port.

For the embedded stack only; elsewhere whoever runs MongoDB does this.
"""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from actas.stores.database import translated

SET, ADMIN = "actas", "admin"

# MongoDB error codes (mongo/src/mongo/base/error_codes.yml).
_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94


class OneNode:
    """The only node of a replica set, on this machine. Nothing here waits: ask again until the answer is yes.

    Each method may raise MongoUnavailable or MongoRefused.
    """

    def __init__(self, address: str, password: SecretStr, *, seconds: float) -> None:
        """``address`` is host:port, ``password`` the administrator's; give up an attempt after so many seconds."""
        self._address = address
        self._password = password.get_secret_value()
        options: dict[str, Any] = {"directConnection": True, "serverSelectionTimeoutMS": 1000 * seconds}
        # Anybody may ask how it is; and, until there is a user, found it (MongoDB's localhost exception).
        self._stranger: MongoClient[dict[str, Any]] = MongoClient(address, **options)
        self._admin: MongoClient[dict[str, Any]] = MongoClient(
            address, username=ADMIN, password=self._password, **options
        )

    def close(self) -> None:
        self._stranger.close()
        self._admin.close()

    @translated
    def answers(self) -> bool:
        try:
            self._stranger.admin.command("ping")
        except AutoReconnect:
            return False
        return True

    @translated
    def is_primary(self) -> bool:
        try:
            return bool(self._stranger.admin.command("hello")["isWritablePrimary"])
        except AutoReconnect:
            return False

    @translated
    def knows_admin(self) -> bool:
        try:
            self._admin.admin.command("ping")
        except OperationFailure as error:
            if error.code != _AUTHENTICATION_FAILED:
                raise
            return False
        return True

    @translated
    def make_set(self) -> None:
        try:
            members = [{"_id": 0, "host": self._address}]
            self._stranger.admin.command("replSetInitiate", {"_id": SET, "members": members})
        except OperationFailure as error:
            if error.code != _ALREADY_INITIALIZED:  # a first start that was cut short
                raise

    @translated
    def make_admin(self) -> None:
        self._stranger.admin.command("createUser", ADMIN, pwd=self._password, roles=["root"])

    @translated
    def is_at_home(self) -> bool:
        """Has it read back its set, and does the set have this address? If it has another, put in this one."""
        try:
            config = self._admin.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIALIZED:
                raise
            return False
        if config["members"][0]["host"] == self._address:
            return True
        config["members"][0]["host"] = self._address
        config["version"] += 1
        self._admin.admin.command("replSetReconfig", config, force=True)
        return False
