"""Shared by all suites: one real stack for the whole run, and no silence about what was skipped."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from actas import Client, Grant, Settings
from actas.embedded.stack import Stack
from actas.sandbox.remote import SandboxControl
from tests.support import connected, open_all_gates, settings_from

#: A request that the sandbox holds must outlast whatever a test does meanwhile, also on a machine that stalls; so
#: these are generous. What waits for leases to end has a stack of its own (tests/faults).
TIMES = {
    "ACTAS_EXCHANGE_BUDGET_SECONDS": "20",
    "ACTAS_HTTP_TIMEOUT_SECONDS": "20",
    "ACTAS_EXCHANGE_LEASE_SECONDS": "30",
    "ACTAS_JOB_LEASE_SECONDS": "50",
}


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("skipped tests are failures in CI", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def times() -> dict[str, str]:
    return TIMES


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, times: dict[str, str]) -> Iterator[Stack]:
    """Real servers, two workers of 64 threads, scheduler, beat, Flower and the sandbox."""
    stack = Stack(tmp_path_factory.mktemp("stack"), workers=2, settings=times)
    with stack:
        stack.start()
        yield stack


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The servers and the roles; nothing ticks but what is under test."""
    with Stack(tmp_path_factory.mktemp("servers")) as stack:
        stack.start_servers()
        stack.install()
        yield stack


@pytest.fixture(scope="session")
def sandbox(stack: Stack) -> SandboxControl:
    return SandboxControl(stack.sandbox_url)


@pytest.fixture(autouse=True)
def well_behaved(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves the sandbox misbehaving for the next one, or a gate closed."""
    yield
    if {"stack", "sandbox"} <= set(request.fixturenames):
        control: SandboxControl = request.getfixturevalue("sandbox")
        control.behave()
        control.release()
        open_all_gates(request.getfixturevalue("stack"))


@pytest.fixture(scope="session")
def app_settings(stack: Stack) -> Settings:
    return settings_from(stack.role_env("app-demo"))


@pytest.fixture(scope="session")
def client(app_settings: Settings) -> Iterator[Client]:
    with Client(app_settings) as client:
        yield client


@pytest.fixture
def user() -> str:
    """A user nobody else has: tests share one stack and stay out of each other's way by this alone."""
    return f"u{uuid4().hex[:12]}"


@pytest.fixture
def connect(client: Client, sandbox: SandboxControl) -> Callable[[str], Grant]:
    return functools.partial(connected, client, sandbox)


@pytest.fixture
def posts(sandbox: SandboxControl) -> Callable[[str], list[str]]:
    """The texts an account has posted, by the provider's own books."""
    return lambda account: [post["text"] for post in sandbox.ledger()["posts"] if post["account"] == account]
