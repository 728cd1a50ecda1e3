"""What an app may ask for, and the early errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actas.actions import Action, ActionHttp, Payload, Result
from actas.errors import InvalidPayload, InvalidRequest, InvalidTime
from actas.requests import (
    DEFAULT_WINDOW,
    HORIZON,
    MAX_PAYLOAD_BYTES,
    JobRequest,
    check_limit,
    check_payload,
    check_redirect_uri,
    check_requests,
    check_scopes,
    check_status,
    check_text,
    check_user,
    digest,
    window,
)
from actas.states import JobStatus

NOW = datetime(2026, 11, 23, 9, 0, 0, 500_000, tzinfo=UTC)
HOUR, DAY, MS, US = timedelta(hours=1), timedelta(days=1), timedelta(milliseconds=1), timedelta(microseconds=1)
BERLIN = ZoneInfo("Europe/Berlin")
CANARY = "canary-content"


def request(at: datetime | None = None, deadline: datetime | None = None, **changed: Any) -> JobRequest:
    return replace(JobRequest("x.post", "alice", {"text": "hi"}, at, deadline), **changed)


# --- times ---


@pytest.mark.parametrize(
    ("at", "deadline", "window_"),
    [
        (None, None, (NOW, NOW + DEFAULT_WINDOW)),
        (NOW + DAY, None, (NOW + DAY, NOW + DAY + DEFAULT_WINDOW)),
        (None, NOW + HOUR, (NOW, NOW + HOUR)),
        (NOW + DAY, NOW + DAY + MS, (NOW + DAY, NOW + DAY + MS)),
        # a time that has passed means now
        (NOW - HOUR, None, (NOW - HOUR, NOW - HOUR + DEFAULT_WINDOW)),
        (NOW - 30 * DAY, NOW + MS, (NOW - 30 * DAY, NOW + MS)),
        # up to the horizon
        (NOW + HORIZON, None, (NOW + HORIZON, NOW + HORIZON + DEFAULT_WINDOW)),
        # MongoDB keeps milliseconds
        (NOW + HOUR + 999 * US, NOW + DAY + 999 * US, (NOW + HOUR, NOW + DAY)),
    ],
)
def test_a_window_is_as_asked_with_a_day_by_default(at, deadline, window_):
    assert window(request(at, deadline), NOW) == window_


@pytest.mark.parametrize(
    ("at", "deadline", "words"),
    [
        (NOW.replace(tzinfo=None), None, "at has no time zone"),
        (None, NOW.replace(tzinfo=None), "deadline has no time zone"),
        (NOW + HOUR, NOW + HOUR, "deadline is not after at"),
        (NOW + HOUR, NOW, "deadline is not after at"),
        (NOW + HOUR, NOW + HOUR + US, "deadline is not after at"),  # in milliseconds
        (NOW - DAY - MS, None, "passed already"),
        (NOW - DAY, NOW - HOUR, "passed already"),
        (NOW - DAY, NOW, "passed already"),
        (NOW + HORIZON + MS, None, "at is more than 400 days ahead"),
        (None, NOW + HORIZON + DEFAULT_WINDOW + MS, "deadline is more than"),
        (datetime.max.replace(tzinfo=UTC), None, "at is more than 400 days ahead"),
        (datetime.max.replace(tzinfo=timezone(-12 * HOUR)), None, "at"),
        (datetime.min.replace(tzinfo=timezone(12 * HOUR)), NOW + HOUR, "at"),
    ],
)
def test_an_impossible_time_is_refused_by_name(at, deadline, words):
    with pytest.raises(InvalidTime, match=words):
        window(request(at, deadline), NOW)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ("2027-01-01", "str"),
        ("", "str"),
        (date(2027, 1, 1), "date"),
        (timedelta(hours=1), "timedelta"),
        (timedelta(0), "timedelta"),
        (1_800_000_000, "int"),
        (0, "int"),
        (False, "bool"),
    ],
)
def test_what_is_no_datetime_is_refused_by_name_and_never_taken_for_left_out(wrong, kind):
    with pytest.raises(InvalidTime, match=f"^at must be an aware datetime.* is a {kind}$"):
        window(request(wrong), NOW)
    with pytest.raises(InvalidTime, match=f"^deadline must be an aware datetime.* is a {kind}$"):
        window(request(None, wrong), NOW)


def local(hour: int, minute: int, fold: int) -> datetime:
    """On the day clocks go back in Berlin: 02:00 to 03:00 comes twice."""
    return datetime(2027, 10, 31, hour, minute, tzinfo=BERLIN, fold=fold)


def test_times_are_instants_not_what_a_wall_clock_shows():
    at, deadline = local(2, 50, 0), local(2, 10, 1)  # twenty minutes later
    assert window(request(at, deadline), NOW) == (at.astimezone(UTC), deadline.astimezone(UTC))
    with pytest.raises(InvalidTime, match="deadline is not after at"):
        window(request(local(2, 10, 1), local(2, 50, 0)), NOW)
    run_at, deadline = window(request(local(1, 0, 0)), NOW)
    assert deadline.timestamp() - run_at.timestamp() == DEFAULT_WINDOW.total_seconds()


moments = st.none() | st.datetimes(timezones=st.just(UTC) | st.timezones() | st.none()) | st.timedeltas(
    timedelta(days=-3), timedelta(days=500)
).map(lambda delta: NOW + delta)  # fmt: skip


@given(moments, moments)
def test_a_window_is_sound_or_refused_and_nothing_else(at, deadline):
    try:
        run_at, ends_at = window(request(at, deadline), NOW)
    except InvalidTime:
        return
    assert run_at < ends_at
    assert NOW < ends_at <= NOW + HORIZON + DEFAULT_WINDOW
    assert run_at <= NOW + HORIZON
    assert run_at.microsecond % 1000 == ends_at.microsecond % 1000 == 0
    assert at is None or timedelta(0) <= at - run_at < MS
    assert deadline is None or timedelta(0) <= deadline - ends_at < MS


# --- users ---


@pytest.mark.parametrize("user", ["a", "a" * 200, "😀" * 200, "alice@example.com", " ", "{$ne: null}", "0"])
def test_a_user_is_any_text_of_one_to_two_hundred_characters(user):
    check_user(user)


@pytest.mark.parametrize("user", ["", "a" * 201, None, 1, b"alice", ["alice"], {"$ne": None}, "canary\ud800"])
def test_what_cannot_be_stored_as_a_user_is_refused(user):
    with pytest.raises(InvalidRequest, match="user must be") as caught:
        check_user(user)
    assert "canary" not in str(caught.value)


# --- other arguments ---


@pytest.mark.parametrize("value", ["", "a" * 201, None, 1, b"a", ["a"], {"$ne": ""}, "canary\ud800"])
def test_what_could_be_a_query_of_its_own_is_refused_by_name_and_not_shown(value):
    with pytest.raises(InvalidRequest, match="^account must be a string of 1 to 200 characters: an id$") as caught:
        check_text("account", value, "an id")
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


ONE = JobRequest("x.post", "alice", {"text": "hi"})


@pytest.mark.parametrize("requests", [[], (), [ONE], (ONE, ONE)])
def test_a_batch_is_a_list_of_job_requests(requests):
    check_requests(requests)


@pytest.mark.parametrize(
    "requests", [None, ONE, "x.post", {"action": "x.post"}, [None], [ONE, {"action": "x.post"}], iter([ONE])]
)
def test_what_is_no_list_of_job_requests_is_refused(requests):
    with pytest.raises(InvalidRequest, match="list of JobRequest"):
        check_requests(requests)


@pytest.mark.parametrize("scopes", [[], ["tweet.read"], ("a", "b"), {"https://www.googleapis.com/auth/calendar"}])
def test_scopes_are_strings_in_a_list(scopes):
    check_scopes(scopes)


@pytest.mark.parametrize(
    "scopes", ["tweet.write", b"tweet.write", "", 1, [None], [1], [""], ["tweet.read tweet.write"], ['a"b'], ["é"]]
)
def test_what_would_be_taken_apart_or_run_together_is_no_list_of_scopes(scopes):
    with pytest.raises(InvalidRequest, match="^scopes "):
        check_scopes(scopes)


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example/callback",
        "http://127.0.0.1:8000/callback?from=x",
        "HTTP://[::1]:8000",
        "https://bücher.example/zurück",
        "com.example.app:/callback",
        "myapp://callback",
    ],
)
def test_a_redirect_uri_is_an_address_a_browser_can_be_sent_to(uri):
    check_redirect_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        None,
        1,
        b"https://app.example/callback",
        "",
        "/callback",
        "app.example/callback",
        "//app.example/callback",
        "localhost:8000/callback",
        "https:",
        "https:/callback",
        "https://",
        "https://:8000/callback",
        "https://[::1/callback",
        "https://app.example/callback#there",
        "https://app.example/call back",
        "https://app.example/callback\n",
        "https://app.example/\ud800",
        "javascript:alert(1)",
    ],
)
def test_any_other_redirect_uri_is_refused(uri):
    with pytest.raises(InvalidRequest, match="^redirect_uri must be an absolute address"):
        check_redirect_uri(uri)


# --- payloads ---


class Anything(Payload):
    data: Any = None


class DoAnything(Action[Anything]):
    name = "test.anything"
    provider = "test"
    scopes = frozenset()
    idempotent = True
    payload_type = Anything

    def perform(self, http: ActionHttp, payload: Anything, job_id: str) -> Result:
        raise NotImplementedError


def check(payload: Mapping[str, Any]) -> None:
    check_payload(DoAnything(), payload)


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "payload",
    [
        {},
        MappingProxyType({"data": 1}),
        {"data": {"a": [None, True, 1, -(2**63), 2**63 - 1, 1.5, "é😀\0", {"b": {}}]}},
        {"data": nested(20)},
    ],
)
def test_a_payload_is_any_json_object(payload):
    check(payload)


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "data",
        1,
        [1],
        {"data": {CANARY}},
        {"data": NOW},
        {"data": CANARY.encode()},
        {"data": object()},
        {"data": nested(100_000)},
        # what JSON, MongoDB and the signature would not carry alike: accepted, such a job could be stored or found altered
        {"data": float("nan")},
        {"data": [float("inf")]},
        {"data": {"a": 2**63}},
        {"data": 10**400},
        {"data": {"a": -(2**63) - 1}},
        {"data": {1: CANARY}},
        {"data": {None: CANARY}},
        {"data": {True: CANARY}},
        {"data": f"{CANARY}\ud800"},
        {"data": {f"{CANARY}\ud800": 1}},
        {"data": nested(200)},  # MongoDB nests up to 100 levels
    ],
)
def test_what_is_no_json_object_is_refused_and_not_shown(payload):
    with pytest.raises(InvalidPayload, match="^test.anything: ") as caught:
        check(payload)
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_payload_that_contains_itself_is_refused():
    payload: dict[str, Any] = {}
    payload["data"] = payload
    with pytest.raises(InvalidPayload):
        check(payload)


def test_a_payload_may_be_just_as_large_as_is_said():
    text = "x" * (MAX_PAYLOAD_BYTES - len(json.dumps({"data": ""})))
    check({"data": text})
    with pytest.raises(
        InvalidPayload, match=f"has {MAX_PAYLOAD_BYTES + 1} bytes, at most {MAX_PAYLOAD_BYTES}"
    ) as caught:
        check({"data": text + "x"})
    assert "xxx" not in str(caught.value)


def test_the_actions_own_rules_are_asked_too():
    with pytest.raises(InvalidPayload, match="test.anything: date: Extra inputs are not permitted"):
        check({"date": CANARY})


# --- the same request or another ---

AT = NOW + DAY
FULL = JobRequest("x.post", "alice", {"text": "hi", "n": 1}, AT, AT + DAY, "12345", "key")

OTHER_CONTENT = {
    "action": "x.delete_post",
    "user": "bob",
    "payload": {"text": "hi", "n": 2},
    "at": AT + MS,
    "deadline": AT + DAY + MS,
    "account": "12346",
}


@pytest.mark.parametrize("field", [field.name for field in fields(JobRequest) if field.name != "idempotency_key"])
def test_requests_that_differ_in_anything_are_not_the_same(field):
    assert digest(replace(FULL, **{field: OTHER_CONTENT[field]})) != digest(FULL)


@pytest.mark.parametrize("field", ["at", "deadline", "account"])
def test_what_was_left_out_is_not_what_was_said(field):
    assert digest(replace(FULL, **{field: None})) != digest(FULL)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n": 1}, {"n": "1"}),
        ({"n": 1}, {"n": True}),
        ({"n": None}, {}),
        ({"n": []}, {"n": {}}),
        ({"a": "b,c"}, {"a": "b", "c": ""}),
    ],
)
def test_payloads_that_only_look_alike_are_not_the_same(one, other):
    assert digest(request(payload=one)) != digest(request(payload=other))


def test_a_field_does_not_run_over_into_the_next():
    assert digest(request(user='a", "b', account="c")) != digest(request(user="a", account='b", "c'))


@pytest.mark.parametrize(
    "same",
    [
        {"payload": {"n": 1, "text": "hi"}},
        {"payload": MappingProxyType({"text": "hi", "n": 1})},
        {"at": AT.astimezone(BERLIN), "deadline": (AT + DAY).astimezone(timezone(5 * HOUR))},
        {"idempotency_key": "another"},
    ],
)
def test_the_same_request_said_otherwise_is_the_same(same):
    assert digest(replace(FULL, **same)) == digest(FULL)


def test_a_repeated_request_without_times_is_the_same_at_any_time():
    assert digest(request()) == digest(request())


def test_a_digest_shows_nothing_of_what_was_asked():
    assert len(digest(FULL)) == 64
    assert set(digest(FULL)) <= set("0123456789abcdef")


@pytest.mark.parametrize("status", ["done", "", 1, {"$ne": ""}])
def test_a_state_that_no_job_has_is_refused_with_those_it_can_have(status):
    with pytest.raises(InvalidRequest, match="status must be one of scheduled, queued, "):
        check_status(status)
    assert (check_status(None), check_status("parked")) == (None, JobStatus.PARKED)


@pytest.mark.parametrize("limit", [0, -1, "10", None, 1.5])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(InvalidRequest, match="limit"):
        check_limit(limit)
    assert check_limit(1) == 1
