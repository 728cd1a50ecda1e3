"""The embedded stack on a replica set of three, so that a primary can be killed and another takes over."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from actas.embedded import binaries
from actas.embedded.child import STOP_SECONDS, Child, stop_all
from actas.embedded.servers import ANSWER_SECONDS, Mongod
from actas.embedded.stack import Stack
from actas.stores.founding import OneNode
from tests.support import eventually

OTHERS = ("mongod2", "mongod3")

#: On one machine no heartbeat is late; the default waits ten seconds before an election.
ELECTIONS = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}

CONFIGURATION_IN_PROGRESS = 109


class Member(Mongod):
    """One more, which has its data and its users from the set."""

    def wait_ready(self) -> None:
        self.wait_until(self.is_ready)

    def is_ready(self) -> bool:
        with closing(OneNode(self.address, self._password, seconds=ANSWER_SECONDS)) as node:
            return node.answers()


class ReplicatedStack(Stack):
    """Three members, known to every process. The first leads whenever it is there, so it is the one to be killed."""

    others: tuple[Member, ...] = ()

    def start_servers(self) -> None:
        super().start_servers()
        ports = self._place.ports(OTHERS)
        program = binaries.find(binaries.MONGOD, self._place.path / "bin")
        self.others = tuple(Member(name, program, self._place, ports) for name in OTHERS)
        for member in self.others:
            member.start()
        with MongoClient(self.servers.mongod.url.get_secret_value()) as admin:
            for member in self.others:
                grow(admin, member.address)

    def another_leads(self) -> bool:
        leads = []
        for member in self.others:
            with closing(OneNode(member.address, member._password, seconds=ANSWER_SECONDS)) as node:
                leads.append(node.is_primary())
        return any(leads)

    def role_env(self, role: str) -> dict[str, str]:
        return {name: self._naming_everybody(value) for name, value in super().role_env(role).items()}

    @property
    def admin_url(self) -> str:
        """The administrator's address of whichever member leads."""
        return self._naming_everybody(self.servers.mongod.url.get_secret_value())

    def _naming_everybody(self, url: str) -> str:
        first = self.servers.mongod.address
        everybody = ",".join([first, *(member.address for member in self.others)])
        return url.replace(f"@{first}/", f"@{everybody}/")

    @property
    def children(self) -> list[Child]:
        return [*self.others, *super().children]

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        stop_all(self.processes.values(), seconds)
        if hasattr(self, "servers"):  # asked to stop, a primary would look for a successor first, for ten seconds
            for member in (self.servers.mongod, *self.others):
                member.kill()
        super().stop(seconds)


def grow(admin: MongoClient[dict[str, Any]], address: str) -> None:
    """One member at a time, as MongoDB wants it, and not before the last has all data."""
    eventually(lambda: _added(admin, address), what=f"{address} is a member")

    def states() -> list[str]:
        return [one["stateStr"] for one in admin.admin.command("replSetGetStatus")["members"]]

    eventually(lambda: set(states()) == {"PRIMARY", "SECONDARY"}, what=f"{address} has all data")


def _added(admin: MongoClient[dict[str, Any]], address: str) -> bool:
    """False while a primary that has just begun to lead is writing a configuration of its own."""
    config = admin.admin.command("replSetGetConfig")["config"]
    config["members"][0]["priority"] = 2
    config["members"].append({"_id": len(config["members"]), "host": address})
    config["settings"] |= ELECTIONS
    config["version"] += 1
    try:
        admin.admin.command("replSetReconfig", config)
    except OperationFailure as error:
        if error.code != CONFIGURATION_IN_PROGRESS:
            raise
        return False
    return True
