"""Each request of each x action is one that our small schema of X's API has; ``make test-contract`` asks X's document."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actas.actions import BUILT_IN, Result, Search
from actas.actions.x import Like, Post
from actas.actions.x.media import form
from actas.http import Reply
from actas.providers import BUILT_IN as PROVIDERS
from tests.contract.recording import Recording, exercise
from tests.contract.schema import NotInContract, Request, looser, operation_of, violations
from tests.contract.through_sandbox import TYPES, ThroughSandbox, values_at
from tests.contract.x_answers import ACCOUNT, SEARCH, answer
from tests.contract.x_payloads import EXAMPLES, PAYLOADS
from tests.contract.x_schema import OPERATIONS, POST

X = PROVIDERS["x"]
ACTIONS = {name: action for name, action in BUILT_IN.items() if action.provider == "x"}


def recorded(account: str = ACCOUNT) -> Recording:
    return Recording(OPERATIONS, answer, account=account)


def asked_by(name: str, payload: dict[str, Any], account: str = ACCOUNT) -> Recording:
    http = recorded(account)
    exercise(ACTIONS[name], ACTIONS[name].parse(payload), http, Search(account, SEARCH.since))
    return http


def test_every_x_action_has_payloads_here():
    assert PAYLOADS.keys() == ACTIONS.keys() == {name for name, _ in EXAMPLES}


def test_what_is_asked_for_is_what_the_contract_has_and_nothing_is_in_it_for_nobody():
    asked = {X.account_path and f"GET {X.account_path}"}
    for name, payload in EXAMPLES:
        for account in (ACCOUNT, "import:alice"):
            asked |= {operation.name for operation in asked_by(name, payload, account).operations}
    assert asked == {operation.name for operation in OPERATIONS}


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_needs_the_scopes_of_what_it_asks_for_and_no_others(name):
    needed: frozenset[str] = frozenset()
    for each, payload in EXAMPLES:
        if each == name:
            needed = needed.union(*(operation.scopes for operation in asked_by(name, payload).operations))
    assert ACTIONS[name].scopes == needed


def test_what_x_is_asked_for_by_default_lets_it_post_and_no_more():
    """Who wants to like says so: begin_connect(scopes=...)."""
    assert set(X.default_scopes) == BUILT_IN["x.post"].scopes == BUILT_IN["x.thread"].scopes
    assert not BUILT_IN["x.like"].scopes <= {*X.default_scopes, *X.base_scopes}


@pytest.mark.parametrize("name", ACTIONS)
@settings(max_examples=50)
@given(data=st.data())
def test_however_odd_the_payload_is_the_request_is_as_the_contract_wants_it(name, data):
    asked_by(name, data.draw(PAYLOADS[name]))


# --- planted mistakes ---


class WrongField(Post):
    def perform(self, http: Any, payload: Any, job_id: str) -> Result:
        http.request("POST", "/2/tweets", json={"text": payload.text, "quoted_tweet_id": "1"})
        return Result("1")


class WrongPath(Like):
    where: ClassVar[str] = "favorites"


class WrongMethod(Post):
    def perform(self, http: Any, payload: Any, job_id: str) -> Result:
        http.request("PUT", "/2/tweets", json={"text": payload.text})
        return Result("1")


class WrongId(Like):
    def perform(self, http: Any, payload: Any, job_id: str) -> Result:
        http.request("POST", "/2/users/@alice/likes", json={"tweet_id": payload.post_id})
        return Result("1")


class WrongQuery(Post):
    def find(self, http: Any, payload: Any, job_id: str, search: Search) -> list[str]:
        http.request("GET", f"/2/users/{ACCOUNT}/tweets", query={"max_results": "101", "tweet.fields": "text"})
        return []


class Bodiless(Like):
    def perform(self, http: Any, payload: Any, job_id: str) -> Result:
        http.request("POST", f"/2/users/{ACCOUNT}/likes")
        return Result("1")


PLANTED = [
    (WrongField(), {"text": "hi"}, "POST /2/tweets is not POST /2/tweets as the contract has it: $: Additional properties are not allowed ('quoted_tweet_id' was unexpected)"),
    (WrongPath(), {"post_id": "1"}, f"POST /2/users/{ACCOUNT}/favorites is no operation of the contract; known: GET /2/users/me; "),
    (WrongMethod(), {"text": "hi"}, "PUT /2/tweets is no operation of the contract"),
    (WrongId(), {"post_id": "1"}, "in its path, id: $: '@alice' does not match '^[0-9]{1,19}$'"),
    (WrongQuery(), {"text": "hi"}, "in its query, max_results: $: 101 is greater than the maximum of 100; in its query, 'tweet.fields' is unknown"),
    (Bodiless(), {"post_id": "1"}, "$: None is not of type 'object'"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "payload", "words"), PLANTED)
def test_a_planted_mistake_is_told(action, payload, words):
    with pytest.raises(NotInContract) as caught:
        exercise(action, action.parse(payload), recorded(), SEARCH)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content_type", "segment", "words"),
    [
        ("application/octet-stream", 0, "its body is application/octet-stream, and not multipart/form-data"),
        (None, 1000, "$.segment_index: 1000 is greater than the maximum of 999"),
    ],
)
def test_a_planted_mistake_in_a_form_is_told(content_type, segment, words):
    content, made = form(segment, b"\0")
    request = Request("POST", "/2/media/upload/1/append", content=content, content_type=content_type or made)
    with pytest.raises(NotInContract, match=re.escape(words)):
        operation_of(request, OPERATIONS)


def test_a_body_where_none_is_taken_is_told():
    with pytest.raises(NotInContract, match="it has a body, and takes none"):
        operation_of(Request("DELETE", "/2/tweets/1", json={}), OPERATIONS)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"reply": {"in_reply_to_tweet_id": "1"}},
        {"text": "hi", "quote_tweet_id": "1", "media": {"media_ids": ["1"]}},
        {"text": "hi", "poll": {"options": ["a"], "duration_minutes": 60}},
        {"text": "hi", "poll": {"options": ["a", "b" * 26], "duration_minutes": 60}},
        {"text": "hi", "reply": {"exclude_reply_user_ids": []}},
    ],
)
def test_the_schema_of_a_post_refuses_what_x_does(body):
    assert violations(body, POST) != []


# --- two schemas ---

TEXT = {"type": "string"}
THEIRS = {
    "type": "object",
    "required": ["a"],
    "properties": {
        "a": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "x"},
        "b": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "integer", "minimum": 1, "maximum": 9}},
        "c": {"type": "string", "enum": ["p", "q"]},
        "d": {"type": "object", "properties": {"e": TEXT}, "additionalProperties": False},
    },
    "additionalProperties": False,
}


def with_(place: str, **changed: Any) -> dict[str, Any]:
    """Theirs, with another word in one place; None: without it."""

    def change(schema: dict[str, Any], path: list[str]) -> dict[str, Any]:
        if not path:
            return {word: value for word, value in (schema | changed).items() if value is not None}
        if path[0] == "items":
            return schema | {"items": change(schema["items"], path[1:])}
        properties = schema["properties"]
        return schema | {"properties": properties | {path[0]: change(properties[path[0]], path[1:])}}

    return change(THEIRS, place.split(".") if place else [])


@pytest.mark.parametrize(
    "ours",
    [
        THEIRS,
        with_("a", minLength=3, maxLength=4),
        with_("b", minItems=2, maxItems=2),
        with_("b.items", minimum=2, maximum=3),
        with_("c", enum=["q"]),
        with_("", required=["a", "b"]),
        with_("", properties={"a": THEIRS["properties"]["a"]}),
    ],
)
def test_a_tighter_schema_agrees(ours):
    assert list(looser(ours, THEIRS)) == []


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        (with_("a", minLength=1), "$.a: minLength is 2, and ours is 1"),
        (with_("a", minLength=None), "$.a: minLength is 2, and ours is None"),
        (with_("a", maxLength=6), "$.a: maxLength is 5, and ours is 6"),
        (with_("a", pattern="y"), "$.a: pattern is 'x', and ours is 'y'"),
        (with_("a", type="integer"), "$.a: type is 'string', and ours is 'integer'"),
        (with_("b", maxItems=None), "$.b: maxItems is 3, and ours is None"),
        (with_("b.items", maximum=10), "$.b[]: maximum is 9, and ours is 10"),
        (with_("c", enum=["q", "r"]), "$.c: one of ['p', 'q'], and ours is of ['q', 'r']"),
        (with_("c", enum=None), "$.c: one of ['p', 'q'], and ours is of None"),
        (with_("", required=[]), "$: a must be there, and need not in ours"),
        (with_("", additionalProperties=None), "$: takes no other fields, and ours does"),
        (with_("d", additionalProperties=None), "$.d: takes no other fields, and ours does"),
        (with_("d", properties={"f": TEXT}), "$.d.f: there is no such field"),
    ],
)
def test_a_looser_schema_is_told(ours, words):
    assert words in list(looser(ours, THEIRS))


# --- the sandbox ---


#: What the sandbox has no cause to say there.
NOT_READ = {"errors[].type", "meta.next_token", "data.processing_info.check_after_secs"}


def test_the_sandbox_takes_what_the_contract_has_and_answers_what_is_read():
    sandbox = ThroughSandbox("alice")
    sandbox.do_everything()
    assert {operation.name for operation in sandbox.operations} == {operation.name for operation in OPERATIONS}
    read = set()
    for request, operation, body in sandbox.answers:
        for path, kind in operation.reads.items():
            for value in values_at(body, path):
                assert isinstance(value, TYPES[kind]), f"{request}: {path}"
                read.add(path)
    assert read == {path for operation in OPERATIONS for path in operation.reads} - NOT_READ


def test_what_is_recorded_comes_back_as_from_the_wire():
    http = recorded()
    assert http.request("GET", "/2/users/me")["data"]["id"] == ACCOUNT
    assert type(http.request("GET", "/2/users/me")) is type(Reply(200, {}, b"{}").json())
