"""A million entries on the blacklist (at SCALE=1) slow neither a job's one read, nor an app's check, nor the purge."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import pytest
from pymongo import MongoClient

import scheduler.purge
from actas import Client
from actas.blacklist import LEEWAY, ids_for
from actas.clock import utc_now
from actas.stores.database import connect as open_database
from actas.stores.grants import Grants
from scheduler.purge import BATCH, BATCHES, purge_blacklist
from scheduler.room import Queue, Room
from tests.support import profiled, settings_from

log = logging.getLogger(__name__)  # the figures: pytest --log-cli-level=INFO

APP = "demo"
FEW = 200
DUE = 2 * BATCH + 500

#: Medians of one run, few entries against many; a scan of all would be a hundredfold, and the machine is shared.
SLOWER = 4

NOW = utc_now()


@pytest.fixture(scope="module")
def many(scale) -> int:
    return max(10 * DUE, int(1_000_000 * scale))


@pytest.fixture
def database(servers) -> Iterator[Any]:
    """MongoDB with an administrator's powers; empty afterwards."""
    with MongoClient(servers.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]
        for name in ("grants", "blacklist"):
            admin["actas"][name].delete_many({})


def fill(database: Any, first: int, count: int, expires_at: Callable[[int], datetime]) -> None:
    """Entries of both kinds, in turn."""
    end = first + count
    for start in range(first, end, 10_000):
        database["blacklist"].insert_many(
            [
                {
                    "_id": f"{'jti' if n % 2 else 'user'}:{APP}/{n:08}",
                    "reason": "test",
                    "created_at": NOW,
                    "not_before": NOW,
                    "jobs_not_before": NOW,
                    "keep": None,
                    "expires_at": expires_at(n),
                }
                for n in range(start, min(end, start + 10_000))
            ],
            ordered=False,
        )


def in_a_year(n: int) -> datetime:
    return NOW + timedelta(days=365, milliseconds=n)


def median_ms(call: Callable[[int], object], *, times: int = 100) -> float:
    took = []
    for n in range(times):
        began = time.perf_counter()
        call(n)
        took.append(1000 * (time.perf_counter() - began))
    return median(took)


@pytest.fixture
def client(servers) -> Iterator[Client]:
    with Client(settings_from(servers.role_env("app-demo"))) as client:
        yield client


@pytest.fixture
def grants(servers, database) -> Iterator[Grants]:
    """As a worker reads them; there is one."""
    grant = {"_id": "g", "app": APP, "user": "00000000", "provider": "x", "account": "1", "client_id": "c"}
    times = {"created_at": NOW, "updated_at": NOW}
    database["grants"].insert_one(grant | times | {"scopes": [], "status": "active", "generation": 1})
    documents = open_database(settings_from(servers.role_env("worker")).mongodb_url)
    yield Grants(documents)
    documents.client.close()


def test_one_question_among_many_entries_looks_at_no_other_and_takes_no_longer(client, grants, database, many):
    def read_for_job(n: int) -> None:
        _, entries = grants.read_for_job("g", ids_for(APP, jti=f"{2 * n + 1:08}", user=f"{2 * n:08}"))
        assert len(entries) == 2

    def refuses(n: int) -> None:
        assert client.blacklist.refuses({"jti": f"{2 * n + 1:08}", "sub": f"{2 * n:08}", "iat": NOW}) == "test"

    def refuses_nothing(n: int) -> None:
        assert client.blacklist.refuses({"jti": f"unknown-{n}", "sub": f"unknown-{n}", "iat": NOW}) is None

    calls = (read_for_job, refuses, refuses_nothing)
    fill(database, 0, FEW, in_a_year)
    for call in calls:
        median_ms(call, times=20)  # connections are opened, plans are made
    few = [median_ms(call) for call in calls]
    fill(database, FEW, many - FEW, in_a_year)
    assert database["blacklist"].estimated_document_count() == many
    lots = [median_ms(call) for call in calls]
    with profiled(database) as seen:
        for call in calls:
            call(7)
    assert len(seen) == len(calls), "each is one question"
    job, *checks = seen
    assert job["docsExamined"] <= 3  # the grant, and the two entries
    assert job["planSummary"].startswith(("IDHACK", "EXPRESS", "IXSCAN"))
    for check in checks:
        assert check["docsExamined"] <= 2
        assert check["planSummary"].startswith(("IDHACK", "EXPRESS", "IXSCAN"))
    for call, one, other in zip(calls, few, lots, strict=True):
        log.info("%s: %.2f ms with %d entries, %.2f ms with %d", call.__name__, one, FEW, other, many)
        assert other < SLOWER * one


@pytest.fixture
def room(servers) -> Iterator[Room]:
    queue = Queue(lambda _: None, lambda *_: None, lambda _: 0)
    with closing(Room.open(settings_from(servers.role_env("scheduler")), queue)) as room:
        yield room


def expired(n: int) -> datetime:
    """Twelve hours ago, in order of the numbers: the purge's business, and the TTL index's not for half a day."""
    return NOW - timedelta(hours=12) + timedelta(milliseconds=n)


def numbers_left(database: Any, below: int) -> list[int]:
    found = database["blacklist"].find({"expires_at": {"$lt": NOW}}, {"_id": 1}).sort("expires_at", 1)
    return [n for n in (int(doc["_id"].partition("/")[2]) for doc in found) if n < below]


def purge(room: Room) -> tuple[int, float]:
    began = time.perf_counter()
    purged = purge_blacklist(room)["purged"]
    return purged, time.perf_counter() - began


def test_a_purge_tick_takes_what_is_due_and_no_longer_with_many_that_are_not(room, database, many, monkeypatch):
    def tick_of_all_due() -> float:
        fill(database, 0, DUE, expired)
        purged, seconds = purge(room)
        assert purged == DUE
        return seconds

    tick_of_all_due()  # connections are opened
    few = median(tick_of_all_due() for _ in range(3))
    fill(database, DUE, many, in_a_year)
    lots = median(tick_of_all_due() for _ in range(3))
    assert database["blacklist"].estimated_document_count() == many, "nothing else was taken"

    # What expired only just is spared; what is due goes oldest first, as far as a tick goes.
    just_expired = NOW - LEEWAY + timedelta(minutes=10)
    database["blacklist"].insert_one({"_id": f"jti:{APP}/99999999", "expires_at": just_expired})
    fill(database, 0, DUE, expired)
    monkeypatch.setattr(scheduler.purge, "BATCHES", 2)
    with profiled(database) as seen:
        assert purge(room)[0] == 2 * BATCH
    assert numbers_left(database, DUE) == list(range(2 * BATCH, DUE))
    monkeypatch.setattr(scheduler.purge, "BATCHES", BATCHES)
    assert purge(room)[0] == DUE - 2 * BATCH
    assert [op["op"] for op in seen].count("remove") == 2, "in batches"
    assert max(op["docsExamined"] for op in seen) <= BATCH
    assert {op["planSummary"].split()[0] for op in seen} <= {"IXSCAN", "IDHACK", "EXPRESS"}

    with profiled(database) as seen:
        assert purge(room)[0] == 0
    assert [op["docsExamined"] for op in seen] == [0], "with nothing due, nothing is looked at"
    assert database["blacklist"].count_documents({}) == many + 1
    log.info("purge of %d: %.3f s with no others stored, %.3f s with %d", DUE, few, lots, many)
    assert lots < SLOWER * few
