"""Logging a user out everywhere: every session but one is refused, and no job of before runs against the app's word."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actas import Client, JobStatus, UserRevocation
from actas.blacklist import LEEWAY
from actas.clock import utc_now
from actas.errors import InvalidRequest, JustRevoked
from actas.stores.blacklist import HISTORY_LENGTH
from tests.support import eventually, nothing_is_sent

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

FATES = ("cancel", "hold", "keep")


@pytest.fixture
def entries(documents) -> Any:
    return documents["blacklist"]


@pytest.fixture
def earlier(app_settings) -> Iterator[Client]:
    """The same app ten seconds ago: what it refuses does not reach what is signed now."""
    with Client(app_settings, clock=lambda: utc_now() - 10 * SECOND) as client:
        yield client


@pytest.fixture
def unmoved(app_settings) -> Iterator[Client]:
    """The same app with a clock that stands still: whatever it does, it does within 5 seconds."""
    now = utc_now()
    with Client(app_settings, clock=lambda: now) as client:
        yield client


def post(client, user, text="never", **options):
    return client.schedule("x.post", user=user, payload={"text": text}, **options)


def later() -> datetime:
    return datetime.now(UTC) + HOUR


def still_acts(client, user, posts, text="signed afterwards"):
    assert client.wait(post(client, user, text).id).status is JobStatus.SUCCEEDED
    assert text in posts(user)


# --- sessions ---


@pytest.mark.parametrize("jobs", FATES)
def test_every_session_issued_so_far_is_refused_but_the_one_that_is_kept(client, user, jobs):
    issued = {"sub": user, "iat": utc_now().timestamp()}
    client.revoke_user(user, keep="this-one", jobs=jobs, reason="password changed")
    refuses = client.blacklist.refuses
    assert refuses({**issued, "jti": "another"}) == "password changed"
    assert refuses(issued) == "password changed"
    assert refuses({"sub": user, "jti": "another"}) == "password changed", "who does not say when, may be old"
    assert refuses({**issued, "jti": "this-one"}) is None
    assert refuses({"sub": user, "jti": "another", "iat": utc_now() + 6 * SECOND}) is None
    assert refuses({**issued, "sub": f"{user}-other", "jti": "another"}) is None


def test_the_latest_call_says_what_is_kept_and_no_call_lets_back_in_what_was_refused(client, earlier, user):
    old = {"sub": user, "jti": "old", "iat": utc_now()}
    client.revoke_user(user, keep="one")
    client.revoke_user(user, keep="one")
    assert client.blacklist.refuses(old | {"jti": "one"}) is None, "it was never refused"
    earlier.revoke_user(user, keep="two", reason="by a clock that is behind")
    assert client.blacklist.refuses(old) == "by a clock that is behind"
    assert client.blacklist.refuses(old | {"jti": "one"}) is not None
    assert client.blacklist.refuses(old | {"jti": "two"}) is not None, "refused before, it cannot be kept"
    client.revoke_user(user, keep="one")
    assert client.blacklist.refuses(old | {"jti": "one"}) is not None


def test_of_two_sessions_that_log_each_other_out_at_once_no_one_gets_the_other_back_in(client, earlier, user):
    """A thief's log-out that was let through before the owner's bit must not turn the owner out and keep the thief."""
    owner, thief = ({"sub": user, "jti": jti, "iat": utc_now() - HOUR} for jti in ("owner", "thief"))
    client.revoke_user(user, keep="owner")
    client.revoke_user(user, keep="thief")
    assert None not in (client.blacklist.refuses(owner), client.blacklist.refuses(thief))
    signed_in_again = owner | {"jti": "new", "iat": utc_now() + 6 * SECOND}
    assert client.blacklist.refuses(signed_in_again) is None


def test_what_an_app_says_is_kept_as_it_stands(client, user, entries):
    """The watermark is written by an expression, in which text that begins with a dollar would be a field."""
    client.revoke_user(user, keep="$_id", reason="$created_at")
    entry = entries.find_one({"_id": f"user:demo/{user}"})
    assert (entry["keep"], entry["reason"]) == ("$_id", "$created_at")
    assert (entry["history"][0]["keep"], entry["history"][0]["reason"]) == ("$_id", "$created_at")


def test_it_is_written_down_who_was_kept_and_why_and_the_log_tells_it_without_the_session(
    client, user, entries, caplog
):
    with caplog.at_level(logging.INFO, logger="actas"):
        client.revoke_user(user, keep="session-canary", jobs="hold", reason="password changed")
    entry = entries.find_one({"_id": f"user:demo/{user}"})
    (step,) = entry["history"]
    assert step == {"at": entry["not_before"], "reason": "password changed", "keep": "session-canary", "jobs": "hold"}
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("actas")]
    assert user in line
    assert "canary" not in line
    for _ in range(HISTORY_LENGTH):
        client.revoke_user(user, jobs="keep", reason="again")
    assert [step["reason"] for step in entries.find_one({"_id": entry["_id"]})["history"]] == ["again"] * HISTORY_LENGTH


def test_a_watermark_outlives_every_job_that_it_refuses(client, connect, user, entries):
    connect(user)
    at = utc_now() + timedelta(days=400) - SECOND
    job = post(client, user, at=at)
    client.revoke_user(user)
    assert entries.find_one({"_id": f"user:demo/{user}"})["expires_at"] + LEEWAY > job.deadline


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": ""}, "user must be"),
        ({"user": {"$ne": ""}}, "user must be"),
        ({"keep": ""}, "keep must be"),
        ({"keep": 7}, "keep must be"),
        ({"keep": ["a"]}, "keep must be"),
        ({"reason": None}, "reason must be"),
        ({"jobs": "stop"}, "jobs must be one of cancel, hold, keep"),
        ({"jobs": None}, "jobs must be one of"),
        ({"jobs": ["cancel"]}, "jobs must be one of"),
    ],
)
def test_a_bad_request_revokes_nobody(client, user, entries, change, words):
    request = {"user": user} | change
    with pytest.raises(InvalidRequest, match=f"^{words}"):
        client.revoke_user(request.pop("user"), **request)
    assert entries.find_one({"_id": f"user:demo/{user}"}) is None


# --- jobs ---


def test_waiting_jobs_are_cancelled_and_later_ones_run(earlier, client, connect, user, posts):
    connect(user)
    jobs = [post(earlier, user, at=later()) for _ in range(2)]
    other = post(client, connect(f"{user}-other").user, at=later())
    assert earlier.revoke_user(user) == UserRevocation(jobs_cancelled=2)
    for job in jobs:
        done = client.job(job.id)
        assert (done.status, done.error.code) == (JobStatus.CANCELLED, "revoked")
    assert client.job(other.id).status is JobStatus.SCHEDULED
    still_acts(client, user, posts)


def test_waiting_jobs_are_held_and_do_not_go_on_when_their_user_connects_again(earlier, client, connect, user, posts):
    connect(user)
    job = post(earlier, user, at=later())
    assert earlier.revoke_user(user, jobs="hold") == UserRevocation(jobs_held=1)
    held = client.job(job.id)
    assert (held.status, held.held, held.error.code) == (JobStatus.PARKED, True, "held")
    assert earlier.revoke_user(user, jobs="hold") == UserRevocation(), "it is held already"
    connect(user)
    assert client.job(job.id).status is JobStatus.PARKED
    still_acts(client, user, posts)
    assert client.cancel(job.id).outcome == "cancelled"
    assert client.job(job.id).held is False


def test_a_held_job_signed_anew_goes_on(earlier, client, connect, user, posts):
    connect(user)
    job = post(earlier, user, "confirmed", at=later())
    earlier.revoke_user(user, jobs="hold")
    again = client.reschedule(job.id, at=datetime.now(UTC))
    assert (again.id, again.rev, again.held, again.error) == (job.id, 1, False, None)
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["confirmed"]


def test_jobs_that_may_go_on_run_although_they_were_signed_before(client, connect, stack, user, posts):
    connect(user)
    with nothing_is_sent(stack):
        job = post(client, user, "goes on")
        session = {"sub": user, "iat": utc_now()}
        assert client.revoke_user(user, jobs="keep") == UserRevocation(jobs_kept=1)
    assert client.blacklist.refuses(session) is not None
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["goes on"]


def test_keeping_jobs_does_not_pardon_what_was_cancelled_or_held_before(earlier, client, connect, user, entries):
    connect(user)
    earlier.revoke_user(user, jobs="hold")
    before = entries.find_one({"_id": f"user:demo/{user}"})
    client.revoke_user(user, jobs="keep")
    after = entries.find_one({"_id": f"user:demo/{user}"})
    assert after["jobs_held_before"] == before["jobs_held_before"]
    assert after["not_before"] > before["not_before"]


@pytest.mark.parametrize(("jobs", "status"), [("cancel", JobStatus.CANCELLED), ("hold", JobStatus.PARKED)])
def test_a_job_in_the_queue_is_stopped_there(client, connect, stack, user, posts, jobs, status):
    connect(user)
    for name in ("worker1", "worker2"):
        stack.processes[name].pause()
    try:
        job = post(client, user)
        eventually(lambda: client.job(job.id).status is JobStatus.QUEUED, what="the job is in the queue")
        client.revoke_user(user, jobs=jobs)
        assert client.job(job.id).status is status
    finally:
        for name in ("worker1", "worker2"):
            stack.processes[name].resume()
    other = connect(f"{user}-other").user
    client.wait(post(client, other, "after").id)
    assert client.job(job.id).status is status
    assert posts(user) == []


@pytest.mark.parametrize(("jobs", "status"), [("cancel", JobStatus.CANCELLED), ("hold", JobStatus.PARKED)])
def test_a_job_that_a_worker_holds_is_stopped_before_its_request_and_not_lost(
    client, connect, sandbox, user, posts, jobs, status
):
    connect(user)
    sandbox.expire_access(user)
    sandbox.misbehave("token", "hold_before", account=user)
    job = post(client, user)
    eventually(lambda: sandbox.held() == 1, what="the exchange is held at the provider")
    assert client.revoke_user(user, jobs=jobs) == UserRevocation(jobs_stopping=1)
    sandbox.behave()
    sandbox.release()
    eventually(lambda: client.job(job.id).status is not JobStatus.RUNNING, what="the worker lets go")
    done = client.job(job.id)
    assert (done.status, done.held) == (status, jobs == "hold")
    assert done.error.code == ("held" if jobs == "hold" else "revoked")
    assert posts(user) == []


def test_an_orphan_is_held_only_after_a_look_into_the_journal(client, connect, stack, user, posts, documents):
    connect(user)
    with nothing_is_sent(stack):
        job = post(client, user)
        documents["jobs"].update_one({"_id": job.id}, {"$set": {"orphaned": True}})
        assert client.revoke_user(user, jobs="hold") == UserRevocation(jobs_stopping=1)
        assert client.job(job.id).status is JobStatus.SCHEDULED
    eventually(lambda: client.job(job.id).status is JobStatus.PARKED, what="the next worker has looked")
    there = client.job(job.id)
    assert (there.held, there.orphaned) == (True, False)
    assert posts(user) == []


def test_a_job_whose_request_is_under_way_ends_as_it_ends(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.misbehave("tweets", "hold_after", account=user, times=1)
    job = post(client, user, "under way")
    eventually(lambda: sandbox.held() == 1, what="the post is held at the provider")
    assert client.revoke_user(user, jobs="hold").jobs_stopping == 1
    sandbox.release()
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["under way"]


def test_a_job_parked_for_want_of_its_user_is_held_and_connecting_again_does_not_send_it(
    earlier, client, connect, sandbox, user, posts
):
    connect(user)
    sandbox.expire_access(user)
    sandbox.kill(user)
    job = post(earlier, user)
    eventually(lambda: client.job(job.id).status is JobStatus.PARKED, what="the grant is found dead")
    assert earlier.revoke_user(user, jobs="hold") == UserRevocation(jobs_held=1)
    connect(user)
    there = client.job(job.id)
    assert (there.status, there.held) == (JobStatus.PARKED, True)
    still_acts(client, user, posts)


@pytest.mark.parametrize(("jobs", "status"), [("cancel", JobStatus.CANCELLED), ("hold", JobStatus.PARKED)])
def test_a_job_of_before_that_only_the_watermark_reaches_does_not_run(
    client, connect, user, posts, stack, jobs, status, monkeypatch
):
    """The app died after the watermark; or somebody puts an old document back."""
    connect(user)
    with nothing_is_sent(stack):
        job = post(client, user)
        for write in ("ask_to_stop", "cancel_waiting", "hold"):
            monkeypatch.setattr(client._room.jobs, write, lambda *_, **__: 0)
        client.revoke_user(user, jobs=jobs)
        assert client.job(job.id).status is JobStatus.SCHEDULED
    eventually(lambda: client.job(job.id).status is status, what="a worker finds the watermark")
    assert client.job(job.id).held is (jobs == "hold")
    assert client.job(job.id).error.code == ("held" if jobs == "hold" else "revoked")
    assert posts(user) == []


@pytest.mark.parametrize(("jobs", "write"), [("cancel", "ask_to_stop"), ("hold", "hold")])
def test_the_watermark_is_there_before_any_job_is_touched(client, user, entries, jobs, write, monkeypatch):
    """A job that is added, put back or let go in between is found by the next look at it."""
    store, seen = client._room.jobs, []
    real = getattr(store, write)
    monkeypatch.setattr(
        store, write, lambda *a, **k: seen.append(entries.find_one({"_id": f"user:demo/{user}"})) or real(*a, **k)
    )
    client.revoke_user(user, jobs=jobs)
    assert seen
    assert None not in seen


@pytest.mark.parametrize("jobs", ["cancel", "hold"])
def test_what_would_pass_for_older_is_not_signed_at_all(unmoved, client, connect, user, jobs):
    connect(user)
    unmoved.revoke_user(user, jobs=jobs)
    with pytest.raises(JustRevoked, match="5 seconds"):
        post(unmoved, user)
    assert client.jobs(user=user) == []


def test_whatever_is_scheduled_meanwhile_no_job_of_before_stays_as_it_was(client, connect, user):
    """Hammered: each job is refused at once, or held; none is left to run."""
    connect(user)
    stop = threading.Event()

    def schedule() -> None:
        while not stop.is_set():
            try:
                post(client, user, at=later())
            except JustRevoked:
                return

    threads = [threading.Thread(target=schedule) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(client.jobs(user=user)) > 5, what="some jobs are there")
    client.revoke_user(user, jobs="hold")
    stop.set()
    for thread in threads:
        thread.join()
    client.revoke_user(user, jobs="hold")  # what was being signed at that moment is older than this one
    assert {(job.status, job.held) for job in client.jobs(user=user, limit=10_000)} == {(JobStatus.PARKED, True)}
