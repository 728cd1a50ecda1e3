"""http.request: any request to a provider's own API, and to nothing else."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from actas import Client, Settings
from actas.actions import ANY_PROVIDER, BUILT_IN, Refused, Result
from actas.actions.base import Answer
from actas.actions.http_request import HEADERS, IDEMPOTENT, reference_of
from actas.errors import InvalidPayload, ProviderUnavailable, UnknownProvider
from actas.http import MAX_REPLY_BYTES, Http, NoReply
from actas.providers import BUILT_IN as PROVIDERS
from tests.unit.peer import http_reply
from tests.unit.recorded import NOW, TOKEN, api, reply
from tests.unit.refusing import check_refused
from tests.unit.test_provider_api import FOREIGN
from worker.provider_api import ProviderApi

REQUEST = BUILT_IN["http.request"]
ME = {"provider": "x", "method": "GET", "url": "/2/users/me"}
POST = ME | {"method": "POST", "url": "/2/tweets", "json": {"text": "hi"}}


def ask(payload, *answers):
    http, sent = api(payload["provider"], *answers)
    return REQUEST.perform(http, REQUEST.parse(payload), "job"), sent


def test_a_request_is_sent_as_it_was_asked_for():
    result, sent = ask(
        POST | {"query": {"a": "b c", "d": ""}, "headers": {"If-Match": '"7"', "Idempotency-Key": "k"}}, reply(201, {})
    )
    (request,) = sent
    assert (request.method, request.path, request.json) == ("POST", "/2/tweets", {"text": "hi"})
    assert request.query == {"a": "b c", "d": ""}
    assert (request.headers["if-match"], request.headers["idempotency-key"]) == ('"7"', "k")
    assert (request.headers["content-type"], request.headers["authorization"]) == (
        "application/json",
        f"Bearer {TOKEN}",
    )
    assert result == Result("HTTP 201")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_can_be_asked_for(method):
    _, sent = ask(ME | {"method": method}, reply(204))
    assert [(request.method, request.json) for request in sent] == [(method, None)]


@pytest.mark.parametrize("body", [{"a": 1}, [1], "text", 1, 1.5, False, "", [], {}])
def test_any_json_can_be_sent(body):
    _, sent = ask(POST | {"json": body}, reply(200, {}))
    assert sent[0].json == body


def test_json_of_another_name_is_sent_by_its_name():
    _, sent = ask(POST | {"headers": {"content-type": "application/merge-patch+json; charset=utf-8"}}, reply(200, {}))
    assert sent[0].headers["content-type"] == "application/merge-patch+json; charset=utf-8"


def test_another_of_the_providers_hosts_can_be_named():
    url = "https://gmail.googleapis.com/gmail/v1/users/me/profile"
    _, sent = ask({"provider": "google", "method": "GET", "url": url}, reply(200, {}))
    assert sent[0].url == url


@pytest.mark.parametrize("url", FOREIGN)
def test_no_payload_takes_the_token_anywhere_else(url):
    """Refused when it is scheduled, or when it is run; and nothing is sent."""
    for method in ("GET", "POST"):
        http, sent = api("x", reply(200, {}))
        with pytest.raises((InvalidPayload, Refused)) as caught:
            REQUEST.perform(http, REQUEST.parse({"provider": "x", "method": method, "url": url}), "job")
        assert "evil" not in str(caught.value)
        assert sent == []


def test_what_can_be_seen_at_once_is_refused_at_once():
    early = 0
    for url in FOREIGN:
        try:
            REQUEST.parse(ME | {"url": url})
        except InvalidPayload:
            early += 1
    assert early > len(FOREIGN) // 2


@pytest.mark.parametrize("name", ["Authorization", "authorization", "Cookie", "Host", "HOST", "Content-Length", "Transfer-Encoding", "TE",
     "Connection", "Keep-Alive", "Upgrade", "Expect", "Trailer", "Proxy-Authorization", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host",
     "X-HTTP-Method-Override", "X-Original-URL", "Via", "Origin", "Referer", "User-Agent", "Set-Cookie", "", " Accept", "Accept ", "Accept:",
     "Acc\nept", "Accept\r\nHost"])  # fmt: skip
def test_no_header_says_who_asks_whom_and_by_which_way(name):
    check_refused(
        REQUEST.name, ME | {"headers": {name: "canary"}}, "headers: Value error, may have accept, accept-language"
    )


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_a_header_of_the_list_is_sent_in_whatever_case(name):
    value = "application/json" if name == "content-type" else "x"
    _, sent = ask(POST | {"headers": {name.title(): value}}, reply(200, {}))
    assert sent[0].headers[name] == value


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"provider": "../canary"}, "provider: Value error, must be the name of a provider"),
        ({"provider": "webhook"}, "provider: "),
        ({"provider": None}, "provider: "),
        ({"method": "CONNECT"}, "method: Input should be 'GET'"),
        ({"method": "TRACE"}, "method: "),
        ({"method": "get"}, "method: "),
        ({"method": "GET /canary HTTP/1.1\r\n\r\n"}, "method: "),
        ({"url": ""}, "url: String should have at least 1 character"),
        ({"url": "canary"}, "url: Value error, must be a path on the provider's API, such as /2/users/me"),
        ({"url": "//canary"}, "url: Value error, must be a path"),
        ({"url": "ftp://canary"}, "url: Value error, must be a path"),
        ({"url": "/canary canary"}, "url: Value error, must be ASCII without spaces"),
        ({"url": "/canary#x"}, "fragments"),
        ({"url": "https://canary@api.x.com/"}, "url: Value error, must not have credentials in it"),
        ({"url": "https://api.x.com:canary/"}, "url: Value error, must be an address that can be read"),
        ({"url": "/" + "c" * 2000}, "url: String should have at most 2000 characters"),
        ({"query": {f"{n}": "x" for n in range(51)}}, "query: Dictionary should have at most 50 items"),
        ({"query": {"a": 1}}, "query.a: "),
        ({"json": {"canary": 1}}, "a GET has no json"),
        ({"method": "HEAD", "json": {}}, "a HEAD has no json"),
        ({"headers": {"accept": "canary\n"}}, "headers: Value error, must have values of printable ASCII"),
        ({"headers": {"accept": "canaré"}}, "headers: "),
        ({"headers": {"accept": "c" * 1001}}, "headers.accept: "),
        ({"headers": {"accept": "x", "Accept": "canary"}}, "headers: Value error, must have each name once"),
        ({"headers": {"content-type": "text/canary"}}, "headers: Value error, must have a Content-Type that is JSON"),
        ({"headers": {"content-type": "application/x-www-form-urlencoded; x=json"}}, "must have a Content-Type that is JSON"),
        ({"idempotent": "perhaps"}, "idempotent: "),
        ({"reference": ""}, "reference: "),
        ({"reference": "canary..id"}, "reference: "),
        ({"reference": "$.canary[*]"}, "reference: "),
        ({"content": "canary"}, "content: Extra inputs are not permitted"),
        ({"json_": "canary"}, "json_: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_early(changed, words):
    check_refused(REQUEST.name, ME | changed, words)


@pytest.mark.parametrize(
    ("method", "says", "idempotent"),
    [
        *((method, None, method in IDEMPOTENT) for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH")),
        ("POST", True, True),
        ("GET", False, False),
    ],
)  # fmt: skip
def test_it_is_repeated_where_http_says_that_one_may_or_the_app_does(method, says, idempotent):
    """RFC 9110 section 9.2.2."""
    payload = REQUEST.parse(ME | {"method": method, "idempotent": says})
    assert REQUEST.is_idempotent(payload) is idempotent
    assert REQUEST.is_idempotent(REQUEST.parse(ME | {"method": method})) is (method not in {"POST", "PATCH"})


def test_it_is_an_action_of_whatever_provider_it_names():
    assert (REQUEST.provider, REQUEST.provider_of(REQUEST.parse(ME))) == (ANY_PROVIDER, "x")
    assert REQUEST.provider_of(REQUEST.parse(ME | {"provider": "my-own_1"})) == "my-own_1"
    assert REQUEST.scopes == frozenset()


def test_whether_there_is_such_a_provider_is_known_before_anything_is_asked():
    """Nothing listens at these addresses: the error comes before MongoDB, Vault and Redis are needed."""
    nowhere = {
        "mongodb_url": "mongodb://127.0.0.1:9",
        "redis_url": "redis://127.0.0.1:9",
        "vault_addr": "http://127.0.0.1:9",
    }
    settings = Settings(app="demo", **nowhere, vault_role_id="r", vault_secret_id="s")
    with Client(settings) as client, pytest.raises(UnknownProvider, match="no provider 'nobody'; known: github, "):
        client.schedule("http.request", user="alice", payload=ME | {"provider": "nobody"})


# --- what it says of what was made ---


@pytest.mark.parametrize(
    ("body", "path", "reference"),
    [
        ({"data": {"id": "7"}}, "data.id", "7"),
        ({"data": {"id": 7}}, "data.id", "7"),
        ({"items": [{"id": "a"}, {"id": "b"}]}, "items.1.id", "b"),
        ([{"id": "a"}], "0.id", "a"),
        ({"id": "urn:li:share:7"}, "id", "urn:li:share:7"),
        ({"id": "AAMkAD-_=="}, "id", "AAMkAD-_=="),
        # what is no id, or not there
        ({"id": "canary text"}, "id", "HTTP 200"),
        ({"id": "canary\ntext"}, "id", "HTTP 200"),
        ({"id": "c" * 201}, "id", "HTTP 200"),
        ({"id": ""}, "id", "HTTP 200"),
        ({"id": True}, "id", "HTTP 200"),
        ({"id": 1.5}, "id", "HTTP 200"),
        ({"id": None}, "id", "HTTP 200"),
        ({"id": {"canary": 1}}, "id", "HTTP 200"),
        ({"id": ["canary"]}, "id", "HTTP 200"),
        ({"items": []}, "items.0.id", "HTTP 200"),
        ({"items": ["a"]}, "items.x", "HTTP 200"),
        ({"id": "a"}, "id.id", "HTTP 200"),
        ([], "id", "HTTP 200"),
        (None, "id", "HTTP 200"),
        ({"id": "canary"}, None, "HTTP 200"),
    ],
)
def test_the_reference_is_the_id_that_the_reply_names_and_never_content(body, path, reference):
    payload = POST | ({"reference": path} if path else {})
    assert ask(payload, reply(200, body))[0] == Result(reference)


@pytest.mark.parametrize(
    ("location", "reference"),
    [
        ("https://api.x.com/2/things/7", "https://api.x.com/2/things/7"),
        ("/2/things/7", "/2/things/7"),
        # a key to an upload is nothing to keep
        ("https://api.x.com/upload/7?key=canary#canary", "https://api.x.com/upload/7"),
        ("canary text", "HTTP 201"),
        ("https://a.example/" + "c" * 200, "HTTP 201"),
        ("", "HTTP 201"),
    ],
)
def test_without_an_id_it_is_where_the_reply_says_that_it_is(location, reference):
    assert ask(POST | {"reference": "id"}, reply(201, {}, {"Location": location}))[0] == Result(reference)
    assert ask(POST, reply(201, b"", {"location": location}))[0] == Result(reference)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "data", "0"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(json_values, st.sampled_from(["id", "data.id", "0.id", "0.0", "data.0.id"]), st.text(max_size=250))
def test_whatever_a_reply_holds_its_reference_is_short_and_plain(body, path, location):
    reference = reference_of(Answer(200, {"location": location}, body), path)
    assert reference == "HTTP 200" or (0 < len(reference) <= 200 and reference.isascii() and " " not in reference)


# --- its bounds, on real sockets ---


def real(peer, payload, *, seconds=5.0):
    http = Http()
    provider = PROVIDERS["x"].model_copy(update={"api_url": peer.url})
    try:
        whole = ProviderApi(http, provider, SecretStr(TOKEN), seconds, lambda: NOW)
        return REQUEST.perform(whole, REQUEST.parse(payload), "job")
    finally:
        http.close()


def test_a_reply_may_be_as_large_as_replies_may_be(peer):
    body = json.dumps({"id": "7", "x": "y" * (MAX_REPLY_BYTES - 30)}).encode()
    assert len(body) <= MAX_REPLY_BYTES
    assert real(peer(200, body), POST | {"reference": "id"}) == Result("7")


def test_a_larger_reply_is_of_unknown_outcome(peer):
    with pytest.raises(NoReply):
        real(peer(200, b"x" * (MAX_REPLY_BYTES + 1)), POST)


def test_a_reply_that_drips_has_its_time(peer):
    def drip(connection):
        connection.sendall(http_reply(200, b"x" * 1000)[:-1000])
        while connection.send(b"x"):
            time.sleep(0.05)

    began = time.monotonic()
    with pytest.raises(NoReply):
        real(peer(drip), POST, seconds=0.5)
    assert time.monotonic() - began < 10


def test_whole_the_request_on_the_wire_is_what_was_asked_for(peer):
    there = peer(200, b'{"id": "7"}')
    payload = POST | {"query": {"q": "é"}, "headers": {"Prefer": "return=minimal"}, "reference": "id"}
    assert real(there, payload) == Result("7")
    (request,) = there.requests
    assert request.startswith(b"POST /2/tweets?q=%C3%A9 HTTP/1.1\r\n")
    assert json.loads(there.body) == {"text": "hi"}
    assert (there.headers["prefer"], there.headers["authorization"]) == ("return=minimal", f"Bearer {TOKEN}")


@pytest.mark.parametrize(
    ("method", "error"),
    [("GET", ProviderUnavailable), ("HEAD", ProviderUnavailable), ("PUT", NoReply), ("DELETE", NoReply)],
)
def test_only_what_asks_for_something_to_be_done_can_be_of_unknown_outcome(method, error):
    for answer in (reply(500, {}), NoReply()):
        with pytest.raises(error):
            ask(ME | {"method": method}, answer)
