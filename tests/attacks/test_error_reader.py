"""Errors, taken apart. The attacker reads whatever an error leaves behind: logs, error reporters, consoles, Flower.

Has the text, ``repr``, arguments, attributes and pickle of each exception, its attributes as JSON, tracebacks with the
local variables of every frame, printed and walked through, and what stands behind an exception (``__cause__``,
``__context__``), also where ``from None`` asks not to show it. What is tried: to make each door fail in every way that
its other side can make it fail, an echo of the token included, and to find a token, a client secret, a data key or a
password in any of that. What a caller hands over in clear itself (``tokens=``, ``callback_url``) is not looked for in
the frames that have it from the caller.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretBytes, SecretStr

from actas import Client, Settings
from actas.clock import utc_now
from actas.errors import ActasError
from actas.http import Http, _Stream
from actas.oauth import TokenEndpoint
from actas.providers import BUILT_IN
from actas.redis_client import redis_client
from actas.settings import ClientCredentials
from actas.stores.database import connect as open_database
from actas.stores.grants import Grants
from actas.stores.installing import MongoInstaller
from actas.unshown import Unprinted, Unshown
from actas.vault.room import VaultRoom
from tests.attacks.faces import OURS, chain, shown
from tests.support import REDIRECT, settings_from
from tests.unit.peer import Peer, http_reply
from worker.provider_api import ProviderApi

#: With everything in it that RFC 6749 allows a token to have.
REFRESH, ACCESS = (f"{kind}+/=~ <&>'\"%\\{'0Aa9' * 8}" for kind in ("canary-refresh", "canary-access"))
#: Of letters and digits, as most are: it could pass for a word.
PLAIN = "canary7secret" * 4
CANARIES = (REFRESH, ACCESS, PLAIN)

TOKENS = {"access_token": ACCESS, "refresh_token": REFRESH}

#: How a provider, or what answers in its place, can make a request fail; among them with what it was sent.
ANSWERS: dict[str, dict[str, Any]] = {
    "a page of HTML": {"how": "malformed"},
    "a page of HTML with the token": {"body": f"<html>unknown token {REFRESH} {PLAIN}</html>"},
    "nothing": {"how": "empty"},
    "no answer": {"how": "drop_before"},
    "no answer, done": {"how": "drop_after"},
    "JSON that breaks off": {"body": json.dumps(TOKENS)[:-9]},
    "more than anybody reads": {"body": REFRESH + "x" * 1_100_000},
    "a redirection": {"status": 307, "headers": {"Location": "http://127.0.0.1:9/elsewhere"}},
    "a redirection with the token": {"status": 302, "headers": {"Location": f"http://127.0.0.1:9/{PLAIN}"}},
    "a redirection to no address": {"status": 302, "headers": {"Location": f"http://[{PLAIN}"}},
    "an echo in the description": {"status": 400, "body": {"error": "invalid_request", "error_description": REFRESH}},
    "an echo as the error": {"status": 400, "body": {"error": PLAIN, "error_description": REFRESH}},
    "an echo within the error": {"status": 400, "body": {"error": f"unknown_token_{PLAIN}"}},
    "an echo of a dead one": {"status": 400, "body": {"error": "invalid_grant", "error_description": REFRESH}},
    "an echo to a client": {"status": 401, "body": {"error": "invalid_client", "error_description": PLAIN}},
    "an echo in place of the error": {"status": 400, "body": {"error": {"token": REFRESH}}},
    "an echo with a known refusal": {"status": 403, "body": {"detail": f"duplicate content: {PLAIN} {ACCESS}"}},
    "an echo in the headers": {"status": 429, "headers": {"Retry-After": PLAIN, "x-rate-limit-reset": PLAIN}},
    "an outage with the token": {"status": 500, "body": f"{REFRESH} {PLAIN}"},
    "an outage that nothing came of": {"status": 503, "body": TOKENS},
}

#: How a token endpoint can answer with tokens that are none.
BAD_TOKENS: dict[str, Any] = {
    "an access token that is no text": TOKENS | {"access_token": [ACCESS]},
    "an access token that cannot be": TOKENS | {"access_token": f"{ACCESS}\n"},
    "a refresh token that is no text": TOKENS | {"refresh_token": {"token": REFRESH}},
    "a refresh token that cannot be": TOKENS | {"refresh_token": f"{REFRESH}\0"},
    "no access token": {"refresh_token": REFRESH, "access_token": ""},
}
OF_TOKENS = ANSWERS | {name: {"body": json.dumps(tokens)} for name, tokens in BAD_TOKENS.items()}


@pytest.fixture
def misbehave(sandbox) -> Callable[[str, dict[str, Any]], None]:
    """Let an endpoint answer like this, to whoever asks next, and asks again."""

    def misbehave(endpoint: str, answer: dict[str, Any]) -> None:
        parts = {"how": "status", "status": 200} | answer
        if parts["how"] != "status":
            del parts["status"]
        sandbox.misbehave(endpoint, **parts)

    return misbehave


def failing(call: Callable[[], Any]) -> ActasError:
    with pytest.raises(ActasError) as caught:
        call()
    return caught.value


# --- the controls: what would be found ---


def test_a_secret_is_found_wherever_an_error_shows_it(tmp_path):
    """In its text, attributes, pickle, traceback, a log; and in the locals of a frame that passes for one of ours."""
    source = (
        "def fails(token):\n    error = ValueError(f'bad token {token}')\n    error.token = token\n    raise error\n"
    )
    names: dict[str, Any] = {}
    exec(compile(source, f"{OURS[0]}made_up.py", "exec"), names)
    with pytest.raises(ValueError) as caught:
        names["fails"](REFRESH)
    everywhere = {"text", "attributes", "pickle", "traceback", "log", "locals", "locals, walked through"}
    assert shown(caught.value, REFRESH) == everywhere


def test_a_secret_that_is_added_to_an_error_as_a_note_is_found():
    error = ValueError("harmless")
    error.add_note(f"while sending {PLAIN}")
    assert shown(error, PLAIN) == {"text", "attributes", "pickle", "traceback", "log"}


def test_a_secret_in_a_dict_that_only_does_not_print_it_is_found_by_walking_through_it():
    source = "def fails(quiet):\n    raise ValueError\n"
    names: dict[str, Any] = {}
    exec(compile(source, f"{OURS[0]}made_up.py", "exec"), names)
    with pytest.raises(ValueError) as caught:
        names["fails"]([Unprinted(token=PLAIN)])
    assert shown(caught.value, PLAIN) == {"locals, walked through"}
    with pytest.raises(ValueError) as caught:
        names["fails"]([Unshown({"token": PLAIN, "in it": {"token": PLAIN}})])
    assert shown(caught.value, PLAIN) == set()


def test_a_request_behind_a_librarys_error_is_found_although_from_none_hides_it():
    source = "import httpx\ndef fails(form, url):\n    try:\n        httpx.post(url, data=form)\n"
    source += "    except httpx.HTTPError:\n        raise RuntimeError('hidden') from None\n"
    names: dict[str, Any] = {}
    exec(compile(source, f"{OURS[0]}made_up.py", "exec"), names)
    form = {"token": PLAIN}
    with pytest.raises(RuntimeError) as caught:
        names["fails"](form, "http://127.0.0.1:9/")
    # httpx.ConnectError has its request, and its pickle, too
    assert shown(caught.value, PLAIN, given=form) == {"attributes", "pickle"}
    assert any(isinstance(one, httpx.HTTPError) for one in chain(caught.value))


def test_an_error_of_ours_lets_go_of_what_was_behind_it():
    def fails() -> None:
        try:
            raise KeyError(PLAIN)
        except KeyError:
            raise ActasError("ours") from None

    error = failing(fails)
    assert list(chain(error)) == [error]
    assert shown(error, PLAIN) == set()


def test_an_error_of_ours_keeps_what_was_behind_it_where_nobody_asked_to_hide_it():
    def fails() -> None:
        try:
            raise KeyError("harmless")
        except KeyError:
            raise ActasError("ours")  # noqa: B904 - on purpose

    assert [type(one) for one in chain(failing(fails))] == [ActasError, KeyError]


# --- an app's doors ---


@pytest.mark.parametrize(
    ("endpoint", "answer"), [*(("token", name) for name in OF_TOKENS), *(("me", name) for name in ANSWERS)]
)
def test_a_connection_that_fails_shows_nothing(client, sandbox, user, misbehave, endpoint, answer):
    request = client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT)
    callback = sandbox.authorize(request.url, user)
    misbehave(endpoint, OF_TOKENS[answer])
    error = failing(lambda: client.finish_connect(callback, user=user))
    ours = [token for token in sandbox.tokens() if token not in callback]  # the caller itself has the code
    assert shown(error, *CANARIES, *ours[:1], *ours[-3:], given=callback) == set()


@pytest.mark.parametrize("tokens", BAD_TOKENS)
def test_tokens_that_are_refused_are_not_shown(client, user, tokens):
    given = BAD_TOKENS[tokens] | {"scope": "tweet.write"}
    error = failing(lambda: client.store_grant(user=user, provider="x", account=user, tokens=given))
    assert shown(error, *CANARIES, given=given) == set()


# --- a worker's doors ---


@pytest.fixture
def grant(client, room, user) -> Any:
    """One whose next use needs an exchange."""
    tokens = TOKENS | {"scope": "tweet.read tweet.write users.read offline.access", "expires_in": 0}
    stored = client.store_grant(user=user, provider="x", account=user, tokens=tokens)
    return room.grants.get(stored.id)


@pytest.mark.parametrize("answer", OF_TOKENS)
def test_an_exchange_that_fails_shows_nothing(sandbox, room, grant, misbehave, answer):
    misbehave("token", OF_TOKENS[answer])
    error = failing(lambda: room.exchange.access_token(grant))
    secrets = [*CANARIES, sandbox.tokens()[0], room.keys.get(grant).get_secret_value()]
    assert shown(error, *secrets) == set()
    failure = room.grants.get(grant.id).failure  # and what of it is kept
    assert failure is not None
    assert "canary" not in f"{failure}"


@pytest.mark.parametrize(
    "answer", [name for name, how in ANSWERS.items() if how.get("status", 200) >= 300 or "drop" in how.get("how", "")]
)
def test_a_revocation_that_fails_shows_nothing(sandbox, room, misbehave, answer):
    misbehave("revoke", ANSWERS[answer])
    endpoint = TokenEndpoint(room.http, room.providers["x"], room.vault.client_credentials("demo", "x"))
    error = failing(lambda: endpoint.revoke(SecretStr(REFRESH), hint="refresh_token", seconds=5))
    assert shown(error, *CANARIES, sandbox.tokens()[0]) == set()


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_request_to_the_api_that_fails_shows_nothing(room, misbehave, answer):
    misbehave("tweets", ANSWERS[answer])
    api = ProviderApi(room.http, room.providers["x"], SecretStr(ACCESS), 5, utc_now)
    error = failing(lambda: api.request("POST", "/2/tweets", json={"text": "hi"}))
    assert shown(error, *CANARIES) == set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://127.0.0.1:{port}", "http://no-such-host.invalid"])
def test_an_address_that_is_wrong_shows_nothing(sandbox, room, url):
    """Nobody there; somebody who speaks no TLS; no such name."""
    url = url.replace("{port}", sandbox.base_url.rpartition(":")[2])
    provider = room.providers["x"].model_copy(update={"token_url": f"{url}/token", "revoke_url": f"{url}/revoke"})
    endpoint = TokenEndpoint(room.http, provider, room.vault.client_credentials("demo", "x"))
    calls = [
        lambda: endpoint.refresh(SecretStr(REFRESH), seconds=5, now=utc_now()),
        lambda: endpoint.revoke(SecretStr(REFRESH), hint="refresh_token", seconds=5),
        lambda: ProviderApi(
            room.http, provider.model_copy(update={"api_url": url}), SecretStr(ACCESS), 5, utc_now
        ).request("POST", "/2/tweets"),
    ]
    for call in calls:
        assert shown(failing(call), *CANARIES, sandbox.tokens()[0]) == set()


@pytest.mark.parametrize("character", ["\n", "\0", "é", "\ud800"])
def test_a_token_that_cannot_be_sent_is_not_shown(room, character):
    api = ProviderApi(room.http, room.providers["x"], SecretStr(f"{PLAIN}{character}"), 5, utc_now)
    assert shown(failing(lambda: api.request("POST", "/2/tweets")), PLAIN) == set()


@pytest.mark.parametrize(
    ("step", "nth", "seen"),
    [("write", 1, "the client secret"), ("write", 2, "the refresh token"), ("read", 1, "nothing")],
    ids=["writing the head", "writing the body", "reading"],
)
def test_a_mistake_that_nobody_foresaw_while_sending_shows_what_is_sent_in_local_variables_only(
    monkeypatch, step, nth, seen
):
    """The limit, as docs/security.md has it: what is no error of httpx passes, with the frames of the libraries."""
    whole, calls = getattr(_Stream, step), itertools.count(1)

    def fails(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == nth:
            del args, kwargs
            raise RuntimeError("a mistake")
        return whole(*args, **kwargs)

    monkeypatch.setattr(_Stream, step, fails)
    sent = {"the client secret": "client7secret" * 4, "the refresh token": "refresh7token" * 4}
    credentials = ClientCredentials(client_id="c", client_secret=SecretStr(sent["the client secret"]))
    with contextlib.closing(Peer(lambda connection: connection.sendall(http_reply(200, b"{}")))) as peer:
        provider = BUILT_IN["x"].model_copy(update={"token_url": f"{peer.url}/token"})
        endpoint = TokenEndpoint(Http(), provider, credentials)
        with pytest.raises(RuntimeError) as caught:
            endpoint.refresh(SecretStr(sent["the refresh token"]), seconds=5, now=utc_now())
    found = {what: shown(caught.value, secret) for what, secret in sent.items()}
    assert {what for what in found if found[what]} == {seen} - {"nothing"}
    assert set[str]().union(*found.values()) <= {"locals", "locals, walked through"}


# --- Vault ---

KEY = SecretBytes(b"canary-canary-canary-canary-key!")
#: What a room asks Vault; each carries, or brings, something secret.
QUESTIONS: dict[str, Callable[[VaultRoom], Any]] = {
    "wrap": lambda room: room.wrap("demo", [("grant", KEY)]),
    "unwrap": lambda room: room.unwrap("demo", [("grant", "vault:v1:x"), ("other", "vault:v1:y")]),
    "sign": lambda room: room.sign("demo", [b"x"], version=1),
    "client credentials": lambda room: room.client_credentials("demo", "x"),
    "public keys": lambda room: room.public_keys("actas-app-demo"),
}
IN_BASE64 = b64encode(KEY.get_secret_value()).decode()
#: What answers, with everything that it can know.
REPLIES: dict[str, tuple[int, Any]] = {
    "bad request": (400, {"errors": [f"no: {PLAIN} {IN_BASE64}"]}),
    "denied": (403, {"errors": [f"no: {PLAIN}"]}),
    "not there": (404, {"errors": [], "data": {"secret": PLAIN}}),
    "sealed": (503, {"errors": [f"Vault is sealed {PLAIN}"]}),
    "broken": (500, {"errors": [IN_BASE64]}),
    "one of two": (200, {"data": {"batch_results": [{"plaintext": IN_BASE64}, {"error": f"no {PLAIN}"}]}}),
    "too few": (200, {"data": {"batch_results": [{"plaintext": IN_BASE64}] * 3}}),
    "a secret and no id": (200, {"data": {"data": {"client_secret": PLAIN}}}),
    "a secret that is no text": (200, {"data": {"data": {"client_id": "c", "client_secret": [PLAIN]}}}),
    "something else": (200, {"token": PLAIN}),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("reply", [*REPLIES, "nobody"])
def test_a_vault_that_fails_shows_nothing(question, reply):
    status, body = REPLIES.get(reply, (0, None))
    with contextlib.ExitStack() as closing:
        url = "http://127.0.0.1:9"
        if status:
            whole = http_reply(status, json.dumps(body).encode(), "Content-Type: application/json")
            peer = closing.enter_context(contextlib.closing(Peer(lambda connection: connection.sendall(whole))))
            url = peer.url
        token = SecretStr("canary-vault-token-0123456789")
        settings = Settings(mongodb_url=SecretStr("mongodb://h"), vault_addr=url, vault_token=token, env="development")
        room = closing.enter_context(contextlib.closing(VaultRoom(settings)))
        if (question, reply) == ("public keys", "not there"):
            assert room.public_keys("actas-app-demo") == {}  # no such key is an answer
        else:
            error = failing(lambda: QUESTIONS[question](room))
            assert shown(error, PLAIN, KEY.get_secret_value(), token.get_secret_value()) == set()


def test_credentials_that_vault_does_not_take_are_not_shown(stack):
    settings = settings_from(stack.role_env("worker")).model_copy(update={"vault_secret_id": SecretStr(PLAIN)})
    with contextlib.closing(VaultRoom(settings)) as room:
        assert shown(failing(room.check), PLAIN) == set()
        assert shown(failing(lambda: room.wrap("demo", [("grant", KEY)])), PLAIN, KEY.get_secret_value()) == set()


def test_a_policy_that_denies_shows_nothing(client):
    """With a real Vault; an app asks to wrap for another, and gets a 403."""
    error = failing(lambda: client._room.vault.wrap("mallory", [("grant", KEY)]))
    assert shown(error, KEY.get_secret_value()) == set()


# --- MongoDB and Redis ---


def looked_up(url: SecretStr) -> None:
    database = open_database(url)
    with database.client:
        Grants(database).get("x")


@pytest.mark.parametrize(
    "call",
    [
        lambda _: open_database(SecretStr(f"mongodb://user:{PLAIN}@:x:/")),
        lambda _: open_database(SecretStr(f"mongodb://user:{PLAIN}@h/?tlsCAFile=/no/such/file&tls=true")),
        lambda _: redis_client(SecretStr(f"redis://user:{PLAIN}@h:x"), seconds=1, connect_seconds=1),
        lambda _: redis_client(SecretStr(f"redis://user:{PLAIN}@h/0?nonsense=1"), seconds=1, connect_seconds=1),
        lambda at: looked_up(SecretStr(f"mongodb://user:{PLAIN}@{at}/")),
        lambda at: MongoInstaller(SecretStr(f"mongodb://user:{PLAIN}@{at}/")),
    ],
    ids=["no address", "no certificates", "no port", "no option", "wrong password", "the installer's"],
)
def test_an_address_with_a_password_is_not_shown(stack, call):
    error = failing(lambda: call(stack.servers.mongod.address))
    assert shown(error, PLAIN) == set()


def test_settings_that_are_refused_are_not_shown(monkeypatch):
    monkeypatch.setenv("ACTAS_MONGODB_URL", f"http://user:{PLAIN}@h")
    monkeypatch.setenv("ACTAS_VAULT_ADDR", PLAIN)
    monkeypatch.setenv("ACTAS_CLIENTS", json.dumps({"demo/x": {"client_secret": PLAIN, "more": PLAIN}}))
    assert shown(failing(Client.from_env), PLAIN) == set()
    monkeypatch.setenv("ACTAS_CLIENTS", PLAIN)
    assert shown(failing(Client.from_env), PLAIN) == set()
