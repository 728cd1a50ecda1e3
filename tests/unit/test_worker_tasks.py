"""The worker's and the scheduler's doors, as far as they can be tried without a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from actas.celery_config import REMOTE_CONTROL
from actas.embedded.child import plain_environment

REPOSITORY = Path(__file__).parents[2]

#: Celery keeps trying for some seconds before it gives up.
SECONDS = 60


@pytest.mark.parametrize("module", ["worker", "scheduler"])
def test_a_process_hears_only_the_remote_commands_that_look(module):
    code = f"import {module}.app; from celery.worker.control import Panel; print(*sorted(Panel.data))"
    assert python(code).split() == sorted(REMOTE_CONTROL)
    assert not {"shutdown", "pool_shrink", "cancel_consumer", "rate_limit", "revoke"} & set(REMOTE_CONTROL)


def test_a_broker_that_is_away_takes_no_job_with_it():
    """A job that tells Flower how it fares must not fail because nobody can be told. Nobody listens on port 1."""
    code = (
        "from worker import tasks; tasks.show(tasks.act_as_user, 'task-awaiting_token');"
        "tasks.revoked(tasks.act_as_user, 'expired', expired=True); print('told')"
    )
    assert python(code) == "told\n"


def python(code: str) -> str:
    """What it prints, in a process of its own: importing the apps changes Celery for good. Nobody listens on port 1."""
    env = plain_environment() | {"PYTHONPATH": str(REPOSITORY), "ACTAS_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
