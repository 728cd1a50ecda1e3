"""What events are made of, under which id, and what they never say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from actas import events
from actas.events import OF_JOBS, EventType, note
from actas.states import FINAL, JobStatus

AT = datetime(2026, 11, 26, 9, 0, 0, 250_000, tzinfo=UTC)
JOB = {
    "_id": "j1",
    "app": "blog",
    "user": "alice",
    "grant": "g1",
    "provider": "x",
    "action": "x.post",
    "idempotency_key": None,
    "payload": {"text": "canary"},
    "jws": "canary",
    "run_at": AT,
    "deadline": AT + timedelta(hours=1),
}
GRANT = {"_id": "g1", "app": "blog", "user": "alice", "provider": "x", "account": "42", "refresh_token": "canary"}


def told(doc, *notes):
    doc = doc | {"untold": list(notes)}
    return events.of_job(doc) if "jws" in doc else events.of_grant(doc)


def test_apps_are_told_of_each_end_of_a_job_but_their_own_cancellations_and_of_uncertain_ones():
    assert OF_JOBS.keys() == FINAL - {JobStatus.CANCELLED} | {JobStatus.UNCERTAIN}


def test_what_a_job_tells():
    (event,) = told(JOB, note(EventType.JOB_FAILED, AT, code="duplicate"))
    assert json.loads(event.body()) == {
        "type": "job.failed",
        "timestamp": "2026-11-26T09:00:00.250Z",
        "data": {
            "job": "j1",
            "grant": "g1",
            "user": "alice",
            "provider": "x",
            "action": "x.post",
            "idempotency_key": None,
            "run_at": "2026-11-26T09:00:00.250Z",
            "deadline": "2026-11-26T10:00:00.250Z",
            "status": "failed",
            "code": "duplicate",
            "result": None,
        },
    }


def test_what_a_job_that_expired_did_do_stands_in_its_document():
    half_done = JOB | {"result": "99"}
    (expired,) = told(half_done, note(EventType.JOB_EXPIRED, AT, code="expired"))
    assert expired.data["result"] == "99"
    (uncertain,) = told(half_done, note(EventType.JOB_UNCERTAIN, AT))
    assert uncertain.data["result"] is None, "it may be a later one's"


def test_what_no_tick_could_carry_is_cut():
    notes = [note(EventType.JOB_FAILED, AT + timedelta(seconds=n), code="c" * 10_000) for n in range(500)]
    events = told(JOB | {"user": "u" * 100_000}, *notes)
    assert events[-1].at == notes[-1]["at"], "the newest are told"
    assert sum(len(event.body()) for event in events) < 200_000


def test_what_a_grant_tells():
    due = {"jobs_waiting": 3, "first_due_at": AT}
    broken, healed = told(
        GRANT,
        note(EventType.REAUTHORIZATION_REQUIRED, AT, code="invalid_grant", **due),
        note(EventType.GRANT_RECOVERED, AT),
    )
    about = {"grant": "g1", "user": "alice", "provider": "x", "account": "42"}
    assert broken.data == about | {
        "code": "invalid_grant",
        "jobs_waiting": 3,
        "first_due_at": "2026-11-26T09:00:00.250Z",
    }
    assert healed.data == about | {"code": None, "jobs_waiting": None, "first_due_at": None}
    assert (broken.type, healed.type) == ("grant.reauthorization_required", "grant.recovered")


def test_nothing_else_of_a_document_is_told():
    everything = [*told(JOB, note(EventType.JOB_SUCCEEDED, AT, result="99")), *told(GRANT, note(EventType.GRANT_RECOVERED, AT))]  # fmt: skip
    assert len(everything) == 2
    assert not any(b"canary" in event.body() for event in everything)


def test_an_event_has_one_id_however_often_it_is_read_and_in_whatever_zone():
    made = note(EventType.JOB_SUCCEEDED, AT, result="99")
    elsewhere = made | {"at": AT.astimezone(timezone(timedelta(hours=5)))}
    finer = made | {"at": AT + timedelta(microseconds=400)}  # than MongoDB keeps
    ids = {told(JOB, each)[0].id for each in (made, elsewhere, finer)}
    assert len(ids) == 1
    assert "." not in ids.pop(), "the signed content is parted by dots"
    assert told(JOB, made)[0].body() == told(JOB, elsewhere)[0].body()


def test_other_events_have_other_ids():
    soon = AT + timedelta(milliseconds=1)
    ids = [
        told(JOB, note(EventType.JOB_SUCCEEDED, AT))[0].id,
        told(JOB, note(EventType.JOB_FAILED, AT))[0].id,
        told(JOB, note(EventType.JOB_FAILED, soon))[0].id,
        told(JOB | {"_id": "j2"}, note(EventType.JOB_FAILED, AT))[0].id,
        told(JOB | {"app": "b"}, note(EventType.JOB_FAILED, AT))[0].id,
        events.capped("blog", "x", at=AT, until=AT, code="usage_capped").id,
        events.capped("blog", "x", at=AT + timedelta(days=1), until=AT, code="usage_capped").id,
        events.capped("blog", "x", at=AT, until=AT, code="out_of_credits").id,
        events.capped("blog", "y", at=AT, until=AT, code="usage_capped").id,
        events.capped("b", "x", at=AT, until=AT, code="usage_capped").id,
    ]
    assert len(set(ids)) == len(ids)


def test_all_who_find_a_provider_capped_tell_the_same_event():
    found = [
        events.capped("blog", "x", at=AT + timedelta(hours=n), until=AT + timedelta(hours=n), code="usage_capped")
        for n in range(14)
    ]
    assert len({each.id for each in found}) == 1
    assert found[0].data == {"provider": "x", "code": "usage_capped", "until": "2026-11-26T09:00:00.250Z"}


@pytest.mark.parametrize("untold", [None, 5, "x", {}, [5], [None], [{}], [{"event": "job.failed"}], [{"event": "job.failed", "at": 5}], [{"event": ["x"], "at": AT}], [{"event": "job.made_up", "at": AT}], [{"event": "provider.capped", "at": AT}]])  # fmt: skip
def test_what_is_no_note_of_an_event_is_passed_over(untold):
    assert events.of_job(JOB | {"untold": untold}) == []
    assert events.of_grant(GRANT | {"untold": untold}) == []


def test_what_an_app_has_made_of_its_documents_can_always_be_written():
    odd = {"user": {"a": 1}, "grant": [b"x"], "run_at": "never", "_id": "j1"}
    (event,) = told(JOB | odd, note(EventType.JOB_FAILED, AT, code=[1], result={"x": b"y"}))
    assert json.loads(event.body())["data"]["user"] is None
