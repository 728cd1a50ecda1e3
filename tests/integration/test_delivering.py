"""Events from the move to the webhook, tick by tick, under the scheduler's own credentials and with its own clock.

No scheduler runs but the one under test. The receivers are real HTTP servers.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from pydantic import SecretStr
from pymongo import MongoClient
from typer.testing import CliRunner

from actas import Job, JobStatus
from actas.celery_config import SEND_EVENTS_TASK
from actas.cli import app as console_app
from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.errors import MongoRefused, VaultUnavailable
from actas.events import EventType, note
from actas.fault_points import FaultPoint
from actas.http import Http
from actas.ids import new_id
from actas.installing import installer
from actas.records import JobError
from actas.stores.database import connect as open_database
from actas.stores.jobs import Jobs
from actas.stores.outbox import KEPT_DEAD, KEPT_DELIVERED, Outbox
from actas.stores.untold import Untold
from actas.webhooks import PAUSES, Webhook, new_secret
from scheduler.deliver import deliver, send_events, tell
from scheduler.preflight import AGAIN_AFTER, AHEAD, preflight
from scheduler.room import Queue, Room
from scheduler.shares import FOR_SLOW, THREADS
from scheduler.webhooks import SECONDS as WEBHOOK_MEMORY
from scheduler.webhooks import Webhooks
from tests.dying import dies_at
from tests.receiving import Receiver, hanging, receiver
from tests.support import eventually, settings_from
from tests.verifying import verified

MINUTE = timedelta(minutes=1)


@pytest.fixture
def documents(servers) -> Iterator[Any]:
    """MongoDB with an administrator's powers; empty afterwards."""
    with MongoClient(servers.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]
        for name in ("jobs", "grants", "outbox"):
            admin["actas"][name].delete_many({})


class Given:
    """Webhooks as Vault would have them."""

    def __init__(self) -> None:
        self.by_app: dict[str, Webhook] = {}
        self.away = False

    def webhook(self, app: str) -> Webhook | None:
        if self.away:
            raise VaultUnavailable
        return self.by_app.get(app)


class Ticks:
    """A scheduler with its own clock, and a queue that does at once what it is asked for."""

    def __init__(self, servers: Stack) -> None:
        self.now = utc_now()
        self.given = Given()
        self.asked: list[str] = []
        self.waiting = 0
        self.room = Room.open(
            settings_from(servers.role_env("scheduler")),
            Queue(lambda _: None, self._ask, lambda _: self.waiting),
            clock=lambda: self.now,
        )
        self.room.http.close()
        self.room = replace(
            self.room,
            webhooks=Webhooks(self.given, plain_allowed=True, monotonic=lambda: self.now.timestamp()),  # noqa: PLW0108 - it moves
            http=Http(),
            jitter=lambda: 0.0,
        )

    def _ask(self, task: str, apps: list[str]) -> None:
        assert task == SEND_EVENTS_TASK or not apps
        self.asked += apps

    def wants(self, app: str, there: Receiver | str, *, secret: SecretStr | None = None, **fields: Any) -> SecretStr:
        url = there if isinstance(there, str) else f"{there.url}/hook?q=query-canary"
        self.given.by_app[app] = Webhook(url=SecretStr(url), secret=secret or new_secret(), **fields)
        return self.given.by_app[app].secret

    def go(self) -> None:
        """A tick, and the sending it asks for."""
        self.asked.clear()
        deliver(self.room)
        for app in dict.fromkeys(self.asked):
            send_events(app, self.room)


@pytest.fixture
def ticks(servers, documents) -> Iterator[Ticks]:
    ticks = Ticks(servers)
    yield ticks
    ticks.room.close()


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as there:
        yield there


@pytest.fixture
def worker(servers) -> Iterator[Any]:
    database = open_database(settings_from(servers.role_env("worker")).mongodb_url)
    yield database
    database.client.close()


@pytest.fixture
def ended(ticks, documents, worker):
    """A job of an app that a worker has just brought to its end."""

    def ended(app: str = "demo", to: JobStatus = JobStatus.SUCCEEDED, **fields: Any) -> Job:
        job = scheduled(documents, app, ticks.now, status=JobStatus.QUEUED)
        claimed = Jobs(worker).claim(job.id, owner="w", lease_seconds=30, now=ticks.now)
        assert claimed is not None
        assert Jobs(worker).settle(claimed, "w", to, ticks.now, **fields)
        return job

    return ended


def scheduled(documents: Any, app: str, run_at: datetime, *, grant: str = "g", **fields: Any) -> Job:
    job = Job(
        id=new_id(),
        jws="jws-canary",
        app=app,
        user="alice",
        grant=grant,
        provider="x",
        action="x.post",
        payload={"text": "payload-canary"},
        run_at=run_at,
        deadline=run_at + timedelta(hours=1),
        rev=0,
        status=fields.pop("status", JobStatus.SCHEDULED),
        next_at=run_at,
        created_at=run_at,
    )
    documents["jobs"].insert_one(job.to_doc() | fields)
    return job


def broken(documents: Any, now: datetime, **fields: Any) -> str:
    grant = {"_id": new_id(), "app": "demo", "user": "alice", "provider": "x", "account": new_id(), "generation": 1}
    grant |= {"status": "reauthorization_required", "failure": {"code": "invalid_grant"}, "preflight_at": now}
    documents["grants"].insert_one(grant | fields)
    return grant["_id"]


def rows(documents: Any) -> list[dict[str, Any]]:
    return list(documents["outbox"].find().sort("_id"))


# --- from the move to the receiver ---


def test_what_a_job_has_to_tell_arrives_signed_and_says_no_more_than_it_should(ticks, there, ended, documents):
    secret = ticks.wants("demo", there)
    job = ended(result="1234")
    ticks.go()
    (request,) = there.requests
    assert verified(secret, request, at=ticks.now) == {
        "type": "job.succeeded",
        "timestamp": ticks.now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": request.told["data"],
    }
    assert request.told["data"] | {"job": job.id, "status": "succeeded", "result": "1234", "user": "alice"} == request.told["data"]  # fmt: skip
    assert b"canary" not in request.body
    assert b"canary" not in json.dumps(rows(documents), default=str).encode()
    assert documents["jobs"].find_one({"untold": {"$exists": True}}) is None
    ticks.now += MINUTE * 60
    ticks.go()
    assert len(there.requests) == 1


@pytest.mark.parametrize("to", [JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.UNCERTAIN])
def test_each_end_is_told_with_its_cause(ticks, there, ended, to):
    ticks.wants("demo", there)
    ended(to=to, error=JobError("why", "message-canary", ticks.now))
    ticks.go()
    (request,) = there.requests
    assert (request.told["type"], request.told["data"]["code"]) == (f"job.{to}", "why")
    assert b"canary" not in request.body


def test_an_uncertain_job_that_is_settled_tells_both(ticks, there, ended, worker):
    ticks.wants("demo", there)
    job = ended(to=JobStatus.UNCERTAIN, error=JobError("outcome_unknown", "m", ticks.now))
    Jobs(worker).settle_late(job.id, ticks.now + MINUTE, result="7")
    ticks.go()
    assert sorted(each.told["type"] for each in there.requests) == ["job.succeeded", "job.uncertain"]
    assert len(set(there.ids)) == 2


def test_jobs_that_expire_many_at_a_time_are_all_told(ticks, there, documents):
    ticks.wants("demo", there)
    jobs = [scheduled(documents, "demo", ticks.now - 120 * MINUTE, status=JobStatus.PARKED) for _ in range(30)]
    assert ticks.room.jobs.expire_parked(ticks.now) == 30
    ticks.go()
    ticks.go()
    assert {each.told["data"]["job"] for each in there.requests} == {job.id for job in jobs}
    assert len(there.requests) == 30


def test_a_half_done_job_that_expires_tells_what_it_did(ticks, there, documents):
    ticks.wants("demo", there)
    late = ticks.now - 120 * MINUTE
    scheduled(documents, "demo", late, status=JobStatus.PARKED, result="11")
    scheduled(documents, "demo", late, result="12")
    scheduled(documents, "demo", late)
    assert ticks.room.jobs.expire_parked(ticks.now) == 1
    assert ticks.room.jobs.expire_scheduled(ticks.now, before=ticks.now, limit=10) == 2
    ticks.go()
    assert {each.told["data"]["result"] for each in there.requests} == {"11", "12", None}


def test_a_capped_provider_is_told_once_by_whoever_finds_out(ticks, there, worker):
    ticks.wants("demo", there)
    ticks.now = ticks.now.replace(hour=12)
    for n in range(5):
        now = ticks.now - timedelta(seconds=n)
        Outbox(worker).capped("demo", "x", until=now + timedelta(hours=1), code="usage_capped", now=now)
    ticks.go()
    (request,) = there.of("x", "provider.capped")
    assert request.told["data"]["code"] == "usage_capped"


def test_an_app_without_a_webhook_is_told_nothing_and_nothing_is_kept(ticks, ended, documents):
    ended(app="silent")
    ended(app="../demo")  # as an app may write it
    ticks.go()
    assert rows(documents) == []
    assert documents["jobs"].find_one({"untold": {"$exists": True}}) is None


def test_while_vault_is_away_nothing_is_cleared(ticks, there, ended, documents):
    ticks.given.away = True
    job = ended()
    with pytest.raises(VaultUnavailable):
        deliver(ticks.room)
    assert documents["jobs"].find_one({"_id": job.id})["untold"]
    ticks.given.away = False
    ticks.wants("demo", there)
    ticks.go()
    assert len(there.requests) == 1


def test_while_vault_is_away_no_try_is_counted(ticks, there, ended, documents):
    ticks.wants("demo", there)
    ended()
    tell(ticks.room)
    ticks.given.away = True
    for _ in range(20):
        ticks.now += MINUTE
        with pytest.raises(VaultUnavailable):
            send_events("demo", ticks.room)
    assert [(row["state"], row["tries"]) for row in rows(documents)] == [("pending", 0)]
    ticks.given.away = False
    assert send_events("demo", ticks.room) == {"sent": 1, "failed": 0}


def test_the_schedulers_own_vault_role_finds_the_webhook_that_the_installer_has_stored(servers, ticks, there):
    where = {"vault_addr": servers.servers.bao.url, "vault_token": servers.servers.bao.token}
    url = SecretStr(there.url)
    stored, made = installer.set_webhook("demo", url, new_secret=False, development=True, **where)
    assert made
    assert ticks.room.vault.webhook("demo") == stored
    again, made = installer.set_webhook(
        "demo", SecretStr(f"{there.url}/b"), new_secret=False, development=True, **where
    )
    assert (made, again.secret, again.previous) == (False, stored.secret, None)
    both, made = installer.set_webhook("demo", url, new_secret=True, development=True, **where)
    assert made
    assert both.secret != stored.secret
    assert both.previous == stored.secret
    assert ticks.room.vault.webhook("demo") == both
    installer.remove_webhook("demo", **where)
    assert ticks.room.vault.webhook("demo") is None


# --- crashes ---


def test_a_crash_between_copying_and_clearing_gives_one_event_one_id(ticks, there, ended, documents):
    ticks.wants("demo", there)
    job = ended()
    dies_at(FaultPoint.EVENTS_COPIED, lambda: tell(ticks.room))
    assert documents["jobs"].find_one({"_id": job.id})["untold"], "not cleared yet"
    (row,) = rows(documents)
    ticks.go()
    assert [each["_id"] for each in rows(documents)] == [row["_id"]]
    assert there.ids == [row["_id"]]


def test_two_schedulers_at_once_copy_each_event_once(ticks, there, ended, documents):
    ticks.wants("demo", there)
    for _ in range(40):
        ended()
    threads = [threading.Thread(target=tell, args=(ticks.room,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(documents)) == 40
    assert documents["jobs"].find_one({"untold": {"$exists": True}}) is None


def test_what_is_told_between_reading_and_clearing_is_not_lost(ticks, there, ended, worker, documents):
    ticks.wants("demo", there)
    job = ended(to=JobStatus.UNCERTAIN, error=JobError("outcome_unknown", "m", ticks.now))
    seen = Untold(ticks.room.documents).find(10)
    Jobs(worker).settle_late(job.id, ticks.now + MINUTE, result="7")
    Untold(ticks.room.documents).clear(seen)
    ticks.go()
    assert sorted(each.told["type"] for each in there.requests) == ["job.succeeded", "job.uncertain"]


def test_a_deliverer_that_died_with_an_event_leaves_it_to_the_next_a_minute_later(ticks, there, ended):
    ticks.wants("demo", there)
    ended()
    tell(ticks.room)
    assert ticks.room.outbox.claim("demo", ticks.now, until=ticks.now + MINUTE) is not None
    ticks.go()
    assert there.requests == [], "perhaps it is still at it"
    ticks.now += MINUTE
    ticks.go()
    assert len(there.requests) == 1


def test_two_deliverers_do_not_send_at_once(ticks, there, ended):
    ticks.wants("demo", there)
    for _ in range(20):
        ended()
    tell(ticks.room)
    threads = [threading.Thread(target=send_events, args=("demo", ticks.room)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(there.requests) == len(set(there.ids)) == 20


# --- receivers that fail ---


@pytest.mark.parametrize(
    ("status", "last"), [(500, "http_500"), (302, "http_302"), (404, "http_404"), (429, "http_429")]
)
def test_what_is_not_taken_comes_again_under_the_same_id_and_newly_signed(ticks, there, ended, documents, status, last):
    secret = ticks.wants("demo", there)
    there.answer = lambda _: (status, {"location": f"{there.url}/elsewhere"})
    ended()
    ticks.go()
    (row,) = rows(documents)
    assert (row["state"], row["tries"], row["last"]) == ("pending", 1, last)
    ticks.go()
    assert len(there.requests) == 1, "not before the pause is over"
    there.answer = lambda _: (200, {})
    ticks.now += PAUSES[0]
    ticks.go()
    first, second = there.requests
    assert first.id == second.id
    assert first.body == second.body
    assert {each.path for each in there.requests} == {"/hook?q=query-canary"}, "redirects are not followed"
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 5
    assert verified(secret, second, at=ticks.now)
    (row,) = rows(documents)
    assert (row["state"], row["last"]) == ("delivered", "http_200")


def test_an_event_that_nobody_takes_for_three_days_is_kept_as_dead_and_can_be_sent_again(servers, ticks, there, ended, documents):  # fmt: skip
    ticks.wants("demo", there)
    there.answer = lambda _: (503, {})
    job = ended()
    begun = ticks.now
    for pause in (timedelta(0), *PAUSES):
        ticks.now += pause
        ticks.go()
    assert len(there.requests) == 10
    assert ticks.now - begun > timedelta(days=3)
    ticks.now += timedelta(days=5)
    ticks.go()
    assert len(there.requests) == 10
    console = CliRunner(env=servers.role_env("operator"))
    (shown,) = json.loads(console.invoke(console_app, ["events", "--json"]).output)
    assert (shown["state"], shown["subject"], shown["last"], shown["tries"]) == ("dead", job.id, "http_503", 10)
    assert documents["outbox"].find_one()["purge_at"] == ticks.now - timedelta(days=5) + KEPT_DEAD
    assert shown["id"] in console.invoke(console_app, ["events", "--state", "dead"]).output
    there.answer = lambda _: (200, {})
    assert console.invoke(console_app, ["events", "retry", shown["id"]]).exit_code == 0
    ticks.now = max(ticks.now, utc_now())
    ticks.go()
    assert len(set(there.ids)) == 1
    (row,) = rows(documents)
    assert (row["state"], row["purge_at"]) == ("delivered", ticks.now + KEPT_DELIVERED)
    assert json.loads(console.invoke(console_app, ["events", "--json"]).output) == []
    assert console.invoke(console_app, ["events", "retry", shown["id"]]).exit_code != 0


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("dated", [False, True])
def test_an_endpoint_that_says_when_to_come_back_is_left_alone_until_then(ticks, there, ended, documents, status, dated):  # fmt: skip
    ticks.now = ticks.now.replace(microsecond=0)  # which an HTTP date does not have
    ticks.wants("demo", there)
    until = ticks.now + 20 * MINUTE
    there.answer = lambda _: (status, {"retry-after": format_datetime(until, usegmt=True) if dated else "1200"})
    ended()
    ended()
    ticks.go()
    assert len(there.requests) == 1, "the other event is not sent there either"
    assert sorted(row["tries"] for row in rows(documents)) == [0, 1], "and spends no try"
    there.answer = lambda _: (200, {})
    ended()
    for at in (timedelta(seconds=5), 5 * MINUTE + timedelta(seconds=5), 20 * MINUTE - timedelta(seconds=1)):
        ticks.now = until - 20 * MINUTE + at
        ticks.go()
        assert len(there.requests) == 1, at
    assert send_events("demo", ticks.room) == {"sent": 0, "failed": 0}, "nor if it is asked for all the same"
    ticks.now = until
    ticks.go()
    assert {row["state"] for row in rows(documents)} == {"delivered"}
    assert (len(there.requests), len(set(there.ids))) == (4, 3)


def test_an_endpoint_that_wants_to_be_left_alone_holds_up_no_other(ticks, there, ended):
    with receiver() as busy:
        busy.answer = lambda _: (429, {"retry-after": "1200"})
        ticks.wants("busy", busy)
        ticks.wants("demo", there)
        ended("busy")
        ticks.go()
        ended("busy")
        ended("demo")
        ticks.go()
        assert (len(busy.requests), len(there.requests)) == (1, 1)
        assert ticks.asked == ["demo"]


@pytest.mark.parametrize(
    ("status", "after", "pause"),
    [
        (429, str(10**9), PAUSES[-1]),  # a broken header must not shelve an app's events for years
        (503, "1", PAUSES[0]),  # sooner than we would
        (429, "soon", PAUSES[0]),
        (500, "1200", PAUSES[0]),  # it has no meaning there (RFC 9110)
    ],
)
def test_what_is_said_of_coming_back_is_believed_within_reason(ticks, there, ended, status, after, pause):
    ticks.wants("demo", there)
    there.answer = lambda _: (status, {"retry-after": after})
    ended()
    ticks.go()
    ticks.now += pause - timedelta(seconds=1)
    ticks.go()
    assert len(there.requests) == 1
    ticks.now += timedelta(seconds=1)
    ticks.go()
    assert len(there.requests) == 2


def test_gone_is_not_tried_again(ticks, there, ended, documents):
    ticks.wants("demo", there)
    there.answer = lambda _: (410, {})
    ended()
    ticks.go()
    ticks.now += timedelta(days=9)
    ticks.go()
    assert len(there.requests) == 1
    assert [row["state"] for row in rows(documents)] == ["dead"]


def test_an_endpoint_that_is_not_there_is_waited_for(ticks, there, ended, documents):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    ticks.wants("demo", nobody)
    ended()
    ticks.go()
    assert [(row["state"], row["last"]) for row in rows(documents)] == [("pending", "not_sent")]
    ticks.wants("demo", there)
    ticks.now += timedelta(seconds=WEBHOOK_MEMORY)
    ticks.go()
    assert len(there.requests) == 1


def test_a_hanging_endpoint_ends_in_time_and_holds_up_no_other_app(ticks, there, ended, documents, monkeypatch):
    monkeypatch.setattr("scheduler.deliver.REQUEST_SECONDS", 1)
    with hanging() as url, ExitStack() as ending:
        ticks.wants("stuck", url)
        ticks.room.shares.answered("stuck", answers=True)  # until now
        ticks.wants("demo", there)
        for _ in range(30):
            ended("stuck")
        ended("demo")
        tell(ticks.room)
        stuck = [threading.Thread(target=send_events, args=("stuck", ticks.room)) for _ in range(20)]
        for thread in stuck:
            thread.start()
            ending.callback(thread.join)
        eventually(lambda: documents["outbox"].count_documents({"app": "stuck", "tries": 1}) == 4, what="its share")
        began = time.monotonic()
        assert send_events("demo", ticks.room)["sent"] == 1
        assert time.monotonic() - began < 0.8
    assert documents["outbox"].count_documents({"last": "no_reply"}) == 4, "each thread had one try, and was given back"
    assert len(there.requests) == 1


def test_as_many_hanging_endpoints_as_there_are_threads_hold_up_no_other_app(ticks, there, ended, documents, monkeypatch):  # fmt: skip
    monkeypatch.setattr("scheduler.deliver.REQUEST_SECONDS", 1)
    pool = ThreadPoolExecutor(24)

    def ask(_: str, apps: list[str]) -> None:
        for app in apps:
            pool.submit(send_events, app, ticks.room)

    ticks.room = replace(ticks.room, queue=Queue(lambda _: None, ask, lambda _: pool._work_queue.qsize()))
    with hanging() as url, pool:
        for n in range(THREADS):
            ticks.wants(f"hangs{n:02}", url)
            for _ in range(4):
                ended(f"hangs{n:02}")
            ticks.room.shares.answered(f"hangs{n:02}", answers=False)
        ticks.wants("well", there)
        deliver(ticks.room)
        eventually(lambda: documents["outbox"].count_documents({"tries": 1}) >= FOR_SLOW, what="they hang")
        ended("well")
        deliver(ticks.room)
        eventually(lambda: there.requests, seconds=0.8, what="its event arrives before any of them ends")


def test_no_name_comes_first(ticks, ended):
    for app in "abc":
        ticks.wants(app, "http://127.0.0.1:1/")
        ended(app)
    ticks.room = replace(ticks.room, shuffle=list.reverse)
    deliver(ticks.room)
    assert ticks.asked == ["c", "b", "a"]


def test_while_much_waits_to_be_sent_no_more_is_asked_for(ticks, there, ended):
    ticks.wants("demo", there)
    ended()
    ticks.waiting = 100
    assert deliver(ticks.room) == {"told": 1, "asked": 0}
    ticks.waiting = 0
    assert deliver(ticks.room) == {"told": 0, "asked": 1}


def test_as_many_threads_are_asked_for_as_there_is_work_and_an_apps_share_at_most(ticks, there, ended):
    for app, count in (("a", 1), ("b", 9), ("c", 0)):
        ticks.wants(app, there)
        for _ in range(count):
            ended(app)
    deliver(ticks.room)
    assert sorted(ticks.asked) == ["a", *["b"] * 4]


def test_two_secrets_sign_both_during_a_change(ticks, there, ended):
    old, new = new_secret(), new_secret()
    ticks.wants("demo", there, secret=new, previous=old)
    ended()
    ticks.go()
    (request,) = there.requests
    assert verified(old, request, at=ticks.now) == verified(new, request, at=ticks.now)
    with pytest.raises(ValueError):
        verified(new_secret(), request, at=ticks.now)


def test_a_webhook_that_is_of_no_use_is_waited_for_and_not_sent_to(ticks, there, ended, documents):
    ticks.wants("demo", there)
    ticks.room = replace(ticks.room, webhooks=Webhooks(ticks.given, plain_allowed=False))  # as in production
    ended()
    ticks.go()
    assert [(row["state"], row["last"]) for row in rows(documents)] == [("pending", "bad_webhook")]
    assert there.requests == []


def test_an_event_whose_app_has_no_webhook_any_more_is_put_away(ticks, there, ended, documents):
    ticks.wants("demo", there)
    ended()
    tell(ticks.room)
    ticks.given.by_app.clear()
    ticks.now += timedelta(seconds=WEBHOOK_MEMORY)
    ticks.go()
    assert [(row["state"], row["last"]) for row in rows(documents)] == [("dead", "no_webhook")]
    assert there.requests == []


def test_neither_secret_nor_query_is_in_the_log(ticks, there, ended, caplog):
    caplog.set_level("INFO")
    secret = ticks.wants("demo", there)
    there.answer = lambda _: (500, {})
    ended()
    ticks.go()
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith(("scheduler", "actas")))
    assert "event.failed" in ours
    assert "query-canary" not in ours
    assert secret.get_secret_value()[6:] not in caplog.text


# --- what apps may write ---


@pytest.mark.parametrize("untold", [5, "x", [], [5], [{"event": "job.failed", "at": "x"}], {"a": 1}])
def test_rubbish_in_the_place_of_notes_holds_up_nobody(ticks, there, ended, documents, untold):
    ticks.wants("demo", there)
    grant = broken(documents, ticks.now + timedelta(days=2), untold=untold)
    ended()
    ticks.go()
    assert len(there.requests) == 1
    assert "untold" not in documents["grants"].find_one({"_id": grant})


@pytest.mark.parametrize("untold", [5, [5], [{"event": "job.failed"}], [{"event": "job.failed", "at": "x"}], [{"event": "x", "at": utc_now()}], [{"event": "job.failed", "at": utc_now(), "more": 1}], [{"event": "job.failed", "at": utc_now(), "result": 1}]])  # fmt: skip
def test_a_job_cannot_be_given_such_notes(servers, ended, untold):
    job = ended()
    database = open_database(settings_from(servers.role_env("app-demo")).mongodb_url)
    with database.client, pytest.raises(Exception, match="failed validation"):
        database["jobs"].update_one({"_id": job.id}, {"$set": {"untold": untold}})


def test_a_worker_may_put_events_there_and_not_look(worker):
    with pytest.raises(MongoRefused):
        Outbox(worker).find()


def test_a_grant_with_an_odd_id_is_told_of_without_it(ticks, there, documents):
    ticks.wants("demo", there)
    told = note(EventType.GRANT_RECOVERED, ticks.now, code="connected")
    grant = {"_id": ObjectId(), "app": "demo", "user": "u", "provider": "x", "account": "1", "untold": [told]}
    documents["grants"].insert_one(grant)
    ticks.go()
    assert [request.told["data"]["grant"] for request in there.requests] == [None]


def test_an_event_that_cannot_be_written_is_buried_and_holds_up_no_other(ticks, there, ended, documents):
    ticks.wants("demo", there)
    ended()
    tell(ticks.room)
    documents["outbox"].update_one({}, {"$set": {"data.grant": ObjectId(), "next_at": ticks.now - MINUTE}})
    ended()
    ticks.go()
    assert sorted((row["state"], row["last"]) for row in rows(documents)) == [("dead", "unsendable"), ("delivered", "http_204")]  # fmt: skip


@pytest.mark.parametrize("collection", ["jobs", "grants"])
def test_times_that_python_cannot_have_hold_up_nobody(ticks, there, ended, documents, collection, monkeypatch):
    monkeypatch.setattr("scheduler.deliver.BATCH", 3)
    ticks.wants("demo", there)
    for odd in (DatetimeMS(-(2**60)), DatetimeMS(2**60)):
        untold = [{"event": "job.failed", "at": odd}]
        docs = [scheduled_doc(ticks.now) | {"account": new_id(), "untold": untold} for _ in range(30)]
        documents[collection].insert_many(docs)
    ended()
    for _ in range(10):
        tell(ticks.room)
    ticks.go()
    assert len(there.requests) == 1
    assert documents[collection].find_one({"untold": {"$exists": True}}) is None


@pytest.mark.parametrize("fields", [{"untold": "x"}, {"preflight_at": DatetimeMS(-(2**60))}, {"_id": {"a": 1}}])
def test_an_odd_grant_holds_up_no_warning(ticks, documents, fields, monkeypatch):
    monkeypatch.setattr("scheduler.preflight.BATCH", 1)
    monkeypatch.setattr("scheduler.preflight.BATCHES", 2)
    broken(documents, ticks.now - timedelta(days=2), **fields)
    grant = broken(documents, ticks.now)
    for each in documents["grants"].distinct("_id", {"_id": {"$type": "string"}}):
        scheduled(documents, "demo", ticks.now + MINUTE, grant=each)
    preflight(ticks.room)
    assert documents["grants"].find_one({"_id": grant})["untold"]


# --- cost ---


def test_ticks_read_by_index_what_is_there_to_be_told_and_nothing_else(ticks, documents, ended):
    documents["jobs"].insert_many(
        [scheduled_doc(ticks.now + timedelta(days=n % 400)) for n in range(3000)],
    )
    for n in range(200):
        broken(documents, ticks.now + timedelta(days=1 + n))
    ended()
    with examined(documents) as seen:
        deliver(ticks.room)
        preflight(ticks.room)
    assert sum(seen) < 20, seen


def scheduled_doc(run_at: datetime) -> dict[str, Any]:
    doc = {"_id": new_id(), "jws": "j", "app": "demo", "user": "u", "grant": new_id(), "provider": "x", "action": "x.post"}  # fmt: skip
    times = {"run_at": run_at, "deadline": run_at, "next_at": run_at, "created_at": run_at}
    return doc | times | {"payload": {}, "rev": 0, "status": "scheduled"}


@contextmanager
def examined(documents: Any) -> Iterator[list[int]]:
    """How many documents, and keys of indexes, MongoDB looked at for each operation."""
    seen: list[int] = []
    documents["system.profile"].drop()
    documents.command("profile", 2)
    try:
        yield seen
    finally:
        documents.command("profile", 0)
        ours = {"$in": ["actas.jobs", "actas.grants", "actas.outbox"]}
        seen += [each.get("docsExamined", 0) + each.get("keysExamined", 0) for each in documents["system.profile"].find({"ns": ours})]  # fmt: skip
        documents["system.profile"].drop()


# --- preflight ---


def test_an_app_learns_today_of_a_broken_grant_that_jobs_wait_for_until_tomorrow(ticks, there, documents):
    ticks.wants("demo", there)
    grant = broken(documents, ticks.now)
    first = ticks.now + timedelta(hours=3)
    for at in (first, ticks.now + timedelta(hours=20), ticks.now + AHEAD + MINUTE):
        scheduled(documents, "demo", at, grant=grant)
    scheduled(documents, "demo", ticks.now - MINUTE, grant=grant, status=JobStatus.PARKED, held=True)
    assert preflight(ticks.room) == {"warned": 1}
    ticks.go()
    (request,) = there.of(grant, "grant.reauthorization_required")
    data = request.told["data"]
    assert (data["code"], data["jobs_waiting"]) == ("invalid_grant", 2)
    assert datetime.fromisoformat(data["first_due_at"]) == first


def test_of_each_grant_once_a_day_at_most(ticks, there, documents):
    ticks.wants("demo", there)
    grant = broken(documents, ticks.now)
    scheduled(documents, "demo", ticks.now + timedelta(hours=3), grant=grant, status=JobStatus.PARKED)
    for _ in range(48):
        preflight(ticks.room)
        ticks.go()
        ticks.now += timedelta(minutes=30)
    assert len(there.requests) == 1
    preflight(ticks.room)
    ticks.go()
    assert len(there.requests) == len(set(there.ids)) == 2


def test_a_grant_that_no_such_job_waits_for_is_looked_at_again_later(ticks, documents):
    grant = broken(documents, ticks.now)
    scheduled(documents, "demo", ticks.now + AHEAD + MINUTE, grant=grant)
    assert preflight(ticks.room) == {"warned": 0}
    ticks.now += timedelta(minutes=30)
    assert preflight(ticks.room) == {"warned": 0}, "due within a day by now, but looked at lately"
    ticks.now += AGAIN_AFTER
    assert preflight(ticks.room) == {"warned": 1}


def test_grants_that_work_and_those_that_an_earlier_release_called_broken(ticks, documents):
    working = broken(documents, ticks.now, status="active")
    older = broken(documents, ticks.now)
    documents["grants"].update_one({"_id": older}, {"$unset": {"preflight_at": ""}})
    for grant in (working, older):
        scheduled(documents, "demo", ticks.now + MINUTE, grant=grant)
    assert preflight(ticks.room) == {"warned": 1}
    assert "untold" in documents["grants"].find_one({"_id": older})


def test_more_broken_grants_than_one_look_takes_are_all_found(ticks, documents, monkeypatch):
    monkeypatch.setattr("scheduler.preflight.BATCH", 7)
    monkeypatch.setattr("scheduler.preflight.BATCHES", 2)
    grants = [broken(documents, ticks.now - MINUTE * n) for n in range(30)]
    for grant in grants:
        scheduled(documents, "demo", ticks.now + MINUTE, grant=grant)
    assert [preflight(ticks.room)["warned"] for _ in range(4)] == [14, 14, 2, 0]


def test_two_preflights_at_once_warn_once(ticks, documents):
    grant = broken(documents, ticks.now)
    scheduled(documents, "demo", ticks.now + MINUTE, grant=grant)
    seen = ticks.room.preflight.broken(ticks.now, 10)
    waiting = ticks.room.preflight.waiting([grant], ticks.now + AHEAD)
    assert [ticks.room.preflight.warn(seen[0], waiting[grant], ticks.now) for _ in range(2)] == [True, False]
    assert documents["grants"].find_one({"_id": grant})["untold"] == [
        note(
            EventType.REAUTHORIZATION_REQUIRED,
            ticks.now,
            code="invalid_grant",
            jobs_waiting=1,
            first_due_at=ticks.now + MINUTE,
        )
    ]


# --- the console ---


def webhook_command(servers: Stack, *arguments: str, env: dict[str, str] | None = None) -> Any:
    vault = {"VAULT_TOKEN": servers.servers.bao.token.get_secret_value(), "ACTAS_VAULT_ADDR": servers.servers.bao.url}
    return CliRunner(env=vault | (env or {})).invoke(console_app, ["apps", "webhook", *arguments])


def test_a_secret_is_printed_when_it_is_made_and_never_again(servers, ticks):
    made = webhook_command(servers, "demo", "https://app.example/hook?q=canary").output
    assert made.count("whsec_") == 1
    assert "canary" not in made
    assert "whsec_" not in webhook_command(servers, "demo", "https://app.example/").output
    changed = webhook_command(servers, "demo", "https://app.example/", "--new-secret").output
    assert changed.count("whsec_") == 1
    assert "old secret" in changed
    assert "old secret" not in webhook_command(servers, "demo", "https://app.example/").output
    kept = ticks.room.vault.webhook("demo")
    assert (kept.previous, kept.secret.get_secret_value() in changed) == (None, True)
    assert webhook_command(servers, "demo", "--remove").exit_code == 0
    assert ticks.room.vault.webhook("demo") is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("demo",), "--remove"),
        (("demo", "https://a.example/", "--remove"), "--remove"),
        (("demo", "http://127.0.0.1/?q=canary"), "ACTAS_ENV=development"),
        (("demo", "http://a.example/?q=canary"), "https://"),
        (("demo", "https://u:canary@a.example/"), "https://"),
        (("nobody", "https://a.example/"), "no app nobody"),
        (("../x", "https://a.example/"), "cannot be the name"),
    ],
)
def test_what_cannot_be_a_webhook_is_refused_and_not_shown(servers, ticks, arguments, says):
    refused = webhook_command(servers, *arguments)
    assert says in str(refused.exception)
    assert "canary" not in f"{refused.output} {refused.exception}"
    assert ticks.room.vault.webhook("demo") is None
