"""Messages that nobody of ours has sent. The attacker has a worker's Redis password: the broker, the gates, the slots.

May publish, replay and remove messages, and write every key under ``actas:``; has a copy of MongoDB to choose from, and
no credentials of MongoDB or Vault. What is tried: replays, made-up ids, ids that are no texts, chores that are not due,
messages that are no messages, gates removed and overwritten, rescue slots with something of one's own. What such an
attacker can do is said in docs/security.md (delay, flood); a message can do no more than ask a worker to look.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from actas import GrantStatus, JobStatus
from actas.celery_config import (
    ACT_QUEUE,
    EXCHANGE_TASK,
    GRANT_TASKS,
    GRANTS_QUEUE,
    RENEW_KEY_TASK,
    REVOKE_TASK,
    SCHEDULER_QUEUE,
    VERIFY_TASK,
)
from actas.ids import new_id
from tests.attacks.tampering import connect_user, still_works, waiting_job
from tests.support import eventually, family

REPLAYS = 1000


@pytest.fixture(scope="module")
def drained(stack) -> Iterator[Callable[[str], None]]:
    """Wait until all that was in a queue has been taken and done; seen as the operator, who may count."""
    with redis.Redis.from_url(stack.role_env("operator")["ACTAS_REDIS_URL"]) as operator:

        def drained(queue: str) -> None:
            eventually(lambda: not operator.llen(f"actas:{queue}"), seconds=60, what=f"{queue} is empty")
            eventually(lambda: not operator.hlen("actas:unacked"), seconds=60, what="nothing is unacknowledged")

        yield drained


def books(documents: Any, sandbox: Any, job_id: str, account: str) -> tuple[Any, ...]:
    """All that anybody has written down of a job: ours, the journal's, and the provider's."""
    effects = list(documents["effects"].find({"_id": {"$regex": f"^{job_id}"}}))
    posts = [post for post in sandbox.ledger()["posts"] if post["account"] == account]
    return documents["jobs"].find_one({"_id": job_id}), effects, posts, family(sandbox, account)


def test_a_finished_jobs_message_replayed_a_thousand_times_leaves_the_books_as_they_are(
    client, connect, documents, sandbox, user, publish, drained, posts
):
    connect(user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "once"}).id)
    before = books(documents, sandbox, job.id, user)
    for _ in range(REPLAYS):
        publish([[job.id], {}, {}], serializer="json", headers={"id": job.id})
    drained(ACT_QUEUE)
    assert books(documents, sandbox, job.id, user) == before
    assert len(before[1]) == len(before[2]) == 1
    still_works(client, user, posts)


def test_a_waiting_jobs_message_sent_early_a_hundred_times_does_nothing(
    client, connect, documents, sandbox, user, publish, drained, posts
):
    connect(user)
    job = waiting_job(client, user)
    before = books(documents, sandbox, job.id, user)
    for _ in range(100):
        publish([[job.id], {}, {}], serializer="json", headers={"id": job.id})
    drained(ACT_QUEUE)
    assert books(documents, sandbox, job.id, user) == before
    still_works(client, user, posts)


@pytest.mark.parametrize("place", ["in place of the id", "after it", "as its name"])
def test_messages_with_made_up_ids_do_nothing(client, connect, user, publish, posts, sandbox, place):
    connect(user)
    before = len(sandbox.ledger()["posts"])
    kinds = (new_id(), "", "no-such-job", "\x00", "x" * 100_000, {"$ne": None}, ["a"], None, 7, True, 1e308)
    for made_up in kinds:
        arguments, options = {
            "in place of the id": ([made_up], {}),
            "after it": ([new_id(), made_up], {}),
            "as its name": ([], {"job_id": made_up}),
        }[place]
        publish([arguments, options, {}], serializer="json")
    still_works(client, user, posts)
    assert len(sandbox.ledger()["posts"]) == before + 1


def test_messages_with_callbacks_start_nothing(client, connect, documents, user, publish, posts):
    """Celery's own links, chains and chords: a task that is done would start the next one, which we did not ask for."""
    grant = connect(user)
    chore = {"task": REVOKE_TASK, "args": [grant.id], "kwargs": {}, "options": {"queue": GRANTS_QUEUE}}
    embedded = {"callbacks": [chore], "errbacks": [chore], "chain": [chore], "chord": None}
    publish([[new_id()], {}, embedded], serializer="json")
    still_works(client, user, posts)
    assert client.grant(user=user, provider="x").status is GrantStatus.ACTIVE


def test_pickled_and_unreadable_messages_are_thrown_away_unread(client, connect, user, publish, posts, tmp_path):
    connect(user)
    touched = tmp_path / "pickle-was-executed"
    pickle = f"cposix\nsystem\n(S'touch {touched}'\ntR.".encode()
    publish(pickle, content_type="application/x-python-serialize", content_encoding="binary")
    publish(b"\xff\x00 not json", content_type="application/json", content_encoding="utf-8")
    publish(json.dumps({"not": "a task"}).encode(), content_type="application/json", content_encoding="utf-8")
    publish(b"<job/>", content_type="text/xml", content_encoding="utf-8")
    publish([[new_id()], {}, {}], serializer="json", headers={"task": "os.system"})
    publish([["touch", str(touched)], {}, {}], serializer="json", headers={"task": "celery.backend_cleanup"})
    still_works(client, user, posts)
    assert not touched.exists()


# --- chores ---


def test_a_grant_that_nobody_disconnected_is_not_revoked(client, connect, user, publish, drained, sandbox, posts):
    grant = connect(user)
    for _ in range(20):
        publish([[grant.id], {}, {}], task=REVOKE_TASK, queue=GRANTS_QUEUE, serializer="json")
    drained(GRANTS_QUEUE)
    assert client.grant(user=user, provider="x").status is GrantStatus.ACTIVE
    assert family(sandbox, user)["alive"] is True
    still_works(client, user, posts)


@pytest.mark.parametrize("task", [EXCHANGE_TASK, RENEW_KEY_TASK, VERIFY_TASK])
def test_a_chore_that_is_not_due_does_no_harm(client, connect, user, publish, drained, sandbox, posts, task):
    """At most what would have been done anyway: no token is used twice, none is used up over and over."""
    grant = connect(user)
    for _ in range(20):
        publish([[grant.id], {}, {}], task=task, queue=GRANTS_QUEUE, serializer="json")
    drained(GRANTS_QUEUE)
    still_works(client, user, posts)
    told = family(sandbox, user)
    assert (told["alive"], told["reuse"]) == (True, 0)
    assert told["exchanges"] <= 1


@pytest.mark.parametrize("task", GRANT_TASKS)
def test_chores_for_made_up_grants_do_nothing(client, connect, user, publish, drained, posts, task):
    connect(user)
    for made_up in (new_id(), "", {"$ne": None}, ["a"], None, 7, "x" * 100_000):
        publish([[made_up], {}, {}], task=task, queue=GRANTS_QUEUE, serializer="json")
    drained(GRANTS_QUEUE)
    still_works(client, user, posts)
    assert client.grant(user=user, provider="x").status is GrantStatus.ACTIVE


def test_ticks_out_of_turn_do_no_more_than_beats_own(client, connect, documents, user, publish, posts):
    """A tick takes nothing from its message: a hundred of them at once find the same work."""
    connect(user)
    job = waiting_job(client, user)
    for task in ("actas.dispatch", "actas.rescue", "actas.resume", "actas.revoke", "actas.purge_blacklist"):
        for _ in range(20):
            publish([[], {}, {}], task=task, queue=SCHEDULER_QUEUE, serializer="json")
    still_works(client, user, posts)
    assert client.job(job.id).status is JobStatus.SCHEDULED


# --- gates ---


def test_a_gate_removed_lets_a_job_ask_and_be_told_again(client, connect, broker, sandbox, user, posts):
    grant = connect(user)
    until = int(time.time()) + 4
    headers = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(until)}
    sandbox.misbehave("tweets", "status", status=429, headers=headers, body={}, times=2, account=user)
    jobs = [client.schedule("x.post", user=user, payload={"text": "first"})]
    gate = f"actas:gate:grant:{grant.id}:x.post"
    eventually(lambda: broker.get(gate), what="the gate is closed")
    broker.delete(gate)
    jobs.append(client.schedule("x.post", user=user, payload={"text": "second"}))
    eventually(lambda: broker.get(gate), what="the gate is closed again, by the provider's own word")
    for job in jobs:
        done = client.wait(job.id)
        assert (done.status, done.attempts) == (JobStatus.SUCCEEDED, 1)
        assert done.finished_at.timestamp() >= until
    assert sorted(posts(user)) == ["first", "second"]


def test_gates_with_something_else_in_them_hold_up_nobody(client, connect, broker, user, posts):
    """One gate for each user; a job that failed for it, or waited, would be lost to a word in Redis."""
    values = ("", "soon", "nan", "inf", "-inf", "1e300", "-1e300", "\u0664\u0662", '{"$ne": 1}', "\x00", "9" * 5000)
    users = [f"{user}{n}" for n in range(len(values))]
    for who, value in zip(users, values, strict=True):
        broker.set(f"actas:gate:grant:{connect(who).id}:x.post", value, px=600_000)
    wrong_type = f"actas:gate:grant:{connect(user).id}:x.post"
    broker.lpush(wrong_type, "1")
    jobs = [client.schedule("x.post", user=who, payload={"text": f"as {who}"}) for who in (*users, user)]
    done = [client.wait(job.id) for job in jobs]
    assert {(job.status, job.attempts) for job in done} == {(JobStatus.SUCCEEDED, 1)}
    assert [posts(who) for who in users] == [[f"as {who}"] for who in users]
    broker.delete(wrong_type)


# --- rescue slots ---


def envelope(doc: Any) -> str:
    """A ciphertext of MongoDB's, as JSON."""
    nonce, ciphertext = (base64.b64encode(doc[name]).decode() for name in ("nonce", "ciphertext"))
    return json.dumps({"v": doc["v"], "nonce": nonce, "ciphertext": ciphertext})


def test_what_lies_in_a_rescue_slot_and_was_not_put_there_by_a_worker_is_not_taken_for_a_reply(
    client, connect, documents, broker, sandbox, user, posts
):
    """Rubbish, the grant's own other ciphertexts, the victim's: whatever is there, the job acts as its own user."""
    victim = connect_user(client, sandbox)
    theirs = documents["grants"].find_one({"_id": victim.id})
    planted = ["", "rubbish", "{}", "[]", json.dumps({"v": 1}), envelope(theirs["refresh_token"])]
    planted.append(envelope(theirs["access_token"]))
    users = [f"{user}{n}" for n in range(len(planted) + 2)]
    for n, who in enumerate(users):
        doc = documents["grants"].find_one({"_id": connect(who).id})
        value = [*planted, envelope(doc["refresh_token"]), envelope(doc["access_token"])][n]
        broker.set(f"actas:rescue:{doc['_id']}:{doc['generation']}:{doc['data_key']['id']}", value, px=600_000)
        sandbox.expire_access(who)
        documents["grants"].update_one({"_id": doc["_id"]}, {"$unset": {"access_token": ""}})
    jobs = [client.schedule("x.post", user=who, payload={"text": f"as {who}"}) for who in users]
    assert {client.wait(job.id).status for job in jobs} == {JobStatus.SUCCEEDED}
    assert [posts(who) for who in users] == [[f"as {who}"] for who in users]
    assert posts(victim.user) == []
    told = [family(sandbox, who) for who in users]
    assert {(each["exchanges"], each["reuse"], each["alive"]) for each in told} == {(1, 0, True)}
