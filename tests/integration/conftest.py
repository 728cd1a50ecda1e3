"""A worker of the test's own process, beside those of the stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actas.embedded.stack import Stack
from tests.support import settings_from
from worker.room import Room


@pytest.fixture
def room(stack: Stack) -> Iterator[Room]:
    room = Room.open(settings_from(stack.role_env("worker")))
    yield room
    room.close()
