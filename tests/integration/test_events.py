"""Each event really arrives, signed, of real jobs and grants on the whole stack, and can be verified by strangers."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from celery import Celery
from pydantic import SecretStr
from pymongo import MongoClient
from typer.testing import CliRunner

from actas import JobRequest, JobStatus
from actas.celery_config import SCHEDULER_QUEUE, celery_config
from actas.cli import app as console_app
from actas.clock import utc_now
from actas.envelope import Purpose
from actas.fault_points import FaultPoint
from actas.installing import installer
from actas.stores.outbox import Outbox
from tests.dying import dies_at
from tests.receiving import Receiver, Request, receiver
from tests.support import dance, eventually, made_stale
from tests.verifying import verified, verified_in_node


@pytest.fixture(scope="module")
def there() -> Iterator[Receiver]:
    with receiver() as there:
        yield there


@pytest.fixture(scope="module")
def secret(stack, client, sandbox, there) -> Iterator[SecretStr]:
    """The app "demo" has a webhook, as `actas apps webhook` makes it; by now the scheduler knows of it."""
    env = {
        "VAULT_TOKEN": stack.servers.bao.token.get_secret_value(),
        "ACTAS_VAULT_ADDR": stack.servers.bao.url,
        "ACTAS_ENV": "development",
    }
    console = CliRunner(env=env)
    said = console.invoke(console_app, ["apps", "webhook", "demo", f"{there.url}/hook?q=canary"])
    assert said.exit_code == 0, said.output
    assert "canary" not in said.output
    secret = next(word for word in said.output.split() if word.startswith("whsec_"))
    again = console.invoke(console_app, ["apps", "webhook", "demo", f"{there.url}/hook"])
    assert secret not in again.output, "shown once"
    user = f"u{uuid4().hex[:12]}"
    tokens = dance(client, sandbox, user)
    client.store_grant(user=user, provider="x", account=user, tokens=tokens)

    def knows() -> bool:
        client.schedule("x.post", user=user, payload={"text": f"{uuid4()}"})
        return bool(there.requests)

    eventually(knows, what="the scheduler has seen the webhook")
    yield SecretStr(secret)
    where = {"vault_addr": stack.servers.bao.url, "vault_token": stack.servers.bao.token}
    installer.remove_webhook("demo", **where)


@pytest.fixture
def told(secret, there):
    """The data of one event about something, once it has arrived; verified."""

    def told(subject: str, type_: str):
        (request,) = eventually(lambda: there.of(subject, type_), what=f"{type_} arrives")
        assert verified(secret, request)["type"] == type_
        return request.told["data"]

    return told


def test_a_job_that_succeeds(client, connect, user, told, sandbox):
    grant = connect(user)
    at = utc_now()
    job = client.schedule("x.post", user=user, payload={"text": "hi"}, idempotency_key=f"k-{user}", at=at)
    data = told(job.id, "job.succeeded")
    (post,) = [post for post in sandbox.ledger()["posts"] if post["account"] == user]
    assert data == {
        "job": job.id,
        "grant": grant.id,
        "user": user,
        "provider": "x",
        "action": "x.post",
        "idempotency_key": f"k-{user}",
        "run_at": job.run_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "deadline": job.deadline.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "status": "succeeded",
        "code": None,
        "result": post["id"],
    }


def test_a_job_that_fails_expires_or_is_uncertain(client, connect, user, told, sandbox):
    connect(user)
    first = client.schedule("x.post", user=user, payload={"text": "once"})
    assert client.wait(first.id).status is JobStatus.SUCCEEDED
    twice = client.schedule("x.post", user=user, payload={"text": "once"})
    assert told(twice.id, "job.failed")["code"] == "duplicate"
    sandbox.misbehave("tweets", "drop_after", times=1, account=user)
    lost = client.schedule("x.post", user=user, payload={"text": "perhaps"})
    assert client.wait(lost.id).status is JobStatus.UNCERTAIN
    assert told(lost.id, "job.uncertain")["code"] == client.job(lost.id).error.code
    sandbox.misbehave("tweets", "status", status=503, body={}, account=user)
    late = client.schedule("x.post", user=user, payload={"text": "never"}, deadline=utc_now() + timedelta(seconds=3))
    assert told(late.id, "job.expired")["status"] == "expired"


def test_a_grant_that_breaks_and_one_whose_user_connects_again(client, connect, user, told, sandbox, there):
    grant = connect(user)
    sandbox.misbehave("token", "status", status=400, body={"error": "invalid_grant"}, account=user)
    sandbox.expire_access(user)
    job = client.schedule("x.post", user=user, payload={"text": "waits"})
    data = told(grant.id, "grant.reauthorization_required")
    assert data == {
        "grant": grant.id,
        "user": user,
        "provider": "x",
        "account": grant.account,
        "code": "invalid_grant",
        "jobs_waiting": None,
        "first_due_at": None,
    }
    sandbox.behave()
    connect(user)
    assert told(grant.id, "grant.recovered")["code"] == "connected"
    told(job.id, "job.succeeded")
    assert len(there.of(grant.id)) == 2
    connect(user)  # a grant that works has not recovered
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "and on"}).id)
    assert len(there.of(grant.id)) == 2


def test_a_grant_that_a_late_reply_heals(stack, client, connect, user, told, sandbox, room):
    """Called lost because a reply was missing; then its reply is in the grant after all."""
    grant = connect(user)
    with MongoClient(stack.servers.mongod.url.get_secret_value()) as admin:
        documents = admin["actas"]
        made_stale(documents, user)
        dies_at(FaultPoint.EXCHANGE_RESCUED, lambda: room.exchange.access_token(room.grants.get(grant.id)))
        failure = {"code": "lost_rotation", "count": 1, "first_at": utc_now(), "last_at": utc_now()}
        lost = {"status": "reauthorization_required", "failure": failure}
        documents["grants"].update_one({"_id": grant.id}, {"$set": lost, "$unset": {"exchange_lease": ""}})
    assert room.exchange.rescue(room.grants.get(grant.id))
    assert told(grant.id, "grant.recovered")["code"] == "late_reply"


def test_a_provider_that_caps_the_app(room, told):
    provider = f"p{uuid4().hex[:12]}"  # of x the app may have been told today, by another test
    until = utc_now() + timedelta(days=3)
    Outbox(room.documents).capped("demo", provider, until=until, code="usage_capped", now=utc_now())
    assert told(provider, "provider.capped")["code"] == "usage_capped"


def test_preflight_finds_tomorrows_job_today(stack, client, connect, user, told, room):
    """Its grant broke long ago, and the app was told so then."""
    grant = connect(user)
    first = client.schedule("x.post", user=user, payload={"text": "later"}, at=utc_now() + timedelta(hours=20))
    with MongoClient(stack.servers.mongod.url.get_secret_value()) as admin:
        failure = {"code": "invalid_grant", "count": 1, "first_at": utc_now(), "last_at": utc_now()}
        long_ago = {"status": "reauthorization_required", "failure": failure}
        admin["actas"]["grants"].update_one({"_id": grant.id}, {"$set": long_ago})
    with Celery("asking", set_as_current=False) as asking:  # now, and not with the next minute
        asking.conf.update(celery_config(stack.servers.valkey.url))
        asking.send_task("actas.preflight", queue=SCHEDULER_QUEUE)
    data = told(grant.id, "grant.reauthorization_required")
    assert (data["jobs_waiting"], data["code"]) == (1, "invalid_grant")
    assert client.cancel(first.id).outcome == "cancelled"


def test_what_was_really_sent_is_verified_by_other_peoples_code(secret, there):
    """The code of docs/events.md: in Python for all that came, in Node (where there is one) for some."""
    other = SecretStr("whsec_" + "A" * 43 + "=")
    for request in there.requests:
        assert verified(secret, request) == request.told
        with pytest.raises(ValueError, match="not signed"):
            verified(other, request)
        request.body += b" "
        with pytest.raises(ValueError, match="not signed"):
            verified(secret, request)
        request.body = request.body[:-1]
        with pytest.raises(ValueError, match="too old"):
            verified(secret, request, at=utc_now() + timedelta(minutes=40))
    if shutil.which("node"):
        assert verified_in_node(secret, there.requests[-1]) == there.requests[-1].told
        assert verified_in_node(other, there.requests[-1]) is None


def test_nothing_came_twice_and_nothing_else_is_in_it(secret, there, sandbox, room, client):
    assert len(there.ids) == len(set(there.ids))
    sent = b"\n".join(request.body + json.dumps(request.headers).encode() for request in there.requests)
    assert b"perhaps" not in sent, "a payload"
    assert not [token for token in sandbox.tokens() if token.encode() in sent]
    for grant in client.grants():
        stored = room.grants.get(grant.id)
        if stored is not None and stored.access_token is not None:
            assert room.keys.read(stored, Purpose.ACCESS).get_secret_value().encode() not in sent


@pytest.mark.usefixtures("secret")
def test_an_endpoint_that_hangs_delays_no_job(client, connect, user, there):
    """Last of all: from here on the app's events go nowhere."""
    connect(user)
    over = threading.Event()

    def hang(_: Request) -> tuple[int, dict[str, str]]:
        over.wait()
        return 503, {}

    there.answer = hang
    try:
        first = client.schedule("x.post", user=user, payload={"text": f"{uuid4()}"})
        eventually(lambda: there.of(first.id), what="the scheduler sends to where nobody answers")
        at = utc_now() + timedelta(seconds=2)
        jobs = client.schedule_many([JobRequest("x.post", user, {"text": f"on time {n}"}, at=at) for n in range(40)])
        for job in jobs:
            done = client.wait(job.id)
            began = next(step["at"] for step in done.history if step["to"] == "running")
            assert began - at < timedelta(seconds=3)
    finally:
        over.set()
