"""Faults are waited out, and a dead worker's leases are the longest wait; here they are as short as they may be."""

from __future__ import annotations

import pytest

from tests.conftest import app_settings, client, sandbox, stack

#: Taken over as they are, for a second stack: pytest keeps a session's fixture once per place where it is defined, so
#: without this they would be those of the first stack, with its times.
__all__ = ["app_settings", "client", "sandbox", "stack"]


@pytest.fixture(scope="session")
def times() -> dict[str, str]:
    """They still nest. A request that is held ends early with them: look at it only while its worker stands still."""
    return {
        "ACTAS_EXCHANGE_BUDGET_SECONDS": "8",
        "ACTAS_HTTP_TIMEOUT_SECONDS": "8",
        "ACTAS_EXCHANGE_LEASE_SECONDS": "18",
        "ACTAS_JOB_LEASE_SECONDS": "26",
    }
