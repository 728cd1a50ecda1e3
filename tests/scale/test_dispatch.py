"""Many jobs due at once, many stored and none due, many of one app beside few of another, and all of Redis lost.

At SCALE=1: 10,000 due in one second, 1,000,000 stored, 100,000 of one app. The whole stack runs, but for the stored ones.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

import pytest
import redis
from pymongo import MongoClient, WriteConcern

from actas import Client, Job, JobRequest, JobStatus
from actas.celery_config import ACT_QUEUE
from actas.clock import utc_now
from actas.embedded.stack import APP, CLIENT_ID, PROVIDER, Stack
from actas.ids import new_id
from actas.installing import env_files, installer
from actas.sandbox.remote import SandboxControl
from scheduler.dispatch import PAIRS, dispatch
from scheduler.room import Queue, Room
from tests.support import eventually, nothing_is_sent, profiled, settings_from

DUE_AT_ONCE = 10_000
STORED = 1_000_000
OF_ONE_APP = 100_000

USERS = 40
CHUNK = 1_000

#: A million are inserted in larger ones.
BULK = 10_000

#: Apps that all have due jobs; each has a few.
APPS = 2_000
JOBS_OF_EACH = 3

#: Messages in the broker, when it is wiped; the queue holds a few more.
ENOUGH = 100

#: Two workers on a shared machine do at least so many jobs a second; slower than that, something hangs.
SLOWEST = 15


@pytest.fixture
def documents(stack: Stack) -> Iterator[Any]:
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True) as admin:
        yield admin["actas"]


@pytest.fixture
def users(client: Client, sandbox: SandboxControl) -> list[str]:
    return connected_users(client, sandbox, USERS)


def connected_users(client: Client, sandbox: SandboxControl, count: int) -> list[str]:
    names = [f"u{uuid4().hex[:12]}" for _ in range(count)]
    for name, tokens in zip(names, sandbox.make_grants(CLIENT_ID, names), strict=True):
        client.store_grant(user=name, provider=PROVIDER, account=name, tokens=tokens)
    return names


def schedule(client: Client, users: Sequence[str], count: int, at: Callable[[int], datetime | None]) -> list[str]:
    """So many posts, each with a text of its own; their ids."""
    requests = [
        JobRequest("x.post", user, {"text": f"{user} {n}"}, at=at(n))
        for n, user in zip(range(count), itertools.cycle(users), strict=False)
    ]
    batches = (requests[start : start + CHUNK] for start in range(0, count, CHUNK))
    return [job.id for batch in batches for job in client.schedule_many(batch)]


def succeeded(documents: Any, users: Sequence[str]) -> int:
    query = {"app": APP, "user": {"$in": list(users)}, "status": str(JobStatus.SUCCEEDED)}
    return int(documents["jobs"].count_documents(query))


def all_done(documents: Any, users: Sequence[str], count: int) -> None:
    eventually(
        lambda: succeeded(documents, users) == count, seconds=60 + count / SLOWEST, what="all of them have succeeded"
    )


def posted_once_each(sandbox: SandboxControl, users: Sequence[str], count: int) -> bool:
    of_these = set(users)
    posted = Counter(post["text"] for post in sandbox.ledger()["posts"] if post["account"] in of_these)
    wanted = {f"{user} {n}" for n, user in zip(range(count), itertools.cycle(users), strict=False)}
    return posted == dict.fromkeys(wanted, 1)


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    return median(values), quantiles(values, n=100)[98]


def lateness(documents: Any, ids: Sequence[str]) -> list[float]:
    """From a job's time to when a worker took it, in seconds."""
    found = documents["jobs"].find({"_id": {"$in": list(ids)}}, {"run_at": 1, "history": 1})
    taken = {doc["_id"]: (doc["run_at"], [s["at"] for s in doc["history"] if s["to"] == "running"]) for doc in found}
    assert all(len(began) == 1 for _, began in taken.values()), "each was taken once"
    return [(began[0] - run_at).total_seconds() for run_at, began in taken.values()]


@pytest.mark.timeout(3600)
def test_ten_thousand_due_in_one_second_are_done_once_each(client, stack, documents, sandbox, users, scale):
    count = round(DUE_AT_ONCE * scale)
    with nothing_is_sent(stack):
        start = utc_now() + timedelta(seconds=2 + count / 1000)  # when all of them are stored
        ids = schedule(client, users, count, at=lambda n: start + timedelta(seconds=n / count))
        assert utc_now() < start + timedelta(seconds=5)
    began = time.monotonic()
    all_done(documents, users, count)
    took = time.monotonic() - began
    p50, p99 = percentiles(lateness(documents, ids))
    print(  # noqa: T201
        f"\n{count} jobs due within one second: lateness p50 {p50:.2f} s, p99 {p99:.2f} s; {count / took:.0f} jobs/s"
    )
    assert posted_once_each(sandbox, users, count)


@pytest.fixture
def other_app(stack: Stack) -> Iterator[Client]:
    """A second app, with credentials of its own."""
    vault = {"vault_addr": stack.servers.bao.url, "vault_token": stack.servers.bao.token}
    out = stack.directory / "roles"
    installer.add_app("other", **vault, mongodb_url=stack.servers.mongod.url, out=out)
    secret = stack._place.secret("sandbox-client")
    installer.set_client_credentials(app="other", provider=PROVIDER, client_id=CLIENT_ID, client_secret=secret, **vault)
    env = env_files.read(out / "app-other.env") | {"ACTAS_PROVIDERS_FILE": str(stack.directory / "providers.toml")}
    with Client(settings_from(env)) as client:
        yield client


@pytest.mark.timeout(3600)
def test_very_many_of_one_app_do_not_delay_anothers_ten(client, other_app, stack, documents, sandbox, users, scale):
    count = round(OF_ONE_APP * scale)
    (theirs,) = connected_users(other_app, sandbox, 1)
    long_ago = utc_now() - timedelta(hours=1)
    with nothing_is_sent(stack):
        schedule(client, users, count, at=lambda _: long_ago)
    eventually(lambda: succeeded(documents, users) > count / 20, seconds=120, what="the many are under way")
    try:
        began = time.monotonic()
        ten = schedule(other_app, [theirs], 10, at=lambda _: None)
        done = [other_app.wait(job_id, timeout=60) for job_id in ten]
        took = time.monotonic() - began
        left = count - succeeded(documents, users)
    finally:
        ours = {"app": APP, "user": {"$in": users}, "status": "scheduled"}
        documents["jobs"].delete_many(ours)  # at full size that would take half an hour
    worst = max(lateness(documents, ten))
    print(f"\nten jobs beside {left} due ones of another app: all done after {took:.1f} s, latest {worst:.1f} s")  # noqa: T201
    assert {job.status for job in done} == {JobStatus.SUCCEEDED}
    assert left > count / 10, "the many were not done before"
    assert took < 8


@contextmanager
def nothing_is_taken(stack: Stack, broker: redis.Redis) -> Iterator[None]:
    """What is sent stays in the broker, where it can be lost; as much as there is room for."""
    workers = [stack.processes[name] for name in ("worker1", "worker2")]
    for worker in workers:
        worker.pause()
    try:
        eventually(lambda: broker.llen(f"actas:{ACT_QUEUE}") >= ENOUGH, what="the queue is full")
        yield
    finally:
        for worker in workers:
            worker.resume()


@pytest.mark.timeout(3600)
def test_redis_loses_everything_while_ten_thousand_are_queued_and_none_is_lost_or_doubled(
    client, stack, documents, sandbox, users, scale
):
    count = round(DUE_AT_ONCE * scale)
    ids = schedule(client, users, count, at=lambda _: None)
    with redis.Redis.from_url(stack.servers.valkey.url.get_secret_value()) as admin:
        with nothing_is_taken(stack, admin):
            admin.flushall()
        halfway = lambda: succeeded(documents, users) >= count / 2  # noqa: E731
        eventually(halfway, seconds=60 + count / SLOWEST, what="half of them have succeeded")
        admin.flushall()  # and in the midst of it
    all_done(documents, users, count)
    assert posted_once_each(sandbox, users, count)
    found = documents["jobs"].find({"_id": {"$in": ids}}, {"history": 1})
    rescued = sum(any(step.get("code") == "rescued" for step in doc["history"]) for doc in found)
    assert rescued > 0, "or nothing was tried"
    print(f"\n{count} jobs, Redis wiped twice: {rescued} messages lost and sent again")  # noqa: T201


# --- stored, and not due ---


@pytest.fixture(scope="module")
def admin(servers: Stack) -> Iterator[Any]:
    """MongoDB as its administrator sees it, where nothing runs."""
    with MongoClient(servers.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as client:
        yield client["actas"]


@pytest.fixture
def sent() -> list[Job]:
    return []


@pytest.fixture
def room(servers: Stack, sent: list[Job]) -> Iterator[Room]:
    queue = Queue(sent.extend, lambda *_: None, lambda _: 0)
    with closing(Room.open(settings_from(servers.role_env("scheduler")), queue)) as room:
        yield room


def store(admin: Any, count: int) -> None:
    """Jobs as they pile up: a third of them due within the year, all others ended, of ten apps at three providers."""
    now = utc_now()
    collection = admin["jobs"].with_options(write_concern=WriteConcern(w=1, j=False))
    common = {"jws": "h.c.s", "user": "u", "grant": "g", "action": "x.post", "payload": {}, "rev": 0}
    for start in range(0, count, BULK):
        docs = []
        for n in range(start, min(count, start + BULK)):
            at = now + timedelta(days=1, seconds=30 * n) if n % 3 == 0 else now - timedelta(days=1)
            status = "scheduled" if n % 3 == 0 else "succeeded"
            whose = {"app": f"app-{n % 10}", "provider": "xyz"[n // 10 % 3]}
            times = {"run_at": at, "next_at": at, "deadline": at + timedelta(days=1), "created_at": now}
            docs.append({"_id": new_id(), **common, **whose, **times, "status": status})
        collection.insert_many(docs, ordered=False)


def tick_ms(room: Room, times: int = 300) -> tuple[float, float]:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        assert dispatch(room)["sent"] == 0
        took.append(1000 * (time.perf_counter() - began))
    return percentiles(took)


@pytest.mark.timeout(3600)
def test_with_a_million_jobs_stored_a_tick_costs_what_is_due(room, sent, admin, scale):
    """None due, first; then all of one app's, beside ten of another's."""
    tick_ms(room)  # connections are opened
    few_p50, few_p99 = tick_ms(room)
    count = round(STORED * scale)
    store(admin, count)
    p50, p99 = tick_ms(room)
    with profiled(admin, ["jobs"]) as seen:
        dispatch(room)
    (look,) = seen
    print(  # noqa: T201
        f"\na tick with {count} jobs stored and none due: p50 {p50:.2f} ms, p99 {p99:.2f} ms"
        f" (none stored: {few_p50:.2f}, {few_p99:.2f}); {look['planSummary']},"
        f" {look['keysExamined']} keys and {look['docsExamined']} documents examined"
    )
    assert look["planSummary"] == "IXSCAN { status: 1, next_at: 1 }"
    assert (look["keysExamined"], look["docsExamined"]) == (0, 0)
    assert p50 < 10

    admin["jobs"].update_many({"app": "app-3", "status": "scheduled"}, {"$set": {"next_at": utc_now()}})
    ten = [doc["_id"] for doc in admin["jobs"].find({"app": "app-6", "status": "scheduled"}).limit(10)]
    admin["jobs"].update_many({"_id": {"$in": ten}}, {"$set": {"next_at": utc_now()}})
    with profiled(admin, ["jobs"]) as seen:
        dispatch(room)
    assert set(ten) <= {job.id for job in sent[:20]}
    by_pair = [one for one in seen if one["planSummary"].startswith("IXSCAN { status: 1, app: 1, provider: 1")]
    keys, read = (sum(one[what] for one in by_pair) for what in ("keysExamined", "docsExamined"))
    print(f"with {count // 30} due of one app, too: {len(sent)} sent, {keys} keys, {read} documents")  # noqa: T201
    assert by_pair
    assert read <= len(sent)
    assert keys <= len(sent) + 200, "from one pair to the next, past all that is due in between"


@pytest.mark.timeout(3600)
def test_thousands_of_apps_with_due_jobs_all_come_to_their_turn(room, sent, admin, scale):
    """Workers that are done with what they were sent within a tick; what takes time here is finding whose turn it is."""
    admin["jobs"].delete_many({})
    count = max(PAIRS + 1, round(APPS * scale))
    due = utc_now() - timedelta(minutes=1)
    admin["jobs"].insert_many(
        [
            {
                "_id": new_id(),
                "jws": "h.c.s",
                "user": "u",
                "grant": f"g{n}",
                "action": "x.post",
                "payload": {},
                "app": f"app-{n}",
                "provider": "x",
                "rev": 0,
                "status": "scheduled",
                "run_at": due,
                "next_at": due,
                "deadline": due + timedelta(days=1),
                "created_at": due,
            }
            for n in range(count)
            for _ in range(JOBS_OF_EACH)
        ]
    )

    def all_done(_: float = 0) -> None:
        admin["jobs"].update_many({"status": "queued"}, {"$set": {"status": "succeeded"}})

    room = replace(room, pause=all_done)
    took: list[float] = []
    first: list[int] = []
    while len(sent) < count * JOBS_OF_EACH:
        began = time.perf_counter()
        dispatch(room)
        took.append(time.perf_counter() - began)
        all_done()
        first.append(len({job.app for job in sent}))
        assert len(took) < 100 * count / PAIRS
    ticks = next(tick for tick, apps in enumerate(first, 1) if apps == count)
    print(  # noqa: T201
        f"\n{count} apps with {JOBS_OF_EACH} due jobs each: a tick takes {median(took):.2f} s, at most {max(took):.2f} s;"
        f" all apps had a turn after {ticks} ticks, all jobs were sent after {len(took)}"
    )
    assert len({job.id for job in sent}) == len(sent) == count * JOBS_OF_EACH
    assert median(took) < 2
