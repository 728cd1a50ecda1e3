"""Gates, in a real Redis and on the path of real jobs: who is held up by what, who is the probe, and who is not told."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from actas import JobStatus
from actas.cli import app as console
from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.errors import MongoUnavailable, ProviderUnavailable, Unavailable, VaultUnavailable
from actas.gates import AtGate, all_gate, client_gate, exchange_gate, grant_gate, provider_gate, token_gate
from actas.ids import new_id
from tests.support import eventually, made_stale, open_all_gates, settings_from
from worker.closing import OPERATOR, TROUBLE, Whose
from worker.errors import OutOfCredits, UsageCapped
from worker.gates import PEEK, Gates
from worker.outage import PAUSES, Outage
from worker.room import Room

FAILURE = ProviderUnavailable()
PROBE_SECONDS = 30


@pytest.fixture(autouse=True)
def reopened(stack: Stack) -> Iterator[None]:
    """No test leaves a gate closed for the next one, or on its own."""
    yield
    open_all_gates(stack)


class Steered:
    """A clock that goes on as a test says."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@pytest.fixture
def clock() -> Steered:
    return Steered()


@pytest.fixture
def gates(stack: Stack, clock: Steered) -> Iterator[Gates]:
    url = settings_from(stack.role_env("worker")).redis_url
    assert url is not None
    gates = Gates(url, clock)
    yield gates
    gates.close_connections()


@pytest.fixture
def whose(user: str) -> Whose:
    """Of a provider that nobody else has."""
    return Whose("demo", f"p{user}", f"g{user}", "p.post")


def passes(gates: Gates, whose: Whose) -> bool:
    try:
        with gates.pass_through(whose, seconds=PROBE_SECONDS):
            return True
    except AtGate:
        return False


def fail(gates: Gates, whose: Whose, times: int) -> None:
    """So many jobs, one after the other."""
    for _ in range(times):
        gates.seen(FAILURE, replace(whose, asked_by=new_id()))


# --- a provider in trouble, in Redis ---


def test_a_run_of_failures_closes_the_providers_gate_and_an_answer_breaks_it(gates, whose):
    fail(gates, whose, TROUBLE.run - 1)
    gates.seen(None, whose)
    fail(gates, whose, TROUBLE.run - 1)
    assert passes(gates, whose)
    fail(gates, whose, 1)
    assert set(gates.closed([provider_gate(whose.provider), client_gate("demo", whose.provider)])) == {
        provider_gate(whose.provider)
    }
    assert passes(gates, Whose("demo", f"{whose.provider}-other", whose.grant, whose.action))


def test_one_job_that_fails_again_and_again_holds_up_nobody_else(gates, whose):
    for _ in range(60):
        gates.seen(FAILURE, whose)
    assert passes(gates, whose)
    fail(gates, whose, TROUBLE.run - 1)
    assert not passes(gates, whose), "with others it counts as one"


def crowd(gates: Gates, whose: Whose, answered: threading.Event, threads: int = 32) -> tuple[list[int], Callable]:
    """Many threads at a gate at once; those who pass stay until they are told that the provider has answered."""
    barrier, inside, turned_away = threading.Barrier(threads), [], []

    def go(n: int) -> None:
        barrier.wait()
        try:
            with gates.pass_through(whose, seconds=PROBE_SECONDS) as said:
                inside.append(n)
                assert answered.wait(30)
                said.append(None)
        except AtGate as closed:
            turned_away.append(closed.until)

    pool = ThreadPoolExecutor(threads)
    for n in range(threads):
        pool.submit(go, n)
    eventually(lambda: len(inside) + len(turned_away) == threads, what="each has passed or has been turned away")
    assert all(until <= utc_now() + timedelta(days=1) for until in turned_away)
    return inside, pool.shutdown


def test_exactly_one_of_many_is_the_probe_and_its_answer_opens_the_gate_for_all(gates, whose, clock):
    fail(gates, whose, TROUBLE.run)
    clock.ahead += TROUBLE.first
    answered = threading.Event()
    inside, end = crowd(gates, whose, answered)
    assert len(inside) == 1
    assert not passes(gates, whose)
    answered.set()
    end()
    assert passes(gates, whose)
    fail(gates, whose, TROUBLE.run - 1)
    assert passes(gates, whose), "the count begins anew"


def test_those_who_meet_a_probe_under_way_look_in_again_soon(gates, whose, clock):
    fail(gates, whose, TROUBLE.run)
    clock.ahead += TROUBLE.first
    with gates.pass_through(whose, seconds=PROBE_SECONDS):
        with pytest.raises(AtGate) as turned_away, gates.pass_through(whose, seconds=PROBE_SECONDS):
            pass
        assert turned_away.value.until <= clock() + PEEK


def test_a_probe_that_fails_closes_the_gate_for_twice_as_long(gates, whose, clock):
    fail(gates, whose, TROUBLE.run)
    for n in range(1, 4):
        clock.ahead += TROUBLE.first * 2 ** (n - 1)
        with gates.pass_through(whose, seconds=PROBE_SECONDS) as said:
            said.append(FAILURE)
        (until,) = gates.closed([provider_gate(whose.provider)]).values()
        assert timedelta() <= TROUBLE.first * 2**n - (until - clock()) < timedelta(seconds=2)


def test_a_probe_that_had_nothing_to_ask_lets_another_be_it(gates, whose, clock):
    fail(gates, whose, TROUBLE.run)
    clock.ahead += TROUBLE.first
    with pytest.raises(KeyError), gates.pass_through(whose, seconds=PROBE_SECONDS):
        raise KeyError
    with ExitStack() as probe:
        probe.enter_context(gates.pass_through(whose, seconds=PROBE_SECONDS))
        assert not passes(gates, whose)


def test_a_probe_that_died_is_replaced_when_its_time_is_over(gates, whose, clock):
    fail(gates, whose, TROUBLE.run)
    clock.ahead += TROUBLE.first
    assert gates.take(provider_gate(whose.provider), PROBE_SECONDS)
    clock.ahead += timedelta(seconds=PROBE_SECONDS - 2)
    assert not passes(gates, whose)
    clock.ahead += timedelta(seconds=2)
    assert passes(gates, whose)


def test_a_wiped_redis_means_open_gates(gates, whose, stack):
    fail(gates, whose, TROUBLE.run)
    assert not passes(gates, whose)
    open_all_gates(stack)  # by removing what is written of them
    assert passes(gates, whose)


def test_without_redis_all_gates_are_open_and_nothing_is_closed(clock, whose, caplog):
    nowhere = Gates(SecretStr("redis://127.0.0.1:1/0"), clock)
    fail(nowhere, whose, TROUBLE.run)
    assert nowhere.take(all_gate("w"), PROBE_SECONDS, however=True) is None
    assert nowhere.closed([provider_gate(whose.provider)]) == {}
    assert passes(nowhere, whose)
    assert caplog.records


def test_an_apps_gate_opens_to_its_own_probe_only(gates, whose, clock):
    """A request that was sent before the cap was reached, and answered after, says nothing of it."""
    gates.seen(UsageCapped(clock() + timedelta(hours=1), gate="", app_until=clock() + timedelta(hours=1)), whose)
    gates.seen(None, whose)
    assert not passes(gates, whose)
    clock.ahead += timedelta(hours=1)
    with gates.pass_through(whose, seconds=PROBE_SECONDS) as said:
        assert not passes(gates, whose)
        said.append(None)
    assert passes(gates, whose)


def test_what_an_operator_must_do_is_said_once_per_closing(stack, whose, clock, caplog):
    told = []

    def capped(app: str, provider: str, until: datetime | None, code: str) -> None:
        told.append((app, provider, until, code))
        raise MongoUnavailable  # and what came of the request matters more

    gates = Gates(settings_from(stack.role_env("worker")).redis_url, clock, capped=capped)
    for _ in range(3):  # found by many at once
        gates.seen(OutOfCredits(clock(), gate=""), whose)
    clock.ahead += OPERATOR.first
    with gates.pass_through(whose, seconds=PROBE_SECONDS) as said:  # and still so
        said.append(OutOfCredits(clock(), gate=""))
    said_so = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in said_so] == [
        f"gate.closed gate=client:demo:{whose.provider} code=out_of_credits: the app must buy credits there"
    ]
    assert told == [("demo", whose.provider, None, "out_of_credits")] * 4, "of each refusal: it is one event all day"


# --- an outage of ours ---


def test_one_asks_whether_ours_are_back_and_all_others_wait(gates, clock):
    asked, down = [], threading.Event()
    down.set()

    def ask() -> None:
        asked.append(clock())
        if down.is_set():
            raise VaultUnavailable

    outage = Outage(gates, "w", [ask])

    def meets_it(_: int) -> bool:
        try:
            outage.check()
        except AtGate:
            return True
        outage.seen(VaultUnavailable())
        return False

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(meets_it, range(200)))
        assert len(asked) == 1
        for n in range(1, 8):
            (until,) = gates.closed([all_gate("w")]).values()
            clock.ahead += until - clock()
            assert all(pool.map(meets_it, range(50)))
            assert len(asked) == 1 + n
            (until,) = gates.closed([all_gate("w")]).values()
            assert until - clock() <= PAUSES.longest
        assert PAUSES.longest - (until - clock()) < timedelta(seconds=2)
        down.clear()
        clock.ahead += PAUSES.longest
        outage.check()
    assert gates.closed([all_gate("w")]) == {}


def test_a_worker_that_is_sick_holds_up_no_other(gates):
    def away() -> None:
        raise VaultUnavailable

    Outage(gates, "sick", [away]).seen(VaultUnavailable())
    with pytest.raises(AtGate):
        Outage(gates, "sick", [away]).check()
    Outage(gates, "well", [lambda: None]).check()


def test_who_seems_to_have_lost_mongodb_asks_before_any_job_meets_it(gates):
    moved, seems = [], [True]

    def away() -> None:
        moved.append("asked")
        raise MongoUnavailable

    outage = Outage(gates, "w", [away], seems_to_begin=lambda: seems[0])
    outage.moved = lambda: moved.append("moved")
    until = outage.lasts()
    assert until == outage.lasts() == gates.closed([all_gate("w")])[all_gate("w")]
    assert moved == ["moved", "asked", "moved"], "who takes messages knows before it is asked, and after"
    seems[0] = False
    gates.open(all_gate("w"))
    assert outage.lasts() is None


def test_a_failure_that_only_seemed_to_be_an_outage_closes_nothing(gates):
    outage = Outage(gates, "w", [lambda: None])
    outage.seen(VaultUnavailable())
    outage.check()


# --- on the path of jobs ---


def post(client: Any, user: str, text: str, **options: Any) -> Any:
    return client.schedule("x.post", user=user, payload={"text": text}, **options)


def waiting(client: Any, job: Any, code: str) -> Any:
    """The job, once it waits for this."""
    return eventually(
        lambda: (now := client.job(job.id)).error and now.error.code == code and now, what=f"it waits: {code}"
    )


CAPPED = {"title": "UsageCapExceeded", "type": "https://api.twitter.com/2/problems/usage-capped", "detail": "Monthly"}


def test_a_usage_cap_closes_the_apps_gate_and_no_users(client, connect, sandbox, room: Room, documents, user):
    grants = [connect(user).id, connect(f"{user}-2").id]
    told = {"app": "demo", "type": "provider.capped", "data.code": "usage_capped"}
    before = documents["outbox"].count_documents(told)
    left = {"x-rate-limit-remaining": "57", "x-rate-limit-reset": str(int(time.time()) + 600)}
    sandbox.misbehave("tweets", "status", status=429, headers=left, body=CAPPED, times=1, account=user)
    first = waiting(client, post(client, user, "capped"), "usage_capped")
    assert (first.status, first.attempts) == (JobStatus.SCHEDULED, 0)
    assert first.next_at > utc_now() + timedelta(minutes=50)
    assert documents["outbox"].count_documents(told) == before + 1
    # Another user of the app does not even ask; another app would.
    assert not passes(room.gates, Whose("demo", "x", grants[1], "x.post"))
    assert passes(room.gates, Whose("other", "x", grants[1], "x.post"))
    names = [client_gate("demo", "x"), client_gate("other", "x"), provider_gate("x")]
    assert set(room.gates.closed(names + [grant_gate(grant, "x.post") for grant in grants])) == {
        client_gate("demo", "x")
    }
    assert client.cancel(first.id).outcome == "cancelled"


def test_an_apps_limit_of_a_day_closes_the_apps_gate_until_its_reset(client, connect, sandbox, room: Room, user):
    grant, reset = connect(user), int(time.time()) + 7200
    headers = {"x-app-limit-24hour-remaining": "0", "x-app-limit-24hour-reset": str(reset)}
    sandbox.misbehave("tweets", "status", status=429, headers=headers, body={}, times=1, account=user)
    job = waiting(client, post(client, user, "tomorrow"), "rate_limited")
    closed = room.gates.closed([client_gate("demo", "x"), grant_gate(grant.id, "x.post")])
    assert {gate: until.timestamp() for gate, until in closed.items()} == {client_gate("demo", "x"): reset}
    assert client.cancel(job.id).outcome == "cancelled"


def test_out_of_credits_a_job_waits_and_nothing_of_it_is_spent(client, connect, sandbox, room: Room, user, posts):
    connect(user)
    sandbox.misbehave("tweets", "status", status=402, body={"title": "CreditsDepleted"}, times=1, account=user)
    job = waiting(client, post(client, user, "paid"), "out_of_credits")
    assert (job.status, job.attempts) == (JobStatus.SCHEDULED, 0)
    assert set(room.gates.closed([client_gate("demo", "x")])) == {client_gate("demo", "x")}
    room.gates.open(client_gate("demo", "x"))  # as after the first probe that is answered
    assert client.cancel(job.id).outcome == "cancelled"
    assert client.wait(post(client, user, "after that").id).status is JobStatus.SUCCEEDED


def test_a_provider_in_trouble_is_asked_by_one_and_all_are_done_when_it_is_well(
    client, connect, sandbox, room: Room, user, posts
):
    users = [f"{user}-{n}" for n in range(12)]
    for each in users:
        connect(each)
    sandbox.misbehave("tweets", "status", status=503, body={"title": "Service Unavailable"})
    jobs = [post(client, each, "patience") for each in users]
    eventually(lambda: room.gates.closed([provider_gate("x")]), what="the provider's gate is closed")
    sandbox.behave()
    done = [client.wait(job.id, timeout=60) for job in jobs]
    assert {(job.status, job.attempts) for job in done} == {(JobStatus.SUCCEEDED, 1)}
    assert [posts(each) for each in users] == [["patience"]] * len(users)
    assert room.gates.closed([provider_gate("x")]) == {}


@pytest.mark.parametrize(("where", "gate"), [("tweets", provider_gate("x")), ("token", token_gate("x"))])
def test_where_there_is_one_user_only_the_jobs_find_it_out(
    client, connect, sandbox, room: Room, documents, user, where, gate
):
    connect(user)
    if where == "token":
        made_stale(documents, user)
    sandbox.misbehave(where, "status", status=503, body={})
    jobs = [post(client, user, f"{n}") for n in range(TROUBLE.run)]
    eventually(lambda: room.gates.closed([gate]), seconds=60, what="the gate is closed")
    sandbox.behave()
    assert {client.wait(job.id, timeout=60).status for job in jobs} == {JobStatus.SUCCEEDED}


def test_a_token_endpoint_in_trouble_holds_up_only_those_who_need_it(
    client, connect, sandbox, room: Room, documents, user
):
    stale, live = [f"{user}-{n}" for n in range(8)], f"{user}-live"
    for each in (*stale, live):
        connect(each)
    for each in stale:
        made_stale(documents, each)
    sandbox.misbehave("token", "status", status=503, body={})
    jobs = [post(client, each, "needs a token") for each in stale]
    eventually(lambda: room.gates.closed([token_gate("x")]), what="the gate before the token endpoint is closed")
    assert client.wait(post(client, live, "has one").id).status is JobStatus.SUCCEEDED
    sandbox.behave()
    assert {client.wait(job.id, timeout=60).status for job in jobs} == {JobStatus.SUCCEEDED}


def test_a_limit_of_the_token_endpoint_is_the_apps_and_lasts_until_its_reset(
    client, connect, sandbox, room: Room, documents, user, posts
):
    first, second, live = user, f"{user}-2", f"{user}-live"
    for each in (first, second, live):
        connect(each)
    for each in (first, second):
        made_stale(documents, each)
    reset = int(time.time()) + 8
    headers = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(reset)}
    sandbox.misbehave("token", "status", status=429, headers=headers, body={}, times=1)
    jobs = [post(client, first, "a")]
    (closed,) = eventually(lambda: room.gates.closed([exchange_gate("demo", "x")]).values(), what="the gate is closed")
    assert closed.timestamp() == reset
    jobs.append(post(client, second, "b"))
    assert client.wait(post(client, live, "c").id).status is JobStatus.SUCCEEDED
    done = [client.wait(job.id, timeout=60) for job in jobs]
    assert {(job.status, job.attempts) for job in done} == {(JobStatus.SUCCEEDED, 1)}
    assert all(job.finished_at.timestamp() >= reset for job in done)


# --- what an operator sees ---


def test_the_console_lists_the_gates_that_are_closed(gates, whose, stack, monkeypatch):
    fail(gates, whose, TROUBLE.run)
    gates.seen(FAILURE, Whose("demo", f"{whose.provider}-open", "g", "a"))
    for name, value in stack.role_env("operator").items():
        monkeypatch.setenv(name, value)
    closed, every = (
        json.loads(CliRunner().invoke(console, ["gates", "--json", *more], catch_exceptions=False).stdout)
        for more in ([], ["--all"])
    )
    assert [(row["gate"], row["times"]) for row in closed] == [(provider_gate(whose.provider), 1)]
    assert closed[0]["until"] > f"{utc_now():%Y-%m-%dT%H:%M:%SZ}"
    assert {(row["gate"], row["until"] is None, row["failures"]) for row in every} == {
        (provider_gate(whose.provider), False, 0),
        (provider_gate(f"{whose.provider}-open"), True, 1),
    }


def test_the_console_does_not_call_gates_open_that_it_cannot_see(stack, monkeypatch):
    for name, value in stack.role_env("operator").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACTAS_REDIS_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(Unavailable):
        CliRunner().invoke(console, ["gates"], catch_exceptions=False)
