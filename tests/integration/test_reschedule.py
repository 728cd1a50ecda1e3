"""Moving a job to another time: signed anew under the same id, and only while nobody holds it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from actas import Client, JobStatus, errors, jws
from actas.clock import to_milliseconds, utc_now
from actas.embedded.stack import Stack
from tests.support import eventually, nothing_is_sent

HOUR = timedelta(hours=1)


def soon(hours: float) -> datetime:
    return to_milliseconds(datetime.now(UTC) + hours * HOUR)


@pytest.fixture
def documents(stack: Stack) -> Iterator[Any]:
    """The jobs, with an administrator's powers."""
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]["jobs"]


@pytest.fixture
def job(client, connect, user):
    connect(user)
    return client.schedule("x.post", user=user, payload={"text": "moved"}, at=soon(1))


def test_a_job_is_moved_under_its_own_id_and_says_so(client, job):
    at = soon(2)
    moved = client.reschedule(job.id, at=at)
    assert moved == client.job(job.id)
    assert (moved.id, moved.rev, moved.run_at, moved.next_at) == (job.id, 1, at, at)
    assert moved.deadline == at + 24 * HOUR
    assert (moved.history[-1]["to"], moved.history[-1]["code"]) == ("scheduled", "rescheduled")
    assert client.reschedule(job.id, at=at, deadline=at + HOUR).rev == 2
    signed = jws.verify(client.job(job.id).jws, client._room.key_versions.get, utc_now())
    assert (signed.id, signed.rev, signed.run_at, signed.deadline) == (job.id, 2, at, at + HOUR)
    assert signed.payload == job.payload


def test_a_job_moved_forward_runs_once(client, job, user, posts):
    client.reschedule(job.id, at=datetime.now(UTC))
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["moved"]


def test_a_job_moved_back_does_not_run_at_its_old_time(client, connect, stack, user, posts):
    connect(user)
    with nothing_is_sent(stack):
        job = client.schedule("x.post", user=user, payload={"text": "later"})
        client.reschedule(job.id, at=soon(1))
    client.wait(client.schedule("x.post", user=user, payload={"text": "now"}).id)
    assert client.job(job.id).status is JobStatus.SCHEDULED
    assert posts(user) == ["now"]


def test_a_job_in_the_queue_is_moved_and_its_message_does_nothing(client, connect, stack, user, posts):
    connect(user)
    for name in ("worker1", "worker2"):
        stack.processes[name].pause()
    try:
        job = client.schedule("x.post", user=user, payload={"text": "later"})
        eventually(lambda: client.job(job.id).status is JobStatus.QUEUED, what="the job is in the queue")
        assert client.reschedule(job.id, at=soon(1)).status is JobStatus.SCHEDULED
    finally:
        for name in ("worker1", "worker2"):
            stack.processes[name].resume()
    client.wait(client.schedule("x.post", user=user, payload={"text": "now"}).id)
    assert client.job(job.id).status is JobStatus.SCHEDULED
    assert posts(user) == ["now"]


def test_a_job_parked_for_want_of_its_user_is_moved_and_runs_when_they_are_back(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.expire_access(user)
    sandbox.kill(user)
    job = client.schedule("x.post", user=user, payload={"text": "back"})
    eventually(lambda: client.job(job.id).status is JobStatus.PARKED, what="the grant is found dead")
    moved = client.reschedule(job.id, at=soon(1))
    assert (moved.status, moved.error) == (JobStatus.SCHEDULED, None)
    connect(user)
    client.reschedule(job.id, at=datetime.now(UTC))
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["back"]


def test_the_old_signature_is_worth_nothing_beside_the_new_copies(client, documents, job, user, posts):
    client.reschedule(job.id, at=soon(2))
    documents.update_one({"_id": job.id}, {"$set": {"jws": job.jws, "next_at": utc_now()}})
    done = client.wait(job.id)
    assert (done.status, done.error.code) == (JobStatus.FAILED, "altered")
    assert posts(user) == []


def test_a_job_that_a_worker_holds_is_not_moved(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.misbehave("tweets", "hold_after", account=user, times=1)
    job = client.schedule("x.post", user=user, payload={"text": "under way"})
    eventually(lambda: sandbox.held() == 1, what="the post is held at the provider")
    with pytest.raises(errors.TooLateToReschedule, match="the job is running") as caught:
        client.reschedule(job.id, at=soon(1))
    assert caught.value.code == "too_late"
    sandbox.release()
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    with pytest.raises(errors.TooLateToReschedule, match="the job is succeeded"):
        client.reschedule(job.id, at=soon(1))
    assert posts(user) == ["under way"]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        *(({"status": status}, f"the job is {status}") for status in ("uncertain", "failed", "expired", "cancelled")),
        ({"orphaned": True}, "a worker died with the job"),
        ({"status": "queued", "orphaned": True}, "a worker died with the job"),
        ({"stop": True}, "to be stopped"),
    ],
    ids=str,
)
def test_a_job_that_has_ended_or_may_have_begun_is_not_moved(client, documents, job, there, words):
    documents.update_one({"_id": job.id}, {"$set": there})
    with pytest.raises(errors.TooLateToReschedule, match=words):
        client.reschedule(job.id, at=soon(2))
    assert documents.find_one({"_id": job.id})["jws"] == job.jws


@pytest.mark.parametrize(
    "meanwhile",
    [{"status": "running"}, {"status": "cancelled"}, {"status": "queued", "stop": True}, {"orphaned": True}],
    ids=str,
)
def test_a_job_that_is_taken_or_stopped_while_it_is_being_signed_is_not_moved(
    client, documents, job, meanwhile, monkeypatch
):
    sign = client._room.vault.sign

    def slowly(*args, **options):
        documents.update_one({"_id": job.id}, {"$set": meanwhile})
        return sign(*args, **options)

    monkeypatch.setattr(client._room.vault, "sign", slowly)
    with pytest.raises(errors.TooLateToReschedule):
        client.reschedule(job.id, at=soon(2))
    there = documents.find_one({"_id": job.id})
    assert (there["jws"], there["rev"]) == (job.jws, 0)
    assert there.items() >= meanwhile.items()


def test_a_job_that_goes_into_the_queue_while_it_is_being_signed_is_moved(client, documents, job, monkeypatch):
    vault = client._room.vault
    sign = vault.sign

    def slowly(*args, **options):
        monkeypatch.setattr(vault, "sign", sign)
        documents.update_one({"_id": job.id}, {"$set": {"status": "queued", "queued_at": utc_now()}})
        return sign(*args, **options)

    monkeypatch.setattr(vault, "sign", slowly)
    moved = client.reschedule(job.id, at=soon(2))
    assert (moved.status, moved.rev) == (JobStatus.SCHEDULED, 1)


# --- what an app may ask for, and what an attacker may not make it sign ---


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"at": datetime(2027, 1, 1)}, errors.InvalidTime, "time zone"),  # noqa: DTZ001 - the mistake to be caught
        ({"at": "2027-01-01"}, errors.InvalidTime, "at must be an aware datetime"),
        ({"at": datetime.now(UTC) + timedelta(days=401)}, errors.InvalidTime, "400 days"),
        ({"deadline": datetime.now(UTC)}, errors.InvalidTime, "not after"),
        (
            {"at": datetime.now(UTC) - 2 * HOUR, "deadline": datetime.now(UTC) - HOUR},
            errors.InvalidTime,
            "passed already",
        ),
    ],
)
def test_a_bad_time_leaves_the_job_as_it_was(client, job, change, error, words):
    before = client.job(job.id)
    with pytest.raises(error, match=words):
        client.reschedule(job.id, **({"at": soon(2)} | change))
    assert client.job(job.id) == before


def test_a_job_whose_user_disconnected_or_granted_less_is_not_moved(client, documents, job, sandbox, user):
    request = client.begin_connect(user=user, provider="x", redirect_uri="http://127.0.0.1:9/cb", scopes=["tweet.read"])
    client.finish_connect(sandbox.authorize(request.url, user), user=user)
    with pytest.raises(errors.InsufficientScope, match="tweet.write"):
        client.reschedule(job.id, at=soon(2))
    client.disconnect(user=user, provider="x")
    documents.update_one({"_id": job.id}, {"$set": {"status": "scheduled"}, "$unset": {"stop": ""}})
    with pytest.raises(errors.NoGrant):
        client.reschedule(job.id, at=soon(2))


def test_another_apps_job_and_no_job_are_not_found(client, job, app_settings):
    with Client(app_settings.model_copy(update={"app": "other"})) as other, pytest.raises(errors.NotFound):
        other.reschedule(job.id, at=soon(2))
    with pytest.raises(errors.NotFound):
        client.reschedule({"$ne": ""}, at=soon(2))


@pytest.mark.parametrize(
    "edited", [{"payload": {"text": "forged"}}, {"user": "victim"}, {"grant": "g"}, {"action": "x.other"}, {"rev": 7}]
)
def test_what_somebody_wrote_into_mongodb_is_not_signed(client, documents, job, edited):
    documents.update_one({"_id": job.id}, {"$set": edited})
    with pytest.raises(errors.JobRefused) as caught:
        client.reschedule(job.id, at=soon(2))
    assert caught.value.code == "altered"
    assert documents.find_one({"_id": job.id})["jws"] == job.jws


def test_a_signature_that_is_not_this_apps_is_not_renewed(client, documents, job):
    header = jws.signing_input(
        jws.Claims("j", "mallory", "u", "g", "x", "x.post", {}, utc_now(), utc_now(), utc_now()), key_version=1
    ).split(b".")[0]
    signed, _, signature = job.jws.rpartition(".")
    other = ("B" if signature[0] == "A" else "A") + signature[1:]  # another one, whatever it was
    for forged in (f"{header.decode()}.{job.jws.split('.', 1)[1]}", "", f"{signed}.{other}"):
        documents.update_one({"_id": job.id}, {"$set": {"jws": forged}})
        with pytest.raises(errors.JobRefused):
            client.reschedule(job.id, at=soon(2))


def test_a_job_whose_id_is_on_the_blacklist_is_not_moved_beyond_its_entry(client, job):
    client.blacklist.add(job.id, expires_at=job.deadline)
    with pytest.raises(errors.TooLateToReschedule, match="blacklist"):
        client.reschedule(job.id, at=soon(48))


def test_a_held_job_is_not_signed_anew_while_that_would_pass_for_older(client, job, user, app_settings):
    now = utc_now()
    with Client(app_settings, clock=lambda: now) as unmoved:  # both within 5 seconds, however long they take
        unmoved.revoke_user(user, jobs="hold")
        with pytest.raises(errors.JustRevoked):
            unmoved.reschedule(job.id, at=soon(2))
    there = client.job(job.id)
    assert (there.status, there.held, there.rev) == (JobStatus.PARKED, True, 0)
