"""Much is stored, and what is done costs as much as it would with little: sizes by SCALE, 1 being the promised size."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from actas.embedded.stack import Stack


@pytest.fixture(scope="session")
def scale() -> float:
    return float(os.environ.get("SCALE", "0.02"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[Stack]:
    """The servers and the roles; nothing ticks but what is under test."""
    with Stack(tmp_path_factory.mktemp("servers")) as stack:
        stack.start_servers()
        stack.install()
        yield stack
