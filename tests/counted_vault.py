"""A stack of its own whose processes go to Vault by way of a proxy that counts; its fixtures, for whoever imports them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from actas import Client
from actas.embedded.stack import Stack
from actas.sandbox.remote import SandboxControl
from tests.conftest import TIMES
from tests.counting_proxy import CountingProxy
from tests.support import settings_from


@pytest.fixture(scope="module")
def proxy() -> Iterator[CountingProxy]:
    proxy = CountingProxy()
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, proxy: CountingProxy) -> Iterator[Stack]:
    """All of ours go to Vault by way of the proxy."""
    settings = TIMES | {"ACTAS_VAULT_ADDR": proxy.url}
    with Stack(tmp_path_factory.mktemp("stack"), workers=2, settings=settings) as stack:
        stack.start_servers()
        host, _, port = stack.servers.bao.url.removeprefix("http://").partition(":")
        proxy.target = (host, int(port))
        stack.install()
        stack.start_processes()
        yield stack


@pytest.fixture(scope="module")
def sandbox(stack: Stack) -> SandboxControl:
    return SandboxControl(stack.sandbox_url)


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with Client(settings_from(stack.role_env("app-demo"))) as client:
        yield client


@pytest.fixture
def documents(stack: Stack) -> Iterator[Any]:
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True) as admin:
        yield admin["actas"]
