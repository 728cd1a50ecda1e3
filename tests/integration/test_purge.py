"""Jobs that ended long ago leave, by the scheduler's own credentials: never early, never what has not ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo import MongoClient

from actas import JobStatus
from actas.blacklist import LEEWAY
from actas.embedded.child import plain_environment
from actas.ids import new_id
from actas.states import FINAL
from actas.stores.database import connect as open_database
from actas.stores.jobs import Jobs
from scheduler.purge import BATCH, purge_jobs
from scheduler.room import Room
from tests.support import settings_from

#: Long before anything else in this database.
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
DAYS = timedelta(days=30)


@pytest.fixture
def documents(stack) -> Iterator[Any]:
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]
        admin["actas"]["jobs"].delete_many({"user": "purged"})


@pytest.fixture
def room(stack) -> Iterator[Any]:
    """Of a scheduler, as much as the purge needs; it is long ago, but for what a test puts before that."""
    database = open_database(settings_from(stack.role_env("scheduler")).mongodb_url)
    kept = dict.fromkeys((JobStatus.SUCCEEDED, JobStatus.CANCELLED, JobStatus.EXPIRED), DAYS)
    yield SimpleNamespace(jobs=Jobs(database), clock=lambda: LONG_AGO, keep=kept)
    database.client.close()


def document(status: str, finished: datetime | None, deadline: datetime, **fields: Any) -> dict[str, Any]:
    names = ("jws", "app", "grant", "provider", "action")
    times = dict.fromkeys(("run_at", "next_at", "created_at"), LONG_AGO)
    doc = dict.fromkeys(names, "x") | times | {"user": "purged", "payload": {}, "rev": 0, "status": str(status)}
    doc |= {"_id": new_id(), "deadline": deadline, **fields}
    return doc | ({"finished_at": finished} if finished else {})


def left(documents: Any) -> int:
    return documents["jobs"].count_documents({"user": "purged"})


MOMENT = timedelta(milliseconds=1)


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.CANCELLED, JobStatus.EXPIRED])
@pytest.mark.parametrize(
    ("ended_ago", "deadline_ago", "goes"),
    [
        (DAYS + MOMENT, LEEWAY + MOMENT, True),
        (DAYS, LEEWAY + MOMENT, False),
        (DAYS + MOMENT, LEEWAY, False),
        (DAYS * 12, -DAYS, False),  # done at once, and its signature is good for a month still
    ],
)
def test_a_job_is_purged_after_its_time_and_after_its_deadline_and_never_earlier(
    documents, room, status, ended_ago, deadline_ago, goes
):
    documents["jobs"].insert_one(document(status, LONG_AGO - ended_ago, LONG_AGO - deadline_ago))
    assert purge_jobs(room)[str(status)] == goes
    assert left(documents) == 1 - goes


@pytest.mark.parametrize("status", sorted(set(JobStatus) - FINAL | {JobStatus.FAILED}))
def test_what_has_not_ended_is_never_purged_and_what_failed_only_if_somebody_said_so(documents, room, status):
    old = LONG_AGO - DAYS * 100
    documents["jobs"].insert_one(document(status, old, old))
    assert not any(purge_jobs(room).values())
    assert left(documents) == 1
    if status is JobStatus.FAILED:
        room.keep[status] = DAYS * 13
        assert purge_jobs(room)["failed"] == 1


def test_a_job_with_an_event_that_nobody_was_told_of_stays_until_it_is_told(documents, room):
    old = LONG_AGO - DAYS * 2
    note = {"id": "e", "type": "job.succeeded", "at": old}
    documents["jobs"].insert_one(
        document(JobStatus.SUCCEEDED, old, old, untold=[note]), bypass_document_validation=True
    )
    assert purge_jobs(room)["succeeded"] == 0
    documents["jobs"].update_one({"user": "purged"}, {"$unset": {"untold": ""}})
    assert purge_jobs(room)["succeeded"] == 1


def test_how_long_is_a_setting_for_each_and_failed_ones_stay_by_default(stack):
    env = stack.role_env("scheduler")
    days = {status: keep.days for status, keep in Room.kept(settings_from(env)).items()}
    assert days == {JobStatus.SUCCEEDED: 30, JobStatus.CANCELLED: 30, JobStatus.EXPIRED: 30}
    changed = {"ACTAS_KEEP_FAILED_DAYS": "400", "ACTAS_KEEP_SUCCEEDED_DAYS": "0"}
    days = {status: keep.days for status, keep in Room.kept(settings_from(env | changed)).items()}
    assert (days[JobStatus.FAILED], days[JobStatus.SUCCEEDED]) == (400, 0)


def test_a_purge_takes_any_number_in_batches_and_reads_only_what_it_takes(documents, room):
    old = LONG_AGO - DAYS * 2
    gone = [document(JobStatus.SUCCEEDED, old, old) for _ in range(BATCH * 2 + 5)]
    signed = [document(JobStatus.SUCCEEDED, old - DAYS, LONG_AGO + DAYS) for _ in range(500)]
    documents["jobs"].insert_many(gone + signed)
    query = {"status": "succeeded", "finished_at": {"$lt": LONG_AGO - DAYS}, "deadline": {"$lt": LONG_AGO - LEEWAY}}
    found = documents["jobs"].find(query, {"_id": 1}).sort("finished_at", 1).limit(10).explain()["executionStats"]
    assert found["totalDocsExamined"] == 10
    assert purge_jobs(room)["succeeded"] == len(gone)
    assert left(documents) == len(signed)


def test_with_the_job_its_idempotency_key_is_free_and_its_journal_stays(documents, room):
    old = LONG_AGO - DAYS * 2
    done = document(JobStatus.SUCCEEDED, old, old, idempotency_key="once", app="purged")
    documents["jobs"].insert_one(done)
    documents["effects"].insert_one({"_id": f"{done['_id']}:1", "state": "done"})
    assert purge_jobs(room)["succeeded"] == 1
    documents["jobs"].insert_one(document(JobStatus.SCHEDULED, None, old, idempotency_key="once", app="purged"))
    assert documents["effects"].count_documents({"_id": f"{done['_id']}:1"}) == 1


def test_a_job_that_is_retried_while_the_purge_looks_stays(documents, room, monkeypatch):
    old = LONG_AGO - DAYS * 2
    job = document(JobStatus.EXPIRED, old, old)
    documents["jobs"].insert_one(job)
    collection = room.jobs._jobs

    class Meanwhile:
        def find(self, *args: Any) -> Any:
            found = collection.find(*args)
            return SimpleNamespace(
                sort=lambda *by: SimpleNamespace(limit=lambda n: list(self.moved(found.sort(*by), n)))
            )

        def moved(self, found: Any, n: int) -> Iterator[Any]:
            yield from list(found.limit(n))
            documents["jobs"].update_one({"_id": job["_id"]}, {"$set": {"status": "scheduled"}})

        def delete_many(self, query: Any) -> Any:
            return collection.delete_many(query)

    monkeypatch.setattr(room.jobs, "_jobs", Meanwhile())
    assert purge_jobs(room)["expired"] == 0
    assert left(documents) == 1


def test_a_scheduler_does_so_each_minute_and_so_it_does_with_stored_files(stack, documents):
    """The task itself, in a process of its own: importing it changes Celery for good."""
    old = LONG_AGO - DAYS * 2
    code = """
from scheduler import app, tasks
(entry,) = [entry for entry in app.app.conf.beat_schedule.values() if entry["task"] == tasks.purge_jobs_task.name]
print(entry["schedule"], tasks.purge_jobs_task()["succeeded"])
(entry,) = [entry for entry in app.app.conf.beat_schedule.values() if entry["task"] == tasks.purge_files_task.name]
print(entry["schedule"], *tasks.purge_files_task())
"""
    env = plain_environment() | stack.role_env("scheduler") | {"PYTHONPATH": str(Path(__file__).parents[2])}
    for _ in range(2):  # the stack's own scheduler may have been quicker; it is so once a minute
        documents["jobs"].insert_one(document(JobStatus.SUCCEEDED, old, old))
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        if done.stdout != "60 0\n60 purged\n":
            break
    assert done.stdout == "60 1\n60 purged\n", done.stderr
    assert left(documents) == 0


@pytest.mark.parametrize("old", [False, True], ids=["good still", "over"])
def test_a_job_stays_while_any_signature_of_it_is_good(room, documents, old):
    """A cancelled one that had been signed for a later deadline first: gone, it could be handed in again and run."""
    over = LONG_AGO - DAYS - LEEWAY - MOMENT
    until = over if old else LONG_AGO
    documents["jobs"].insert_one(document(JobStatus.CANCELLED, over, over, signed_until=until))
    purge_jobs(room)
    assert left(documents) == (0 if old else 1)
