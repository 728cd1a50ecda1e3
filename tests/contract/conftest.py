"""For the contract: X's document, or one clear line that says where it is looked for."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.contract.document import NAME, SETTING, Document, place

settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_sessionstart() -> None:
    if not place().is_file():
        raise pytest.UsageError(
            f"tests/contract needs X's published OpenAPI document, {NAME} (version 2.167, from docs.x.com), which is "
            f"not ours to ship: put it at {place()}, or say in {SETTING} where it is; make test does without"
        )


@pytest.fixture(scope="session")
def document() -> Document:
    return Document(place())
