"""What `make test-system` tries: whole programs, with what Debian has. install.sh sees to what they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.programs import Example


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshot", type=Path, help="where the picture for the docs goes")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Example]]:
    """Start an example by its name."""
    with ExitStack() as started:

        def started_example(name: str) -> Example:
            example = Example(name, tmp_path)
            started.callback(example.kill)
            example.wait_ready()
            return example

        yield started_example
