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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from actas import Grant, GrantStatus, Job, JobRequest, JobStatus
from actas.celery_config import (
    ACT_QUEUE,
    EVENTS_QUEUE,
    EXCHANGE_TASK,
    GRANT_TASKS,
    GRANTS_QUEUE,
    RENEW_KEY_TASK,
    REVOKE_TASK,
    SCHEDULER_QUEUE,
    SEND_EVENTS_TASK,
    VERIFY_TASK,
)
from actas.clock import utc_now
from actas.envelope import Purpose, encrypt
from actas.ids import new_id
from actas.vault.room import VaultRoom
from tests.attacks.tampering import connect_user, each_ended, still_works, waiting_job
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
    return documents["jobs"].find_one({"_id": job_id}, {"untold": 0}), effects, posts, family(sandbox, account)


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
def test_a_chore_that_is_not_due_is_not_done(client, connect, user, publish, drained, sandbox, posts, task):
    """Whether it is due stands in the grant, which is looked at; asking for it does not make it so."""
    grant = connect(user)
    for _ in range(20):
        publish([[grant.id], {}, {}], task=task, queue=GRANTS_QUEUE, serializer="json")
    drained(GRANTS_QUEUE)
    assert client.grant(user=user, provider="x").generation == grant.generation
    still_works(client, user, posts)
    told = family(sandbox, user)
    assert (told["alive"], told["reuse"], told["exchanges"]) == (True, 0, 0)


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
    ticks = ("dispatch", "rescue", "resume", "revoke", "purge_blacklist", "deliver", "preflight")
    for task in (f"actas.{tick}" for tick in ticks):
        for _ in range(20):
            publish([[], {}, {}], task=task, queue=SCHEDULER_QUEUE, serializer="json")
    still_works(client, user, posts)
    assert client.job(job.id).status is JobStatus.SCHEDULED


def test_events_are_sent_when_they_are_due_whatever_a_message_names(
    stack, client, connect, user, publish, drained, posts, documents
):
    """A pending event, due in an hour: no message brings it forward, and none has it sent to elsewhere."""
    connect(user)
    row = {"_id": new_id(), "app": "demo", "type": "job.failed", "at": utc_now(), "data": {}, "state": "pending"}
    row |= {"tries": 1, "next_at": utc_now() + timedelta(hours=1)}
    documents["outbox"].insert_one(row)
    for made_up in ("demo", row["_id"], "../demo", "", {"$ne": None}, ["demo"], None, 7, "x" * 100_000):
        publish([[made_up], {}, {}], task=SEND_EVENTS_TASK, queue=EVENTS_QUEUE, serializer="json")
    drained(EVENTS_QUEUE)
    still_works(client, user, posts)
    kept = documents["outbox"].find_one_and_delete({"_id": row["_id"]})
    assert (kept["tries"], kept["state"]) == (1, "pending")
    assert stack.processes["scheduler"].alive


# --- gates ---


def test_a_gate_removed_lets_a_job_ask_and_be_told_again(client, connect, broker, sandbox, user, posts):
    grant = connect(user)
    until = int(time.time()) + 8  # both are refused before that
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
    values = (
        "",
        "soon",
        "nan",
        "inf",
        "-inf",
        "1e300",
        "-1e300",
        "\u0664\u0662",
        '{"$ne": 1}',
        "9" * 5000,
        b"\xff\xfe",
    )
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


def as_slot(envelope: Mapping[str, Any]) -> str:
    """A ciphertext as a worker keeps it in Redis."""
    nonce, ciphertext = (base64.b64encode(envelope[name]).decode() for name in ("nonce", "ciphertext"))
    return json.dumps({"v": envelope["v"], "nonce": nonce, "ciphertext": ciphertext})


@dataclass(frozen=True)
class Slots:
    """The slots of grants whose next job needs an exchange."""

    documents: Any
    broker: redis.Redis
    vault: VaultRoom

    def doc(self, grant: Grant) -> Any:
        self.documents["grants"].update_one({"_id": grant.id}, {"$unset": {"access_token": ""}})
        return self.documents["grants"].find_one({"_id": grant.id})

    def plant(self, grant: Grant, value: str | bytes) -> None:
        doc = self.doc(grant)
        self.broker.set(f"actas:rescue:{doc['_id']}:{doc['generation']}:{doc['data_key']['id']}", value, px=600_000)

    def genuine(self, grant: Grant) -> str:
        """What a worker leaves there for this very grant: a reply of the provider's, under its data key."""
        stored = Grant.from_doc(self.doc(grant))
        assert stored.data_key is not None
        key = self.vault.unwrap(stored.app, [(stored.id, stored.data_key.wrapped)])[0]
        context = stored.context(Purpose.RESCUE, generation=stored.generation, data_key_id=stored.data_key.id)
        in_an_hour = (utc_now() + timedelta(hours=1)).isoformat()
        reply = {"access_token": "a", "refresh_token": "r", "access_expires_at": in_an_hour, "scopes": None}
        reply |= {"refresh_expires_in": None, "exchange_id": new_id(), "came_at": utc_now().isoformat()}
        return as_slot(encrypt(key, SecretStr(json.dumps(reply)), context).to_doc())


@pytest.fixture(scope="module")
def slots(documents, broker, worker_vault) -> Slots:
    return Slots(documents, broker, worker_vault)


#: What is put into the slot of a grant, given what is stored for a victim's; why a worker does not take it for a reply.
PLANTED: dict[str, tuple[Callable[[Slots, Grant, Grant], str | bytes], str]] = {
    "nothing at all": (lambda *_: "", "bad_envelope"),
    "rubbish": (lambda *_: "rubbish", "bad_envelope"),
    "a deep JSON": (lambda *_: "[" * 100_000, "bad_envelope"),
    "bytes that are no text": (lambda *_: b"\xff\xfe", "no_text"),
    "half of a character": (
        lambda *_: json.dumps({"v": 1, "nonce": "\ud800", "ciphertext": "x"}),
        "bad_envelope",
    ),
    "an empty envelope": (lambda *_: json.dumps({"v": 1, "nonce": "", "ciphertext": ""}), "bad_envelope"),
    "the victim's refresh token": (
        lambda slots, _, victim: as_slot(slots.doc(victim)["refresh_token"]),
        "bad_envelope",
    ),
    "the victim's genuine slot": (lambda slots, _, victim: slots.genuine(victim), "bad_envelope"),
    "the grant's own refresh token": (lambda slots, own, _: as_slot(slots.doc(own)["refresh_token"]), "bad_envelope"),
}


@pytest.fixture(scope="module")
def into_slots(client, sandbox, slots) -> dict[str, tuple[Grant, Job, Grant]]:
    """Each into the slot of a grant of its own, which then gets a job: the grant, how the job ended, and the victim."""
    victim = connect_user(client, sandbox)
    grants = {name: connect_user(client, sandbox) for name in PLANTED}
    for name, (plant, _) in PLANTED.items():
        slots.plant(grants[name], plant(slots, grants[name], victim))
    requests = [JobRequest("x.post", grant.user, {"text": f"as {grant.user}"}) for grant in grants.values()]
    ended = each_ended(client, client.schedule_many(requests))
    return {name: (grant, job, victim) for (name, grant), job in zip(grants.items(), ended, strict=True)}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_no_worker_has_put_into_a_rescue_slot_for_this_grant_is_not_taken_for_a_reply(
    stack, into_slots, sandbox, posts, planted
):
    """Whatever is there: a worker says why it is no reply, and the job acts as its own, after an exchange of its own."""
    grant, job, victim = into_slots[planted]
    logs = "".join(log.read_text() for log in (stack.directory / "logs").glob("worker*.log"))
    assert f"rescue.unreadable grant={grant.id} code={PLANTED[planted][1]}\n" in logs
    assert (job.status, job.attempts, job.error) == (JobStatus.SUCCEEDED, 1, None)
    assert posts(grant.user) == [f"as {grant.user}"]
    assert posts(victim.user) == []
    told = family(sandbox, grant.user)
    assert (told["exchanges"], told["reuse"], told["alive"]) == (1, 0, True)


def test_what_a_worker_has_put_there_for_this_grant_is_taken(client, connect, documents, slots, sandbox, user):
    """The control: the slot is looked into, and what was planted above would have been used, were it not bound."""
    grant = connect(user)
    slots.plant(grant, slots.genuine(grant))
    job = client.schedule("x.post", user=user, payload={"text": "with a made-up token"})
    eventually(lambda: client.job(job.id).attempts > 0, what="the API has refused the token from the slot")
    assert documents["grants"].find_one({"_id": grant.id})["generation"] > grant.generation
    assert family(sandbox, user)["exchanges"] == 0
    client.cancel(job.id)
