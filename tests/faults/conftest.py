"""Faults are waited out, and a dead worker's leases are the longest wait; here they are as short as they may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.stores.database import Documents, connect
from tests.conftest import app_settings, client, sandbox
from tests.faults.injecting import Faults, heal

#: Taken over as they are, for a second stack: pytest keeps a session's fixture once per place where it is defined, so
#: without this they would be those of the first stack, with its times.
__all__ = ["app_settings", "client", "sandbox"]


@pytest.fixture(scope="session")
def times() -> dict[str, str]:
    """They still nest. A request that is held ends early with them: look at it only while its worker stands still."""
    return {
        "ACTAS_EXCHANGE_BUDGET_SECONDS": "8",
        "ACTAS_HTTP_TIMEOUT_SECONDS": "8",
        "ACTAS_EXCHANGE_LEASE_SECONDS": "18",
        "ACTAS_JOB_LEASE_SECONDS": "26",
    }


@pytest.fixture(scope="session")
def fault_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, times: dict[str, str], fault_directory: Path
) -> Iterator[Stack]:
    """As everywhere, but with workers that can be struck at each named step."""
    Faults(fault_directory)  # makes what is in it, before anybody looks there
    settings = times | {"FAULT_DIRECTORY": str(fault_directory)}
    stack = Stack(
        tmp_path_factory.mktemp("stack"), workers=2, worker_app="tests.faults.faulty_worker", settings=settings
    )
    with stack:
        stack.start()
        yield stack


@pytest.fixture
def faults(fault_directory: Path, stack: Stack) -> Iterator[Faults]:
    """What a test arms does not outlive it, nor does what it has broken."""
    faults = Faults(fault_directory)
    yield faults
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

    def stale(user: str) -> None:
        past = {"access_token.expires_at": utc_now() - timedelta(minutes=1)}
        documents["grants"].update_one({"user": user, "access_token": {"$type": "object"}}, {"$set": past})

    return stale
