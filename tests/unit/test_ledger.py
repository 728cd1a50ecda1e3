"""The ledger finds what it is there to find: one of each kind of discrepancy is planted into books that balance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actas import Job, JobStatus
from actas.records import JobError
from tests.lateness import Lateness, check_lateness, lateness
from tests.ledger import Asked, Books, Death, Kind, Owner, Told, check

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
GRACE = 10 * SECOND


def at(seconds: float) -> datetime:
    """So long after the jobs' time."""
    return NOW - HOUR + seconds * SECOND


def job(status: str = "succeeded", *, texts: tuple[str, ...] = ("hi",), **changed: Any) -> Job:
    fields = {
        "id": "j1",
        "jws": "",
        "app": "demo",
        "user": "alice",
        "grant": "g1",
        "provider": "x",
        "action": "x.post",
        "payload": {"texts": list(texts)},
        "run_at": at(0),
        "deadline": at(600),
        "rev": 0,
        "status": JobStatus(status),
        "next_at": at(0),
        "created_at": at(-60),
        "result": "101" if status == "succeeded" else None,
        "finished_at": at(2) if status in {"succeeded", "failed", "cancelled", "expired"} else None,
    }
    return Job(**fields | changed)


def asked(*, texts: tuple[str, ...] = ("hi",), **changed: Any) -> Asked:
    fields = {
        "app": "demo",
        "user": "alice",
        "account": "alice_x",
        "payload": {"texts": list(texts)},
        "texts": texts,
        "windows": [(at(0), at(600))],
        "told": Told.ACCEPTED,
        "job": "j1",
    }
    return Asked(**fields | changed)


def post(number: int = 101, text: str = "hi", *, seconds: float = 1, **changed: str) -> dict[str, Any]:
    return {"id": str(number), "account": "alice_x", "text": text, "at": at(seconds).isoformat(), **changed}


def effect(step: int = 1, state: str = "done", result: str | None = "101", *, job: str = "j1") -> dict[str, Any]:
    return {"_id": f"{job}:{step}", "kind": "act", "state": state, "result": result}


def books(*parts: Any, **changed: Any) -> Books:
    """Books with these in them, each where it belongs."""

    def those(fits: Callable[[Any], bool]) -> list[Any]:
        return [part for part in parts if fits(part)]

    fields = {
        "now": NOW,
        "asked": those(lambda part: isinstance(part, Asked)),
        "jobs": those(lambda part: isinstance(part, Job)),
        "effects": those(lambda part: isinstance(part, dict) and "_id" in part),
        "posts": those(lambda part: isinstance(part, dict) and "_id" not in part),
        "grace": GRACE,
    }
    return Books(**fields | changed)


def found(*parts: Any, **changed: Any) -> list[tuple[Kind, str]]:
    return [(one.kind, one.what) for one in check(books(*parts, **changed))]


def kinds(*parts: Any, **changed: Any) -> set[Kind]:
    return {kind for kind, _ in found(*parts, **changed)}


LOST, DUPLICATED, UNEXPLAINED = Kind.LOST, Kind.DUPLICATED, Kind.UNEXPLAINED

THREAD = ("one", "two", "three")
THREAD_POSTS = (
    post(101, "one"),
    post(102, "two", seconds=2, reply_to="101"),
    post(103, "three", seconds=3, reply_to="102"),
)
MADE = ("101", "102", "103")
THREAD_EFFECTS = tuple(effect(1 + n, result=str(101 + n)) for n in range(3))

#: A thread that was held when its first post was out, and moved by its app.
HALF_DONE = {"holdable": True, "windows": [(at(100), at(700))], "earlier": [(at(0), at(50))]}
HALF_MOVED = {"run_at": at(100), "deadline": at(700), "rev": 1, "finished_at": at(104)}
REST_OF_IT = (post(102, "two", seconds=101, reply_to="101"), post(103, "three", seconds=102, reply_to="102"))


def moved_thread(*, asked_: dict[str, Any] | None = None, moved: dict[str, Any] | None = None) -> tuple[Any, ...]:
    """The thread, with the second half yet to be made."""
    begun = {"texts": THREAD, "made": MADE, **HALF_MOVED}
    return asked(texts=THREAD, **HALF_DONE | (asked_ or {})), job(**begun | (moved or {})), *THREAD_EFFECTS


#: Far away, with its first post out.
FAR = {"run_at": NOW + HOUR, "deadline": NOW + 2 * HOUR}
WAITS = {"windows": [(NOW + HOUR, NOW + 2 * HOUR)]}
HALF = {"status": JobStatus.SCHEDULED, "made": (), "result": "101", "finished_at": None}

NEEDS_USER = {"_id": "g1", "app": "demo", "user": "alice", "status": "reauthorization_required"}
DEADLINE_CAME = {"deadline": at(60), "finished_at": at(60)}
UNTIL_THEN = [(at(0), at(60))]

#: A job's whole life, in each way that is in order.
IN_ORDER: dict[str, tuple[Any, ...]] = {
    "done": (asked(), job(), effect(), post()),
    "done in several steps": (asked(texts=THREAD), job(texts=THREAD, made=MADE), *THREAD_EFFECTS, *THREAD_POSTS),
    "cancelled, as the app was told": (asked(cancelled=True, stoppable=True), job("cancelled")),
    "cancelled before its request, by the journal": (
        asked(stoppable=True),
        job("cancelled"),
        effect(1, "refused", None),
    ),
    "cancelled in the midst": (
        asked(texts=THREAD, stoppable=True),
        job("cancelled", texts=THREAD, result="101"),
        THREAD_EFFECTS[0],
        THREAD_POSTS[0],
    ),
    "expired": (asked(windows=UNTIL_THEN), job("expired", **DEADLINE_CAME)),
    "far away": (
        asked(windows=[(NOW + HOUR, NOW + 2 * HOUR)]),
        job("scheduled", run_at=NOW + HOUR, deadline=NOW + 2 * HOUR),
    ),
    "held": (asked(holdable=True), job("parked", held=True)),
    "refused": (asked(told=Told.REFUSED, job=None),),
    "a call that failed, and no job": (asked(told=Told.UNKNOWN, job=None),),
    "a call that failed, and a job": (asked(told=Told.UNKNOWN, job=None), job(), effect(), post()),
    "moved": (
        asked(windows=[(at(0), at(600)), (at(5), at(700))]),
        job(run_at=at(5), deadline=at(700)),
        effect(),
        post(seconds=6),
    ),
    "held half done, and moved": (*moved_thread(), THREAD_POSTS[0], *REST_OF_IT),
    "held half done, and moved a moment later": (*moved_thread(), post(101, "one", seconds=59), *REST_OF_IT),
    "held half done, and moved far away": (
        *(asked(texts=THREAD, **HALF_DONE | WAITS), job(texts=THREAD, **HALF_MOVED | HALF | FAR)),
        *(THREAD_EFFECTS[0], THREAD_POSTS[0]),
    ),
    "sent in time, and there a moment after the deadline": (asked(), job(), effect(), post(seconds=609)),
}


@pytest.mark.parametrize("parts", IN_ORDER.values(), ids=IN_ORDER)
def test_books_that_balance_are_left_alone(parts):
    assert found(*parts) == []


def test_a_job_may_wait_for_its_user():
    assert found(asked(), job("parked"), NEEDS_USER, grants=[NEEDS_USER], effects=[]) == []


DONE = IN_ORDER["done"]

#: What is wrong, and how it must be called.
PLANTED: dict[str, tuple[Kind, tuple[Any, ...]]] = {
    # Doubles
    "posted twice": (DUPLICATED, (*DONE, post(102, seconds=3))),
    "asked for once, two jobs": (DUPLICATED, (*DONE, job("expired", id="j2", **DEADLINE_CAME))),
    "a step posted twice": (
        DUPLICATED,
        (*IN_ORDER["done in several steps"], post(109, "two", seconds=3, reply_to="101")),
    ),
    # Losses
    "accepted and gone": (LOST, (asked(),)),
    "accepted as another job": (LOST, (asked(job="j0"), job(), effect(), post())),
    "succeeded without a post": (LOST, (asked(), job(), effect())),
    "succeeded as another post": (LOST, (asked(), job(result="999"), effect(), post())),
    "succeeded as other posts": (
        LOST,
        (asked(texts=THREAD), job(texts=THREAD, made=("101", "103", "102")), *THREAD_EFFECTS, *THREAD_POSTS),
    ),
    "a hole": (
        LOST,
        (asked(texts=THREAD), job(texts=THREAD, made=MADE), *THREAD_EFFECTS, THREAD_POSTS[0], THREAD_POSTS[2]),
    ),
    "the end is missing": (
        LOST,
        (asked(texts=THREAD), job(texts=THREAD, made=MADE), *THREAD_EFFECTS, *THREAD_POSTS[:2]),
    ),
    "done by the journal only": (LOST, (asked(windows=UNTIL_THEN), job("expired", **DEADLINE_CAME), effect())),
    # Strangers
    "a post of nobody": (UNEXPLAINED, (*DONE, post(102, "who said that"))),
    "another user's text": (UNEXPLAINED, (*DONE, post(102, account="bob_x"))),
    "a post without its job": (UNEXPLAINED, (asked(told=Told.UNKNOWN, job=None), post())),
    "a job of nobody": (UNEXPLAINED, (job("cancelled"),)),
    "an act of no job": (UNEXPLAINED, (*DONE, effect(job="j9"))),
    "an act too many": (UNEXPLAINED, (*DONE, effect(2))),
    # Times
    "early": (UNEXPLAINED, (asked(), job(), effect(), post(seconds=-1))),
    "late": (UNEXPLAINED, (asked(), job(), effect(), post(seconds=611))),
    "moved, and posted when it might have run before": (
        UNEXPLAINED,
        (
            *(asked(**HALF_DONE), job(run_at=at(100), deadline=at(700), rev=1, finished_at=at(104))),
            *(effect(), post()),
        ),
    ),
    "moved half done, and was never held": (
        UNEXPLAINED,
        (*moved_thread(asked_={"holdable": False}), THREAD_POSTS[0], *REST_OF_IT),
    ),
    "held half done, and not moved": (
        UNEXPLAINED,
        (*moved_thread(moved={"rev": 0}), THREAD_POSTS[0], *REST_OF_IT),
    ),
    "moved half done, and that was at no time it might run": (
        UNEXPLAINED,
        (*moved_thread(asked_={"earlier": [(at(5), at(50))]}), THREAD_POSTS[0], *REST_OF_IT),
    ),
    "moved half done, and no time was told for it before": (
        UNEXPLAINED,
        (*moved_thread(asked_={"earlier": []}), THREAD_POSTS[0], *REST_OF_IT),
    ),
    "went on between the two times": (
        UNEXPLAINED,
        (*moved_thread(), THREAD_POSTS[0], post(102, "two", seconds=61, reply_to="101"), REST_OF_IT[1]),
    ),
    "done as a whole before it was moved": (UNEXPLAINED, (*moved_thread(), *THREAD_POSTS)),
    "moved half done far away, and does not say so": (
        UNEXPLAINED,
        (
            asked(texts=THREAD, **HALF_DONE | WAITS),
            job(texts=THREAD, **HALF_MOVED | HALF | FAR | {"result": None}),
            *(THREAD_EFFECTS[0], THREAD_POSTS[0]),
        ),
    ),
    "at a time nobody asked for": (UNEXPLAINED, (asked(), job(run_at=at(-5)), effect(), post())),
    "after it was stopped": (
        UNEXPLAINED,
        (asked(stoppable=True, stopped_at=at(10)), job(), effect(), post(seconds=21)),
    ),
    "a thread that is none": (
        UNEXPLAINED,
        (asked(texts=THREAD), job(texts=THREAD, made=MADE), *THREAD_EFFECTS, *THREAD_POSTS[:2], post(103, "three")),
    ),
    "a thread in another order": (
        UNEXPLAINED,
        (
            *(asked(texts=THREAD), job(texts=THREAD, made=MADE), *THREAD_EFFECTS, THREAD_POSTS[0]),
            *(post(102, "two", reply_to="103"), post(103, "three", reply_to="101")),
        ),
    ),
    "a reply that should be none": (UNEXPLAINED, (asked(), job(), effect(), post(reply_to="99"))),
    # Ends
    "refused and there": (UNEXPLAINED, (asked(told=Told.REFUSED, job=None), job(), effect(), post())),
    "refused without a cause": (UNEXPLAINED, (asked(told=Told.REFUSED, job=None, refusal="no_grant"),)),
    "told cancelled, and done": (UNEXPLAINED, (asked(cancelled=True, stoppable=True), *DONE[1:])),
    "cancelled, and posted": (UNEXPLAINED, (asked(stoppable=True), job("cancelled"), effect(), post())),
    "cancelled, and who knows": (UNEXPLAINED, (asked(stoppable=True), job("cancelled"), effect(1, "started", None))),
    "stopped in the midst, and does not say so": (
        UNEXPLAINED,
        (asked(texts=THREAD, stoppable=True), job("cancelled", texts=THREAD), THREAD_EFFECTS[0], THREAD_POSTS[0]),
    ),
    "cancelled by nobody": (UNEXPLAINED, (asked(), job("cancelled"))),
    "failed": (UNEXPLAINED, (asked(), job("failed", error=JobError("duplicate", "", NOW)))),
    "failed, and posted": (UNEXPLAINED, (asked(), job("failed"), effect(1, "refused", None), post())),
    "expired long before its deadline": (UNEXPLAINED, (asked(), job("expired"))),
    "expired, and posted": (
        UNEXPLAINED,
        (asked(windows=UNTIL_THEN), job("expired", **DEADLINE_CAME), effect(), post()),
    ),
    "succeeded without the journal": (UNEXPLAINED, (asked(), job(), post())),
    "succeeded, and the journal does not know": (UNEXPLAINED, (asked(), job(), effect(1, "unknown", None), post())),
    "due, and scheduled": (UNEXPLAINED, (asked(), job("scheduled"))),
    "queued for ever": (UNEXPLAINED, (asked(), job("queued"))),
    "running for ever": (UNEXPLAINED, (asked(), job("running"))),
    "stopped, and waits": (
        UNEXPLAINED,
        (
            asked(windows=[(NOW + HOUR, NOW + 2 * HOUR)], stoppable=True, stopped_at=at(0)),
            job("scheduled", run_at=NOW + HOUR, deadline=NOW + 2 * HOUR),
        ),
    ),
    "posted before its time has come": (
        UNEXPLAINED,
        (
            asked(windows=[(NOW + HOUR, NOW + 2 * HOUR)]),
            job("scheduled", run_at=NOW + HOUR, deadline=NOW + 2 * HOUR),
            effect(),
            post(),
        ),
    ),
    "held by nobody": (UNEXPLAINED, (asked(), job("parked", held=True))),
    "parked, and its grant works": (UNEXPLAINED, (asked(), job("parked"))),
}


@pytest.mark.parametrize(("kind", "parts"), PLANTED.values(), ids=PLANTED)
def test_what_does_not_fit_is_found(kind, parts):
    assert kind in kinds(*parts)


def test_nothing_else_is_called_a_double_or_a_loss():
    """Or the counts in the summary would say nothing."""
    for name, (kind, parts) in PLANTED.items():
        if kind is DUPLICATED:
            assert LOST not in kinds(*parts), name
        if kind is UNEXPLAINED and "expired, and posted" not in name:
            assert DUPLICATED not in kinds(*parts), name


WORDS = {
    "a hole": "there is a hole",
    "the end is missing": "the provider has 2 of 3",
    "cancelled, and posted": "and it was posted",
    "expired, and posted": "and it was posted",
    "done as a whole before it was moved": "step 3 posted at",
    "went on between the two times": "step 2 posted at",
    "moved half done far away, and does not say so": "scheduled as ()",
    "posted before its time has come": "its time has not come, and it was posted",
}


@pytest.mark.parametrize(("name", "words"), WORDS.items())
def test_what_several_checks_find_is_said_by_the_plainest(name, words):
    kind, parts = PLANTED[name]
    assert any(words in what for found_kind, what in found(*parts) if found_kind is kind)


def test_a_discrepancy_names_its_job():
    assert {one.job for one in check(books(asked(), job("queued")))} == {"j1"}


def test_uncertain_is_no_end_while_somebody_can_look():
    parts = (asked(), job("uncertain"), effect(1, "unknown", None), post())
    assert kinds(*parts, grants=[GRANT]) == {UNEXPLAINED}
    assert found(*parts, grants=[GRANT], strict=False) == []
    assert kinds(*parts, post(102), grants=[GRANT], strict=False) == {DUPLICATED}
    assert found(*parts, grants=[NEEDS_USER]) == []
    assert found(*parts, grants=[{**GRANT, "connection": 1}]) == [], "its user has disconnected"


def test_a_process_that_stood_still_is_a_residual_and_nothing_else_is():
    late = (asked(), job(), effect(), post(seconds=620))
    assert kinds(*late, frozen=[(at(599), at(621))]) == {Kind.RESIDUAL}
    assert kinds(*late, frozen=[(at(0), at(599))]) == {UNEXPLAINED}, "it was awake when the deadline came"
    assert kinds(*late, frozen=[(at(621), at(630))]) == {UNEXPLAINED}, "it stood still afterwards"


# --- lateness ---

#: Nothing is broken from the 100th second on, and nothing moves from the 200th on.
WHOLE = {"whole_since": at(100), "quiet_since": at(200), "patience": 60 * SECOND}
PARKED_ONCE = ({"at": at(201), "to": "parked"}, {"at": at(230), "to": "scheduled"})


def late_job(seconds: float, *, due: float = 0, told: float | None = -1, **changed: Any) -> tuple[Any, ...]:
    """Posted so late."""
    window = {"run_at": at(due), "deadline": at(due + 600)}
    told_at = None if told is None else at(due + told)
    return (
        asked(windows=[(window["run_at"], window["deadline"])], told_at=told_at),
        job(**window | changed),
        effect(),
        post(seconds=due + seconds),
    )


def too_late(*parts: Any, **changed: Any) -> bool:
    every = books(*parts, **WHOLE | changed)
    assert check(every) == [], "nothing else is wrong with it"
    late = check_lateness(every)
    assert all(one.kind is UNEXPLAINED and one.job == "j1" for one in late)
    return bool(late)


def test_what_is_asked_for_when_nothing_is_broken_is_done_at_once():
    assert not too_late(*late_job(29, due=200))
    assert too_late(*late_job(31, due=200))
    assert too_late(*late_job(31, due=200, told=None))
    assert not too_late(*late_job(31, due=200, told=2)), "its app was told later"
    assert not too_late(*late_job(31, due=199)), "it was asked for before"
    assert not too_late(*late_job(31, due=200, history=PARKED_ONCE)), "it waited for its user"
    assert not too_late(*late_job(31, due=200), quiet_since=None), "it never came to rest"


def test_what_was_due_while_things_broke_is_done_within_what_the_last_fault_can_leave_behind():
    assert not too_late(*late_job(159))
    assert too_late(*late_job(161))
    assert not too_late(*late_job(161), whole_since=at(102))
    assert not too_late(*late_job(59, due=150))
    assert too_late(*late_job(61, due=150))
    assert not too_late(*late_job(161), whole_since=None)


def test_lateness_is_that_of_the_first_post_alone():
    thread = (asked(texts=THREAD, told_at=at(-1)), job(texts=THREAD, made=MADE), *THREAD_EFFECTS, *THREAD_POSTS)
    assert lateness(books(*thread), at_rest=False).seconds == [1]
    slow = (*thread[:-2], *(dict(one, at=at(300 + n).isoformat()) for n, one in enumerate(THREAD_POSTS[1:])))
    assert not too_late(*slow)
    assert lateness(books(*slow), at_rest=False).seconds == [1]


def test_lateness_is_counted_where_an_app_was_told_in_time_and_nobody_was_waited_for():
    def seconds(*parts: Any, at_rest: bool = False) -> list[float]:
        return list(lateness(books(*parts, **WHOLE), at_rest=at_rest).seconds)

    assert seconds(*late_job(2.5)) == [2.5]
    assert seconds(*late_job(2.5), at_rest=True) == []
    assert seconds(*late_job(2.5, due=200)) == []
    assert seconds(*late_job(2.5, due=200), at_rest=True) == [2.5]
    assert seconds(*late_job(-0.0005)) == [0], "times are cut to milliseconds on their way"
    assert seconds(*late_job(2.5, told=0.1)) == []
    assert seconds(*late_job(2.5, told=None)) == []
    assert seconds(*late_job(2.5, history=PARKED_ONCE)) == []
    assert seconds(*late_job(2.5)[1:]) == [], "nobody asked for it"
    assert seconds(*late_job(2.5)[:-1]) == [], "it was not posted"
    assert seconds(*moved_thread(asked_={"told_at": at(99)}), THREAD_POSTS[0], *REST_OF_IT) == [], "it had begun before"


def test_percentiles_are_of_what_was_seen():
    late = Lateness([float(n) for n in range(200, 0, -1)])
    assert late.as_dict() == {"jobs": 200, "p50": 100, "p99": 198, "worst": 200}
    assert str(late) == "p50 100.000 s, p99 198.000 s, worst 200.000 s of 200"
    assert Lateness([7]).as_dict() == {"jobs": 1, "p50": 7, "p99": 7, "worst": 7}
    assert Lateness([]).as_dict() == {"jobs": 0, "p50": None, "p99": None, "worst": None}
    assert str(Lateness([])) == "nothing"


# --- grants ---

OWNER = Owner(app="demo", user="alice", account="alice_x", connected=True)
GRANT = {"_id": "g1", "app": "demo", "user": "alice", "status": "active"}
FAMILY = {"account": "alice_x", "alive": True, "reuse": 0}
LOST_REPLY = {"_id": "exchange:e1", "kind": "exchange", "grant": "g1", "state": "unknown", "generation": 5}


def grants_found(owner=OWNER, grant=GRANT, family=FAMILY, *effects, deaths=(), frozen=()) -> set[Kind]:
    return kinds(
        owners=[owner],
        grants=[grant] if grant else [],
        families=[family],
        effects=list(effects),
        deaths=list(deaths),
        frozen=list(frozen),
    )


GONE = replace(OWNER, connected=False)
UNCLEAR = replace(OWNER, connected=None)
REVOKED = {**GRANT, "status": "revoked"}
DEAD = {**FAMILY, "alive": False}

GRANTS_IN_ORDER: dict[str, tuple[Any, ...]] = {
    "connected": (OWNER, GRANT, FAMILY),
    "disconnected": (GONE, REVOKED, DEAD),
    "never connected": (UNCLEAR, None, FAMILY),
    "needs the user": (OWNER, {**GRANT, "status": "reauthorization_required"}, DEAD),
    "withdrawn a moment ago": (replace(OWNER, withdrawn=True), GRANT, DEAD),
    "a used token, after a reply was lost": (
        OWNER,
        {**GRANT, "status": "reauthorization_required"},
        {**DEAD, "reuse": 1},
        LOST_REPLY,
    ),
}


@pytest.mark.parametrize("parts", GRANTS_IN_ORDER.values(), ids=GRANTS_IN_ORDER)
def test_grants_in_order_are_left_alone(parts):
    assert grants_found(*parts) == set()


GRANTS_PLANTED: dict[str, tuple[Kind, tuple[Any, ...]]] = {
    "gone": (LOST, (OWNER, None, FAMILY)),
    "revoked by nobody": (LOST, (OWNER, REVOKED, DEAD)),
    "dead in silence": (LOST, (OWNER, GRANT, DEAD)),
    "disconnected, and alive": (UNEXPLAINED, (GONE, GRANT, FAMILY)),
    "revoking for ever": (UNEXPLAINED, (UNCLEAR, {**GRANT, "status": "revoking"}, FAMILY)),
    "revoked, and not shredded": (UNEXPLAINED, (GONE, {**REVOKED, "data_key": {}}, DEAD)),
    "a used token, and no reply was lost": (UNEXPLAINED, (OWNER, GRANT, {**FAMILY, "reuse": 1})),
}


@pytest.mark.parametrize(("kind", "parts"), GRANTS_PLANTED.values(), ids=GRANTS_PLANTED)
def test_what_became_of_a_grant_is_found(kind, parts):
    assert grants_found(*parts) == {kind}


def test_a_grant_dies_of_its_user_or_of_a_lost_reply():
    lost = (OWNER, GRANT, FAMILY, LOST_REPLY)
    assert grants_found(deaths=[Death("g1", 5, "invalid_request", withdrawn=True)]) == set()
    assert grants_found(*lost, deaths=[Death("g1", 5, "lost_rotation")]) == set()
    assert grants_found(*lost, deaths=[Death("g1", 6, "invalid_request")]) == set(), "it came late"
    assert grants_found(deaths=[Death("g1", 5, "lost_rotation")]) == {LOST}, "the journal knows of no lost reply"
    assert grants_found(*lost, deaths=[Death("g2", 5, "lost_rotation")]) == {LOST}, "it was another's"
    assert grants_found(*lost, deaths=[Death("g1", 4, "lost_rotation")]) == {LOST}, "it was later"
    assert grants_found(*lost, deaths=[Death("g1", 9, "invalid_request")]) == {LOST}, "it was long before"


def test_a_grant_may_die_of_a_process_that_stood_still_with_the_reply_in_hand_longer_than_it_had_the_lease():
    def exchange(state: str, begun: float, ended: float, generation: int = 5) -> dict[str, Any]:
        times = {"started_at": NOW + timedelta(seconds=begun), "finished_at": NOW + timedelta(seconds=ended)}
        return {**LOST_REPLY, "state": state, "generation": generation, **times}

    def found(*effects, frozen=(1, 29)) -> set[Kind]:
        window = tuple(NOW + timedelta(seconds=at) for at in frozen)
        deaths = [Death("g1", 6, "lost_rotation")] * 3
        return grants_found(OWNER, GRANT, {**FAMILY, "reuse": 1}, *effects, deaths=deaths, frozen=[window])

    stood, took_over = exchange("done", 0, 30), exchange("refused", 22, 23)
    assert found(stood, took_over) == {Kind.RESIDUAL}
    assert found(stood, took_over, frozen=(1, 20)) == {LOST, UNEXPLAINED}, "it had woken up"
    assert found(stood, exchange("refused", 31, 32), frozen=(1, 40)) == {LOST, UNEXPLAINED}, "it was over"
    assert found(stood, exchange("refused", 22, 23, generation=6)) == {LOST, UNEXPLAINED}, "it was another token"
    assert found(stood) == {LOST, UNEXPLAINED}
