"""Much is stored, and what is done costs as much as it would with little: sizes by SCALE, 1 being the promised size."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def scale() -> float:
    return float(os.environ.get("SCALE", "0.02"))
