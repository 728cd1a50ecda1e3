"""What attackers hold. Each file says at its top what its attacker may do, and takes no more than that from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection, Exchange, Producer
from pymongo import MongoClient

from actas import Client, Grant
from actas.celery_config import ACT_QUEUE, ACT_TASK, celery_config
from actas.embedded.stack import Stack
from actas.ids import new_id
from actas.installing import env_files, installer
from actas.sandbox.remote import SandboxControl
from actas.vault.room import VaultRoom
from tests.attacks.tampering import connect_user
from tests.support import settings_from
from worker.room import Room

Publish = Callable[..., None]


@pytest.fixture(scope="module")
def documents(stack: Stack) -> Iterator[Any]:
    """MongoDB with an administrator's powers; in the end no grant is left, so that nobody stumbles over a spoiled one."""
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]
        admin["actas"]["grants"].delete_many({})


@pytest.fixture(scope="module")
def module_grant(client: Client, sandbox: SandboxControl) -> Grant:
    """The grant of one user, for attacks that are tried many at a time: a tick sends what is due once a second."""
    return connect_user(client, sandbox)


@pytest.fixture(scope="module")
def broker(stack: Stack) -> Iterator[redis.Redis]:
    """Redis with a worker's own password: all keys of the broker, the gates, the rescue slots."""
    with redis.Redis.from_url(stack.role_env("worker")["ACTAS_REDIS_URL"], decode_responses=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def publish(stack: Stack) -> Iterator[Publish]:
    """Put anything into a queue of the workers, as somebody who has a worker's Redis password."""
    config = celery_config(settings_from(stack.role_env("worker")).broker)
    with Connection(config["broker_url"], transport_options=config["broker_transport_options"]) as connection:
        producers: dict[str, Producer] = {}

        def publish(body: Any, *, task: str = ACT_TASK, queue: str = ACT_QUEUE, **options: Any) -> None:
            if queue not in producers:
                producers[queue] = Producer(connection, exchange=Exchange(queue, "direct"), routing_key=queue)
            headers = {"task": task, "id": new_id(), "lang": "py"} | options.pop("headers", {})
            producers[queue].publish(body, headers=headers, correlation_id=headers["id"], **options)

        yield publish


@pytest.fixture(scope="module")
def add_app(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Add an app as an administrator does; what its own process would be told."""

    def add_app(name: str) -> dict[str, str]:
        file: Path = installer.add_app(
            name,
            vault_addr=stack.servers.bao.url,
            vault_token=stack.servers.bao.token,
            mongodb_url=stack.servers.mongod.url,
            out=tmp_path_factory.mktemp(name),
        )
        return stack.role_env("app-demo") | env_files.read(file)

    return add_app


@pytest.fixture(scope="module")
def mallory(add_app: Callable[[str], dict[str, str]]) -> Iterator[Client]:
    """Another app of the house, with credentials of its own."""
    with Client(settings_from(add_app("mallory"))) as client:
        yield client


@pytest.fixture(scope="module")
def worker_vault(stack: Stack) -> Iterator[VaultRoom]:
    """Vault with a worker's rights: for looking at what an attacker must not get, and never for the attacker."""
    room = VaultRoom(settings_from(stack.role_env("worker")))
    yield room
    room.close()


@pytest.fixture(scope="module")
def room(stack: Stack) -> Iterator[Room]:
    """A worker's, in this process: for doing what a worker does, step by step, and never for the attacker."""
    room = Room.open(settings_from(stack.role_env("worker")))
    yield room
    room.close()
