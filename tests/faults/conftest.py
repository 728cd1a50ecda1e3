"""Faults are waited out, and a dead worker's leases are the longest wait; here they are as short as they may be."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from actas import Client
from actas.embedded.stack import Stack
from actas.sandbox.remote import SandboxControl
from actas.stores.database import Documents, connect
from tests.conftest import app_settings, client, sandbox
from tests.faults.every_step import World
from tests.faults.injecting import Faults, heal
from tests.support import made_stale

#: Taken over as they are, for a second stack: pytest keeps a session's fixture once per place where it is defined, so
#: without this they would be those of the first stack, with its times.
__all__ = ["app_settings", "client", "sandbox"]


#: Have stacks of their own: together in one process, which does not need the others' meanwhile.
OF_THEIR_OWN = ("test_failover.py", "test_sick_worker.py", "test_waiting_for_vault.py")

#: Wait longest, one lease after the other: begun first, so that nobody waits for them in the end.
LONGEST = (*OF_THEIR_OWN, "test_worker_killed.py", "test_between_reply_and_write.py", "test_events_survive.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


class Groups(LoadScopeScheduling):
    """Each file stays in one process, as its fixtures want; random mixes are dealt out to two.

    Not by xdist's marks for that (``xdist_group``): 3.8 writes them where pytest 9.2 does not read them.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if seed := re.search(r"random_mix.*\[(\d+)]$", test):
            return f"random mix {int(seed[1]) % 2}"
        return "stacks of their own" if file.rpartition("/")[2] in OF_THEIR_OWN else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    return Groups(config, log)


@pytest.fixture(scope="session")
def times() -> dict[str, str]:
    """They still nest. A request that is held ends early with them: look at it only while its worker stands still."""
    return {
        "ACTAS_EXCHANGE_BUDGET_SECONDS": "8",
        "ACTAS_HTTP_TIMEOUT_SECONDS": "8",
        "ACTAS_EXCHANGE_LEASE_SECONDS": "20",
        "ACTAS_JOB_LEASE_SECONDS": "26",
    }


@pytest.fixture(scope="session")
def fault_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, times: dict[str, str], fault_directory: Path) -> Iterator[Stack]:
    """As everywhere, but with workers that can be struck at each named step."""
    Faults(fault_directory)  # makes what is in it, before anybody looks there
    settings = times | {"FAULT_DIRECTORY": str(fault_directory)}
    stack = Stack(
        tmp_path_factory.mktemp("stack"), workers=2, worker_app="tests.faults.faulty_worker", settings=settings
    )
    with stack:
        stack.start()
        yield stack


@pytest.fixture(scope="session")
def faults(fault_directory: Path, stack: Stack) -> Faults:
    return Faults(fault_directory)


@pytest.fixture(autouse=True)
def healed(faults: Faults, stack: Stack) -> Iterator[None]:
    """What a test arms does not outlive it, nor does what it has broken."""
    yield
    faults.disarm()
    heal(stack)


@pytest.fixture(scope="session")
def documents(stack: Stack) -> Iterator[Documents]:
    """MongoDB as its administrator sees it."""
    client = connect(stack.servers.mongod.url).client
    with client:
        yield client["actas"]


@pytest.fixture
def grant_of(documents: Documents) -> Callable[[str], dict]:
    """A user's grant as it is stored."""
    return lambda user: documents["grants"].find_one({"user": user})


@pytest.fixture
def stale(documents: Documents) -> Callable[[str], None]:
    """Let the access token in a user's grant come to its end: whoever needs one must exchange."""
    return functools.partial(made_stale, documents)


@pytest.fixture(scope="session")
def world(client: Client, sandbox: SandboxControl, stack: Stack, documents: Documents, faults: Faults) -> World:
    return World(client, sandbox, stack, documents, faults)
