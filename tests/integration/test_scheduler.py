"""The scheduler's ticks against a real MongoDB that nobody else ticks on, under the scheduler's own credentials."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import hvac
import pytest
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient
from pymongo.errors import WriteError

from actas import Job, JobStatus
from actas.blacklist import LEEWAY
from actas.clock import utc_now
from actas.envelope import new_data_key
from actas.errors import VaultUnavailable
from actas.gates import GateReader
from actas.http import Http
from actas.ids import new_id
from actas.stores.blacklist import Blacklist
from actas.stores.care import Care
from actas.stores.database import connect as open_database
from actas.stores.dispatching import Dispatching
from actas.stores.drills import Drill, Drills
from actas.stores.files import Files
from actas.stores.grants import Grants
from actas.stores.jobs import Jobs
from actas.stores.outbox import Outbox
from actas.stores.preflight import Preflight
from actas.stores.renewals import Renewals
from actas.stores.untold import Untold
from actas.stores.verifications import Verifications
from actas.stores.wrapped_keys import WrappedKeys
from actas.vault.keys import VaultKeys
from actas.vault.room import VaultRoom, kek_name, key_version
from scheduler import drill as drilling
from scheduler import renew_keys as renewing
from scheduler import rotate as caring
from scheduler.dispatch import dispatch
from scheduler.purge import purge_blacklist
from scheduler.rescue import LOST_AFTER, rescue
from scheduler.resume import resume
from scheduler.revoke import AGAIN, BATCH, revoke
from scheduler.rewrap import SECONDS, rewrap
from scheduler.room import Queue, Room
from scheduler.webhooks import Webhooks
from tests.support import profiled, settings_from


@pytest.fixture
def documents(servers) -> Iterator[Any]:
    """MongoDB with an administrator's powers; empty afterwards."""
    with MongoClient(servers.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]
        for name in ("jobs", "grants", "blacklist", "drills"):
            admin["actas"][name].delete_many({})


class Ticks:
    """A scheduler with its own clock, and a queue that only remembers."""

    def __init__(self, database, vault, redis_url) -> None:
        self.now = utc_now()
        self.slots = 100
        self.paused = 0.0
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.tasks: set[str] = set()
        self.waiting = 0
        queue = Queue(self._send, self._ask, lambda _: self.waiting)
        self.room = Room(
            documents=database,
            jobs=Jobs(database),
            dispatching=Dispatching(database),
            files=Files(database),
            grants=Grants(database),
            blacklist=Blacklist(database),
            queue=queue,
            clock=lambda: self.now,
            wrapped_keys=WrappedKeys(database),
            renewals=Renewals(database),
            drills=Drills(database),
            verifications=Verifications(database),
            care=Care(database),
            vault=vault,
            untold=Untold(database),
            outbox=Outbox(database),
            preflight=Preflight(database),
            webhooks=Webhooks(vault, plain_allowed=True),
            http=Http(),
            data_key_max_age=timedelta(days=90),
            gates=GateReader(redis_url, lambda: self.now),
            living_workers=lambda: {"w": self.slots},
            monotonic=lambda: time.monotonic() + self.paused,
            pause=self._pause,
            keep={},
        )

    def _pause(self, seconds) -> None:
        self.paused += seconds

    def _ask(self, task, grants) -> None:
        self.asked += grants
        self.tasks |= {task} if grants else set()

    def _send(self, jobs) -> None:
        self.sent += [job.id for job in jobs]
        self.waiting += len(jobs)


@pytest.fixture
def ticks(servers) -> Iterator[Ticks]:
    settings = settings_from(servers.role_env("scheduler"))
    database, vault = open_database(settings.mongodb_url), VaultKeys(settings)
    yield Ticks(database, vault, settings.redis_url)
    vault.close()
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
    assert dispatch(ticks.room)["sent"] == 20
    assert ticks.sent == [job.id for job in jobs[:20]]
    assert {status(job) for job in jobs[:20]} == {JobStatus.QUEUED}
    assert {status(job) for job in jobs[20:]} == {JobStatus.SCHEDULED}


def test_a_second_tick_finds_nothing_left(ticks, jobs):
    dispatch(ticks.room)
    assert dispatch(ticks.room)["sent"] == 0
    assert len(ticks.sent) == 30


def test_ten_ticks_at_once_send_each_job_once(ticks, jobs):
    threads = [threading.Thread(target=dispatch, args=(ticks.room,)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ticks.sent) == sorted(job.id for job in jobs)


def test_a_full_queue_takes_no_more_and_the_backlog_stays_in_mongodb(ticks, jobs, status):
    ticks.waiting = ticks.slots - 5
    assert dispatch(ticks.room)["sent"] == 5
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
    assert dispatch(ticks.room)["sent"] == 30


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
    documents["grants"].insert_one({"_id": "g", "account": "g", "status": "revoking", "revoke_at": ticks.now})
    assert revoke(ticks.room) == {"asked": 1}
    ticks.waiting = 1  # no worker is there: one more message each second would fill the broker
    assert revoke(ticks.room) == {"asked": 0}
    ticks.waiting = 0
    assert revoke(ticks.room) == {"asked": 1}
    assert ticks.asked == ["g", "g"]


def test_thousands_of_revocations_that_cannot_succeed_do_not_hold_up_a_fresh_one(ticks, documents):
    """Tried: all due, for longer, and with ids that come first; an hour's pause is over for each of them."""
    long_ago = ticks.now - timedelta(days=1)

    def stuck(n: int, tries: int) -> dict[str, Any]:
        name = f"0-stuck-{n:04}"
        said = {"code": "no_reply", "tries": tries, "at": long_ago}
        return {"_id": name, "account": name, "status": "revoking", "revoke_at": long_ago, "revocation": said}

    documents["grants"].insert_many([stuck(n, tries=1 + n % 12) for n in range(3000)])
    fresh = {"_id": "fresh", "account": "fresh", "status": "revoking", "revoke_at": ticks.now}
    documents["grants"].insert_one(fresh)
    assert revoke(ticks.room) == {"asked": 1 + AGAIN}
    assert ticks.asked[0] == "fresh"
    assert len(set(ticks.asked)) == 1 + AGAIN
    with profiled(documents) as done:
        revoke(ticks.room)
    assert sum(one["docsExamined"] for one in done) <= BATCH + AGAIN, "no more is read than asked for"
    assert not any(one.get("hasSortStage") for one in done), "the index has the order"


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


# --- data keys ---


@pytest.fixture
def data_keys(servers, documents, ticks) -> Callable[..., list[str]]:
    """Grants with nothing but a data key, really wrapped by the app; made now, or so long ago."""
    room = VaultRoom(settings_from(servers.role_env("app-demo")))

    def make(count: int, *, ago: timedelta = timedelta(0), **fields: Any) -> list[str]:
        ids = [new_id() for _ in range(count)]
        wrapped = room.wrap("demo", [(id_, new_data_key()) for id_ in ids])
        grant = {"app": "demo", "user": "alice", "provider": "x", "status": "active", **fields}
        made = [
            {"id": new_id(), "wrapped": text, "key_version": key_version(text), "made_at": ticks.now - ago}
            for text in wrapped
        ]
        documents["grants"].insert_many(
            [{"_id": id_, "account": id_, **grant, "data_key": key} for id_, key in zip(ids, made, strict=True)]
        )
        return ids

    return make


@pytest.fixture
def rotate(servers) -> Callable[[], int]:
    """Rotate the app's KEK as the operator does; the new version."""

    def rotate() -> int:
        with closing(VaultKeys(settings_from(servers.role_env("operator")))) as vault:
            vault.rotate(kek_name("demo"))
            return vault.kek("demo").latest

    return rotate


def versions(documents) -> set[tuple[int, int]]:
    """What stands beside the wrapped keys, and what they say themselves."""
    keys = [doc["data_key"] for doc in documents["grants"].find()]
    return {(key["key_version"], key_version(key["wrapped"])) for key in keys}


def test_after_a_rotation_a_tick_rewraps_everything_and_the_next_one_nothing(ticks, data_keys, rotate, documents):
    data_keys(250)
    latest = rotate()
    assert rewrap(ticks.room) == {"rewrapped": 250, "outrun": 0, "failed": 0}
    assert versions(documents) == {(latest, latest)}
    before = list(documents["grants"].find())
    assert rewrap(ticks.room) == {"rewrapped": 0, "outrun": 0, "failed": 0}
    assert list(documents["grants"].find()) == before, "wrapped anew, the bytes would differ"


def test_a_tick_that_was_long_enough_leaves_the_rest_to_the_next(ticks, data_keys, rotate, documents, monkeypatch):
    monkeypatch.setattr("scheduler.rewrap.MOST", 100)
    data_keys(250)
    rotate()
    assert [rewrap(ticks.room)["rewrapped"] for _ in range(4)] == [100, 100, 50, 0]


def test_damaged_keys_at_the_head_do_not_hold_up_the_others(ticks, data_keys, rotate, documents, monkeypatch):
    monkeypatch.setattr("scheduler.rewrap.MOST", 100)
    damaged = data_keys(120)
    documents["grants"].update_many({"_id": {"$in": damaged}}, {"$set": {"data_key.wrapped": "vault:v1:AAAA"}})
    data_keys(50)
    rotate()
    told = [rewrap(ticks.room) for _ in range(2)]
    assert [counts["failed"] for counts in told] == [100, 20], "they count, too: a tick full of them must end"
    assert [counts["rewrapped"] for counts in told] == [0, 50], "and the next one begins after them"
    assert rewrap(ticks.room)["failed"] == 100, "from the start again"


def test_a_tick_of_rewrapping_ends_in_time_however_slow_vault_is_and_the_next_goes_on(
    ticks, data_keys, rotate, documents, monkeypatch
):
    """Each request takes seconds, and a batch is refused as a whole, so that each key is a request of its own."""
    damaged = data_keys(10)
    documents["grants"].update_many({"_id": {"$in": damaged}}, {"$set": {"data_key.wrapped": "vault:v1:AAAA"}})
    data_keys(10)
    rotate()
    seconds = 0.0
    real = hvac.api.secrets_engines.transit.Transit.rewrap_data

    def slow(self: Any, *args: Any, batch_input: Any, **kwargs: Any) -> Any:
        nonlocal seconds
        seconds += 3
        if len(batch_input) > 1:
            raise hvac.exceptions.InvalidRequest
        return real(self, *args, batch_input=batch_input, **kwargs)

    monkeypatch.setattr(hvac.api.secrets_engines.transit.Transit, "rewrap_data", slow)
    room, told = replace(ticks.room, monotonic=lambda: seconds), []
    for _ in range(4):
        began = seconds
        told.append(rewrap(room))
        assert seconds - began < SECONDS + 3, "not longer than to the end of the request at hand"
    assert sum(counts["failed"] for counts in told) == 10, "none is tried twice before the last had its turn"
    assert sum(counts["rewrapped"] for counts in told) == 10
    assert documents["grants"].count_documents({"data_key.wrapped": "vault:v1:AAAA"}) == 10, "and left as they are"


def test_an_app_that_has_no_kek_or_no_fit_name_does_not_hold_up_the_others(ticks, data_keys, rotate, documents):
    data_keys(1, app="aa-nobody")
    data_keys(1, app="../../sys/seal")
    data_keys(3)
    rotate()
    assert rewrap(ticks.room)["rewrapped"] == 3


def test_while_vault_is_away_a_rewrap_is_skipped_and_dispatch_is_not(ticks, data_keys, jobs, servers):
    data_keys(1)
    servers.servers.bao.pause()
    try:
        with pytest.raises(VaultUnavailable):
            rewrap(ticks.room)
        assert dispatch(ticks.room)["sent"] == 30
    finally:
        servers.servers.bao.resume()


def test_data_keys_that_are_too_old_are_renewed_oldest_first_and_few_at_a_time(ticks, data_keys):
    data_keys(5, ago=timedelta(days=89))
    old = data_keys(renewing.BATCH - 1, ago=timedelta(days=91))
    oldest = data_keys(3, ago=timedelta(days=92))
    data_keys(2, ago=timedelta(days=91), status="reauthorization_required")
    data_keys(2, ago=timedelta(days=91), status="revoking")
    assert renewing.renew_keys(ticks.room) == {"asked": renewing.BATCH}
    assert ticks.tasks == {"actas.renew_data_key"}
    assert set(ticks.asked[:3]) == set(oldest)
    assert set(ticks.asked[3:]) < set(old)
    ticks.waiting = 1
    assert renewing.renew_keys(ticks.room) == {"asked": 0}


def test_a_drill_that_never_rotated_is_told_while_it_holds_up_renewals(ticks, documents, caplog):
    open_drill(documents, key_version=None, began_at=ticks.now)
    renewing.renew_keys(ticks.room)
    assert "renew_keys.held_up" not in caplog.text
    ticks.now += renewing.ABANDONED + timedelta(seconds=1)
    renewing.renew_keys(ticks.room)
    assert "renew_keys.held_up app=demo" in caplog.text


def open_drill(documents, **fields: Any) -> None:
    drill = Drill(new_id(), "demo", began_at=utc_now(), from_version=1, key_version=2)
    assert Drills(documents).insert(replace(drill, **fields))


def test_a_drill_asks_for_what_was_made_before_it_and_for_failures_a_minute_later(ticks, data_keys, documents):
    old = set(data_keys(3, ago=timedelta(seconds=1)))
    failed = data_keys(1, ago=timedelta(hours=1))[0]
    open_drill(documents, began_at=ticks.now)
    data_keys(2)
    data_keys(2, ago=timedelta(hours=1), exchange_lease={"owner": "o", "until": utc_now() + timedelta(minutes=1)})
    note = {"$set": {"renewal": {"tried_at": ticks.now, "code": "provider_unavailable"}}}
    documents["grants"].update_one({"_id": failed}, note)
    assert drilling.drill(ticks.room) == {"asked": 3}
    assert set(ticks.asked) == old
    ticks.now += drilling.AGAIN_AFTER + timedelta(seconds=1)
    assert drilling.drill(ticks.room) == {"asked": 4}
    assert ticks.asked[-1] == failed, "after those that were not tried, although its key is the oldest"


def test_a_drill_that_is_finished_or_has_not_rotated_yet_asks_for_nothing(ticks, data_keys, documents):
    data_keys(3, ago=timedelta(hours=1))
    open_drill(documents, key_version=None, began_at=ticks.now + timedelta(seconds=1))
    assert drilling.drill(ticks.room) == {"asked": 0}
    documents["drills"].update_one({}, {"$set": {"key_version": 2}})
    assert drilling.drill(ticks.room) == {"asked": 0}, "what somebody just renews may still be under the old version"
    ticks.now += timedelta(seconds=1)
    assert drilling.drill(ticks.room) == {"asked": 3}
    drills = Drills(documents)
    drills.finish(drills.open("demo"), {}, ticks.now)
    assert drilling.drill(ticks.room) == {"asked": 0}


def test_while_the_workers_have_work_a_drill_waits(ticks, data_keys, documents):
    data_keys(3, ago=timedelta(hours=1))
    open_drill(documents)
    ticks.waiting = 1
    assert drilling.drill(ticks.room) == {"asked": 0}


def test_an_app_has_one_open_drill(documents):
    open_drill(documents)
    assert not Drills(documents).insert(Drill(new_id(), "demo", began_at=utc_now(), from_version=1))


@pytest.fixture
def cared(ticks, documents):
    """Puts grants there whose care is due so many seconds from now; what they are called."""

    def cared(count: int = 1, due_in: float | None = -1, **fields: Any) -> list[str]:
        care_at = None if due_in is None else ticks.now + timedelta(seconds=due_in)
        # the first is the one that is due last
        docs = [
            {"provider": "x", "status": "active", **fields, "_id": new_id(), "account": new_id()}
            | {"care_at": care_at and care_at - timedelta(milliseconds=n)}
            for n in range(count)
        ]
        documents["grants"].insert_many(docs)
        return [doc["_id"] for doc in docs]

    return cared


def test_care_is_asked_for_where_it_is_due_and_nowhere_else(ticks, cared):
    due = [*cared(), *cared(due_in=0)]
    cared(due_in=0.001)
    cared(due_in=None)
    cared(status="reauthorization_required")
    cared(status="revoking")
    cared(status="revoked")
    cared(exchange_lease={"owner": "o", "until": utc_now() + timedelta(seconds=60)})
    due += cared(exchange_lease={"owner": "o", "until": utc_now() - timedelta(seconds=1)})
    assert caring.rotate(ticks.room) == {"asked": 3}
    assert (sorted(ticks.asked), ticks.tasks) == (sorted(due), {"actas.exchange_grant"})


def test_care_goes_on_beside_a_drill_but_fills_no_queue_that_nobody_takes_from(ticks, cared):
    cared()
    ticks.waiting = caring.FEW
    assert caring.rotate(ticks.room) == {"asked": 1}
    ticks.waiting = caring.FEW + 1
    assert caring.rotate(ticks.room) == {"asked": 0}


def test_care_is_spread_and_much_of_one_provider_holds_up_no_other(ticks, cared):
    many, one, other = cared(caring.PER_PROVIDER * 2), cared(provider="a"), cared(provider="y")
    assert caring.rotate(ticks.room) == {"asked": caring.PER_PROVIDER + 2}
    assert set(one + other) < set(ticks.asked)
    assert [grant for grant in ticks.asked if grant in many] == many[: caring.PER_PROVIDER - 1 : -1], (
        "the longest due first"
    )


def test_what_ticks_look_for_is_found_by_indexes(ticks, data_keys, cared, documents):
    """A tick's cost depends on what is due, not on what is stored."""
    data_keys(20)
    for provider in ("x", "y", "z"):
        cared(100, due_in=60, provider=provider)
    seen = []
    documents.command("profile", 2)
    try:
        rewrap(ticks.room)
        renewing.renew_keys(ticks.room)
        open_drill(documents, began_at=ticks.now - timedelta(days=1))
        drilling.drill(ticks.room)
        caring.rotate(ticks.room)
        seen = list(documents["system.profile"].find({"ns": f"{documents.name}.grants", "appName": "actas"}))
    finally:
        documents.command("profile", 0)
        documents["system.profile"].drop()
    assert len(seen) >= 6
    assert max(entry["keysExamined"] for entry in seen) < 50
    assert {(entry.get("planSummary", "").split()[0], entry["docsExamined"]) for entry in seen} <= {
        ("IXSCAN", 0),
        ("DISTINCT_SCAN", 0),
    }
