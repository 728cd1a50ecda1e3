"""The table of a job's moves, and that the jobs collection makes no other."""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actas.events import OF_JOBS
from actas.jws import Claims
from actas.records import Job, JobError
from actas.states import FINAL, MOVES, OPERATOR_MOVES, WAITING, IllegalMove, JobStatus, check_move
from actas.stores.dispatching import Due
from actas.stores.jobs import Jobs

S = JobStatus
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def test_the_table_knows_every_state():
    assert set(MOVES) == set(JobStatus)


def test_the_final_states_are_those_a_job_never_leaves():
    assert {S.SUCCEEDED, S.FAILED, S.EXPIRED, S.CANCELLED} == FINAL


@given(st.lists(st.sampled_from(S), max_size=30))
def test_no_walk_leaves_a_final_state(attempts):
    at = S.SCHEDULED
    for to in attempts:
        try:
            check_move(at, to)
        except IllegalMove:
            continue
        assert at not in FINAL
        at = to


@pytest.mark.parametrize("start", list(S))
def test_from_every_state_a_final_one_can_be_reached(start):
    reached, seen = {start}, set()
    while reached != seen:
        seen = reached
        reached = seen.union(*(MOVES[state] for state in seen))
    assert reached & FINAL


@pytest.mark.parametrize(
    ("to", "only_from"),
    [
        (S.QUEUED, {S.SCHEDULED}),
        (S.RUNNING, {S.QUEUED}),  # by a claim, and in no other way
        (S.UNCERTAIN, {S.RUNNING}),
        (S.PARKED, {S.SCHEDULED, S.QUEUED, S.RUNNING}),
        (S.SUCCEEDED, {S.RUNNING, S.UNCERTAIN}),
        (S.FAILED, {S.RUNNING, S.UNCERTAIN}),
        (S.CANCELLED, WAITING | {S.RUNNING}),  # not from uncertain: the provider may have acted
    ],
)
def test_a_state_is_entered_only_from_where_it_makes_sense(to, only_from):
    assert {state for state in S if to in MOVES[state]} == only_from


def test_out_of_a_final_state_only_an_operator_leads_and_not_out_of_what_was_done_or_cancelled():
    assert {*OPERATOR_MOVES} == {S.FAILED, S.EXPIRED}
    for from_, moves in OPERATOR_MOVES.items():
        assert moves == {S.SCHEDULED}, "where it is claimed, verified and looked up in the journal like any other"
        with pytest.raises(IllegalMove):
            check_move(from_, S.SCHEDULED)


@pytest.mark.parametrize("status", sorted(set(S) - FINAL))
def test_what_has_not_ended_is_never_purged(status):
    with pytest.raises(ValueError, match="not final"):
        Jobs(Collection()).purge(status, finished_before=NOW, ended_before=NOW, limit=1)


def test_a_retried_job_leaves_nothing_of_its_end_behind_and_is_retried_only_inside_its_window():
    collection = Collection()
    Jobs(collection).retry(replace(JOB, status=S.FAILED, rev=2), NOW)
    ((query, update),) = collection.updates
    assert (query["rev"], query["deadline"], query["stop"]) == (2, {"$gt": NOW}, {"$ne": True})
    assert {"error", "finished_at", "looks"} == set(update["$unset"])
    assert "jws" not in update["$set"], "the signature stays"


@pytest.mark.parametrize("state", list(S))
def test_staying_is_no_move(state):
    with pytest.raises(IllegalMove, match=f"{state} -> {state}"):
        check_move(state, state)


# --- what the jobs collection does ---


class Collection:
    """Stands where MongoDB's does and writes down what it is asked to do; nothing is found in it but what was put."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.inserted: list[dict[str, Any]] = []
        self.updates: list[tuple[dict[str, Any], Any]] = []

    def __getitem__(self, name: str) -> Collection:
        assert name == "jobs"
        return self

    def insert_many(self, docs, **_):
        self.inserted += docs

    def update(self, query, update, **_):
        self.updates.append((query, update))
        return SimpleNamespace(matched_count=0, modified_count=0)

    update_one = update_many = update

    def bulk_write(self, requests, **_):
        self.updates += [(request._filter, request._doc) for request in requests]

    def find_one_and_update(self, query, update, **_):
        self.updates.append((query, update))

    def find_one(self, *_, **__):
        return None

    def count_documents(self, *_, **__):
        return 0

    def delete_many(self, query):
        raise AssertionError("nothing is found, so nothing is removed")

    def find(self, *_, **__):
        return self

    def aggregate(self, *_, **__):
        return []

    def sort(self, *_):
        return self

    limit = sort

    def __iter__(self):
        return iter(self.found)

    def moves(self) -> set[tuple[JobStatus, JobStatus]]:
        """Every move the recorded updates can make; fails where one does not name the states it moves from."""
        moves = set()
        for query, update in self.updates:
            from_ = named_states(query)
            for stage in update if isinstance(update, list) else [update]:
                if "status" in stage["$set"]:
                    moves |= {(state, S(stage["$set"]["status"])) for state in from_}
        return moves


def named_states(query: dict[str, Any]) -> set[JobStatus]:
    """The states a query asks for; fails where it, or a branch of it, does not say."""
    if "status" in query:
        asked = query["status"]
        return {S(state) for state in (asked["$in"] if isinstance(asked, dict) else [asked])}
    return set().union(*(named_states(branch) for branch in query["$or"]))


JOB = Job(
    id="j",
    jws="h.c.s",
    app="a",
    user="u",
    grant="g",
    provider="x",
    action="x.post",
    payload={},
    run_at=NOW,
    deadline=NOW,
    rev=0,
    status=S.SCHEDULED,
    next_at=NOW,
    created_at=NOW,
)

DUE = Due(id="j", grant="g", action="x.post", next_at=NOW, deadline=NOW, orphaned=False, stop=False)

CLAIMS = Claims("j", "a", "u", "g", "x", "x.post", {}, NOW, NOW, NOW, rev=1)

#: Every method of Jobs, called; for those that move a job, the moves that it makes.
CALLS = {
    "insert": (lambda jobs: jobs.insert([JOB]), set()),
    "get": (lambda jobs: jobs.get("j"), set()),
    "by_idempotency_keys": (lambda jobs: jobs.by_idempotency_keys("a", ["k"]), set()),
    "find": (lambda jobs: jobs.find(), set()),
    "cancel_waiting": (
        lambda jobs: jobs.cancel_waiting({"app": "a"}, code="c", message="m", now=NOW),
        {(state, S.CANCELLED) for state in WAITING},
    ),
    "ask_to_stop": (lambda jobs: jobs.ask_to_stop({"app": "a"}), set()),
    "hold": (
        lambda jobs: jobs.hold({"app": "a"}, message="m", now=NOW),
        {(S.SCHEDULED, S.PARKED), (S.QUEUED, S.PARKED)},
    ),
    "count_going_on": (lambda jobs: jobs.count_going_on({"app": "a"}), set()),
    "sign_anew": (
        lambda jobs: [jobs.sign_anew(replace(JOB, status=of), CLAIMS, jws="h.c.s", now=NOW) for of in sorted(WAITING)],
        {(S.QUEUED, S.SCHEDULED), (S.PARKED, S.SCHEDULED)},
    ),
    "expire_scheduled": (
        lambda jobs: [jobs._jobs.found.append({"_id": "j"}), jobs.expire_scheduled(NOW, before=NOW, limit=10)],
        {(S.SCHEDULED, S.EXPIRED)},
    ),
    "expire_queued": (lambda jobs: jobs.expire_queued(NOW, before=NOW), {(S.QUEUED, S.EXPIRED)}),
    "count": (lambda jobs: jobs.count(S.FAILED, limit=10), set()),
    "resolved": (lambda jobs: jobs.resolved("j", happened=True, now=NOW), set()),
    "retry": (lambda jobs: jobs.retry(JOB, NOW), {(S.FAILED, S.SCHEDULED), (S.EXPIRED, S.SCHEDULED)}),
    "purge": (lambda jobs: jobs.purge(S.FAILED, finished_before=NOW, ended_before=NOW, limit=1), set()),
    "enqueue": (lambda jobs: jobs.enqueue(["j"], batch="b", now=NOW), {(S.SCHEDULED, S.QUEUED)}),
    "put_back": (lambda jobs: jobs.put_back({DUE: (NOW, JobError("at_gate", "m", NOW))}), set()),
    "rescue_running": (lambda jobs: jobs.rescue_running(NOW), {(S.RUNNING, S.SCHEDULED)}),
    "rescue_queued": (lambda jobs: jobs.rescue_queued(NOW, before=NOW), {(S.QUEUED, S.SCHEDULED)}),
    "parked_grants": (lambda jobs: jobs.parked_grants(), set()),
    "expire_parked": (lambda jobs: jobs.expire_parked(NOW), {(S.PARKED, S.EXPIRED)}),
    "resume_parked": (lambda jobs: jobs.resume_parked("g", NOW), {(S.PARKED, S.SCHEDULED)}),
    "claim": (lambda jobs: jobs.claim("j", owner="o", lease_seconds=1, now=NOW), {(S.QUEUED, S.RUNNING)}),
    "settle": (
        lambda jobs: [jobs.settle(JOB, "o", to, NOW) for to in MOVES[S.RUNNING]],
        {(S.RUNNING, to) for to in MOVES[S.RUNNING]},
    ),
    "settle_late": (lambda jobs: jobs.settle_late("j", NOW, result="r"), {(S.UNCERTAIN, S.SUCCEEDED)}),
    "uncertain": (lambda jobs: jobs.uncertain(NOW, 10), set()),
    "begin_look": (lambda jobs: jobs.begin_look("j", now=NOW, until=NOW), set()),
    "look_later": (lambda jobs: jobs.look_later(JOB, NOW, looks=1, message="m"), set()),
    "settle_looked": (
        lambda jobs: [jobs.settle_looked(JOB, to, NOW) for to in MOVES[S.UNCERTAIN]],
        {(S.UNCERTAIN, to) for to in MOVES[S.UNCERTAIN]},
    ),
    "stop_requested": (lambda jobs: jobs.stop_requested("j"), set()),
}


def test_every_call_above_is_of_a_method_there_is():
    assert {name for name in CALLS if not hasattr(Jobs, name)} == set()


@pytest.mark.parametrize("name", sorted({name for name, _ in inspect.getmembers(Jobs) if not name.startswith("_")}))
def test_the_jobs_collection_makes_legal_moves_only_and_each_write_names_the_state_it_moves_from(name):
    collection = Collection()
    call, moves = CALLS[name]  # a new method must be added above
    call(Jobs(collection))
    assert collection.moves() == moves
    for from_, to in moves:
        if name != "retry":
            check_move(from_, to)
        else:
            assert to in OPERATOR_MOVES[from_]


def test_a_job_begins_as_scheduled():
    collection = Collection()
    Jobs(collection).insert([JOB])
    assert [doc["status"] for doc in collection.inserted] == ["scheduled"]


@pytest.mark.parametrize("to", sorted(set(S) - MOVES[S.RUNNING]))
def test_settling_refuses_an_illegal_move_before_anything_is_written(to):
    collection = Collection()
    with pytest.raises(IllegalMove):
        Jobs(collection).settle(JOB, "o", to, NOW)
    assert collection.updates == []


@pytest.mark.parametrize("to", sorted(MOVES[S.RUNNING]))
def test_only_the_holder_settles_and_a_job_asked_to_stop_does_not_come_back(to):
    collection = Collection()
    Jobs(collection).settle(JOB, "me", to, NOW)
    ((query, _),) = collection.updates
    assert (query["_id"], query["claim.owner"]) == ("j", "me")
    assert ("stop" in query) == (to in {S.SCHEDULED, S.PARKED})


def test_a_job_that_is_held_stays_so_whatever_its_grant_does():
    collection = Collection()
    Jobs(collection).resume_parked("g", NOW)
    ((query, _),) = collection.updates
    assert query["held"] == {"$ne": True}


def test_whatever_moves_a_parked_job_on_lets_go_of_it():
    collection = Collection()
    jobs = Jobs(collection)
    jobs.cancel_waiting({}, code="c", message="m", now=NOW)
    jobs.expire_parked(NOW)
    jobs.sign_anew(replace(JOB, status=S.PARKED), CLAIMS, jws="h.c.s", now=NOW)
    assert [("held" in update["$unset"]) for _, update in collection.updates] == [True] * 4


@pytest.mark.parametrize("of", sorted(WAITING))
def test_a_job_is_signed_anew_only_as_it_was_seen_and_while_nobody_holds_or_stops_it(of):
    collection = Collection()
    Jobs(collection).sign_anew(replace(JOB, status=of, rev=3), CLAIMS, jws="h.c.s", now=NOW)
    ((query, update),) = collection.updates
    as_seen = {"_id": "j", "rev": 3, "status": of, "result": None}
    assert query == as_seen | {"orphaned": {"$ne": True}, "stop": {"$ne": True}}
    assert {"jws", "rev", "run_at", "deadline", "next_at"} <= update["$set"].keys(), "in one write"


@pytest.mark.parametrize("to", sorted(MOVES[S.RUNNING]))
def test_the_move_itself_notes_the_event_that_tells_of_it(to):
    """In one write: a crash cannot part them."""
    collection = Collection()
    Jobs(collection).settle(JOB, "me", to, NOW, error=JobError("why", "m", NOW), result="r")
    ((_, update),) = collection.updates
    told = {"event": f"job.{to}", "at": NOW, "code": "why", "result": "r"}
    assert update["$push"].get("untold") == (told if to in OF_JOBS else None)


def test_jobs_that_end_many_at_a_time_tell_of_it_too():
    collection = Collection()
    Jobs(collection).expire_parked(NOW)
    assert [update["$push"]["untold"]["event"] for _, update in collection.updates] == ["job.expired"] * 2
