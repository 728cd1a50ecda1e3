"""A provider that answers nonsense: when connecting, when exchanging, when acting. One clear error each, nothing lost.

Nothing lost means: a grant that was there works on, a job is done once, and where the provider has changed something
that nobody can know of (a rotation whose reply cannot be read), that is said, and connecting again mends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from actas import Client, Grant, GrantStatus, JobStatus
from actas.errors import ActasError, ConnectError, InsufficientScope, InvalidRequest, InvalidState, VaultUnavailable
from actas.providers import Providers
from actas.sandbox.remote import SandboxControl
from tests.integration.by_hand import Failing, row, send_again
from tests.support import REDIRECT, dance, eventually, family, made_stale, nothing_is_sent
from worker.audit import error_code
from worker.errors import NeedsUser
from worker.provider_api import ProviderApi
from worker.reconcile import reconcile
from worker.room import Room
from worker.run import run

AGAIN = "; nothing was stored, and the user must connect again"
ALL = "offline.access tweet.read tweet.write users.read"
CANARY = "canary-in-a-reply"


@dataclass(frozen=True)
class Bad:
    """A reply of no use, and the words by which the token endpoint's, the userinfo's and the API's are told."""

    words: str
    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    #: What the grant's failure, or the job's journal, calls it.
    code: str = "provider_unavailable"

    @property
    def rule(self) -> dict[str, Any]:
        return {"status": self.status, "body": self.body, "headers": self.headers}


HTML = {"content-type": "text/html"}
JSON = {"content-type": "application/json"}

#: How each label, encoding and half of a reply is read is tried in tests/unit/test_oauth.py; here: what follows.
BAD = {
    "HTML": Bad("its body is HTML", f"<!doctype html><title>{CANARY}</title>", headers=HTML),
    "empty": Bad("its body is empty", ""),
    "10 MB": Bad("answered with more than 1,000,000 bytes", "x" * 10_000_000, code="reply_too_large"),
    "half of JSON": Bad("its body is no JSON", f'{{"access_token": "{CANARY}", "data": {{"id', headers=JSON),
    "a list": Bad("its body is JSON, but no object", [CANARY]),
    "something else": Bad("its body is JSON", {"hello": CANARY}),
    "a redirect": Bad("a redirect, which is not followed", "", 302, {"location": f"http://127.0.0.1:9/{CANARY}"}),
}
every = pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())

#: Of a token endpoint only: JSON with tokens that cannot be any.
TOKENS = {
    "a token of two lines": Bad(
        "access_token has impossible characters", {"access_token": f"{CANARY}\nSet-Cookie: a"}, code="malformed"
    ),
    "a refresh token that is none": Bad(
        "refresh_token is not a string", {"access_token": CANARY, "refresh_token": {CANARY: 1}}, code="malformed"
    ),
}
every_of_tokens = pytest.mark.parametrize("bad", [*BAD.values(), *TOKENS.values()], ids=[*BAD, *TOKENS])


def begin(client: Client, user: str) -> str:
    return client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT).url


def unshown(error: BaseException, sandbox: SandboxControl, callback: str = "") -> None:
    """No token, code or state, nor anything else of what came, is in the error."""
    shown = f"{error!r} {error}"
    secrets = [*sandbox.tokens(), CANARY, *(value for _, value in parse_qsl(urlsplit(callback).query))]
    assert [secret for secret in secrets if secret in shown] == []


def works(client: Client, user: str, room: Room) -> None:
    """What a user has connected can be used."""
    grant = room.grants.get(client.grant(user=user, provider="x").id)
    assert grant is not None
    access = room.exchange.access_token(grant)
    api = ProviderApi(room.http, room.providers["x"], access.token, 10, room.clock)
    assert api.request("GET", "/2/users/me")["data"]["username"] == user


# --- connecting ---


@every_of_tokens
def test_the_token_endpoint_when_connecting(client, connect, sandbox, room, user, bad):
    before = connect(user)
    callback = sandbox.authorize(begin(client, user), user)
    sandbox.misbehave("token", "status", account=user, **bad.rule)
    with pytest.raises(ConnectError, match=f"^x.*{bad.words}.*{AGAIN}$") as caught:
        client.finish_connect(callback, user=user)
    assert caught.value.code == "connect_failed"
    unshown(caught.value, sandbox, callback)
    sandbox.behave()
    with pytest.raises(InvalidState):  # as the error said
        client.finish_connect(callback, user=user)
    after = client.grant(user=user, provider="x")
    assert (after.id, after.generation, after.status) == (before.id, before.generation, GrantStatus.ACTIVE)
    works(client, user, room)
    assert connect(user).generation == before.generation + 1


@every
def test_the_userinfo_when_connecting(client, connect, sandbox, room, user, bad):
    before = connect(user)
    callback = sandbox.authorize(begin(client, user), user)
    sandbox.misbehave("me", "status", account=user, **bad.rule)
    with pytest.raises(ConnectError, match=f"^x.*{bad.words}.*{AGAIN}$") as caught:
        client.finish_connect(callback, user=user)
    unshown(caught.value, sandbox, callback)
    sandbox.behave()
    assert client.grant(user=user, provider="x").generation == before.generation
    works(client, user, room)
    assert connect(user).id == before.id


@pytest.mark.parametrize("account", [True, "", "x" * 201, {"id": 1}], ids=["true", "empty", "long", "an object"])
def test_a_userinfo_that_names_no_account(client, sandbox, user, account):
    """It becomes part of an index, and is told to the app."""
    callback = sandbox.authorize(begin(client, user), user)
    sandbox.misbehave("me", "status", account=user, status=200, body={"data": {"id": account}})
    with pytest.raises(ConnectError, match=f"^x did not tell whose account it is: it answered 200.*{AGAIN}$"):
        client.finish_connect(callback, user=user)
    assert client.grants(user=user) == []


@pytest.mark.parametrize(
    "rule",
    [{"how": "drop_before"}, {"how": "status", "status": 503}, {"how": "status", **BAD["10 MB"].rule}],
    ids=["no reply", "503", "10 MB"],
)
def test_a_userinfo_that_fails_once_is_asked_once_more(client, sandbox, user, rule):
    """Asking changes nothing, and the code that led there is used up."""
    callback = sandbox.authorize(begin(client, user), user)
    sandbox.misbehave("me", times=1, account=user, **rule)
    assert client.finish_connect(callback, user=user).status is GrantStatus.ACTIVE


@pytest.mark.parametrize(
    ("method", "words", "used_up"),
    [("client_credentials", "Vault is unreachable or sealed.", False), ("wrap", "the user must connect again", True)],
    ids=["before the code is used", "after that"],
)
def test_an_outage_of_ours_says_whether_the_callback_works_later(
    client, sandbox, user, monkeypatch, method, words, used_up
):
    callback = sandbox.authorize(begin(client, user), user)
    with monkeypatch.context() as away:
        vault = Failing(client._room.vault, method, written=False, error=VaultUnavailable)
        away.setattr(client._connections, "_room", replace(client._room, vault=vault))
        with pytest.raises(VaultUnavailable, match=f"{words}$"):
            client.finish_connect(callback, user=user)
    if used_up:
        with pytest.raises(InvalidState):
            client.finish_connect(callback, user=user)
        callback = sandbox.authorize(begin(client, user), user)
    assert client.finish_connect(callback, user=user).generation == 1


# --- the callback ---


def parameters(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query)


def test_reordered_parameters_and_more_of_them_do_not_matter(client, sandbox, user):
    callback = sandbox.authorize(begin(client, user), user)
    others = [("scope", ALL), ("session_state", "s"), *reversed(parameters(callback))]
    assert client.finish_connect(f"{REDIRECT}?{urlencode(others)}", user=user).user == user


@pytest.mark.parametrize("name", ["code", "state", "iss"])
def test_a_parameter_that_is_there_twice_is_refused_and_uses_up_nothing(client, sandbox, user, name):
    callback = sandbox.authorize(begin(client, user), user)
    given = dict(parameters(callback)).get(name, sandbox.base_url)
    twice = urlencode([*parameters(callback), *[(name, given)] * 2])
    with pytest.raises(InvalidRequest, match=f"^callback_url repeats a parameter: {name}$") as caught:
        client.finish_connect(f"{REDIRECT}?{twice}", user=user)
    unshown(caught.value, sandbox, callback)
    assert client.finish_connect(callback, user=user).user == user


@pytest.mark.parametrize("left", [("state",), ("state", "iss"), ()], ids="-".join)
def test_a_callback_with_neither_code_nor_error_is_refused_and_uses_up_nothing(client, sandbox, user, left):
    callback = sandbox.authorize(begin(client, user), user)
    some = {name: value for name, value in [*parameters(callback), ("iss", sandbox.base_url)] if name in left}
    with pytest.raises(InvalidRequest, match="^callback_url has n"):
        client.finish_connect(f"{REDIRECT}?{urlencode(some)}", user=user)
    assert client.finish_connect(callback, user=user).user == user


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("access_denied", r"the user said no \(access_denied\)"),
        ("temporarily_unavailable", r"reported an error \(temporarily_unavailable\)"),
        (f"{CANARY} <script>", r"reported an error \(unreadable\)"),
        ("", r"reported an error \(unreadable\)"),
    ],
)
def test_an_error_in_the_callback_is_named_and_a_grant_that_was_there_stays(
    client, connect, sandbox, room, user, error, words
):
    connect(user)
    state = dict(parameters(begin(client, user)))["state"]
    answer = urlencode({"error": error, "error_description": CANARY, "state": state})
    with pytest.raises(ConnectError, match=f"^x: .*{words}{AGAIN}$") as caught:
        client.finish_connect(f"{REDIRECT}?{answer}", user=user)
    unshown(caught.value, sandbox, f"{REDIRECT}?state={state}")
    works(client, user, room)


ISSUER = "https://issuer.example/tenant"


@pytest.fixture
def strict(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app knows the provider's issuer, and that it always names itself (RFC 9207)."""
    named = client._providers["x"].model_copy(update={"issuer": ISSUER, "says_issuer": True})
    monkeypatch.setattr(client, "_providers", Providers({"x": named}))


@pytest.mark.parametrize(
    ("issuer", "words"),
    [
        (None, "the answer does not name its issuer, and x always does"),
        ("https://evil.example", "the answer is not from x"),
        ("https://issuer.example", "the answer is not from x"),
        (f"{ISSUER}/", "the answer is not from x"),
        (ISSUER.upper(), "the answer is not from x"),
        ("", "the answer is not from x"),
    ],
)
def test_an_issuer_that_is_another_is_refused_and_the_code_goes_nowhere(client, strict, sandbox, user, issuer, words):
    callback = sandbox.authorize(begin(client, user), user)
    said = "" if issuer is None else f"&{urlencode({'iss': issuer})}"
    before = sandbox.ledger()["counts"]
    with pytest.raises(ConnectError, match=f"^{words}.*{AGAIN}$"):
        client.finish_connect(callback + said, user=user)
    after = sandbox.ledger()
    assert (after["counts"]["refused"], [each["account"] for each in after["families"]].count(user)) == (
        before["refused"],
        0,
    )
    callback = sandbox.authorize(begin(client, user), user)
    assert client.finish_connect(f"{callback}&{urlencode({'iss': ISSUER})}", user=user).user == user


def test_a_no_of_a_provider_that_does_not_name_itself_is_heard(client, strict, sandbox, user):
    callback = sandbox.authorize(begin(client, user), user, allow=False)
    with pytest.raises(ConnectError, match="the user said no"):
        client.finish_connect(callback, user=user)


# --- the exchange ---


@pytest.fixture
def stale(client: Client, sandbox: SandboxControl, user: str, room: Room) -> Grant:
    """A grant whose access token is known to have expired."""
    tokens = dance(client, sandbox, user) | {"expires_in": 0}
    account = client.store_grant(user=user, provider="x", account=user, tokens=tokens)
    return look(room, account)


def look(room: Room, grant: Grant) -> Grant:
    found = room.grants.get(grant.id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "bad", [BAD["HTML"], BAD["10 MB"], BAD["a redirect"], TOKENS["a token of two lines"]], ids=lambda bad: bad.words
)
def test_the_token_endpoint_when_exchanging_and_nothing_was_done_there(client, sandbox, room, stale, user, bad):
    sandbox.misbehave("token", "status", account=user, **bad.rule)
    with pytest.raises(ActasError) as caught:
        room.exchange.access_token(stale)
    assert error_code(caught.value) == bad.code
    unshown(caught.value, sandbox)
    there = look(room, stale)
    assert (there.status, there.generation, there.failure.code) == (GrantStatus.ACTIVE, 1, bad.code)
    assert there.unanswered_at is not None, "nobody knows whether it has rotated"
    sandbox.behave()
    works(client, user, room)
    assert (look(room, stale).generation, look(room, stale).failure, look(room, stale).unanswered_at) == (2, None, None)


@every_of_tokens
def test_the_token_endpoint_when_exchanging_and_it_has_rotated(client, connect, sandbox, room, stale, user, bad):
    """The new token is lost: nobody can mend that but the user, and the grant says so."""
    sandbox.misbehave("token", "status_after", times=1, account=user, **bad.rule)
    for _ in range(2):
        with pytest.raises(ActasError) as caught:
            room.exchange.access_token(look(room, stale))
        unshown(caught.value, sandbox)
    assert isinstance(caught.value, NeedsUser)
    assert "lost_rotation" in str(caught.value) or "no longer accepts" in str(caught.value)
    dead = look(room, stale)
    assert (dead.status, dead.failure.code) == (GrantStatus.REAUTHORIZATION_REQUIRED, "lost_rotation")
    assert family(sandbox, user)["exchanges"] == 1
    grant = client.store_grant(user=user, provider="x", account=user, tokens=dance(client, sandbox, user))
    assert (grant.id, grant.status) == (stale.id, GrantStatus.ACTIVE)
    works(client, user, room)


def test_a_job_waits_for_its_user_and_is_then_done_once(client, connect, documents, sandbox, user, posts):
    connect(user)
    made_stale(documents, user)
    sandbox.misbehave("token", "status_after", times=1, account=user, **BAD["10 MB"].rule)
    job = client.schedule("x.post", user=user, payload={"text": "in the end"})
    eventually(lambda: client.job(job.id).status is JobStatus.PARKED, what="the job is parked")
    connect(user)
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["in the end"]


# --- what is odd, and is understood ---


ODD = {
    "expires_in is a string": {"body": {"expires_in": "7200"}},
    "expires_in is negative": {"body": {"expires_in": -1}},
    "expires_in is absent": {"body": {"expires_in": None}},
    "the scopes are reordered": {"body": {"scope": " ".join(reversed(ALL.split()))}},
    "no scope is named": {"body": {"scope": None}},
    "JSON is called HTML": {"body": {}, "headers": HTML},
    "there is an error, too": {"body": {"error": "invalid_grant"}},
}
every_odd = pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())


@every_odd
def test_odd_tokens_when_connecting(client, connect, sandbox, room, user, odd):
    sandbox.misbehave("token", "altered", times=1, account=user, **odd)
    grant = connect(user)
    assert grant.scopes == set(ALL.split())
    works(client, user, room)


@every_odd
def test_odd_tokens_when_exchanging(client, sandbox, room, stale, user, odd):
    sandbox.misbehave("token", "altered", times=1, account=user, **odd)
    works(client, user, room)
    after = look(room, stale)
    assert (after.generation, after.scopes, after.failure) == (2, set(ALL.split()), None)
    assert timedelta(seconds=-5) < after.access_token.expires_at - after.updated_at <= timedelta(seconds=7200)
    works(client, user, room)
    assert family(sandbox, user)["alive"], "and the new refresh token is the one that is kept"


FEWER = {"body": {"scope": "offline.access users.read"}}


def test_fewer_scopes_when_connecting_are_told_early(client, connect, sandbox, user):
    sandbox.misbehave("token", "altered", times=1, account=user, **FEWER)
    assert connect(user).scopes == {"offline.access", "users.read"}
    with pytest.raises(InsufficientScope, match=r"x\.post needs tweet\.read, tweet\.write, .* connect again with it"):
        client.schedule("x.post", user=user, payload={"text": "never"})
    connect(user)
    assert client.schedule("x.post", user=user, payload={"text": "now"}).status is JobStatus.SCHEDULED


def test_fewer_scopes_when_exchanging_are_told_early(client, sandbox, documents, room, stale, user):
    """A user may take some back at the provider; what the exchange says counts from then on."""
    sandbox.misbehave("token", "altered", times=1, account=user, **FEWER)
    room.exchange.access_token(stale)
    with pytest.raises(InsufficientScope, match="tweet.write"):
        client.schedule("x.post", user=user, payload={"text": "never"})
    made_stale(documents, user)
    room.exchange.access_token(look(room, stale))
    assert client.schedule("x.post", user=user, payload={"text": "now"}).status is JobStatus.SCHEDULED


def test_tokens_of_16_kilobytes_are_stored_used_exchanged_and_used(client, connect, documents, sandbox, user, posts):
    sandbox.misbehave("token", "long_tokens", account=user)
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "long"})
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    made_stale(documents, user)
    job = client.schedule("x.post", user=user, payload={"text": "longer"})
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["long", "longer"]
    assert family(sandbox, user)["exchanges"] == 1
    stored = documents["grants"].find_one({"user": user})
    assert min(len(stored[name]["ciphertext"]) for name in ("access_token", "refresh_token")) > 16_384
    assert min(map(len, [token for token in sandbox.tokens() if len(token) > 1000])) == 16_384


# --- acting ---


@pytest.fixture
def by_hand(stack, client: Client, connect: Callable[..., Grant], documents: Any, sandbox, room: Room, user: str):
    """Run a job here, the provider's API answering like this; the job afterwards."""
    connect(user)
    with nothing_is_sent(stack):

        def act(how: str, bad: Bad) -> Any:
            job = client.schedule("x.post", user=user, payload={"text": "once"})
            send_again(documents, job)
            sandbox.misbehave("tweets", how, times=1, account=user, **bad.rule)
            assert run(job.id, room) is not None
            return client.job(job.id)

        yield act


@every
def test_the_api_when_it_has_acted(client, by_hand, documents, sandbox, room, user, posts, bad):
    job = by_hand("status_after", bad)
    assert job.status is JobStatus.UNCERTAIN
    assert CANARY not in str(job.error)
    documents["jobs"].update_one({"_id": job.id}, {"$set": {"next_at": room.clock()}})
    reconcile(job.id, room)
    found = client.job(job.id)
    assert (found.status, found.error) == (JobStatus.SUCCEEDED, None)
    assert posts(user) == ["once"]


@pytest.mark.parametrize(("name", "code"), [("a redirect", "Redirected"), ("10 MB", "ReplyTooLarge")])
def test_the_api_when_it_has_not_acted(by_hand, documents, posts, user, name, code):
    """Nobody can know that: the same is said as if it had."""
    job = by_hand("status", BAD[name])
    kept = row(documents, job)
    assert (job.status, kept["state"], kept["code"]) == (JobStatus.UNCERTAIN, "unknown", code)
    assert posts(user) == []
