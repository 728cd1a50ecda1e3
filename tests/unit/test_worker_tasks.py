"""The worker's doors, as far as they can be tried without a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from actas.embedded.child import plain_environment

REPOSITORY = Path(__file__).parents[2]

#: Celery keeps trying for some seconds before it gives up.
SECONDS = 60


def test_a_broker_that_is_away_takes_no_job_with_it():
    """A job that tells Flower how it fares must not fail because nobody can be told. Nobody listens on port 1."""
    code = (
        "from worker import tasks; tasks.show(tasks.act_as_user, 'task-awaiting_token');"
        "tasks.revoked(tasks.act_as_user, 'expired', expired=True); print('told')"
    )
    env = plain_environment() | {"PYTHONPATH": str(REPOSITORY), "ACTAS_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.stdout, done.returncode) == ("told\n", 0), done.stderr
