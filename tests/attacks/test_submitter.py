"""A producer that turned bad. The attacker has `producer.env`: may put anything into the queue `actas.submit`, and no more.

Knows public keys, users, grants and ids of others, and has copies of messages that came by before. In the tests that
say so, it is another app of the house and signs as that. What is tried: what nobody signed, what others signed, what was
signed for another time, the same again, ids of others' jobs, and messages that are no messages.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
import redis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actas import GrantStatus, JobStatus, jws
from actas.celery_config import GRANTS_QUEUE, REVOKE_TASK, SUBMIT_QUEUE, SUBMIT_TASK
from actas.clock import utc_now
from actas.ids import new_id
from actas.signing import sign
from actas.vault.room import VaultRoom
from tests.attacks.tampering import claims_of, encoded, still_works, token
from tests.support import eventually

Send = Callable[..., str]

HEADER = {"alg": "Ed25519", "typ": "job+jwt", "kid": "actas-app-demo:v1"}
OWN_KEY = Ed25519PrivateKey.generate()
NO_LINKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def own(data: bytes) -> str:
    return b64(OWN_KEY.sign(data))


@pytest.fixture(scope="module")
def redis_of_producers(stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stack.role_env("producer")["ACTAS_BROKER_URL"]) as connection:
        yield connection


@pytest.fixture(scope="module")
def send(redis_of_producers) -> Send:
    """Put a message into the queue; its id."""

    def send(*args: Any, links: Any = NO_LINKS, body: bytes | None = None, **headers: Any) -> str:
        task_id = new_id()
        data = json.dumps([args, {}, links]).encode() if body is None else body
        message = {
            "body": base64.b64encode(data).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"lang": "c", "task": SUBMIT_TASK, "id": task_id} | headers,
            "properties": {
                "correlation_id": task_id,
                "delivery_tag": new_id(),
                "delivery_info": {"exchange": "", "routing_key": SUBMIT_QUEUE},
                "body_encoding": "base64",
                "priority": 0,
            },
        }
        redis_of_producers.lpush(f"actas:{SUBMIT_QUEUE}", json.dumps(message))
        return task_id

    return send


@pytest.fixture
def works_still(client, connect, user, posts, send) -> Callable[[], None]:
    """The same way, with nothing wrong about it; and all that was sent before it has been taken by then."""
    grant = connect(user)

    def works_still() -> None:
        claims = claims_of("demo", user, grant.id, text="rightly signed")
        send(sign(client._room.vault, client._room.key_versions, [claims])[0])
        eventually(lambda: client._room.jobs.get(claims.id), what="the right job is stored")
        assert client.wait(claims.id).status is JobStatus.SUCCEEDED
        still_works(client, user, posts)

    return works_still


def logs(stack: Any) -> str:
    return "".join(log.read_text() for log in (stack.directory / "logs").glob("worker*.log"))


#: How the header is changed, and who signs.
FORGERIES: dict[str, tuple[dict[str, Any], Callable[[bytes], str]]] = {
    "no signature": ({}, lambda _: ""),
    "no algorithm": ({"alg": "none"}, lambda _: ""),
    "a key of one's own": ({}, own),
    "a key of one's own, brought along": ({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "x"}}, own),
    "a key that is not there": ({"kid": "actas-app-nobody:v1"}, own),
    "another key of Vault's": ({"kid": "actas-kek-demo:v1"}, own),
    "a path": ({"kid": "actas-app-../kv/data/actas/demo/x:v1"}, own),
}


def test_what_nobody_has_signed_is_not_stored(client, module_grant, documents, send, works_still):
    before = documents["refusals"].count_documents({})
    forged = [claims_of("demo", module_grant.user, module_grant.id) for _ in FORGERIES]
    for claims, (change, signer) in zip(forged, FORGERIES.values(), strict=True):
        send(token(HEADER | change, claims, signer))
    works_still()
    assert documents["jobs"].count_documents({"_id": {"$in": [claims.id for claims in forged]}}) == 0
    assert documents["refusals"].count_documents({}) == before, "made-up ones fill no collection"


def test_a_signed_job_edited_on_its_way_is_not_stored(client, module_grant, documents, send, works_still):
    claims = claims_of("demo", module_grant.user, module_grant.id)
    header, _, signature = sign(client._room.vault, client._room.key_versions, [claims])[0].split(".")
    other = replace(claims, payload={"text": "something else"})
    send(f"{header}.{encoded(json.loads(body_of(other)))}.{signature}")
    works_still()
    assert documents["jobs"].count_documents({"_id": claims.id}) == 0


def body_of(claims: jws.Claims) -> str:
    part = jws.signing_input(claims, key_version=1).split(b".")[1]
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)).decode()


def test_another_app_gets_no_job_in_the_victims_name_or_on_its_grant(
    client, mallory, module_grant, documents, send, works_still
):
    as_mallory: VaultRoom = mallory._room.vault
    in_its_name = claims_of("demo", module_grant.user, module_grant.id)
    on_its_grant = claims_of("mallory", module_grant.user, module_grant.id)
    for claims in (in_its_name, on_its_grant):
        header = HEADER | {"kid": "actas-app-mallory:v1"}
        send(token(header, claims, lambda data: as_mallory.sign("mallory", [data], version=1)[0]))
    works_still()
    assert documents["jobs"].count_documents({"_id": {"$in": [in_its_name.id, on_its_grant.id]}}) == 0
    (row,) = documents["refusals"].find({"job": {"$in": [in_its_name.id, on_its_grant.id]}})
    assert (row["job"], row["code"]) == (on_its_grant.id, "no_grant")


def test_another_app_cannot_take_the_id_of_a_job_that_is_there(
    client, mallory, sandbox, module_grant, documents, send, works_still
):
    job = client.schedule("x.post", user=module_grant.user, payload={"text": "mine"}, at=utc_now() + timedelta(hours=1))
    before = documents["jobs"].find_one({"_id": job.id})
    claims = replace(claims_of("mallory", module_grant.user, module_grant.id), id=job.id)
    send(sign(mallory._room.vault, mallory._room.key_versions, [claims])[0])
    works_still()
    assert documents["jobs"].find_one({"_id": job.id}) == before
    (row,) = documents["refusals"].find({"job": job.id})
    assert (row["app"], row["code"]) == ("mallory", "id_taken")


def test_a_message_sent_a_hundred_times_is_one_job_and_one_post(client, connect, user, posts, send, works_still):
    claims = claims_of("demo", user, connect(user).id, text="once")
    signed = sign(client._room.vault, client._room.key_versions, [claims])[0]
    for _ in range(50):
        send(signed)
    eventually(lambda: client._room.jobs.get(claims.id), what="the job is stored")
    client.wait(claims.id)
    for _ in range(50):
        send(signed)
    works_still()
    assert posts(user).count("once") == 1
    assert len(client.jobs(user=user)) == 3  # with the two that still work


def test_a_copy_of_a_message_is_of_no_use_after_its_window_or_against_its_users_will(
    client, connect, user, documents, send, works_still
):
    grant = connect(f"{user}-victim")
    now = utc_now()
    late = replace(claims_of("demo", grant.user, grant.id), run_at=now - timedelta(hours=2), deadline=now)
    denied = claims_of("demo", grant.user, grant.id)
    client.blacklist.add(denied.id, expires_at=denied.deadline)
    for claims in (late, denied):
        send(sign(client._room.vault, client._room.key_versions, [claims])[0])
    works_still()
    assert documents["jobs"].count_documents({"user": grant.user}) == 0
    rows = documents["refusals"].find({"job": {"$in": [late.id, denied.id]}})
    assert {row["code"] for row in rows} == {"invalid_time", "revoked"}


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_messages_that_are_no_signed_jobs_stop_no_worker(stack, documents, send, redis_of_producers, works_still):
    """Each worker takes some of them, and goes on."""
    jobs = documents["jobs"].count_documents({})
    for made_up in (
        "",
        "a.b.c",
        "...",
        "\x00",
        "☀",
        "x" * 200_000,
        None,
        7,
        True,
        1e308,
        {"$ne": None},
        ["a"],
        [[]] * 99,
    ):
        send(made_up)
    for arguments in ((), ("a.b.c", "more"), ({},) * 100):
        send(*arguments)
    for header in ("W10", encoded("x"), encoded([]), b64(deep(50_000)), encoded({"alg": {}, "typ": [], "kid": 1})):
        send(f"{header}.{b64(deep(50_000))}.{b64(b'x' * 64)}")
    for body in (
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"args": ["a.b.c"], "kwargs": {}}',
        b"\xff\xfe",
        deep(100_000),
        b"7" * 9999,
    ):
        send(body=body)
    for links in (None, [], "x", {"callbacks": "x"}, {"chain": [{}]}, 7):
        send("a.b.c", links=links)
    for headers in (
        {"id": None},
        {"id": {"$ne": 1}},
        {"id": "i" * 100_000},
        {"eta": "never"},
        {"expires": []},
        {"timelimit": "x"},
        {"retries": "x"},
        {"task": "os.system"},
        {"task": {"$ne": 1}},
        {"argsrepr": {"a": 1}},
        {"shadow": "x" * 10_000},
        {"ignore_result": "x"},
        {"compression": "application/x-gzip"},
        {"compression": ["x"]},
    ):
        send("a.b.c", **headers)
    for junk in (
        "",
        "x",
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        b"\xff\xfe",
        json.dumps({"properties": {}, "headers": {}}),
    ):
        redis_of_producers.lpush(f"actas:{SUBMIT_QUEUE}", junk)
    for properties in ({}, {"delivery_tag": {}}, {"delivery_tag": "x", "delivery_info": 1}, [], {"body_encoding": "x"}):
        message = {"body": "!", "content-type": {}, "content-encoding": [], "headers": {}, "properties": properties}
        redis_of_producers.lpush(f"actas:{SUBMIT_QUEUE}", json.dumps(message))
    before = {name: stack.processes[name].alive for name in ("worker1", "worker2")}
    works_still()
    assert documents["jobs"].count_documents({}) == jobs + 2
    assert before == {name: stack.processes[name].alive for name in before} == {"worker1": True, "worker2": True}


def test_a_message_with_callbacks_is_thrown_away(client, connect, user, send, works_still):
    """Celery would send them with the worker's rights at the broker: a producer's end at its one queue."""
    grant = connect(user)
    chore = {"task": REVOKE_TASK, "args": [grant.id], "kwargs": {}, "options": {"queue": GRANTS_QUEUE}}
    claims = claims_of("demo", user, grant.id, text="with a callback")
    signed = sign(client._room.vault, client._room.key_versions, [claims])[0]
    for links in ({"callbacks": [chore]}, {"errbacks": [chore]}, {"chain": [chore]}, {"chord": chore}):
        send(signed, links=NO_LINKS | links)
    works_still()
    assert client._room.jobs.get(claims.id) is None
    assert client.grant(user=user, provider="x").status is GrantStatus.ACTIVE


def test_nothing_of_a_signed_job_is_shown_whatever_the_message_says_of_itself(
    stack, client, connect, user, send, works_still
):
    grant = connect(user)
    claims = claims_of("demo", user, grant.id, text="canary " * 30)
    signed = sign(client._room.vault, client._room.key_versions, [claims])[0]
    part = signed.split(".")[1][100:160]
    sent = [
        send(signed, argsrepr=repr((signed,)), kwargsrepr=signed),
        send(signed, signed),  # a TypeError
        send(signed + "x"),
        send(body=json.dumps([signed, {}]).encode()),  # of the wrong shape
        send(body=json.dumps({"args": [signed], "kwargs": {}}).encode()),  # protocol 1
        send(body=json.dumps([[signed], {}, NO_LINKS]).encode() + b"!"),  # no JSON
        send(signed, task="actas.submitted"),
    ]
    works_still()
    flower_user, password = stack.flower_credentials
    shown = httpx.get(f"{stack.flower_url}/api/tasks", auth=(flower_user, password.get_secret_value())).text
    assert sent[0] in shown
    for where in (shown, logs(stack)):
        assert part not in where
        assert "canary" not in where
