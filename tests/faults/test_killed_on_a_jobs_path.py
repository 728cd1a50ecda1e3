"""SIGKILL at every named step of a job's path, and of the look for what is uncertain: each job is done, and done once.

20 times each with SEEDS=20 or more: what dies is one process with all its victims in it, some at each step.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from uuid import uuid4

import pytest

from actas import JobStatus
from actas.fault_points import FaultPoint
from actas.files import CHUNK_BYTES
from tests.faults.every_step import Victim, World
from tests.faults.injecting import heal
from tests.support import REDIRECT, eventually, nothing_is_sent

ON_JOBS_PATH = [point for point in FaultPoint if point.startswith(("job.", "reconcile."))]

TIMES = min(20, int(os.environ.get("SEEDS", "20")))

#: A worker has 64 threads, and each victim holds one.
AT_ONCE = 5

UPLOAD = "upload"

#: A dead worker's lease must end, and the time for its request, and two looks must be over that find nothing.
SECONDS = 150


@pytest.fixture(scope="module", params=range(math.ceil(TIMES / AT_ONCE)))
def killed(world: World, request: pytest.FixtureRequest) -> Mapping[str, Victim]:
    times = min(AT_ONCE, TIMES - request.param * AT_ONCE)
    victims = {**world.hold_in("worker1", {f"{point} {n}": point for point in ON_JOBS_PATH for n in range(times)})}
    victims[UPLOAD] = upload_held_after(2, world)
    world.stack.processes["worker1"].kill()
    heal(world.stack)
    return victims


def upload_held_after(segments: int, world: World) -> Victim:
    """An upload whose worker has the answer to so many segments, the last of which is not written down yet."""
    user = f"u{uuid4().hex[:12]}"
    request = world.client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT, actions=["x.upload_media"])
    grant = world.client.finish_connect(world.sandbox.authorize(request.url, user), user=user).id
    file = world.client.store_file(os.urandom(4 * CHUNK_BYTES), media_type="image/png")
    payload = {"file": file.model_dump(), "category": "tweet_image"}
    with nothing_is_sent(world.stack):
        job = world.client.schedule("x.upload_media", user=user, payload=payload).id
        strike = world.faults.arm(FaultPoint.JOB_ANSWERED, "hold", job)
    for _ in range(segments):  # the first answer is to the step before them
        strike.happened()
        reached, strike = strike, world.faults.arm(FaultPoint.JOB_ANSWERED, "hold", job)
        reached.release()
    strike.happened()
    return Victim(user, grant, job, strike)


def test_an_upload_goes_on_after_the_last_segment_that_is_known_to_be_there(world, killed):
    victim = killed[UPLOAD]
    assert world.sandbox.uploads(victim.user)[0]["segments"].keys() >= {"0", "1"}
    done = world.client.wait(victim.job, timeout=SECONDS)
    (upload,) = world.sandbox.uploads(victim.user)
    assert (done.status, done.result, upload["state"]) == (JobStatus.SUCCEEDED, upload["id"], "succeeded")
    assert upload["segments"] == {"0": 1, "1": 2, "2": 1, "3": 1}


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
