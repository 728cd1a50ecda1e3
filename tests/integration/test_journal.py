"""The journal under outages that hit one write of it: what is known is written down in the end, and nothing else is said.

The jobs here are run by a worker of this process, whose stores fail at one call; their time is an hour from now, so that
the stack's own workers leave them alone, and this worker's clock is an hour ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError

from actas import Client, Job, JobStatus
from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.errors import MongoRefused, MongoUnavailable
from tests.conftest import TIMES
from tests.integration.by_hand import LATER, Failing, row, send_again
from tests.support import eventually, settings_from
from worker.room import Room
from worker.run import run


@pytest.fixture
def room(stack: Stack) -> Iterator[Room]:
    settings = settings_from(stack.role_env("worker") | TIMES)
    room = Room.open(settings, clock=lambda: utc_now() + LATER + timedelta(seconds=1))
    yield room
    room.close()


@pytest.fixture
def job(client: Client, connect: Callable[[str], Any], user: str, documents: Any) -> Job:
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "once"}, at=datetime.now(UTC) + LATER)
    send_again(documents, job)
    return job


@pytest.mark.parametrize("written", [True, False], ids=["only the answer is lost", "nothing is written"])
def test_a_row_that_could_not_be_begun_for_sure_does_not_make_the_job_uncertain(
    client, room, documents, job, user, posts, written
):
    outcome = run(job.id, replace(room, effects=Failing(room.effects, "begin", written=written)))
    assert (outcome.status, outcome.decision.code) == (JobStatus.SCHEDULED, "mongodb_unavailable")
    assert (row(documents, job)["state"], posts(user)) == ("refused", [])
    with pytest.raises(DuplicateKeyError):  # and if it was only late, it finds its place taken
        documents["effects"].insert_one({"_id": f"{job.id}:1", "state": "started"})
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.SUCCEEDED
    assert (client.job(job.id).attempts, row(documents, job)["state"], posts(user)) == (1, "done", ["once"])


def test_another_workers_row_is_not_withdrawn(room, documents, job, user, posts):
    documents["effects"].insert_one({"_id": f"{job.id}:1", "state": "started", "owner": "another", "grant": job.grant})
    outcome = run(job.id, replace(room, effects=Failing(room.effects, "begin", written=True)))
    assert (outcome.status, row(documents, job)["state"]) == (JobStatus.SCHEDULED, "started")
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.UNCERTAIN
    assert posts(user) == []


@pytest.mark.parametrize("written", [True, False], ids=["only the answers are lost", "nothing is written"])
@pytest.mark.parametrize("error", [MongoUnavailable, MongoRefused])
def test_an_outcome_is_written_down_however_long_that_takes(room, documents, job, user, posts, written, error):
    failing = Failing(room.effects, "finish", written=written, times=5, error=error)
    outcome = run(job.id, replace(room, effects=failing))
    assert outcome.status is JobStatus.SUCCEEDED
    assert (row(documents, job)["state"], posts(user)) == ("done", ["once"])


def test_a_success_that_is_known_late_settles_what_was_called_uncertain_meanwhile(
    client, room, documents, job, user, posts
):
    """MongoDB was away for longer than the job's lease, and another worker looked first when it was back."""

    class Late(Failing):
        def finish(self, *args: Any, **kwargs: Any) -> None:
            moved = {"$set": {"status": "queued", "orphaned": True}, "$unset": {"claim": ""}}
            documents["jobs"].update_one({"_id": job.id}, moved)
            assert run(job.id, room).status is JobStatus.UNCERTAIN
            room.effects.finish(*args, **kwargs)

    outcome = run(job.id, replace(room, effects=Late(room.effects, "", written=True)))
    done = client.job(job.id)
    assert (outcome.status, done.status, done.result, done.error) == (
        JobStatus.SUCCEEDED,
        JobStatus.SUCCEEDED,
        outcome.result,
        None,
    )
    assert (row(documents, job)["state"], posts(user)) == ("done", ["once"])


def test_a_success_that_is_known_when_the_job_is_long_over_is_in_the_journal_and_in_the_log(
    client, room, documents, job, user, posts, caplog
):
    """It stood still with the answer in hand, for longer than anything may take."""

    class VeryLate(Failing):
        def finish(self, *args: Any, **kwargs: Any) -> None:
            moved = {"$set": {"status": "expired", "finished_at": room.clock()}, "$unset": {"claim": ""}}
            documents["jobs"].update_one({"_id": job.id}, moved)
            room.effects.finish(*args, **kwargs)

    assert run(job.id, replace(room, effects=VeryLate(room.effects, "", written=True))) is None
    assert f"job.done_late job={job.id}" in caplog.text
    assert (client.job(job.id).status, row(documents, job)["state"], posts(user)) == ("expired", "done", ["once"])


def test_a_refused_token_is_journaled_before_anything_else_can_fail(room, sandbox, documents, job, user, posts):
    sandbox.expire_access(user)
    outcome = run(job.id, replace(room, grants=Failing(room.grants, "refuse_access_token", written=False)))
    assert (outcome.status, outcome.decision.code) == (JobStatus.SCHEDULED, "access_token_refused")
    assert row(documents, job)["state"] == "refused"
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.SUCCEEDED
    assert posts(user) == ["once"]


def test_a_deadline_that_passes_while_the_row_is_written_is_kept(room, documents, job, user, posts):
    passed = timedelta(0)

    class Slow(Failing):
        def begin(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal passed
            begun = room.effects.begin(*args, **kwargs)
            passed = timedelta(days=1)
            return begun

    slow = replace(room, effects=Slow(room.effects, "", written=True), clock=lambda: room.clock() + passed)
    assert run(job.id, slow).status is JobStatus.EXPIRED
    assert (row(documents, job)["state"], posts(user)) == ("refused", [])


def test_a_job_that_comes_back_after_its_deadline_says_what_had_held_it_up(
    client, room, sandbox, documents, job, user, posts
):
    sandbox.misbehave("tweets", "status", status=503, body={}, account=user)
    outcome = run(job.id, room)
    assert (outcome.status, outcome.decision.code) == (JobStatus.SCHEDULED, "provider_unavailable")
    send_again(documents, job)
    assert run(job.id, replace(room, clock=lambda: job.deadline)).status is JobStatus.EXPIRED
    error = client.job(job.id).error
    assert error.code == "expired"
    assert error.message == "the deadline has passed; it was held up by: provider_unavailable"
    assert posts(user) == []


def test_a_job_lease_that_ends_while_the_row_is_written_is_kept(room, documents, job, user, posts, monkeypatch):
    class Slow(Failing):
        def begin(self, *args: Any, **kwargs: Any) -> Any:
            begun = room.effects.begin(*args, **kwargs)
            monkeypatch.setattr("worker.run.LEASE_MARGIN_SECONDS", room.settings.job_lease_seconds)
            return begun

    outcome = run(job.id, replace(room, effects=Slow(room.effects, "", written=True)))
    assert (outcome.status, outcome.decision.code) == (JobStatus.SCHEDULED, "lease_too_short")
    assert (row(documents, job)["state"], posts(user)) == ("refused", [])


@pytest.mark.parametrize("how", ["cancel", "disconnect", "disconnect, and connect again", "log out"])
def test_a_job_that_is_stopped_while_its_worker_stands_still_before_the_request_is_not_done(
    client, connect, room, documents, job, posts, monkeypatch, how
):
    """Tried: everything had been looked at, and the row was there; then came what the caller was told is done."""

    class Slow(Failing):
        def begin(self, *args: Any, **kwargs: Any) -> Any:
            begun = room.effects.begin(*args, **kwargs)
            if how == "cancel":
                client.cancel(job.id, timeout=0)
            elif how == "log out":
                client.revoke_user(job.user)
            else:
                client.disconnect(user=job.user, provider="x")
            if how == "disconnect, and connect again":
                connect(job.user)
            monkeypatch.setattr("worker.run.FRESH_SECONDS", 0)
            return begun

    outcome = run(job.id, replace(room, effects=Slow(room.effects, "", written=True)))
    assert outcome.status is JobStatus.CANCELLED
    assert (row(documents, job)["state"], posts(job.user)) == ("refused", [])


@pytest.mark.parametrize("over", ["deadline", "lease"])
def test_what_ends_while_a_worker_looks_again_is_kept(room, documents, job, user, posts, monkeypatch, over):
    """It looks again just when MongoDB is slow; the time is asked after that."""
    passed = timedelta(0)

    class Slow(Failing):
        def stop_requested(self, job_id: str) -> bool:
            nonlocal passed
            asked = room.jobs.stop_requested(job_id)
            if over == "deadline":
                passed = timedelta(days=1)
            else:
                monkeypatch.setattr("worker.run.LEASE_MARGIN_SECONDS", room.settings.job_lease_seconds)
            return asked

    monkeypatch.setattr("worker.run.FRESH_SECONDS", 0)
    slow = replace(room, jobs=Slow(room.jobs, "", written=True), clock=lambda: room.clock() + passed)
    assert run(job.id, slow).decision.code == ("expired" if over == "deadline" else "lease_too_short")
    assert (row(documents, job)["state"], posts(user)) == ("refused", [])


def test_a_mistake_of_ours_before_the_request_leaves_no_open_row(room, documents, job, user, posts, monkeypatch):
    class Broken(Failing):
        def stop_requested(self, job_id: str) -> bool:
            raise KeyError(job_id)

    monkeypatch.setattr("worker.run.FRESH_SECONDS", 0)
    assert run(job.id, replace(room, jobs=Broken(room.jobs, "", written=True))).decision.code == "internal_error"
    assert (row(documents, job)["state"], posts(user)) == ("refused", [])


def test_a_job_of_a_provider_that_is_gone_leaves_no_open_row(room, documents, job):
    assert run(job.id, replace(room, providers={})).status is not JobStatus.UNCERTAIN
    assert row(documents, job) is None


def test_an_outage_while_a_worker_looks_again_sends_nothing_and_leaves_nothing_open(
    room, documents, job, user, posts, monkeypatch
):
    monkeypatch.setattr("worker.run.FRESH_SECONDS", 0)
    outcome = run(job.id, replace(room, jobs=Failing(room.jobs, "stop_requested", written=False)))
    assert (outcome.status, outcome.decision.code) == (JobStatus.SCHEDULED, "mongodb_unavailable")
    assert (row(documents, job)["state"], posts(user)) == ("refused", [])
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.SUCCEEDED


def test_an_orphan_whose_journal_cannot_be_read_stays_an_orphan(client: Client, room, documents, job, user, posts):
    """Its worker died after posting, its user cancels, and just then MongoDB does not answer the one question."""
    orphan = {"orphaned": True, "stop": True}
    documents["jobs"].update_one({"_id": job.id}, {"$set": orphan})
    documents["effects"].insert_one(
        {"_id": f"{job.id}:1", "state": "started", "owner": "the dead worker", "grant": job.grant}
    )
    with pytest.raises(MongoUnavailable):
        run(job.id, replace(room, effects=Failing(room.effects, "of_job", written=False)))
    assert client.job(job.id).status is JobStatus.RUNNING
    documents["jobs"].update_one({"_id": job.id}, {"$set": {"claim.until": datetime.now(UTC)}})
    # Rescued by the stack's scheduler, and looked into by one of its workers.
    eventually(lambda: client.job(job.id).status is JobStatus.UNCERTAIN, what="the truth is told")
    assert posts(user) == []
