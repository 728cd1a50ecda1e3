"""What tests with the stack look at it with: a worker of their own process, and an administrator's eyes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest
from pymongo import MongoClient

from actas.embedded.stack import Stack
from tests.support import settings_from
from worker.room import Room


@pytest.fixture
def room(stack: Stack) -> Iterator[Room]:
    room = Room.open(settings_from(stack.role_env("worker")))
    yield room
    room.close()


@pytest.fixture
def documents(stack: Stack) -> Iterator[Any]:
    """MongoDB with an administrator's powers."""
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]
