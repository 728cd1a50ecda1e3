"""Real worker processes say how many jobs they run at once, and are not counted any more when they take none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from actas.embedded import processes
from actas.slots import VALID_SECONDS, Slots
from tests.support import eventually, settings_from


@pytest.fixture
def counts(stack) -> Iterator[Callable[[], list[int]]]:
    """By the scheduler's own credentials."""
    slots = Slots(settings_from(stack.role_env("scheduler")).redis_url)
    yield lambda: sorted(slots.living().values())
    slots.close()


@pytest.fixture
def third(stack) -> Iterator[processes.Process]:
    process = processes.worker(stack._place, "worker3", 3, stack.role_env("worker"))
    yield process
    process.kill()


def test_what_the_fleet_can_do_is_known_and_said_again_when_redis_has_lost_it(stack, counts):
    eventually(lambda: counts() == [64, 64], what="both have said so")
    Slots(stack.servers.valkey.url)._redis.delete("actas:slots")
    eventually(lambda: counts() == [64, 64], seconds=VALID_SECONDS, what="and say it again")


def test_a_worker_that_is_told_to_stop_is_not_counted_any_more(stack, third, counts):
    third.start()
    eventually(lambda: 3 in counts(), what="the third has said so")
    told_at = time.monotonic()
    third.terminate()
    eventually(lambda: 3 not in counts(), what="it is not counted")
    assert time.monotonic() - told_at < VALID_SECONDS / 2, "because it took its word back"


def test_a_worker_that_stands_still_is_not_counted_until_it_goes_on(third, counts):
    third.start()
    eventually(lambda: 3 in counts(), what="the third has said so")
    third.pause()
    eventually(lambda: 3 not in counts(), seconds=2 * VALID_SECONDS, what="it is not counted")
    third.resume()
    eventually(lambda: 3 in counts(), what="it is back")


def test_a_worker_that_only_does_chores_runs_no_jobs(stack, third, counts):
    changed = {"--queues": "--queues=actas.grants", "--concurrency": "--concurrency=5"}
    third._argv = [changed.get(word.partition("=")[0], word) for word in third._argv]
    third.start()
    eventually(lambda: "ready" in third.output(), what="it has started")
    assert 5 not in counts()
