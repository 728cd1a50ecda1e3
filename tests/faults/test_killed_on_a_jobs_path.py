"""SIGKILL at every named step of a job's path, and of the look for what is uncertain: each job is done, and done once.

20 times each with SEEDS=20 or more: what dies is one process with all its victims in it, some at each step.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import pytest

from actas import JobStatus
from actas.fault_points import FaultPoint
from tests.faults.every_step import Victim, World
from tests.faults.injecting import heal
from tests.support import eventually

ON_JOBS_PATH = [point for point in FaultPoint if point.startswith(("job.", "reconcile."))]

TIMES = min(20, int(os.environ.get("SEEDS", "20")))

#: A worker has 64 threads, and each victim holds one.
AT_ONCE = 5

#: A dead worker's lease must end, and the time for its request, and two looks must be over that find nothing.
SECONDS = 150


@pytest.fixture(scope="module", params=range(math.ceil(TIMES / AT_ONCE)))
def killed(world: World, request: pytest.FixtureRequest) -> Mapping[str, Victim]:
    times = min(AT_ONCE, TIMES - request.param * AT_ONCE)
    victims = world.hold_in("worker1", {f"{point} {n}": point for point in ON_JOBS_PATH for n in range(times)})
    world.stack.processes["worker1"].kill()
    heal(world.stack)
    return victims


@pytest.mark.parametrize("point", ON_JOBS_PATH)
def test_killed_at_a_step_of_its_path_a_job_is_done_once(world, killed, posts, point):
    victims = [victim for name, victim in killed.items() if name.startswith(f"{point} ")]
    assert victims
    for victim in victims:
        eventually(
            lambda victim=victim: world.client.job(victim.job).status is JobStatus.SUCCEEDED,
            seconds=SECONDS,
            what=f"the job is done: {victim}",
        )
        assert posts(victim.user) == [f"held at {point}"]
