"""Our small schema of X's API, our requests and our reading of answers, against X's published document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from actas.actions import BUILT_IN, Refused
from actas.clock import utc_now
from actas.errors import ActasError, ProviderUnavailable
from actas.http import NoReply, Reply
from actas.providers import BUILT_IN as PROVIDERS
from tests.contract.document import Document
from tests.contract.recording import Recording, exercise
from tests.contract.schema import NotInContract, Operation, Request, looser
from tests.contract.through_sandbox import ThroughSandbox
from tests.contract.x_answers import ACCOUNT, ANSWERS, SEARCH, answer
from tests.contract.x_payloads import EXAMPLES, PAYLOADS
from tests.contract.x_schema import OPERATIONS
from worker.errors import OutOfCredits, RateLimited, UsageCapped
from worker.provider_api import ProviderApi

pytestmark = pytest.mark.filterwarnings("ignore:Unsupported scheme type")  # OAuth 1.0a, which is not ours

X = PROVIDERS["x"]
ACTIONS = {name: action for name, action in BUILT_IN.items() if action.provider == "x"}
by_name = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


def recorded(account: str = ACCOUNT, answering: Any = answer) -> Recording:
    return Recording(OPERATIONS, answering, account=account)


# --- our schema is the document's, as far as it goes ---


@by_name
def test_an_operation_is_there_with_its_parameters_scopes_and_status(document, operation):
    there = document.operation(operation)
    assert there is not None, f"the document has no {operation.name}"
    assert set(document.parameters(operation, "path")) == set(operation.parameters)
    scopes = [set(each["OAuth2UserToken"]) for each in there["security"] if "OAuth2UserToken" in each]
    assert scopes == [set(operation.scopes)]
    assert [status for status in there["responses"] if status.startswith("2")] == [str(operation.status)]


@by_name
def test_an_operations_parameters_are_at_least_as_tight(document, operation):
    for kind, ours in (("path", operation.parameters), ("query", operation.query)):
        theirs = document.parameters(operation, kind)
        assert set(ours) <= set(theirs), f"{operation.name}: the document has no such parameters"
        for name, schema in ours.items():
            assert list(looser(schema, theirs[name], document.resolve, f"{kind} {name}")) == []


@by_name
def test_an_operations_body_is_at_least_as_tight(document, operation):
    theirs = (document.operation(operation) or {}).get("requestBody")
    assert (theirs is None) == (operation.body is None)
    if theirs is not None:
        assert list(looser(operation.body, theirs["content"][operation.content_type]["schema"], document.resolve)) == []
        assert theirs["required"]


@by_name
def test_what_is_read_of_an_answer_is_there_and_of_its_type(document, operation):
    for path, kind in operation.reads.items():
        schema: Mapping[str, Any] = document.answer(operation)
        for part in path.split("."):
            schema = document.resolve(schema)
            if "oneOf" in schema:  # problems: each has what we read of them
                assert all(part in document.resolve(each)["properties"] for each in schema["oneOf"]), path
                schema = document.resolve(schema["oneOf"][0])
            assert part.removesuffix("[]") in schema["properties"], f"{operation.name} answers no {path}"
            schema = document.resolve(schema["properties"][part.removesuffix("[]")])
            schema = document.resolve(schema["items"]) if part.endswith("[]") else schema
        kinds = {each["type"] for each in schema.get("oneOf", [schema])}
        assert kinds == {kind}, f"{operation.name}: {path}"


def test_a_mistake_in_our_schema_is_told(document):
    for wrong, words in (
        ({"quoted_tweet_id": {"type": "string"}}, "$.quoted_tweet_id: there is no such field"),
        ({"quote_tweet_id": {"type": "string"}}, "$.quote_tweet_id: pattern is '^[0-9]{1,19}$', and ours is None"),
    ):
        ours = {"type": "object", "additionalProperties": False, "properties": wrong}
        assert list(looser(ours, {"$ref": "#/components/schemas/CreatePostsRequest"}, document.resolve)) == [words]
    assert document.operation(Operation("POST", "/2/posts", frozenset(), 201)) is None


def test_tokens_come_from_where_the_document_says(document):
    flow = document.whole["components"]["securitySchemes"]["OAuth2UserToken"]["flows"]["authorizationCode"]
    assert flow["tokenUrl"] == X.token_url
    assert [server["url"] for server in document.whole["servers"]] == [X.api_url]
    wanted = {*X.base_scopes, *(X.default_scopes or ())}.union(*(action.scopes for action in ACTIONS.values()))
    assert wanted <= set(flow["scopes"])


# --- our requests are the document's ---


def test_every_operation_that_is_asked_for_is_in_the_schema_and_was_validated(document):
    """All of X's document that we use, and nothing in our schema that nobody asks for."""
    validated = set()
    whose = Request("GET", X.account_path)
    document.check_request(whose, OPERATIONS[0])
    asked = {OPERATIONS[0].name}
    for name, payload in EXAMPLES:
        for account in (ACCOUNT, "import:alice"):
            http = recorded(account)
            exercise(ACTIONS[name], ACTIONS[name].parse(payload), http, SEARCH)
            for request, operation in zip(http.requests, http.operations, strict=True):
                document.check_request(request, operation)
                validated.add(operation.name)
                asked.add(operation.name)
    assert {name for name, _ in EXAMPLES} == set(ACTIONS) == set(PAYLOADS)
    assert asked == validated | {OPERATIONS[0].name} == {operation.name for operation in OPERATIONS}


@pytest.mark.parametrize("name", ACTIONS)
@settings(max_examples=50)
@given(data=st.data())
def test_however_odd_the_payload_is_the_document_takes_the_request(document, name, data):
    http = recorded()
    exercise(ACTIONS[name], ACTIONS[name].parse(data.draw(PAYLOADS[name])), http, SEARCH)
    assert http.requests
    for request, operation in zip(http.requests, http.operations, strict=True):
        document.check_request(request, operation)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("POST", "/2/tweets", json={"text": "hi", "quoted_tweet_id": "1"}), "'quoted_tweet_id' was unexpected"),
        (Request("POST", "/2/tweets", json={"text": "hi", "quote_tweet_id": "x"}), "'x' does not match"),
        (Request("POST", "/2/posts", json={"text": "hi"}), "Path not found"),
        (Request("PUT", "/2/tweets", json={"text": "hi"}), "Operation put not found"),
        (Request("DELETE", "/2/tweets/x"), "'x' does not match"),
        (Request("POST", "/2/users/1/likes"), "required"),
        (Request("GET", "/2/users/1/tweets", {"max_results": "101"}), "101 is greater than the maximum of 100"),
        (Request("GET", "/2/users/1/tweets", {"tweet.fields": "text"}), "the document knows no tweet.fields"),
        (Request("GET", "/2/users/1/tweets", {"post.fields": "texts"}), "'texts' is not one of"),
    ],
)
def test_a_planted_mistake_is_told(document, request_, words):
    timeline = next(operation for operation in OPERATIONS if operation.name == "GET /2/users/{id}/tweets")
    with pytest.raises(NotInContract) as caught:
        document.check_request(request_, timeline)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(request_))


# --- answers ---


#: What a document's example has to say for our code to be content: an id for "text", and one page of a timeline.
SAYS: dict[str, dict[str, Any]] = {
    "GET /2/users/me": {"id": ACCOUNT},
    "GET /2/tweets/{id}": {"id": "1"},
    "POST /2/media/upload/initialize": {"id": "1"},
    "GET /2/media/upload": {"processing_info": {"state": "succeeded"}},
}


def example(document: Document, operation: Operation, *, whole: bool) -> Any:
    """An answer as the document has it; of what its schema calls "text", what it calls so elsewhere."""
    fields = document.answer(operation)["properties"]
    if operation.name != "GET /2/users/{id}/tweets":
        return {"data": document.example(fields["data"], whole=whole) | SAYS.get(operation.name, {})}
    post = document.example(fields["data"]["items"], whole=whole) | {"id": "1", "text": "hi", "created_at": CREATED_AT}
    page = document.example(document.answer(operation), whole=True)
    return page | {"data": [post], "meta": {"result_count": 1}}


CREATED_AT = "2026-11-26T12:00:10.000Z"


@by_name
@pytest.mark.parametrize("whole", [True, False])
def test_what_the_document_has_for_an_answer_is_understood(document, operation, whole):
    """Of each operation, an answer with all that there is in the document, and one with what must be there only."""
    made, answered = example(document, operation, whole=whole), []
    document.check_answer(_one(operation), operation.status, made)

    def answering(request: Request, asked: Operation) -> Any:
        answered.append(asked)
        return made if asked is operation else answer(request, asked)

    for name, payload in EXAMPLES:
        exercise(ACTIONS[name], ACTIONS[name].parse(payload), recorded("import:alice", answering), SEARCH)
    assert operation in answered


def _one(operation: Operation) -> Request:
    """A request for an operation, as far as its answer is concerned."""
    return Request(operation.method, operation.path.replace("{id}", "1"))


@by_name
def test_our_examples_of_answers_are_the_documents(document, operation):
    request = _one(operation)
    document.check_answer(request, operation.status, answer(request, operation))
    with pytest.raises(NotInContract, match="is not of type"):
        document.check_answer(request, operation.status, {"data": "1", "errors": 1})


def test_the_sandbox_answers_as_the_document_says(document):
    sandbox = ThroughSandbox("alice")
    sandbox.do_everything()
    for request, operation, body in sandbox.answers:
        document.check_request(request, operation)
        document.check_answer(request, operation.status, body)
    assert {operation.name for operation in sandbox.operations} == {operation.name for operation in OPERATIONS}


class Answering:
    """X with one answer for everything but whose account it is, as a worker shows it to an action."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        self.reply = Reply(status, headers or {}, json.dumps(body).encode())
        self.api = ProviderApi(self, X, SecretStr("t"), 1, utc_now, account=ACCOUNT)

    def send(self, *_: Any, **__: Any) -> Reply:
        return self.reply


def outcome(name: str, there: Answering) -> object:
    action = ACTIONS[name]
    payload = next(payload for each, payload in EXAMPLES if each == name)
    try:
        return action.perform(there.api, action.parse(payload), "job").reference
    except ActasError as error:
        return error.refusal if isinstance(error, Refused) else type(error)


@pytest.mark.parametrize("name", ACTIONS)
def test_each_problem_of_the_document_is_told_apart(document, name):
    """As a refusal, whatever its status; and beside a 200, as X has it for what there is not."""
    problems = {problem["type"].rpartition("/")[2]: problem for problem in document.problems()}
    assert {"resource-not-found", "not-authorized-for-resource", "invalid-request", "internal-error"} <= set(problems)
    gone = "deleted:1" if name == "x.delete_post" else "not_found"
    for kind, problem in problems.items():
        assert outcome(name, Answering(404, problem)) == (gone if kind == "resource-not-found" else "http_404")
        assert outcome(name, Answering(403, problem)) == "http_403"
        assert outcome(name, Answering(500, problem)) is NoReply
        beside = outcome(name, Answering(200, {"errors": [problem]}))
        if name in {"x.post", "x.thread", "x.upload_media"}:
            assert beside is NoReply, "it may be there, whatever the problem is"
        else:
            assert beside == {
                "resource-not-found": gone,
                "not-authorized-for-resource": "not_authorized",
                "resource-unavailable": "unavailable",
            }.get(kind, "problem")
    error = document.example({"$ref": "#/components/schemas/Error"}, whole=True)
    assert outcome(name, Answering(400, error)) == "http_400"


#: As users of X have seen it: ../shared/design/2-facts.md, section 9.
DUPLICATE = {
    "detail": "You are not allowed to create a Tweet with duplicate content.",
    "type": "about:blank",
    "title": "Forbidden",
    "status": 403,
}
TOO_MANY = {"title": "Too Many Requests", "detail": "Too Many Requests", "type": "about:blank", "status": 429}
EXHAUSTED = {"x-rate-limit-limit": "100", "x-rate-limit-remaining": "0", "x-rate-limit-reset": "4102444800"}
LEFT = EXHAUSTED | {"x-rate-limit-remaining": "99"}
CAPPED = TOO_MANY | {"title": "UsageCapExceeded", "type": "https://api.twitter.com/2/problems/usage-capped"}
CREDITS = {
    "title": "CreditsDepleted",
    "detail": "no credits",
    "type": "https://api.x.com/2/problems/credits",
    "status": 402,
}
AWAY = {"title": "Service Unavailable", "detail": "Service Unavailable", "type": "about:blank", "status": 503}


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (403, DUPLICATE, {}, "duplicate"),
        (429, TOO_MANY, EXHAUSTED, RateLimited),
        (429, TOO_MANY, LEFT | {"x-app-limit-24hour-remaining": "0", "x-app-limit-24hour-reset": "4102444800"}, RateLimited),
        (429, CAPPED, LEFT, UsageCapped),
        (429, CAPPED | {"type": "https://api.x.com/2/problems/usage-capped"}, LEFT, UsageCapped),
        (402, CREDITS, {}, OutOfCredits),
        (503, AWAY, {}, ProviderUnavailable),
    ],
)  # fmt: skip
def test_what_users_of_x_have_seen_is_understood(name, status, body, headers, expected):
    assert outcome(name, Answering(status, body, headers)) == expected


def test_every_answer_here_is_to_something_that_is_asked_for():
    assert {*ANSWERS, "GET /2/users/{id}/tweets"} == {operation.name for operation in OPERATIONS}


def test_the_document_is_the_one_that_the_schema_was_written_from(document):
    assert document.whole["info"]["version"] == "2.167"
    assert isinstance(document, Document)
