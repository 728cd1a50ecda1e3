"""The scheduler's ticks against a real MongoDB that nobody else ticks on, under the scheduler's own credentials."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient
from pymongo.errors import WriteError

from actas import Job, JobStatus
from actas.blacklist import LEEWAY
from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.ids import new_id
from actas.stores.blacklist import Blacklist
from actas.stores.database import connect as open_database
from actas.stores.grants import Grants
from actas.stores.jobs import Jobs
from scheduler.dispatch import QUEUE_BOUND, dispatch
from scheduler.purge import purge_blacklist
from scheduler.rescue import LOST_AFTER, rescue
from scheduler.resume import resume
from scheduler.revoke import revoke
from scheduler.room import Queue, Room
from tests.support import settings_from


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[Stack]:
    """The servers and the roles; no scheduler runs but the one under test."""
    with Stack(tmp_path_factory.mktemp("servers")) as stack:
        stack.start_servers()
        stack.install()
        yield stack


@pytest.fixture
def documents(servers) -> Iterator[Any]:
    """MongoDB with an administrator's powers; empty afterwards."""
    with MongoClient(servers.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]
        for name in ("jobs", "grants", "blacklist"):
            admin["actas"][name].delete_many({})


class Ticks:
    """A scheduler with its own clock, and a queue that only remembers."""

    def __init__(self, database) -> None:
        self.now = utc_now()
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.waiting = 0
        queue = Queue(self._send, lambda _, grants: self.asked.extend(grants), lambda _: self.waiting)
        self.room = Room(Jobs(database), Grants(database), Blacklist(database), queue, lambda: self.now)

    def _send(self, jobs) -> None:
        self.sent += [job.id for job in jobs]
        self.waiting += len(jobs)


@pytest.fixture
def ticks(servers) -> Iterator[Ticks]:
    database = open_database(settings_from(servers.role_env("scheduler")).mongodb_url)
    yield Ticks(database)
    database.client.close()


@pytest.fixture
def app(servers) -> Iterator[Any]:
    """MongoDB as an app may use it: the scheduler may take blacklist entries away, and not put any there."""
    database = open_database(settings_from(servers.role_env("app-demo")).mongodb_url)
    yield database
    database.client.close()


@pytest.fixture
def refuse(app) -> Blacklist:
    return Blacklist(app)


def job(run_at: datetime, now: datetime) -> Job:
    return Job(
        id=new_id(),
        jws="not read by a scheduler",
        app="demo",
        user="alice",
        grant="g",
        provider="x",
        action="x.post",
        payload={"text": "hi"},
        run_at=run_at,
        deadline=run_at + timedelta(hours=1),
        rev=0,
        status=JobStatus.SCHEDULED,
        next_at=run_at,
        created_at=now,
    )


@pytest.fixture
def jobs(app, documents, ticks) -> list[Job]:
    """Thirty jobs, a second apart, the last of them due now."""
    made = [job(ticks.now - timedelta(seconds=29 - n), ticks.now) for n in range(30)]
    Jobs(app).insert(made)
    return made


@pytest.fixture
def status(app):
    return lambda job: Jobs(app).get(job.id).status


def test_what_is_due_is_sent_and_nothing_else(ticks, jobs, status):
    ticks.now -= timedelta(seconds=10)
    assert dispatch(ticks.room) == {"sent": 20}
    assert ticks.sent == [job.id for job in jobs[:20]]
    assert {status(job) for job in jobs[:20]} == {JobStatus.QUEUED}
    assert {status(job) for job in jobs[20:]} == {JobStatus.SCHEDULED}


def test_a_second_tick_finds_nothing_left(ticks, jobs):
    dispatch(ticks.room)
    assert dispatch(ticks.room) == {"sent": 0}
    assert len(ticks.sent) == 30


def test_ten_ticks_at_once_send_each_job_once(ticks, jobs):
    threads = [threading.Thread(target=dispatch, args=(ticks.room,)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ticks.sent) == sorted(job.id for job in jobs)


def test_a_full_queue_takes_no_more_and_the_backlog_stays_in_mongodb(ticks, jobs, status):
    ticks.waiting = QUEUE_BOUND - 5
    assert dispatch(ticks.room) == {"sent": 5}
    assert ticks.sent == [job.id for job in jobs[:5]], "the oldest first"
    assert status(jobs[5]) is JobStatus.SCHEDULED


def test_a_queued_job_is_rescued_only_when_it_is_old_and_the_queue_is_empty(ticks, jobs, status):
    dispatch(ticks.room)
    ticks.now += LOST_AFTER + timedelta(seconds=1)
    ticks.waiting = 1
    assert rescue(ticks.room)["queued"] == 0
    ticks.waiting = 0
    assert rescue(ticks.room)["queued"] == 30
    assert {status(job) for job in jobs} == {JobStatus.SCHEDULED}


def test_a_job_just_queued_is_not_rescued(ticks, jobs):
    dispatch(ticks.room)
    ticks.waiting = 0
    ticks.now += LOST_AFTER - timedelta(seconds=1)
    assert rescue(ticks.room)["queued"] == 0


def test_a_parked_job_expires_at_its_deadline(ticks, jobs, status, documents):
    parked = jobs[0]
    documents["jobs"].update_one({"_id": parked.id}, {"$set": {"status": "parked"}})
    ticks.now = parked.deadline - timedelta(seconds=1)
    assert rescue(ticks.room)["parked_expired"] == 0
    ticks.now = parked.deadline
    assert rescue(ticks.room)["parked_expired"] == 1
    assert status(parked) is JobStatus.EXPIRED


@pytest.mark.parametrize(
    "wrong",
    [
        {"jws": None},
        {"run_at": "2027-01-01"},
        {"user": {"$ne": ""}},
        {"status": "done"},
        {"history": "none"},
        {"payload": "text"},
        {"held": "yes"},
        {"error": {"code": 1}},
    ],
    ids=str,
)
def test_no_app_can_leave_a_job_that_stops_the_ticks(app, ticks, jobs, wrong):
    """MongoDB refuses it: one job that could not be read, or moved, would hold up all that are due with it."""
    with pytest.raises(WriteError, match="Document failed validation"):
        app["jobs"].insert_one(job(ticks.now, ticks.now).to_doc() | wrong)
    with pytest.raises(WriteError, match="Document failed validation"):
        app["jobs"].update_one({"_id": jobs[0].id}, {"$set": wrong})
    for field in ("jws", "run_at", "next_at", "deadline", "user"):
        with pytest.raises(WriteError, match="Document failed validation"):
            app["jobs"].update_one({"_id": jobs[0].id}, {"$unset": {field: ""}})


def test_a_time_that_python_does_not_have_stops_no_tick(app, ticks, jobs):
    app["jobs"].update_one({"_id": jobs[0].id}, {"$set": {"run_at": DatetimeMS(2**60), "deadline": DatetimeMS(2**60)}})
    assert dispatch(ticks.room) == {"sent": 30}


def test_a_job_that_was_parked_while_its_user_connected_again_goes_on(ticks, jobs, status, documents):
    """Connecting resumes parked jobs, but it may die before it has, or a worker may park one just after it did."""
    parked, waiting = jobs[:2]
    documents["jobs"].update_one({"_id": parked.id}, {"$set": {"status": "parked", "grant": "works"}})
    documents["jobs"].update_one({"_id": waiting.id}, {"$set": {"status": "parked", "grant": "does-not"}})
    statuses = {"works": "active", "does-not": "reauthorization_required"}
    documents["grants"].insert_many(
        [{"_id": id_, "account": id_, "status": status_} for id_, status_ in statuses.items()]
    )
    assert resume(ticks.room) == {"resumed": 1}
    assert (status(parked), status(waiting)) == (JobStatus.SCHEDULED, JobStatus.PARKED)


def test_a_held_job_does_not_go_on_by_itself_although_its_grant_works(app, ticks, jobs, status, documents):
    held = jobs[0]
    documents["jobs"].update_one({"_id": held.id}, {"$set": {"status": "parked", "held": True, "grant": "works"}})
    documents["grants"].insert_one({"_id": "works", "account": "works", "status": "active"})
    assert resume(ticks.room) == {"resumed": 0}
    assert Jobs(app).resume_parked("works", ticks.now) == 0
    assert status(held) is JobStatus.PARKED


def test_a_held_job_expires_at_its_deadline_and_says_why(app, ticks, jobs, documents):
    held = jobs[0]
    documents["jobs"].update_one({"_id": held.id}, {"$set": {"status": "parked", "held": True}})
    ticks.now = held.deadline
    assert rescue(ticks.room)["parked_expired"] == 1
    done = Jobs(app).get(held.id)
    assert (done.status, done.held, done.error.code) == (JobStatus.EXPIRED, False, "expired")
    assert "signed anew" in done.error.message


def test_revocations_are_asked_for_again_only_when_the_workers_have_taken_up_the_last_ones(ticks, documents):
    documents["grants"].insert_one({"_id": "g", "account": "g", "status": "revoking"})
    assert revoke(ticks.room) == {"asked": 1}
    ticks.waiting = 1  # no worker is there: one more message each second would fill the broker
    assert revoke(ticks.room) == {"asked": 0}
    ticks.waiting = 0
    assert revoke(ticks.room) == {"asked": 1}
    assert ticks.asked == ["g", "g"]


@pytest.mark.parametrize("late", [timedelta(0), LEEWAY, LEEWAY + timedelta(milliseconds=1)])
def test_a_blacklist_entry_is_purged_after_its_expiry_and_the_leeway_and_never_earlier(
    ticks, refuse, documents, user, late
):
    expires_at = ticks.now + timedelta(days=30)
    refuse.add_jti("demo", "id", expires_at=expires_at, reason="test", now=ticks.now)
    ticks.now = expires_at + late
    purged = purge_blacklist(ticks.room)["purged"]
    assert purged == (1 if late > LEEWAY else 0)
    assert documents["blacklist"].count_documents({"_id": "jti:demo/id"}) == 1 - purged


def test_a_purge_takes_any_number_in_batches(ticks, documents):
    expires_at = datetime.now(UTC) - timedelta(hours=12)  # past, and within the day before the TTL index would come
    entries = [
        {"_id": f"jti:demo/{n}", "reason": "test", "created_at": expires_at, "expires_at": expires_at}
        for n in range(2500)
    ]
    ticks.now = datetime.now(UTC) - timedelta(days=2)
    documents["blacklist"].insert_many(entries)
    assert purge_blacklist(ticks.room)["purged"] == 0
    ticks.now = datetime.now(UTC)
    assert purge_blacklist(ticks.room)["purged"] == 2500
    assert documents["blacklist"].count_documents({}) == 0


def test_blacklisting_an_id_again_never_shortens_its_entry(ticks, refuse, documents):
    long, short = ticks.now + timedelta(days=2), ticks.now + timedelta(days=1)
    assert refuse.add_jti("demo", "id", expires_at=long, reason="first", now=ticks.now)
    assert not refuse.add_jti("demo", "id", expires_at=short, reason="second", now=ticks.now)
    entry = documents["blacklist"].find_one({"_id": "jti:demo/id"})
    assert (entry["reason"], entry["expires_at"].timestamp()) == ("first", pytest.approx(long.timestamp(), abs=0.001))
