"""Much is stored, and what is done costs as much as it would with little: sizes by SCALE, 1 being the promised size."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The day takes longest: it goes first, so that two processes are done at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_simulated_day.py")


@pytest.fixture(scope="session")
def scale() -> float:
    return float(os.environ.get("SCALE", "0.02"))
