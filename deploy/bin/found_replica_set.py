#!/usr/bin/env python3
"""Make the replica set "actas" and its first user: ``found_replica_set.py PASSWORD_FILE MEMBER...``.

The first member is reached over loopback: until there is a user, mongod lets anybody from there make one, and nobody
from anywhere else. May be run again: what is missing is added, what is there stays.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from tenacity import RetryError, Retrying, retry_if_exception, retry_if_result, stop_after_delay, wait_fixed

Mongo = MongoClient[dict[str, Any]]

SET, USER = "actas", "admin"

# mongo/src/mongo/base/error_codes.yml
UNAUTHORIZED, AUTHENTICATION_FAILED, ALREADY_INITIALIZED = 13, 18, 23

#: The set has not agreed on its last configuration yet, or just makes one by itself: a new member has all data and
#: counts from now on, which makes the one that we read an old one.
OUTRUN = {103, 109, 308}

#: Electing takes about ten seconds, and a new member copies all data before it counts.
PATIENCE = stop_after_delay(120)
PAUSE = wait_fixed(0.2)


def main(password_file: str, *members: str) -> None:
    password = Path(password_file).read_text().strip()
    first = f"127.0.0.1:{members[0].rpartition(':')[2]}"
    if not knows_user(first, password):
        found(first, members[0], password)
    with Mongo(list(members), replicaSet=SET, username=USER, password=password) as admin:
        for member in members:
            add(admin, member)
        Retrying(retry=retry_if_result(lambda well: not well), stop=PATIENCE, wait=PAUSE)(
            lambda: all_well(admin, members)
        )
    print(f"replica set {SET}: {', '.join(members)}")  # noqa: T201 - this is a command


def knows_user(first: str, password: str) -> bool:
    with Mongo(first, directConnection=True, username=USER, password=password) as admin:
        try:
            admin.admin.command("ping")
        except OperationFailure as error:
            if error.code != AUTHENTICATION_FAILED:
                raise
            return False
    return True


def found(first: str, name: str, password: str) -> None:
    """A set of one, which is its own primary at once: another member could win the first election, out of reach."""
    with Mongo(first, directConnection=True) as anybody:
        try:
            anybody.admin.command("replSetInitiate", {"_id": SET, "members": [{"_id": 0, "host": name}]})
        except OperationFailure as error:
            if error.code == UNAUTHORIZED:
                sys.exit(f"found_replica_set: {name} has users already, and this is not the password of {USER}")
            if error.code != ALREADY_INITIALIZED:  # an earlier run was cut short just here
                raise
        Retrying(retry=retry_if_result(lambda primary: not primary), stop=PATIENCE, wait=PAUSE)(
            lambda: anybody.admin.command("hello")["isWritablePrimary"]
        )
        anybody.admin.command("createUser", USER, pwd=password, roles=["root"])


def add(admin: Mongo, member: str) -> None:
    """One voting member at a time, each when the set has agreed on the one before it."""

    def try_to() -> None:
        config = admin.admin.command("replSetGetConfig")["config"]
        if member in {known["host"] for known in config["members"]}:
            return
        number = 1 + max(known["_id"] for known in config["members"])
        config["members"].append({"_id": number, "host": member})
        config["version"] += 1
        admin.admin.command("replSetReconfig", config)

    Retrying(retry=retry_if_exception(is_outrun), stop=PATIENCE, wait=PAUSE, reraise=True)(try_to)


def is_outrun(error: BaseException) -> bool:
    return isinstance(error, OperationFailure) and error.code in OUTRUN


def all_well(admin: Mongo, members: Sequence[str]) -> bool:
    states = {member["name"]: member["stateStr"] for member in admin.admin.command("replSetGetStatus")["members"]}
    return all(states.get(member) in {"PRIMARY", "SECONDARY"} for member in members)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except RetryError:
        sys.exit("found_replica_set: not all members came up in time; look at their logs and run this again")
    except PyMongoError as error:  # its text names members at most
        sys.exit(f"found_replica_set: {str(error).partition(', full error')[0]}")
