"""Flower shows each job under its own id, in its true state, and nothing of its content."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from kombu import Connection, Exchange, Producer

from actas import Client, JobStatus
from actas.celery_config import GRANT_TASKS, SEND_EVENTS_TASK, SUBMIT_TASK, celery_config
from actas.clock import utc_now
from tests.support import dance, eventually, settings_from


@pytest.fixture
def flower(stack) -> Callable[[str], dict[str, Any]]:
    """What Flower says of a task, by its id; empty while it has not heard of it."""
    user, password = stack.flower_credentials

    def look(task_id: str) -> dict[str, Any]:
        reply = httpx.get(f"{stack.flower_url}/api/task/info/{task_id}", auth=(user, password.get_secret_value()))
        return reply.json() if reply.status_code == 200 else {}

    return look


def shows(flower, job_id: str, state: str) -> dict[str, Any]:
    return eventually(
        lambda: (shown := flower(job_id)).get("state") == state and shown, what=f"Flower shows {job_id} as {state}"
    )


def test_a_done_job_shows_its_user_action_and_time_but_not_its_content(client, connect, flower, user):
    connect(user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "canary content"}).id)
    shown = shows(flower, job.id, "SUCCESS")
    assert shown["name"] == "actas.act_as_user"
    assert f"user='{user}'" in shown["args"]
    assert "action='x.post'" in shown["args"]
    assert f"{job.run_at:%Y-%m-%dT%H:%M:%S}" in shown["args"]
    assert "canary" not in str(shown)


def test_a_failed_job_shows_its_code(client, connect, flower, user):
    connect(user)
    client.wait(client.schedule("x.post", user=user, payload={"text": "same canary"}).id)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "same canary"}).id)
    shown = shows(flower, job.id, "FAILURE")
    assert "duplicate" in shown["exception"]
    assert "canary" not in str(shown)


def test_a_job_at_a_gate_shows_as_retry_and_then_as_done(client, connect, sandbox, flower, user):
    connect(user)
    sandbox.misbehave("tweets", "status", status=503, body={}, account=user)
    job = client.schedule("x.post", user=user, payload={"text": "later"})
    assert "provider_unavailable" in shows(flower, job.id, "RETRY")["exception"]  # as long as nobody has seen it
    sandbox.behave()
    client.wait(job.id)
    shows(flower, job.id, "SUCCESS")


def test_an_expired_job_shows_as_revoked(client, connect, sandbox, flower, user, schedule_too_late):
    connect(user)
    job = schedule_too_late(user)
    assert client.wait(job.id).status is JobStatus.EXPIRED
    assert shows(flower, job.id, "REVOKED")["expires"] is None


@pytest.fixture
def schedule_too_late(app_settings):
    """Schedule a job whose deadline has passed, by an app that still has an hour before that."""
    past = utc_now() - timedelta(seconds=1)

    def schedule(user: str):
        with Client(app_settings, clock=lambda: past - timedelta(hours=1)) as earlier:
            return earlier.schedule("x.post", user=user, payload={"text": "late"}, deadline=past)

    return schedule


def test_an_uncertain_job_shows_as_failed_with_its_code(client, connect, sandbox, flower, user):
    connect(user)
    sandbox.misbehave("tweets", "drop_after", times=1, account=user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "maybe"}).id)
    assert "uncertain" in shows(flower, job.id, "FAILURE")["exception"]


def test_a_job_that_waits_for_its_token_says_so(client, connect, sandbox, flower, user, expired_grant):
    expired_grant(user)
    sandbox.misbehave("token", "hold_before", times=1, account=user)
    job = client.schedule("x.post", user=user, payload={"text": "waiting"})
    shows(flower, job.id, "AWAITING_TOKEN")
    sandbox.release()
    client.wait(job.id)
    shows(flower, job.id, "SUCCESS")


def test_a_job_that_expires_while_it_waits_for_its_token_shows_as_revoked(
    client, connect, sandbox, flower, user, expired_grant
):
    expired_grant(user)
    sandbox.misbehave("token", "hold_before", times=1, account=user)
    # Half of the time for which its request can be held: to be taken up before, and to be released after.
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    job = client.schedule("x.post", user=user, payload={"text": "waiting"}, deadline=deadline)
    shows(flower, job.id, "AWAITING_TOKEN")
    eventually(lambda: datetime.now(UTC) > deadline, what="its deadline has passed")
    sandbox.release()
    assert client.wait(job.id).status is JobStatus.EXPIRED
    shows(flower, job.id, "REVOKED")


@pytest.fixture
def expired_grant(client, sandbox):
    def store(user: str) -> None:
        tokens = dance(client, sandbox, user) | {"expires_in": 0}
        client.store_grant(user=user, provider="x", account=user, tokens=tokens)

    return store


def test_replaying_a_finished_jobs_message_does_not_change_its_verdict(client, connect, flower, user, stack):
    connect(user)
    client.wait(client.schedule("x.post", user=user, payload={"text": "twice"}).id)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "twice"}).id)
    shows(flower, job.id, "FAILURE")
    config = celery_config(settings_from(stack.role_env("worker")).broker)
    with Connection(config["broker_url"], transport_options=config["broker_transport_options"]) as connection:
        producer = Producer(connection, exchange=Exchange("actas.act", "direct"), routing_key="actas.act")
        headers = {"task": "actas.act_as_user", "id": job.id, "lang": "py"}
        producer.publish([[job.id], {}, {}], headers=headers, correlation_id=job.id, serializer="json")
    last = client.wait(client.schedule("x.post", user=user, payload={"text": "afterwards"}).id)
    shows(flower, last.id, "SUCCESS")
    assert flower(job.id)["state"] == "FAILURE"


def test_flower_wants_a_password(stack):
    assert httpx.get(f"{stack.flower_url}/api/tasks").status_code == 401
    assert httpx.get(f"{stack.flower_url}/tasks").status_code == 401


def test_the_schedulers_ticks_do_not_bury_the_jobs(client, connect, stack, flower, user):
    connect(user)
    began = time.time()  # what others have sent in this stack before, by hand for instance, is not beat's doing
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "to be seen"}).id)
    shows(flower, job.id, "SUCCESS")  # so by now it has heard of ticks, if it ever does
    name, password = stack.flower_credentials
    tasks = httpx.get(f"{stack.flower_url}/api/tasks", auth=(name, password.get_secret_value())).json()
    assert {task["name"] for task in tasks.values() if task["timestamp"] >= began} <= {
        "actas.act_as_user",
        *GRANT_TASKS,
        SUBMIT_TASK,
        SEND_EVENTS_TASK,
        "actas.purge_blacklist",
    }
