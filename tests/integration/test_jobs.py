"""Jobs as an app sees them: on real servers, with real workers, against a provider that keeps its own books."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from actas import Client, JobRequest, JobStatus
from actas.cli import looking
from actas.errors import IdempotencyConflict, InvalidPayload, NotFound
from actas.stores.effects import Effects
from actas.stores.refusals import Refusals
from actas.stores.resolutions import Resolutions
from actas.vault.room import VaultRoom
from tests.support import eventually, nothing_is_sent


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.fixture
def console(client: Client, monkeypatch) -> Callable[..., Any]:
    """`actas jobs`, in this process and on the client's connections."""
    stores = looking.Stores(
        client.app,
        client._room.jobs,
        client._room.grants,
        Effects(client._room.database),
        Refusals(client._room.database),
        Resolutions(client._room.database),
    )
    monkeypatch.setattr(looking.Stores, "open", lambda: nullcontext(stores))
    return lambda *words: CliRunner().invoke(looking.jobs, words, catch_exceptions=False)


@contextmanager
def nothing_is_taken(stack) -> Iterator[None]:
    """What is sent stays in the queue until the end of this."""
    workers = [stack.processes[name] for name in ("worker1", "worker2")]
    for worker in workers:
        worker.pause()
    try:
        yield
    finally:
        for worker in workers:
            worker.resume()


@pytest.fixture(params=["client", "console"])
def cancel(request, client: Client, console) -> Callable[[str], Any]:
    return client.cancel if request.param == "client" else lambda job_id: console("cancel", job_id)


def test_a_job_due_now_is_posted_once_and_its_story_is_told(client, connect, user, posts):
    connect(user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "hello"}).id)
    assert (job.status, job.attempts, job.error) == (JobStatus.SUCCEEDED, 1, None)
    assert posts(user) == ["hello"]
    assert [step["to"] for step in job.history] == ["queued", "running", "succeeded"]


def test_a_job_of_the_future_runs_at_its_time_and_not_before(client, connect, user, posts):
    connect(user)
    at = soon(2)
    job = client.schedule("x.post", user=user, payload={"text": "later"}, at=at)
    done = client.wait(job.id)
    assert done.finished_at >= at
    assert done.finished_at - at < timedelta(seconds=8)  # a tick is a second; the machine is shared
    assert posts(user) == ["later"]


def test_a_time_that_has_passed_means_now(client, connect, user):
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "x"}, at=soon(-60), deadline=soon(60))
    assert client.wait(job.id).status is JobStatus.SUCCEEDED


def test_the_same_idempotency_key_and_content_is_the_same_job(client, connect, user, posts):
    connect(user)
    first = client.schedule("x.post", user=user, payload={"text": "once"}, idempotency_key=f"{user}-1")
    again = client.schedule("x.post", user=user, payload={"text": "once"}, idempotency_key=f"{user}-1")
    assert again.id == first.id
    client.wait(first.id)
    assert posts(user) == ["once"]


def test_the_same_idempotency_key_and_other_content_is_a_conflict(client, connect, user):
    connect(user)
    client.schedule("x.post", user=user, payload={"text": "one"}, at=soon(3600), idempotency_key=f"{user}-1")
    with pytest.raises(IdempotencyConflict):
        client.schedule("x.post", user=user, payload={"text": "two"}, at=soon(3600), idempotency_key=f"{user}-1")


def test_a_key_repeated_within_one_batch_is_one_job(client, connect, user):
    connect(user)
    twice = [JobRequest("x.post", user, {"text": "same"}, at=soon(3600), idempotency_key=f"{user}-k")] * 2
    # The two share one time, as one request sent twice would.
    first, second = client.schedule_many(twice)
    assert first.id == second.id
    assert client.jobs(user=user) == [first]


def test_a_conflict_keeps_the_whole_batch_out(client, connect, user):
    connect(user)
    at = soon(3600)

    def post(text, key=None):
        return JobRequest("x.post", user, {"text": text}, at=at, idempotency_key=key and f"{user}-{key}")

    (there,) = client.schedule_many([post("there", "a")])
    for batch in (
        [post("new"), post("new, too", "b"), post("other content", "a")],
        [post("new"), post("one", "b"), post("other", "b")],  # among themselves
    ):
        with pytest.raises(IdempotencyConflict):
            client.schedule_many(batch)
    assert client.jobs(user=user) == [there]


def test_a_conflict_that_another_process_brings_about_meanwhile_stops_the_batch(client, connect, user, monkeypatch):
    connect(user)
    at, jobs = soon(3600), client._room.jobs
    plain = JobRequest("x.post", user, {"text": "no key"}, at=at)
    mine = JobRequest("x.post", user, {"text": "mine"}, at=at, idempotency_key=f"{user}-a")
    late = JobRequest("x.post", user, {"text": "late"}, at=at, idempotency_key=f"{user}-b")
    theirs = JobRequest("x.post", user, {"text": "theirs"}, at=at, idempotency_key=f"{user}-b")
    insert = jobs.insert

    def after_another(batch):
        monkeypatch.setattr(jobs, "insert", insert)
        client.schedule_many([theirs])
        return insert(batch)

    monkeypatch.setattr(jobs, "insert", after_another)
    with pytest.raises(IdempotencyConflict, match=f"{user}-b"):
        client.schedule_many([plain, mine, late])
    kept = {job.payload["text"]: job for job in client.jobs(user=user)}
    assert {text: job.status for text, job in kept.items()} == {
        "theirs": JobStatus.SCHEDULED,
        "no key": JobStatus.CANCELLED,
        "mine": JobStatus.CANCELLED,
    }
    assert (kept["mine"].error.code, kept["mine"].error.message) == ("cancelled", "its batch was refused")
    # Mended and sent again, nothing of it is missing, and nothing twice.
    mended = client.schedule_many([plain, mine])
    assert [job.status for job in mended] == [JobStatus.SCHEDULED, JobStatus.SCHEDULED]
    waiting = client.jobs(user=user, status="scheduled")
    assert sorted(job.payload["text"] for job in waiting) == ["mine", "no key", "theirs"]


def test_a_batch_costs_one_signature_call_per_hundred_jobs(client, connect, user, monkeypatch):
    connect(user)
    calls = []
    sign = VaultRoom._ask
    monkeypatch.setattr(VaultRoom, "_ask", lambda self, call: calls.append(call) or sign(self, call))
    client.schedule("x.post", user=user, payload={"text": "warm the key cache"}, at=soon(3600))
    calls.clear()
    jobs = client.schedule_many(
        [JobRequest("x.post", user, {"text": f"post {n}"}, at=soon(3600 + n)) for n in range(150)]
    )
    assert len({job.id for job in jobs}) == 150
    assert len(calls) == 2


def test_a_bad_request_in_a_batch_keeps_all_of_it_out(client, connect, user):
    connect(user)
    good = JobRequest("x.post", user, {"text": "good"}, at=soon(3600))
    with pytest.raises(InvalidPayload, match="280"):
        client.schedule_many([good, JobRequest("x.post", user, {"text": "x" * 300}, at=soon(3600))])
    assert client.jobs(user=user) == []


def test_cancelling_before_its_time_keeps_a_job_from_running(client, connect, stack, user, posts):
    connect(user)
    with nothing_is_sent(stack):
        job = client.schedule("x.post", user=user, payload={"text": "never"})
        cancellation = client.cancel(job.id)
    assert (cancellation.outcome, cancellation.job.status) == ("cancelled", JobStatus.CANCELLED)
    client.wait(client.schedule("x.post", user=user, payload={"text": "after"}).id)
    assert posts(user) == ["after"]


def test_cancelling_a_job_in_the_queue_is_in_time_and_its_message_does_nothing(client, connect, stack, user, posts):
    connect(user)
    with nothing_is_taken(stack):
        job = client.schedule("x.post", user=user, payload={"text": "never"})
        eventually(lambda: client.job(job.id).status is JobStatus.QUEUED, what="the job is in the queue")
        cancellation = client.cancel(job.id)
    assert (cancellation.outcome, cancellation.job.status) == ("cancelled", JobStatus.CANCELLED)
    client.wait(client.schedule("x.post", user=user, payload={"text": "after"}).id)
    assert posts(user) == ["after"]
    assert [step["to"] for step in client.job(job.id).history] == ["queued", "cancelled"]


@pytest.mark.parametrize(
    ("waiting", "outcome"),
    [
        ({"status": "scheduled", "attempts": 2, "error": {"code": "rate_limited", "message": "m"}}, "cancelled"),
        ({"status": "parked", "error": {"code": "needs_user", "message": "m"}}, "cancelled"),
        ({"status": "parked", "held": True, "error": {"code": "held", "message": "m"}}, "cancelled"),
        ({"status": "queued"}, "cancelled"),
        ({"status": "scheduled", "orphaned": True}, "too_late"),
        ({"status": "queued", "orphaned": True}, "too_late"),
        ({"status": "expired"}, "too_late"),
        ({"status": "failed"}, "too_late"),
    ],
    ids=str,
)
def test_a_cancellation_tells_the_truth_wherever_a_job_waits(client, connect, user, documents, waiting, outcome):
    """Of an orphan nobody knows yet what its worker had done; it is marked, and its own end will tell."""
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "never"}, at=soon(3600))
    if "error" in waiting:
        waiting = waiting | {"error": waiting["error"] | {"at": soon(0)}}
    documents["jobs"].update_one({"_id": job.id}, {"$set": waiting | {"queued_at": soon(0)}})
    cancellation = client.cancel(job.id, timeout=0.1)
    there = client.job(job.id)
    assert cancellation.outcome == outcome
    assert cancellation.job == there
    assert there.status == ("cancelled" if outcome == "cancelled" else waiting["status"])
    assert there.stop == (waiting["status"] in {"scheduled", "queued", "parked"})
    if "orphaned" in waiting:  # leave nothing behind that the stack would take up
        documents["jobs"].update_one({"_id": job.id}, {"$set": {"status": "cancelled"}})


def test_a_job_that_expires_while_it_is_being_cancelled_is_not_called_cancelled(
    client, connect, user, documents, monkeypatch
):
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "never"}, at=soon(3600))
    jobs = client._room.jobs
    cancel_waiting = jobs.cancel_waiting

    def when_expired(*args, **options):
        documents["jobs"].update_one({"_id": job.id}, {"$set": {"status": "expired"}})
        return cancel_waiting(*args, **options)

    monkeypatch.setattr(jobs, "cancel_waiting", when_expired)
    cancellation = client.cancel(job.id, timeout=0.1)
    assert (cancellation.outcome, cancellation.job.status) == ("too_late", JobStatus.EXPIRED)


def test_a_job_that_a_worker_takes_while_it_is_being_cancelled_is_not_done(
    client, connect, stack, user, posts, cancel, monkeypatch
):
    connect(user)
    jobs = client._room.jobs
    cancel_waiting = jobs.cancel_waiting
    with nothing_is_sent(stack):
        job = client.schedule("x.post", user=user, payload={"text": "never"})

        def when_taken(*args, **options):
            stack.processes["scheduler"].resume()
            eventually(lambda: client.job(job.id).finished_at, what="a worker has taken it")
            return cancel_waiting(*args, **options)

        monkeypatch.setattr(jobs, "cancel_waiting", when_taken)
        cancel(job.id)
    assert client.job(job.id).status is JobStatus.CANCELLED
    assert posts(user) == []


def test_a_job_that_a_worker_lets_go_while_it_is_being_cancelled_never_runs(
    client, connect, sandbox, user, posts, cancel, monkeypatch
):
    connect(user)
    sandbox.expire_access(user)
    sandbox.misbehave("token", "hold_before", account=user)
    job = client.schedule("x.post", user=user, payload={"text": "never"})
    eventually(lambda: sandbox.held() == 1, what="the exchange is held at the provider")
    jobs = client._room.jobs
    cancel_waiting = jobs.cancel_waiting

    def then_let_go(*args, **options):
        monkeypatch.setattr(jobs, "cancel_waiting", cancel_waiting)
        cancelled = cancel_waiting(*args, **options)
        sandbox.kill(user)  # so the worker will park the job, until the user connects again
        sandbox.behave()
        sandbox.release()
        eventually(lambda: client.job(job.id).status is not JobStatus.RUNNING, what="the worker lets go")
        return cancelled

    monkeypatch.setattr(jobs, "cancel_waiting", then_let_go)
    cancel(job.id)
    connect(user)
    assert client.wait(job.id).status is JobStatus.CANCELLED
    assert posts(user) == []


def test_cancelling_a_job_whose_outcome_is_uncertain_is_too_late_and_stops_a_repetition(client, connect, sandbox, user):
    connect(user)
    sandbox.misbehave("tweets", "drop_after", times=1, account=user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "maybe"}).id)
    assert client.cancel(job.id).outcome == "too_late"
    there = client.job(job.id)
    assert (there.status, there.stop) == (JobStatus.UNCERTAIN, True)


def test_cancelling_a_job_that_is_done_is_too_late(client, connect, user):
    connect(user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "done"}).id)
    assert client.cancel(job.id).outcome == "too_late"
    assert client.job(job.id).status is JobStatus.SUCCEEDED


def test_cancelling_a_job_that_waits_for_its_token_stops_it(client, connect, sandbox, user, posts):
    connect(user)
    client.wait(client.schedule("x.post", user=user, payload={"text": "first"}).id)
    sandbox.expire_access(user)
    sandbox.misbehave("token", "hold_before", account=user)
    # The API refuses the expired token (401), so the job goes for a new one and waits there.
    job = client.schedule("x.post", user=user, payload={"text": "second"})
    eventually(lambda: sandbox.held() == 1, what="the exchange is held at the provider")
    with pytest.raises(TimeoutError):
        client.wait(job.id, timeout=0.2)
    outcome = client.cancel(job.id, timeout=0.2)  # asked to stop, and not seen to stop yet
    assert outcome.outcome == "too_late"
    sandbox.release()
    assert client.wait(job.id).status is JobStatus.CANCELLED
    assert posts(user) == ["first"]


def test_cancelling_a_job_whose_request_is_under_way_is_too_late(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.misbehave("tweets", "hold_after", account=user, times=1)
    job = client.schedule("x.post", user=user, payload={"text": "under way"})
    eventually(lambda: sandbox.held() == 1, what="the post is held at the provider")
    assert client.cancel(job.id, timeout=0.2).outcome == "too_late"
    sandbox.release()
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["under way"]


def test_waiting_ends_with_an_error_that_names_the_state(client, connect, user):
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "x"}, at=soon(3600))
    with pytest.raises(TimeoutError, match="still scheduled"):
        client.wait(job.id, timeout=0.1)


def test_jobs_are_listed_by_user_and_state_newest_first(client, connect, user):
    connect(user)
    ids = [client.schedule("x.post", user=user, payload={"text": t}, at=soon(3600)).id for t in ("a", "b", "c")]
    client.cancel(ids[1])
    assert [job.id for job in client.jobs(user=user)] == ids[::-1]
    assert [job.id for job in client.jobs(user=user, status="cancelled")] == [ids[1]]


def test_another_apps_job_is_not_found(client: Client, connect, user, app_settings):
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "x"}, at=soon(3600))
    with Client(app_settings.model_copy(update={"app": "other"})) as other:
        for method in (other.job, other.cancel):
            with pytest.raises(NotFound):
                method(job.id)
    there = client.job(job.id)
    assert (there.status, there.stop) == (JobStatus.SCHEDULED, False)


def test_the_console_says_when_it_does_not_list_all(client, connect, user, console):
    connect(user)
    for text in ("a", "b", "c"):
        client.schedule("x.post", user=user, payload={"text": text}, at=soon(3600))
    newest = console("--user", user, "--limit", "2", "--json")
    assert "--limit" in newest.stderr
    assert "--limit" not in newest.stdout
    assert console("--user", user, "--limit", "4").stderr == ""
