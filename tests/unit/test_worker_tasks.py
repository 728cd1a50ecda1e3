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
    code = """
import time
now, paused = time.time, []
time.sleep, time.time = paused.append, lambda: now() + sum(paused)  # Celery's pauses between its tries are over at once
from worker import tasks
tasks.show(tasks.act_as_user, 'task-awaiting_token')
tasks.revoked(tasks.act_as_user, 'expired', expired=True)
print('told, after', len(paused) > 3)
"""
    assert python(code) == "told, after True\n"


def test_a_message_that_this_worker_can_do_nothing_with_goes_back_into_the_queue_and_all_others_are_done_with():
    code = """
from billiard.einfo import ExceptionInfo
from celery.exceptions import Retry
from actas.errors import MongoUnavailable
from worker import tasks
class Outage:
    def seen(self, error):
        print('seen', error.code)
class Room:
    outage = Outage()
def run(*_, **__):
    raise MongoUnavailable
tasks.room, tasks.run, tasks.PAUSE_SECONDS = Room, run, 0.01
class Told(tasks.Returning):
    def __init__(self):
        self._task = tasks.act_as_user
    def reject(self, requeue):
        print('requeued', requeue)
    def acknowledge(self):
        print('acknowledged')
    def send_event(self, *_, exception, **__):
        print(exception)
def told(call):
    try:
        call()
    except Retry:
        Told().on_retry(ExceptionInfo())
def at_its_time():
    raise Retry('later', exc=tasks.JobNotDone('later'))
told(lambda: tasks.act_as_user.run('j'))
told(at_its_time)
"""
    seen, requeued, says, acknowledged, *_ = python(code).splitlines()
    assert (seen, requeued, acknowledged) == ("seen mongodb_unavailable", "requeued True", "acknowledged")
    assert "mongodb_unavailable" in says


def test_a_worker_that_is_to_take_nothing_takes_nothing_after_a_new_connection_either():
    """Celery takes messages from all queues whenever it is connected anew."""
    code = """
from worker.app import Consumer
class Taking:
    def consume(self):
        print('takes')
    def cancel(self):
        print('takes nothing')
consumer = Consumer.__new__(Consumer)
consumer.task_consumer, consumer.init_callback, soon = Taking(), None, []
consumer.call_soon = soon.append
consumer.take(True)
print(len(soon))
consumer.take(False)
soon.pop()()
consumer.on_ready()
consumer.task_consumer = None
consumer.take(True)
soon.pop()()
consumer.task_consumer = Taking()
consumer.on_ready()
"""
    assert python(code).splitlines() == ["0", "takes nothing", "takes nothing", "takes"]


def test_a_tick_that_still_runs_is_not_begun_again_and_holds_up_no_other():
    """Ticks of one kind, slower than their interval, would hold every thread of the scheduler in the end."""
    code = """
import threading
from scheduler import tasks
tasks.room = lambda: None
begun, end = threading.Event(), threading.Event()
def slow(_):
    begun.set()
    assert end.wait(30)
    return {"done": 1}
def other(_):
    return {"done": 2}
first = threading.Thread(target=tasks.tick, args=(slow,), daemon=True)
first.start()
assert begun.wait(30)
second = []
again = threading.Thread(target=lambda: second.append(tasks.tick(slow)), daemon=True)
again.start()
again.join(5)
print(second, tasks.tick(other))
end.set()
first.join(30)
print(tasks.tick(slow))
"""
    assert python(code) == "[{'busy': 1}] {'done': 2}\n{'done': 1}\n"


def test_a_tick_that_an_error_ended_can_be_begun_again():
    code = """
from actas.errors import MongoUnavailable
from scheduler import tasks
tasks.room = lambda: None
errors = [MongoUnavailable(), ValueError()]
def failing(_):
    if errors:
        raise errors.pop()
    return {"done": 1}
try:
    tasks.tick(failing)
except ValueError:
    print(tasks.tick(failing), tasks.tick(failing))
"""
    assert python(code) == "{} {'done': 1}\n"


def python(code: str) -> str:
    """What it prints, in a process of its own: importing the apps changes Celery for good. Nobody listens on port 1."""
    env = plain_environment() | {"PYTHONPATH": str(REPOSITORY), "ACTAS_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
