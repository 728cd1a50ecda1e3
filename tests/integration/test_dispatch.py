"""Dispatch against a real MongoDB and a real Redis: in turns, within bounds, past closed gates, without reading all."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient

from actas import Job, JobStatus
from actas.clock import utc_now
from actas.gates import PREFIX, SPREAD, Standing, all_gate, client_gate, grant_gate, provider_gate
from actas.ids import new_id
from actas.records import JobError
from actas.slots import KEY, VALID_SECONDS, Slots
from actas.stores.dispatching import Pair
from actas.stores.jobs import Jobs
from scheduler.dispatch import BATCH, DEFAULT_SLOTS, dispatch
from scheduler.rescue import CLOCK_SKEW, LOST_AFTER, rescue
from scheduler.room import Queue, Room
from tests.support import profiled, settings_from

SLOTS = 100
#: What one app, or one provider, may hold of them where there are others.
CAP = 75

YEAR = timedelta(days=365)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def documents(servers) -> Iterator[Any]:
    """MongoDB with an administrator's powers; no jobs afterwards."""
    with MongoClient(servers.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]
        admin["actas"]["jobs"].delete_many({})


@pytest.fixture
def redis_admin(servers) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(servers.servers.valkey.url.get_secret_value()) as admin:
        yield admin
        admin.flushall()


class Dispatcher:
    """A scheduler under its own credentials, with its own clock, and a queue that only remembers."""

    def __init__(self, room: Room) -> None:
        self.now = utc_now()
        self.slots = {"host:1": SLOTS}
        self.waiting = 0
        self.sent: list[Job] = []
        self.paused = 0.0
        self.look_costs = 0.0
        self.put_back = 0
        self.in_pause: Callable[[], None] = lambda: None
        self.room = replace(
            room,
            queue=Queue(self._send, lambda *_: None, lambda _: self.waiting),
            clock=lambda: self.now,
            living_workers=lambda: self.slots,
            monotonic=self._monotonic,
            pause=self._pause,
        )

    def _send(self, jobs) -> None:
        self.sent += jobs
        self.waiting += len(jobs)

    def _monotonic(self) -> float:
        """Told, and not measured: how far a tick comes must not hang on the machine."""
        self.paused += self.look_costs
        return self.paused

    def _pause(self, seconds) -> None:
        self.paused += seconds
        self.in_pause()

    def tick(self) -> list[Job]:
        """What this tick has sent."""
        self.sent, self.paused = [], 0.0
        counts = dispatch(self.room)
        assert counts.pop("sent") == len(self.sent)
        self.put_back = counts["put_back"]
        return self.sent


@pytest.fixture
def dispatcher(servers) -> Iterator[Dispatcher]:
    nowhere = Queue(lambda _: None, lambda *_: None, lambda _: 0)
    with closing(Room.open(settings_from(servers.role_env("scheduler")), nowhere)) as room:
        yield Dispatcher(room)


def job(now: datetime, *, app: str = "a", provider: str = "x", ago: timedelta = timedelta(0)) -> Job:
    run_at = now - ago
    return Job(
        id=new_id(),
        jws="not read by a scheduler",
        app=app,
        user="alice",
        grant="g",
        provider=provider,
        action="x.post",
        payload={"text": "hi"},
        run_at=run_at,
        deadline=run_at + timedelta(days=1),
        rev=0,
        status=JobStatus.SCHEDULED,
        next_at=run_at,
        created_at=now,
    )


@pytest.fixture
def add(documents, dispatcher) -> Callable[..., list[str]]:
    """Jobs of an app at a provider, the oldest first; with ``fields`` of their documents, and due unless told."""

    def add(
        count: int, *, app: str = "a", provider: str = "x", ago: timedelta = timedelta(0), **fields: Any
    ) -> list[str]:
        made = [
            job(dispatcher.now, app=app, provider=provider, ago=ago + timedelta(milliseconds=count - n)).to_doc()
            for n in range(count)
        ]
        documents["jobs"].insert_many([doc | fields for doc in made])
        return [doc["_id"] for doc in made]

    return add


@pytest.fixture
def state(documents) -> Callable[[], Counter[str]]:
    return lambda: Counter(doc["status"] for doc in documents["jobs"].find({}, {"status": 1}))


def by_app(jobs: list[Job]) -> Counter[str]:
    return Counter(job.app for job in jobs)


def by_provider(jobs: list[Job]) -> Counter[str]:
    return Counter(job.provider for job in jobs)


# --- in turns ---


def test_an_app_with_thousands_of_due_jobs_does_not_delay_anothers_ten(dispatcher, add):
    add(3000, app="a", ago=timedelta(hours=1))
    theirs = add(10, app="b")
    sent = dispatcher.tick()
    assert [job.id for job in sent if job.app == "b"] == theirs, "oldest first"
    assert {job.app for job in sent[:20]} == {"a", "b"}
    assert by_app(sent[:20]) == {"a": 10, "b": 10}, "and not behind one another in the queue"


def test_more_apps_than_places_and_each_has_its_jobs_done(dispatcher, add, documents):
    """Quick jobs: what was sent is done by the next look, and nothing is in flight."""
    dispatcher.slots = {"host:1": 2}
    dispatcher.room = replace(dispatcher.room, jitter=random.Random(1).random)
    add(400, app="a")
    add(400, app="b")
    add(10, app="c")

    def all_done() -> None:
        documents["jobs"].update_many({"status": "queued"}, {"$set": {"status": "succeeded"}})
        dispatcher.waiting = 0

    dispatcher.in_pause = all_done
    served: Counter[str] = Counter()
    for _ in range(10):
        served += by_app(dispatcher.tick())
        all_done()
    assert served["c"] == 10
    assert abs(served["a"] - served["b"]) < 0.5 * served["a"]


def test_providers_take_turns_within_an_app_and_apps_before_them(dispatcher, add):
    dispatcher.slots = {"host:1": 40}
    for provider in ("x", "y", "z"):
        add(100, app="a", provider=provider)
    add(100, app="b", provider="x")
    sent = dispatcher.tick()
    assert by_app(sent) == {"a": 20, "b": 20}
    assert max(by_provider([job for job in sent if job.app == "a"]).values()) == 7


def test_who_comes_while_a_tick_goes_on_refilling_is_served_by_the_next_one(dispatcher, add):
    add(3000, app="a")
    dispatcher.in_pause = lambda: add(1, app="b")
    assert "b" not in by_app(dispatcher.tick())
    dispatcher.waiting = 0
    assert by_app(dispatcher.tick())["b"] > 1


def test_what_the_others_have_no_jobs_for_is_not_left_free(dispatcher, add):
    add(200, app="a")
    add(3, app="b")
    add(2, app="c")
    assert by_app(dispatcher.tick()) == {"a": CAP, "b": 3, "c": 2}


def test_more_of_them_than_are_looked_at_together_and_the_next_tick_goes_on_from_there(
    dispatcher, add, documents, monkeypatch
):
    monkeypatch.setattr("scheduler.dispatch.PAIRS", 3)
    dispatcher.slots = {"host:1": 6}
    everybody = [(app, provider) for app in "abcd" for provider in ("x", "y")]
    for app, provider in everybody:
        add(100, app=app, provider=provider)
    served = []
    for _ in range(4):
        documents["jobs"].update_many({"status": "queued"}, {"$set": {"status": "succeeded"}})
        dispatcher.waiting = 0
        served.append(sorted({(job.app, job.provider) for job in dispatcher.tick()}))
    assert served == [everybody[:3], everybody[3:6], [*everybody[:1], *everybody[6:]], everybody[1:4]]


@pytest.mark.parametrize("why", ["gates are closed", "cap is reached", "jobs are all sent"])
def test_where_nobody_can_use_what_is_free_the_same_tick_goes_on_to_others(
    dispatcher, add, documents, redis_admin, monkeypatch, why
):
    monkeypatch.setattr("scheduler.dispatch.PAIRS", 3)
    for app in "abcdefghi":
        add(1, app=app, provider="slow")
    if why == "gates are closed":
        redis_admin.set(PREFIX + provider_gate("slow"), Standing(utc_now() + timedelta(hours=1)).as_text())
    if why == "cap is reached":
        add(CAP, app="z", provider="slow", status="queued")
    (other,) = add(1, app="j")
    assert other in [job.id for job in dispatcher.tick()]
    assert dispatcher.paused == 0


def test_who_had_no_turn_because_the_queue_was_full_comes_first_when_there_is_room(
    dispatcher, add, documents, monkeypatch
):
    """In step with workers that make room each third tick: not always the same third may be served."""
    monkeypatch.setattr("scheduler.dispatch.PAIRS", 3)
    dispatcher.slots = {"host:1": 10}
    for app in "abcdefghi":
        add(20, app=app)
    served: Counter[str] = Counter()
    for number in range(9):
        dispatcher.waiting = 0 if number % 3 == 0 else 10
        served += by_app(dispatcher.tick())
        documents["jobs"].update_many({"status": "queued"}, {"$set": {"status": "succeeded"}})
    assert set(served) == set("abcdefghi")


# --- within bounds ---


def test_a_tick_goes_on_refilling_as_workers_take_up_what_waits(dispatcher, add):
    add(1000)

    def taken_up() -> None:
        dispatcher.waiting = 0

    dispatcher.in_pause = taken_up
    assert len(dispatcher.tick()) >= 5 * SLOTS
    assert dispatcher.paused < 1, "and ends before the next one comes"


def test_the_queue_is_bounded_by_what_the_fleet_can_do_and_the_backlog_waits_in_mongodb(dispatcher, add, state):
    add(3 * SLOTS)
    dispatcher.slots = {"host:1": 10, "host:2": 20}
    assert len(dispatcher.tick()) == 30
    dispatcher.slots = {}  # nobody has said so, or Redis was wiped
    dispatcher.waiting = 0
    assert len(dispatcher.tick()) == DEFAULT_SLOTS
    assert dispatcher.tick() == []
    assert state() == {"queued": 30 + DEFAULT_SLOTS, "scheduled": 3 * SLOTS - 30 - DEFAULT_SLOTS}


def test_one_slow_provider_never_holds_the_whole_fleet_while_others_have_jobs_some_time(dispatcher, add):
    add(1000, app="a", provider="slow")
    add(1, app="a", provider="x", next_at=dispatcher.now + YEAR)
    assert len(dispatcher.tick()) == CAP
    dispatcher.waiting = 0  # all of them have been taken up, and none is done
    assert dispatcher.tick() == []
    add(10, app="a", provider="x")
    assert by_provider(dispatcher.tick()) == {"x": 10}


def test_one_app_never_holds_the_whole_fleet_while_others_have_jobs_some_time(dispatcher, add):
    add(1000, app="a")
    add(1, app="b", next_at=dispatcher.now + YEAR)
    assert len(dispatcher.tick()) == CAP
    dispatcher.waiting = 0
    assert dispatcher.tick() == []
    add(10, app="b")
    assert by_app(dispatcher.tick()) == {"b": 10}


def test_who_is_alone_may_have_all_of_the_fleet(dispatcher, add):
    add(1000)
    assert len(dispatcher.tick()) == SLOTS


def test_what_runs_counts_as_long_as_its_worker_lives(dispatcher, add):
    running = {"status": "running", "claim": {"owner": "host:1:a-claim", "until": utc_now() + timedelta(minutes=1)}}
    add(CAP, app="a", **running)
    add(1, app="b", next_at=dispatcher.now + YEAR)
    add(1000, app="a")
    assert dispatcher.tick() == []
    dispatcher.slots = {"host:2": SLOTS}  # the other one is gone, and says nothing any more
    assert len(dispatcher.tick()) == CAP


def test_two_dispatchers_at_once_send_nothing_twice(dispatcher, add):
    add(SLOTS)
    pairs = dispatcher.room.dispatching
    other = Dispatcher(dispatcher.room)
    by_the_other = []

    def meanwhile(*args):
        found = pairs.oldest_due(*args)
        by_the_other.extend(job.id for job in other.tick())
        return found

    class Between:
        def __getattr__(self, name):
            return meanwhile if name == "oldest_due" else getattr(pairs, name)

    dispatcher.room = replace(dispatcher.room, dispatching=Between())
    assert dispatcher.tick() == []
    assert len(set(by_the_other)) == len(by_the_other) == SLOTS


# --- gates ---


@pytest.mark.parametrize(
    ("gate", "sent"),
    [
        (all_gate("host:1"), {}),
        (provider_gate("x"), {("a", "y"): 5}),
        (client_gate("a", "x"), {("a", "y"): 5, ("b", "x"): 5}),
    ],
    ids=str,
)
def test_nothing_is_sent_to_a_closed_gate_and_everything_when_its_time_is_over(
    dispatcher, add, redis_admin, gate, sent
):
    for app, provider in (("a", "x"), ("a", "y"), ("b", "x")):
        add(5, app=app, provider=provider)
    until = utc_now() + timedelta(seconds=3)
    redis_admin.set(PREFIX + gate, Standing(until, level=1).as_text())
    assert Counter((job.app, job.provider) for job in dispatcher.tick()) == sent
    while utc_now() < until:
        time.sleep(0.05)
    assert len(dispatcher.tick()) == 15 - sum(sent.values())


def test_a_worker_that_is_sick_keeps_nothing_from_those_that_are_well(dispatcher, add, redis_admin):
    add(4)
    dispatcher.slots = {"host:1": 2, "host:2": 2}
    until = utc_now() + timedelta(minutes=1)
    redis_admin.set(PREFIX + all_gate("host:1"), Standing(until, level=1).as_text())
    assert len(dispatcher.tick()) == 4
    add(4)
    dispatcher.waiting = 0
    redis_admin.set(PREFIX + all_gate("host:2"), Standing(until, level=1).as_text())
    assert dispatcher.tick() == []


def test_a_user_who_must_wait_holds_up_nobody_and_none_of_its_jobs_is_sent(dispatcher, add, documents, redis_admin):
    add(700, grant="limited", ago=timedelta(hours=1))
    add(5, grant="limited", action="x.like", ago=timedelta(minutes=30))
    others = add(10, grant="free")
    until = utc_now() + timedelta(seconds=60)
    redis_admin.set(PREFIX + grant_gate("limited", "x.post"), Standing(until).as_text())
    dispatcher.slots = {"host:1": 4}
    sent = dispatcher.tick()
    assert [job.action for job in sent] == ["x.like"] * 4
    for _ in range(3):
        dispatcher.waiting = 0
        sent += dispatcher.tick()
    assert [job.id for job in sent if job.grant == "free"] == others
    assert len(sent) == 15
    waiting = [Job.from_doc(doc) for doc in documents["jobs"].find({"grant": "limited", "action": "x.post"})]
    assert {job.status for job in waiting} == {JobStatus.SCHEDULED}
    assert {(job.error.code, job.attempts) for job in waiting} == {("at_gate", 0)}
    spread = (until - dispatcher.now) * SPREAD
    assert all(until - MILLISECOND <= job.next_at <= until + spread for job in waiting)
    assert len({job.next_at for job in waiting}) > 500, "and they will not all come at once"


@pytest.mark.parametrize("of", ["one user", "as many users"])
def test_thousands_of_jobs_that_must_wait_hold_up_no_other_app_and_not_for_long_their_own(
    dispatcher, add, redis_admin, documents, of
):
    count = 2500
    grants = ["limited"] * count if of == "one user" else [f"limited{n}" for n in range(count)]
    for grant in set(grants):
        redis_admin.set(PREFIX + grant_gate(grant, "x.post"), Standing(utc_now() + timedelta(hours=1)).as_text())
    docs = [job(dispatcher.now, ago=timedelta(hours=1)).to_doc() | {"grant": grant} for grant in grants]
    documents["jobs"].insert_many(docs)
    (behind_them,) = add(1, grant="free")
    (others,) = add(1, app="b")
    dispatcher.look_costs = 0.1
    first, *rest = (job.id for job in dispatcher.tick())
    assert first == others, "not after all of that has been put back"
    ticks = 1
    while behind_them not in rest:
        rest += [job.id for job in dispatcher.tick()]
        ticks += 1
    assert rest == [behind_them]
    assert 1 < ticks <= 5
    assert documents["jobs"].count_documents({"status": "scheduled", "next_at": {"$lte": dispatcher.now}}) == 0


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"orphaned": True}, id="what an orphan did is looked up"),
        pytest.param({"stop": True}, id="what is to be stopped is cancelled"),
        pytest.param({"deadline": utc_now() + timedelta(minutes=30)}, id="what could only go on too late is expired"),
    ],
)
def test_what_a_worker_would_not_let_wait_is_sent_past_its_users_gate(dispatcher, add, redis_admin, fields):
    (not_waiting,) = add(1, **fields)
    add(1)
    redis_admin.set(PREFIX + grant_gate("g", "x.post"), Standing(utc_now() + timedelta(hours=1)).as_text())
    assert [job.id for job in dispatcher.tick()] == [not_waiting]
    assert dispatcher.put_back == 1


def test_a_time_that_no_datetime_can_hold_does_not_keep_a_job_from_being_put_back(dispatcher, add, redis_admin):
    """Whoever may write jobs could otherwise stand before all others of a pair with one user's limit."""
    add(300, grant="limited", next_at=DatetimeMS(-63_000_000_000_000))
    (other,) = add(1, grant="free")
    redis_admin.set(PREFIX + grant_gate("limited", "x.post"), Standing(utc_now() + timedelta(hours=1)).as_text())
    assert [job.id for job in dispatcher.tick()] == [other]
    assert (dispatcher.tick(), dispatcher.put_back) == ([], 0)


def test_a_job_that_was_signed_anew_meanwhile_is_not_put_back(dispatcher, add, documents):
    (job_id,) = add(1)
    (due,) = dispatcher.room.dispatching.oldest_due(Pair("a", "x"), dispatcher.now, 10)
    anew = (dispatcher.now + YEAR).replace(microsecond=0)
    documents["jobs"].update_one({"_id": job_id}, {"$set": {"next_at": anew}})
    dispatcher.room.jobs.put_back({due: (utc_now(), JobError("at_gate", "the gate is closed", utc_now()))})
    doc = documents["jobs"].find_one({"_id": job_id})
    assert (doc["next_at"], doc.get("error")) == (anew, None)


# --- what it costs ---


@pytest.fixture
def many_stored(add, dispatcher) -> None:
    """Of each kind that no tick has to do with, and some of each pair's jobs of next year."""
    for app, provider in itertools.product("abcd", "xy"):
        add(200, app=app, provider=provider, next_at=dispatcher.now + YEAR, deadline=dispatcher.now + 2 * YEAR)
        add(50, app=app, provider=provider, status="succeeded")


def cost(documents, dispatcher) -> tuple[list[dict[str, Any]], int]:
    with profiled(documents, ["jobs"]) as done:
        dispatcher.tick()
    assert not any(one["planSummary"] == "COLLSCAN" or one.get("hasSortStage") for one in done), done
    return done, sum(one["keysExamined"] for one in done)


def test_a_tick_with_nothing_due_is_one_look_into_the_index(dispatcher, documents, many_stored):
    done, keys = cost(documents, dispatcher)
    assert [one["planSummary"] for one in done] == ["IXSCAN { status: 1, next_at: 1 }"]
    assert (keys, done[0]["docsExamined"]) == (0, 0)


def test_what_a_tick_reads_is_bounded_by_what_it_takes(dispatcher, documents, add, many_stored):
    """Thousands of one app are due, and all others' jobs stand between it and the next one in the index."""
    add(3000, app="a")
    add(10, app="d", provider="y")
    done, keys = cost(documents, dispatcher)
    assert by_app(dispatcher.sent) == {"a": CAP, "d": 10}
    taken = len(dispatcher.sent)
    by_pair = [one for one in done if one["planSummary"].startswith("IXSCAN { status: 1, app: 1, provider: 1")]
    assert sum(one["keysExamined"] for one in by_pair) <= taken + 50
    assert sum(one["docsExamined"] for one in by_pair) <= taken
    assert keys <= 15 * taken


def test_expiring_costs_what_is_expired(dispatcher, documents, add, many_stored):
    add(3, deadline=dispatcher.now - timedelta(hours=1))
    with profiled(documents, ["jobs"]) as done:
        assert rescue(dispatcher.room)["scheduled_expired"] == 3
    (find,) = (one for one in done if one["planSummary"] == "IXSCAN { deadline: 1 }" and one["op"] == "query")
    assert (find["keysExamined"], find["docsExamined"]) == (3, 3)


# --- what nobody could send ---


def test_a_job_that_nobody_could_send_is_expired_around_its_deadline_and_says_why(dispatcher, documents, add):
    held_up = {"error": {"code": "at_gate", "message": "the gate is closed", "at": dispatcher.now}}
    deadline = dispatcher.now + timedelta(minutes=1)
    (waited,) = add(1, deadline=deadline, **held_up)
    (unsent,) = add(1, deadline=deadline)
    find = lambda id_: Job.from_doc(documents["jobs"].find_one({"_id": id_}))  # noqa: E731
    dispatcher.now = deadline + CLOCK_SKEW - timedelta(milliseconds=1)
    assert rescue(dispatcher.room)["scheduled_expired"] == 0, "our clock may be ahead"
    dispatcher.now = deadline + CLOCK_SKEW
    assert rescue(dispatcher.room)["scheduled_expired"] == 2
    for job_id, cause in ((waited, "it was held up by: at_gate"), (unsent, "it could not be sent before")):
        done = find(job_id)
        assert (done.status, done.error.code) == (JobStatus.EXPIRED, "expired")
        assert done.error.message == f"the deadline has passed; {cause}"
        assert (done.finished_at, done.error.at) == (dispatcher.now, dispatcher.now)
        assert (done.history[-1]["to"], done.history[-1]["code"]) == ("expired", "expired")
        (event,) = documents["jobs"].find_one({"_id": job_id})["untold"]
        assert (event["event"], event["code"]) == ("job.expired", "expired")
    assert dispatcher.tick() == []


def test_a_queued_job_that_no_worker_takes_up_is_expired_around_its_deadline_and_tells_of_it(
    dispatcher, documents, add
):
    (job_id,) = add(1)
    (sent,) = dispatcher.tick()
    dispatcher.now = sent.deadline + CLOCK_SKEW - timedelta(milliseconds=1)
    assert rescue(dispatcher.room)["queued_expired"] == 0, "a worker whose clock is behind may still begin it"
    dispatcher.now = sent.deadline + CLOCK_SKEW
    with profiled(documents, ["jobs"]) as done:
        assert rescue(dispatcher.room)["queued_expired"] == 1
    assert not any(one["planSummary"] == "COLLSCAN" for one in done)
    doc = documents["jobs"].find_one({"_id": job_id})
    assert (doc["status"], doc["error"]["code"]) == ("expired", "expired")
    assert [event["event"] for event in doc["untold"]] == ["job.expired"]


def test_an_orphan_and_a_job_that_somebody_works_on_are_not_expired_by_the_scheduler(dispatcher, add, state):
    past = dispatcher.now - timedelta(hours=1)
    claim = {"owner": "host:1:a-claim", "until": utc_now() + timedelta(minutes=1)}
    add(1, deadline=past, orphaned=True)
    add(1, deadline=past, status="running", claim=claim)
    add(1, deadline=past, status="queued", queued_at=dispatcher.now, orphaned=True)
    add(1, deadline=past, status="uncertain")
    before = state()
    counts = rescue(dispatcher.room)
    assert counts["scheduled_expired"] == counts["queued_expired"] == 0
    assert state() == before


def test_any_number_of_jobs_is_expired_in_batches(dispatcher, add, state, monkeypatch):
    monkeypatch.setattr("scheduler.rescue.BATCH", 100)
    add(550, deadline=dispatcher.now - timedelta(hours=1))
    assert rescue(dispatcher.room)["scheduled_expired"] == 550
    assert state() == {"expired": 550}


# --- lost messages ---


def test_a_lost_message_is_found_out_while_the_queue_is_full_once_workers_have_come_to_younger_ones(
    dispatcher, add, state
):
    """Else a backlog would keep jobs waiting whose messages died with a worker, or with a dispatcher."""
    now = dispatcher.now
    add(3, status="queued", queued_at=now - timedelta(minutes=1))
    dispatcher.waiting = 50
    assert rescue(dispatcher.room)["queued"] == 0, "perhaps they are in there"
    claim = {"owner": "host:1:a-claim", "until": utc_now() + timedelta(minutes=1)}
    add(1, status="running", queued_at=now - timedelta(minutes=1) + LOST_AFTER, claim=claim)
    assert rescue(dispatcher.room)["queued"] == 0, "nearly as old"
    add(1, status="running", queued_at=now - timedelta(seconds=1), claim=claim)
    add(3, status="queued", queued_at=now - timedelta(seconds=2))
    assert rescue(dispatcher.room)["queued"] == 3
    assert state() == {"running": 2, "queued": 3, "scheduled": 3}


# --- slots ---


@pytest.fixture
def slots(servers, redis_admin) -> Iterator[Slots]:
    """As workers have it."""
    slots = Slots(settings_from(servers.role_env("worker")).redis_url)
    yield slots
    slots.close()


def test_what_workers_say_holds_for_a_while_and_until_they_take_it_back(servers, slots, redis_admin):
    schedulers = Slots(settings_from(servers.role_env("scheduler")).redis_url)
    assert schedulers.living() == {}
    slots.announce("host:1", 64)
    slots.announce("host:2", 8)
    assert schedulers.living() == {"host:1": 64, "host:2": 8}
    slots.withdraw("host:1", 64)
    assert schedulers.living() == {"host:2": 8}
    redis_admin.zincrby(KEY, -VALID_SECONDS, "host:2:8")  # as long ago
    assert schedulers.living() == {}
    slots.announce("host:3", 1)
    assert redis_admin.zcard(KEY) == 1, "what does not hold any more is not kept for ever"
    schedulers.close()


def test_a_worker_that_takes_no_jobs_is_counted_only_if_none_does(slots, redis_admin):
    redis_admin.delete(KEY)
    slots.announce("host:1", 64)
    slots.announce("host:2", 8)
    slots.announce("host:1", 0)
    assert slots.living() == {"host:2": 8}, "what was said last counts"
    slots.withdraw("host:1", 64)
    slots.announce("host:2", 0)
    assert slots.living() == {"host:1": 0, "host:2": 0}, "they are there, and their gates are looked at"
    slots.announce("host:1", 64)
    assert slots.living() == {"host:1": 64}
    redis_admin.delete(KEY)


def test_nothing_is_sent_while_all_workers_take_none_and_are_sick(dispatcher, add, redis_admin):
    add(4)
    dispatcher.slots = {"host:1": 0}
    redis_admin.set(PREFIX + all_gate("host:1"), Standing(utc_now() + timedelta(minutes=1), level=1).as_text())
    assert dispatcher.tick() == []


def test_nonsense_among_them_is_passed_over(slots, redis_admin):
    far = dict.fromkeys(("host:1:-5", "host:1:many", "", "host:2:0", "host:3:7", f"host:4:{10**9}"), 10**12)
    redis_admin.zadd(KEY, far)
    assert slots.living() == {"host:3": 7, "host:4": 10_000}
    redis_admin.zadd(KEY, {b"\xff\xfe": 10**12})
    assert slots.living() == {}
    redis_admin.set(KEY, "no such kind")
    assert slots.living() == {}
    slots.announce("host:1", 1)
    slots.withdraw("host:1", 1)


def test_a_batch_is_bounded_however_large_the_fleet_is(dispatcher, add):
    add(BATCH + 50)
    dispatcher.slots = {"host:1": 10_000}
    dispatcher.in_pause = lambda: pytest.fail("there is no more") if len(dispatcher.sent) > BATCH else None
    assert len(dispatcher.tick()) == BATCH + 50


def test_jobs_are_marked_before_they_are_sent(dispatcher, add, documents):
    (job_id,) = add(1)
    dispatcher.tick()
    doc = documents["jobs"].find_one({"_id": job_id})
    assert (doc["status"], doc["queued_at"]) == ("queued", dispatcher.now)
    assert Jobs(documents).get(job_id).history[-1]["to"] == "queued"
