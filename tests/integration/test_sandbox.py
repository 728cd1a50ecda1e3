"""The sandbox as its clients meet it: a real process, over real HTTP."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

import httpx
import pytest

from actas.sandbox.remote import SandboxControl, SandboxError
from actas.sandbox.state import account_id, s256
from tests.support import eventually

ROOT = Path(__file__).parents[2]
REDIRECT = "http://127.0.0.1:9/cb"
SCOPE = "tweet.read tweet.write users.read like.write media.write offline.access"
VERIFIER = "verifier-" * 5
CLIENT, SECRET = "client:with%odd +chars", "s3cr3t: +%/&=ü"
CLIENTS = {
    CLIENT: {"secret": SECRET, "redirect_uris": None},
    "public": {"secret": None, "redirect_uris": ["http://127.0.0.1:*/cb"]},
    "<b>bold</b>": {"secret": None},
    "windowed": {"refresh": {"kind": "rotating", "reuse_window_seconds": 600}},
    "sliding": {"refresh": {"kind": "sliding", "idle_seconds": 86400}, "say_refresh_expiry": True},
    "github": {"refresh": {"kind": "rotating", "lifetime_seconds": 15897600}, "say_refresh_expiry": True},
}
DEAD_TOKEN = {"error": "invalid_request", "error_description": "Value passed for the token was invalid."}
DUPLICATE = {
    "detail": "You are not allowed to create a Tweet with duplicate content.",
    "type": "about:blank",
    "title": "Forbidden",
    "status": 403,
}


# --- the process and its clients ----------------------------------------------------------------------------------------


def write_config(directory: Path, **settings) -> Path:
    path = directory / "sandbox.json"
    path.touch(0o600)
    path.write_text(json.dumps({"clients": CLIENTS} | settings))
    return path


def launch(config: Path, env: str | None = "development") -> subprocess.Popen[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("ACTAS_")}
    variables |= {"PYTHONPATH": str(ROOT)} | ({"ACTAS_ENV": env} if env else {})
    argv = [sys.executable, "-m", "actas.sandbox", "--config", str(config)]
    return subprocess.Popen(argv, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextmanager
def running(directory: Path, **settings):
    """A sandbox of one's own; at its end it must have said nothing but its address, and above all no credential."""
    process = launch(write_config(directory, **settings))
    try:
        line = process.stdout.readline()
        assert line.startswith("sandbox: http://127.0.0.1:"), process.communicate()
        with httpx.Client(base_url=line.split()[1], timeout=20, trust_env=False) as http:
            yield Sandbox(http, process)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) == ("", "")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("sandbox")) as provider:
        yield provider


@pytest.fixture
def provider(server):
    """Not conftest's sandbox, which brings the whole stack with it."""
    yield server
    server.control.behave()
    server.control.release()


def basic(client_id: str, secret: str) -> str:
    """HTTP Basic as RFC 6749 section 2.3.1 wants it: both parts form-encoded first."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


class Sandbox:
    def __init__(self, http: httpx.Client, process: subprocess.Popen[str]) -> None:
        self.http = http
        self.process = process
        self.url = str(http.base_url).rstrip("/")
        self.control = SandboxControl(self.url)

    def authorization_url(self, **changed: str | None) -> str:
        query = {
            "response_type": "code",
            "client_id": CLIENT,
            "redirect_uri": REDIRECT,
            "scope": SCOPE,
            "state": "st&te=1",
            "code_challenge": s256(VERIFIER),
            "code_challenge_method": "S256",
        } | changed
        return f"{self.url}/i/oauth2/authorize?{urlencode({k: v for k, v in query.items() if v is not None})}"

    def code(self, account: str, **changed: str) -> str:
        return said(self.control.authorize(self.authorization_url(**changed), account))["code"]

    def token(self, authorization: str | None = basic(CLIENT, SECRET), **form: str) -> httpx.Response:
        headers = {"authorization": authorization} if authorization else {}
        return self.http.post("/2/oauth2/token", data=form, headers=headers)

    def redeem(self, code: str, authorization: str | None = basic(CLIENT, SECRET), **changed: str) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
        return self.token(authorization, **form | changed)

    def connect(self, account: str, **changed: str) -> dict[str, str]:
        reply = self.redeem(self.code(account, **changed))
        assert reply.status_code == 200, reply.text
        return reply.json()

    def refresh(self, token: str) -> httpx.Response:
        return self.token(grant_type="refresh_token", refresh_token=token)

    def api(self, method: str, path: str, token: str, **more) -> httpx.Response:
        return self.http.request(method, path, headers={"authorization": f"Bearer {token}"}, **more)

    def post(self, token: str, text: str, **more) -> httpx.Response:
        return self.api("POST", "/2/tweets", token, json={"text": text} | more)

    def upload(self, token: str) -> str:
        """The id of media that can be put into a post."""
        asked = {"media_type": "image/png", "total_bytes": 1, "media_category": "tweet_image"}
        media = self.api("POST", "/2/media/upload/initialize", token, json=asked).json()["data"]["id"]
        segment = {"segment_index": 0, "media": "eA=="}
        assert self.api("POST", f"/2/media/upload/{media}/append", token, json=segment).status_code == 200
        assert self.api("POST", f"/2/media/upload/{media}/finalize", token).status_code == 200
        return media

    def texts(self, account: str) -> list[str]:
        return [post["text"] for post in self.control.ledger()["posts"] if post["account"] == account]

    def family(self, account: str) -> dict:
        [family] = [family for family in self.control.ledger()["families"] if family["account"] == account]
        return family


def said(callback: str) -> dict[str, str]:
    assert callback.startswith(REDIRECT + "?")
    return dict(parse_qsl(urlsplit(callback).query, strict_parsing=True))


@contextmanager
def leaving(provider, method, path, authorization, body, kind="application/json", *, unsent=0):
    """A client that has sent its request, but for some bytes, when the block begins, and hangs up when it ends."""
    request = (
        f"{method} {path} HTTP/1.1\r\nhost: sandbox\r\nauthorization: {authorization}\r\n"
        f"content-type: {kind}\r\ncontent-length: {len(body) + unsent}\r\n\r\n{body}"
    )
    with socket.create_connection(("127.0.0.1", urlsplit(provider.url).port), timeout=20) as connection:
        connection.sendall(request.encode())
        yield


@contextmanager
def in_background(call, *args, **kwargs):
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call, *args, **kwargs)


# --- starting and stopping ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [None, "production", "Development"])
def test_it_refuses_to_start_outside_development(tmp_path, env):
    process = launch(write_config(tmp_path), env)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert "ACTAS_ENV=development" in err
    assert err.count("\n") == 1


def test_a_config_that_cannot_be_used_is_one_clear_line(tmp_path):
    process = launch(write_config(tmp_path, access_secs=3))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "access_secs" in err
    assert err.count("\n") == 1


def test_a_port_in_use_is_one_clear_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = launch(write_config(tmp_path, port=other.getsockname()[1]))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "cannot listen" in err
    assert err.count("\n") == 1


def test_it_stops_at_once_though_it_holds_requests_and_connections(tmp_path):
    with running(tmp_path) as provider:
        token = provider.connect("alice")["access_token"]
        provider.control.misbehave("tweets", "hold_before")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(provider.post, token, "held")
            eventually(lambda: provider.control.held() == 1)
            started = time.monotonic()
            provider.process.send_signal(signal.SIGTERM)
            provider.process.wait(20)
        assert time.monotonic() - started < 10


# --- authorization --------------------------------------------------------------------------------------------------------


def test_the_authorization_page_asks_and_escapes_what_it_was_given(provider):
    page = provider.http.get(provider.authorization_url(client_id="<b>bold</b>", state='"><script>alert(1)</script>'))
    assert page.status_code == 200
    assert "The sandbox asks: may &lt;b&gt;bold&lt;/b&gt; post as" in page.text
    assert "<script" not in page.text
    assert "<b>" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_allowing_brings_a_code_and_the_exact_state_back(provider, user):
    answer = said(provider.control.authorize(provider.authorization_url(), user))
    assert set(answer) == {"code", "state"}
    assert answer["state"] == "st&te=1"


def test_a_redirect_address_with_a_query_keeps_it(provider, user):
    url = provider.authorization_url(redirect_uri=f"{REDIRECT}?a=1")
    assert said(provider.control.authorize(url, user))["a"] == "1"


def test_denying_brings_access_denied_and_no_code(provider, user):
    before = provider.control.ledger()["counts"]["codes"]
    answer = said(provider.control.authorize(provider.authorization_url(), user, allow=False))
    assert answer == {"error": "access_denied", "state": "st&te=1"}
    assert provider.control.ledger()["counts"]["codes"] == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "nobody"},
        {"client_id": None},
        {"redirect_uri": "https://evil.example/cb"},
        {"redirect_uri": None},
        {"client_id": "public", "redirect_uri": "http://127.0.0.1:9/other"},
    ],
)
def test_an_unknown_client_or_address_is_shown_and_never_redirected_to(provider, wrong):
    page = provider.http.get(provider.authorization_url(**wrong))
    assert page.status_code == 400
    assert "location" not in page.headers
    with pytest.raises(SandboxError, match="400"):
        provider.control.authorize(provider.authorization_url(**wrong), "alice")


def test_a_form_submitted_for_an_address_that_is_not_the_clients_is_not_redirected(provider):
    fields = dict(parse_qsl(urlsplit(provider.authorization_url(redirect_uri="https://evil.example/")).query))
    reply = provider.http.post("/i/oauth2/authorize", data=fields | {"account": "alice", "decision": "allow"})
    assert reply.status_code == 400
    assert "location" not in reply.headers


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"state": None}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "tweet.read tweet.wirte"}, "invalid_scope"),
    ],
)
def test_other_faults_go_back_to_the_client(provider, wrong, error):
    assert said(provider.control.authorize(provider.authorization_url(**wrong), "alice"))["error"] == error


def test_an_impossible_account_is_shown(provider):
    with pytest.raises(SandboxError, match="An account is"):
        provider.control.authorize(provider.authorization_url(), "<script>")


# --- tokens ---------------------------------------------------------------------------------------------------------------


def test_a_code_becomes_tokens_in_the_shape_of_rfc_6749(provider, user):
    reply = provider.redeem(provider.code(user))
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert set(body) == {"token_type", "expires_in", "access_token", "scope", "refresh_token"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", 7200)
    assert set(body["scope"].split()) == set(SCOPE.split())


def test_without_offline_access_no_refresh_token_comes(provider, user):
    assert "refresh_token" not in provider.connect(user, scope="tweet.read users.read")


def test_a_public_client_says_who_it_is_and_needs_no_secret(provider, user):
    reply = provider.redeem(provider.code(user, client_id="public"), None, client_id="public")
    assert reply.status_code == 200
    again = provider.token(
        None, grant_type="refresh_token", refresh_token=reply.json()["refresh_token"], client_id="public"
    )
    assert again.status_code == 200


@pytest.mark.parametrize(
    ("authorization", "body", "error"),
    [
        (None, {}, "invalid_client"),
        (None, {"client_id": "nobody"}, "invalid_client"),
        (None, {"client_id": CLIENT}, "unauthorized_client"),
        (None, {"client_id": CLIENT, "client_secret": SECRET}, "unauthorized_client"),
        (basic(CLIENT, "wrong"), {}, "invalid_client"),
        (basic("nobody", SECRET), {}, "invalid_client"),
        (basic("public", "guess"), {}, "invalid_client"),
        ("Basic !!!", {}, "unauthorized_client"),
        ("Basic", {}, "unauthorized_client"),
        (f"Bearer {SECRET.encode()!r}", {}, "unauthorized_client"),
        # Without the form-encoding of RFC 6749 section 2.3.1 a colon, a percent sign or a plus is read otherwise.
        ("Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode(), {}, "invalid_client"),
    ],
)
def test_a_client_that_is_not_proven_gets_401_and_the_code_survives(provider, user, authorization, body, error):
    code = provider.code(user)
    reply = provider.redeem(code, authorization, **body)
    assert (reply.status_code, reply.json()["error"]) == (401, error)
    assert reply.headers["www-authenticate"].startswith("Basic")
    assert provider.redeem(code).status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"grant_type": "refresh_token"},
        {"grant_type": "authorization_code"},
        {"grant_type": "authorization_code", "code": "x", "redirect_uri": REDIRECT},
    ],
)
def test_a_missing_parameter_is_named(provider, form):
    reply = provider.token(**form)
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_request")
    assert "Missing required parameter" in reply.json()["error_description"]


def test_an_unknown_grant_type_is_refused(provider):
    reply = provider.token(grant_type="password", username="alice")
    assert (reply.status_code, reply.json()["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize("verifier", ["w" * 43, "short", "ü" * 43])
def test_a_wrong_verifier_earns_nothing(provider, user, verifier):
    reply = provider.redeem(provider.code(user), code_verifier=verifier)
    assert reply.status_code == 400
    assert "access_token" not in reply.text


def test_a_code_works_once(provider, user):
    code = provider.code(user)
    access = provider.redeem(code).json()["access_token"]
    assert provider.redeem(code).status_code == 400
    assert provider.api("GET", "/2/users/me", access).status_code == 401


def test_a_code_dies_at_its_age(tmp_path):
    with running(tmp_path, code_seconds=60) as provider:
        old = provider.code("alice")
        provider.control.put_ahead(60)
        reply = provider.redeem(old)
        assert reply.status_code == 400
        assert reply.json()["error_description"].startswith("Value passed for the authorization code")


def test_the_first_access_token_has_its_own_life(tmp_path):
    with running(tmp_path, first_access_seconds=60, access_seconds=90) as provider:
        first = provider.connect("alice")
        assert first["expires_in"] == 60
        assert provider.api("GET", "/2/users/me", first["access_token"]).status_code == 200
        provider.control.put_ahead(60)
        assert provider.api("GET", "/2/users/me", first["access_token"]).status_code == 401
        assert provider.refresh(first["refresh_token"]).json()["expires_in"] == 90


def test_an_exchange_rotates_and_reuse_looks_like_x_and_kills_the_family(provider, user):
    first = provider.connect(user)
    second = provider.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert provider.api("GET", "/2/users/me", first["access_token"]).status_code == 200  # X lets it live
    reply = provider.refresh(first["refresh_token"])
    assert (reply.status_code, reply.json()) == (400, DEAD_TOKEN)
    assert provider.refresh(second["refresh_token"]).json() == DEAD_TOKEN
    assert provider.api("GET", "/2/users/me", second["access_token"]).status_code == 401
    family = provider.family(user)
    assert (family["alive"], family["generation"], family["exchanges"], family["reuse"]) == (False, 2, 1, 1)


def test_many_exchanges_at_once_with_one_token_have_one_winner(provider, user):
    token = provider.connect(user)["refresh_token"]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(provider.refresh, [token] * 16))
    assert sorted(reply.status_code for reply in replies) == [200] + [400] * 15
    assert (provider.family(user)["exchanges"], provider.family(user)["reuse"]) == (1, 15)


def test_revoking_ends_the_family_and_an_unknown_token_is_no_error(provider, user):
    tokens = provider.connect(user)

    def revoke(token: str, authorization: str) -> int:
        headers = {"authorization": authorization}
        return provider.http.post("/2/oauth2/revoke", data={"token": token}, headers=headers).status_code

    before = provider.control.ledger()["counts"]["revocations"]
    assert revoke(tokens["refresh_token"], basic(CLIENT, "wrong")) == 401
    assert provider.family(user)["alive"]
    assert revoke(tokens["refresh_token"], basic(CLIENT, SECRET)) == 200
    assert revoke("unknown", basic(CLIENT, SECRET)) == 200
    assert provider.refresh(tokens["refresh_token"]).json() == DEAD_TOKEN
    assert provider.control.ledger()["counts"]["revocations"] == before + 1


@pytest.mark.parametrize("more", [{"client_secret": SECRET}, {"client_id": "public"}])
def test_a_client_is_named_in_one_way_only(provider, user, more):
    tokens = provider.connect(user)
    reply = provider.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"], **more)
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_request")
    assert provider.refresh(tokens["refresh_token"]).status_code == 200, "nothing was rotated"


def test_a_client_cannot_revoke_anothers_token(provider, user):
    tokens = provider.connect(user)
    form = {"token": tokens["refresh_token"], "client_id": "public"}
    assert provider.http.post("/2/oauth2/revoke", data=form).status_code == 400
    assert provider.family(user)["alive"]


# --- the API ----------------------------------------------------------------------------------------------------------------


def test_me_names_the_account_by_a_numeric_id(provider, user):
    reply = provider.api("GET", "/2/users/me", provider.connect(user)["access_token"])
    assert reply.status_code == 200
    assert reply.json()["data"]["username"] == user
    assert reply.json()["data"]["id"] == account_id(user)


def test_a_post_is_made_once_and_its_duplicate_refused_in_xs_words(provider, user):
    token = provider.connect(user)["access_token"]
    made = provider.post(token, "hällo 🎉")
    assert made.status_code == 201
    assert set(made.json()) == {"data"}
    assert made.json()["data"]["text"] == "hällo 🎉"
    again = provider.post(token, "hällo 🎉")
    assert (again.status_code, again.json()) == (403, DUPLICATE)
    assert again.headers["content-type"] == "application/problem+json"
    assert "x-rate-limit-limit" not in made.headers
    [entry] = [post for post in provider.control.ledger()["posts"] if post["account"] == user]
    assert entry["id"] == made.json()["data"]["id"]
    assert entry["account_id"] == account_id(user)
    assert entry["family"] == provider.family(user)["family"]
    assert datetime.fromisoformat(entry["at"]).tzinfo is not None


def test_of_many_equal_posts_at_once_one_is_made(provider, user):
    token = provider.connect(user)["access_token"]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: provider.post(token, "same"), range(16)))
    assert sorted(reply.status_code for reply in replies) == [201] + [403] * 15
    assert provider.texts(user) == ["same"]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer nonsense", "Basic nonsense"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/2/users/me"), ("POST", "/2/tweets"), ("DELETE", "/2/tweets/1"), ("GET", "/2/tweets/1")]
    + [("POST", f"/2/users/1/{what}") for what in ("retweets", "likes")],
)
def test_without_a_living_access_token_the_answer_is_401(provider, method, path, header):
    reply = provider.http.request(method, path, headers={"authorization": header} if header is not None else {})
    assert reply.status_code == 401
    assert reply.json() == {"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "Unauthorized"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"text": 7}',
        b'{"text": ""}',
        b"{}",
        b'{"text": "x", "txt": "y"}',
        b'{"text": "x", "reply": {"in_reply_to_tweet_id": "abc"}}',
        b'{"text": "x", "reply": {"in_reply_to_tweet_id": "1", "more": 1}}',
        b'{"text": "\\ud800"}',
        b'{"poll": {"options": ["a", "b"], "duration_minutes": 60}}',
        b'{"text": "x", "poll": {"options": ["a"], "duration_minutes": 60}}',
        b'{"text": "x", "poll": {"options": ["a", "b"], "duration_minutes": "60"}}',
        b'{"text": "x", "poll": {"options": ["a", "b"], "duration_minutes": 60}, "quote_tweet_id": "1"}',
        b'{"text": "x", "media": {"media_ids": ["1"]}, "quote_tweet_id": "1"}',
        b'{"text": "x", "media": {"media_ids": []}}',
        b'{"text": "x", "reply_settings": "everyone"}',
        b'{"text": "\xff"}',
    ],
)
def test_a_body_that_is_not_the_documented_one_is_a_400_problem_and_no_post(provider, user, body):
    reply = provider.api("POST", "/2/tweets", provider.connect(user)["access_token"], content=body)
    assert reply.status_code == 400
    assert reply.json()["type"].endswith("/invalid-request")
    assert reply.json()["title"] == "Invalid Request"
    assert provider.texts(user) == []


def test_a_grant_without_the_scope_reads_but_does_not_write(provider, user):
    token = provider.connect(user, scope="tweet.read users.read offline.access")["access_token"]
    assert provider.api("GET", "/2/users/me", token).status_code == 200
    assert provider.post(token, "x").status_code == 403
    assert provider.texts(user) == []


def test_the_rate_limit_counts_each_request_of_a_user_and_says_when_it_ends(tmp_path):
    with running(tmp_path, post_limit=3) as provider:
        token, other = (provider.connect(name)["access_token"] for name in ("alice", "bob"))
        replies = [
            provider.post(token, "a"),
            provider.post(token, "a"),
            provider.post(token, "b"),
            provider.post(token, "c"),
        ]
        assert [reply.status_code for reply in replies] == [201, 403, 201, 429]
        assert [reply.headers["x-rate-limit-remaining"] for reply in replies] == ["2", "1", "0", "0"]
        assert {reply.headers["x-rate-limit-limit"] for reply in replies} == {"3"}
        [reset] = {int(reply.headers["x-rate-limit-reset"]) for reply in replies}
        assert 0 < reset - time.time() <= 901
        assert replies[3].json()["title"] == "Too Many Requests"
        assert provider.post(other, "a").status_code == 201
        assert provider.texts("alice") == ["a", "b"]


def test_a_reply_needs_a_post_that_is_there(provider, user):
    token = provider.connect(user)["access_token"]
    first = provider.post(token, "one").json()["data"]["id"]
    assert provider.post(token, "two", reply={"in_reply_to_tweet_id": first}).status_code == 201
    assert provider.api("DELETE", f"/2/tweets/{first}", token).json() == {"data": {"deleted": True}}
    for gone in (first, "1"):
        refused = provider.post(token, "three", reply={"in_reply_to_tweet_id": gone})
        assert refused.status_code == 403
        assert refused.json()["detail"] == "You attempted to reply to a Tweet that is deleted or not visible to you."


@pytest.mark.parametrize(("text", "status"), [("x" * 280, 201), ("x" * 281, 403), ("x" * 5000, 403), ("中" * 141, 403)])
def test_a_text_longer_than_x_takes_is_refused_and_no_post(provider, user, text, status):
    assert provider.post(provider.connect(user)["access_token"], text).status_code == status
    assert len(provider.texts(user)) == (status == 201)


def test_a_post_is_deleted_by_its_account_only(provider, user):
    token, other = provider.connect(user)["access_token"], provider.connect(f"{user}-2")["access_token"]
    post = provider.post(token, "mine").json()["data"]["id"]
    assert provider.api("DELETE", f"/2/tweets/{post}", other).status_code == 403
    assert provider.api("DELETE", "/2/tweets/123", token).status_code == 404
    assert provider.api("DELETE", f"/2/tweets/{post}", token).status_code == 200
    assert provider.api("GET", f"/2/users/{account_id(user)}/tweets", token).json() == {"meta": {"result_count": 0}}


def test_a_post_has_what_is_attached_and_the_timeline_shows_it_as_x_does(provider, user):
    token = provider.connect(user)["access_token"]
    first = provider.post(token, "one").json()["data"]["id"]
    quote = provider.post(token, "two", quote_tweet_id=first).json()["data"]
    poll = provider.post(token, "three?", poll={"options": ["a", "b & c"], "duration_minutes": 5}).json()["data"]
    ids = [provider.upload(token) for _ in range(2)]
    made = provider.api("POST", "/2/tweets", token, json={"media": {"media_ids": ids}})
    assert made.status_code == 201
    assert provider.api("POST", "/2/tweets", token, json={"media": {"media_ids": ["5"]}}).status_code == 400
    assert provider.post(token, "four", quote_tweet_id="1").status_code == 403
    look = {"post.fields": "entities,attachments", "expansions": "referenced_posts,attachments.poll_ids"}
    told = provider.api("GET", f"/2/users/{account_id(user)}/tweets", token, params=look).json()
    media, polled, quoting, plain = told["data"]
    assert quoting["referenced_posts"] == [{"type": "quoted", "id": first}]
    assert quoting["text"] == quote["text"] == f"two {quoting['entities']['urls'][0]['url']}"
    assert quoting["entities"]["urls"][0]["expanded_url"].endswith(f"/status/{first}")
    assert polled["text"] == poll["text"] == "three?"
    [poll_id] = polled["attachments"]["poll_ids"]
    options = [{"position": 1, "label": "a", "votes": 0}, {"position": 2, "label": "b & c", "votes": 0}]
    assert told["includes"] == {"polls": [{"id": poll_id, "options": options}]}
    assert media["attachments"] == {"media_keys": [f"3_{media_id}" for media_id in ids]}
    assert media["text"] == media["entities"]["urls"][0]["url"]
    assert "attachments" not in plain
    entries = [entry for entry in provider.control.ledger()["posts"] if entry["account"] == user]
    assert [entry["media_ids"] for entry in entries] == [[], [], [], ids]
    assert [entry["quote"] for entry in entries] == [None, first, None, None]


def test_a_post_is_reposted_once_and_liked_however_often(provider, user):
    token, other = (provider.connect(name)["access_token"] for name in (user, f"{user}-2"))
    post = provider.post(token, "hi").json()["data"]["id"]
    account, body = account_id(f"{user}-2"), {"tweet_id": post}
    reposted = provider.api("POST", f"/2/users/{account}/retweets", other, json=body)
    assert (reposted.status_code, reposted.json()) == (200, {"data": {"rest_id": post, "retweeted": True}})
    again = provider.api("POST", f"/2/users/{account}/retweets", other, json=body)
    assert again.status_code == 400
    assert again.json()["errors"][0]["message"] == "You cannot retweet a Tweet that you have already retweeted."
    for _ in range(2):
        liked = provider.api("POST", f"/2/users/{account}/likes", other, json=body)
        assert (liked.status_code, liked.json()) == (200, {"data": {"liked": True}})
    ledger = provider.control.ledger()
    for kind in ("reposts", "likes"):
        [entry] = [entry for entry in ledger[kind] if entry["account"] == f"{user}-2"]
        assert (entry["post"], entry["asked"]) == (post, 2)
    look = {"expansions": "referenced_posts", "post.fields": "created_at"}
    [repost] = provider.api("GET", f"/2/users/{account}/tweets", other, params=look).json()["data"]
    assert repost["referenced_posts"] == [{"type": "retweeted", "id": post}]
    assert repost["text"] == f"RT @{user}: hi"


@pytest.mark.parametrize("what", ["retweets", "likes"])
def test_what_cannot_be_reposted_or_liked_is_refused(provider, user, what):
    token = provider.connect(user)["access_token"]
    post = provider.post(token, "hi").json()["data"]["id"]
    path = f"/2/users/{account_id(user)}/{what}"
    assert provider.api("POST", path, token, json={"tweet_id": "1"}).status_code == 404
    assert provider.api("POST", path, token, json={"tweet_id": "1"}).json()["type"].endswith("/resource-not-found")
    for body in ({}, {"tweet_id": 1}, {"tweet_id": "x"}, {"tweet_id": post, "more": 1}):
        assert provider.api("POST", path, token, json=body).status_code == 400
    assert provider.api("POST", f"/2/users/1/{what}", token, json={"tweet_id": post}).status_code == 400
    reader = provider.connect(user, scope="tweet.read users.read offline.access")["access_token"]
    assert provider.api("POST", path, reader, json={"tweet_id": post}).status_code == 403
    writer = provider.connect(user, scope="tweet.read users.read tweet.write offline.access")["access_token"]
    assert provider.api("POST", path, writer, json={"tweet_id": post}).status_code == (403 if what == "likes" else 200)


def test_one_post_can_be_looked_up_and_what_is_not_there_is_said_with_a_200(provider, user):
    token = provider.connect(user)["access_token"]
    post = provider.post(token, "hi").json()["data"]["id"]
    found = provider.api("GET", f"/2/tweets/{post}", token, params={"post.fields": "author_id"})
    assert found.json() == {
        "data": {"id": post, "text": "hi", "edit_history_post_ids": [post], "author_id": account_id(user)}
    }
    assert provider.api("DELETE", f"/2/tweets/{post}", token).status_code == 200
    for gone in (post, "1"):
        reply = provider.api("GET", f"/2/tweets/{gone}", token)
        assert (reply.status_code, set(reply.json())) == (200, {"errors"})
        assert reply.json()["errors"][0]["type"].endswith("/resource-not-found")


def test_a_timeline_is_paged_newest_first_and_new_posts_do_not_shift_the_pages(provider, user):
    token = provider.connect(user)["access_token"]
    made = [provider.post(token, f"{n}").json()["data"]["id"] for n in range(12)]
    path, seen, query = f"/2/users/{account_id(user)}/tweets", [], {"max_results": "5", "tweet.fields": "created_at"}
    while True:
        page = provider.api("GET", path, token, params=query).json()
        seen += [post["id"] for post in page["data"]]
        assert page["meta"]["result_count"] == len(page["data"])
        assert page["meta"]["newest_id"] == page["data"][0]["id"]
        assert all(post["created_at"].endswith(".000Z") for post in page["data"])
        if "next_token" not in page["meta"]:
            break
        query["pagination_token"] = page["meta"]["next_token"]
        provider.post(token, f"meanwhile {len(seen)}")
    assert seen == made[::-1]


def test_a_timeline_is_narrowed_by_time_and_id_and_tells_only_what_is_asked(provider, user):
    token = provider.connect(user)["access_token"]
    made = [provider.post(token, f"{n}").json()["data"]["id"] for n in range(3)]
    now = datetime.now(UTC)

    def ids(**query: str) -> list[str]:
        reply = provider.api("GET", f"/2/users/{account_id(user)}/tweets", token, params=query)
        assert reply.status_code == 200, reply.text
        return [post["id"] for post in reply.json().get("data", [])]

    assert ids(since_id=made[0]) == [made[2], made[1]]
    assert ids(until_id=made[1]) == [made[0]]
    assert ids(start_time=(now - timedelta(minutes=1)).isoformat()) == made[::-1]
    assert ids(start_time=(now + timedelta(minutes=1)).isoformat()) == []
    assert ids(end_time=(now - timedelta(minutes=1)).isoformat()) == []
    [post, *_] = provider.api("GET", f"/2/users/{account_id(user)}/tweets", token).json()["data"]
    assert "created_at" not in post


def test_a_timeline_shows_texts_links_and_replies_as_x_does_in_the_words_it_is_asked_in(provider, user):
    token = provider.connect(user)["access_token"]
    made = provider.post(token, " see https://a.example/b & <c>").json()["data"]
    provider.post(token, "two", reply={"in_reply_to_tweet_id": made["id"]})

    def shown(**query: str) -> list[dict]:
        reply = provider.api("GET", f"/2/users/{account_id(user)}/tweets", token, params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    current = {"post.fields": "created_at,entities,nonsense", "expansions": "referenced_posts"}
    reply, first = shown(**current)
    assert reply["referenced_posts"] == [{"type": "replied_to", "id": made["id"]}]
    assert set(first) == {"id", "text", "edit_history_post_ids", "created_at", "entities"}
    [url] = first["entities"]["urls"]
    assert first["text"] == made["text"] == f"see {url['url']} &amp; &lt;c&gt;"
    assert url["expanded_url"] == "https://a.example/b"
    assert "entities" not in reply
    older, _ = shown(**{"tweet.fields": "referenced_tweets"})
    assert older["referenced_tweets"] == [{"type": "replied_to", "id": made["id"]}]
    assert set(older) == {"id", "text", "edit_history_tweet_ids", "referenced_tweets"}
    for silent in ({"post.fields": "referenced_posts"}, {"post.fields": "referenced_tweets.id"}, {"expansions": "x"}):
        assert not any(name.startswith("referenced") for post in shown(**silent) for name in post)


def test_a_timeline_needs_a_token_and_an_account(provider, user):
    token = provider.connect(user)["access_token"]
    path = f"/2/users/{account_id(user)}/tweets"
    assert provider.http.get(path).status_code == 401
    reply = provider.api("GET", f"/2/users/{account_id(user + '-nobody')}/tweets", token)
    assert (reply.status_code, set(reply.json())) == (200, {"errors"})
    other = provider.connect(f"{user}-2")["access_token"]
    provider.post(other, "theirs")
    assert provider.api("GET", path, token).json() == {"meta": {"result_count": 0}}


def test_a_post_may_take_its_time_to_be_on_the_timeline(provider, user):
    token = provider.connect(user)["access_token"]
    path = f"/2/users/{account_id(user)}/tweets"
    provider.control.settle(3600, user)
    provider.post(token, "made")
    assert provider.texts(user) == ["made"]
    assert provider.api("GET", path, token).json() == {"meta": {"result_count": 0}}
    provider.control.settle(1, user)
    eventually(lambda: provider.api("GET", path, token).json()["meta"]["result_count"] == 1)


@pytest.mark.parametrize(
    "query",
    ["max_results=4", "max_results=101", "max_results=x", "pagination_token=!", "pagination_token=c5", "since_id=x",
     "start_time=yesterday", "start_time=2026-01-01T00:00:00", "foo=1"],
)  # fmt: skip
def test_a_query_that_is_not_the_documented_one_is_a_400_problem(provider, user, query):
    token = provider.connect(user)["access_token"]
    reply = provider.api("GET", f"/2/users/{account_id(user)}/tweets?{query}", token)
    assert (reply.status_code, reply.json()["title"]) == (400, "Invalid Request")


def test_the_timeline_page_shows_posts_newest_first_and_escapes_them(provider, user):
    token = provider.connect(user)["access_token"]
    provider.post(token, f"older {user}")
    provider.post(token, f'<img src=x onerror="alert(1)"> & newer {user}')
    page = provider.http.get("/")
    assert page.status_code == 200
    assert "<img" not in page.text
    assert page.text.index(f"newer {user}") < page.text.index(f"older {user}")
    assert f"@{user}" in page.text
    assert 'http-equiv="refresh"' in page.text


# --- the control surface ------------------------------------------------------------------------------------------------------


def test_the_list_of_credentials_holds_every_one_ever_issued(provider, user):
    code = provider.code(user)
    first = provider.redeem(code).json()
    second = provider.refresh(first["refresh_token"]).json()
    provider.control.kill(user)
    known = set(provider.control.tokens())
    assert {
        code,
        SECRET,
        *(body[kind] for body in (first, second) for kind in ("access_token", "refresh_token")),
    } <= known


def test_expiring_access_leaves_the_refresh_token_alive_and_others_alone(provider, user):
    mine, other = provider.connect(user), provider.connect(f"{user}-2")
    assert provider.control.expire_access(user) == 1
    assert provider.post(mine["access_token"], "x").status_code == 401
    assert provider.post(other["access_token"], "x").status_code == 201
    assert provider.post(provider.refresh(mine["refresh_token"]).json()["access_token"], "x").status_code == 201
    assert provider.control.expire_access() >= 2
    assert provider.post(other["access_token"], "y").status_code == 401


def test_killing_an_account_ends_its_families(provider, user):
    tokens = provider.connect(user)
    assert provider.control.kill(user) == 1
    assert provider.api("GET", "/2/users/me", tokens["access_token"]).status_code == 401
    assert provider.refresh(tokens["refresh_token"]).json() == DEAD_TOKEN
    assert provider.family(user)["reuse"] == 0


def test_refusals_of_the_token_endpoint_are_counted(provider):
    before = provider.control.ledger()["counts"]["refused"]
    provider.refresh("nonsense")
    provider.token(basic(CLIENT, "wrong"), grant_type="refresh_token", refresh_token="x")
    assert provider.control.ledger()["counts"]["refused"] == before + 2


def test_grants_are_made_in_bulk_and_work(provider, user):
    accounts = [f"{user}-{n}" for n in range(200)]
    made = provider.control.make_grants(CLIENT, accounts)
    assert [set(reply) for reply in made] == [set(provider.connect(user))] * 200
    assert provider.api("GET", "/2/users/me", made[7]["access_token"]).json()["data"]["username"] == accounts[7]
    assert provider.refresh(made[7]["refresh_token"]).status_code == 200
    assert provider.family(accounts[7])["exchanges"] == 1
    assert provider.family(accounts[8])["exchanges"] == 0


def test_clients_have_refresh_tokens_of_their_own_kinds(provider, user):
    def exchange(client: str, token: str) -> httpx.Response:
        return provider.token(None, client_id=client, grant_type="refresh_token", refresh_token=token)

    [windowed] = provider.control.make_grants("windowed", [f"{user}-w"])
    assert [exchange("windowed", windowed["refresh_token"]).status_code for _ in range(2)] == [200, 200]
    assert (provider.family(f"{user}-w")["kind"], provider.family(f"{user}-w")["reuse"]) == ("rotating", 0)
    [sliding] = provider.control.make_grants("sliding", [f"{user}-s"])
    reply = exchange("sliding", sliding["refresh_token"]).json()
    assert "refresh_token" not in reply
    assert (sliding["refresh_token_expires_in"], reply["refresh_token_expires_in"]) == (86400, 86400)
    assert provider.family(f"{user}-s")["kind"] == "sliding"
    [github] = provider.control.make_grants("github", [f"{user}-g"])
    reply = exchange("github", github["refresh_token"]).json()
    assert reply["refresh_token"] != github["refresh_token"]
    assert reply["refresh_token_expires_in"] == 15897600


def test_a_day_passes_at_once_and_ends_what_it_ends(tmp_path, user):
    client = {"secret": SECRET, "refresh": {"kind": "rotating", "lifetime_seconds": 100_000}}
    with running(tmp_path, clients={CLIENT: client}) as provider:
        tokens = provider.connect(user)
        before = datetime.now(UTC)
        shown = provider.control.put_ahead(7100)
        assert before <= shown + timedelta(milliseconds=1) - timedelta(seconds=7100)
        assert shown - timedelta(seconds=7100) <= datetime.now(UTC)
        assert provider.api("GET", "/2/users/me", tokens["access_token"]).status_code == 200
        provider.control.put_ahead(86400)
        assert provider.api("GET", "/2/users/me", tokens["access_token"]).status_code == 401
        tokens = provider.refresh(tokens["refresh_token"]).json()
        assert provider.api("GET", "/2/users/me", tokens["access_token"]).status_code == 200
        with pytest.raises(SandboxError, match="cannot be put back"):
            provider.control.put_ahead(86399)
        provider.control.put_ahead(200_000)
        assert provider.refresh(tokens["refresh_token"]).json() == DEAD_TOKEN
        assert (provider.family(user)["reuse"], provider.family(user)["living"]) == (0, 0)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("grants", {"client_id": "nobody", "accounts": ["a"]}),
        ("grants", {"client_id": "public", "accounts": ["no spaces"]}),
        ("grants", {"client_id": "public"}),
        ("clock", {"ahead_seconds": -1}),
        ("clock", {"ahead_seconds": 1e300}),
        ("clock", {"seconds": 1}),
        ("misbehave", {"endpoint": "token", "how": "explode"}),
        ("misbehave", {"endpoint": "nowhere", "how": "empty"}),
        ("misbehave", {"endpoint": "tweets", "how": "keep_refresh_token"}),
        ("misbehave", {"endpoint": "tweets", "how": "slow"}),
        ("misbehave", {"endpoint": "tweets", "how": "empty", "seconds": 1}),
        ("misbehave", {"endpoint": "tweets", "how": "status"}),
        ("misbehave", {"endpoint": "tweets", "how": "status", "status": 99}),
        ("misbehave", {"endpoint": "tweets", "how": "empty", "status": 500}),
        ("misbehave", {"endpoint": "tweets", "how": "empty", "times": 0}),
        ("misbehave", {"endpoint": "tweets", "how": "empty", "tims": 1}),
        ("settle", {"seconds": -1}),
        ("settle", {"seconds": 1e9}),
        ("settle", {}),
        ("kill", {}),
        ("expire_access", {"acount": "alice"}),
    ],
)
def test_a_control_request_that_makes_no_sense_is_refused_and_changes_nothing(provider, user, name, body):
    token = provider.connect(user)["access_token"]
    reply = provider.http.post(f"/_sandbox/{name}", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]
    assert provider.post(token, "still fine").status_code == 201


def test_a_sandbox_that_is_not_there_is_a_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SandboxError, match="does not answer"):
        SandboxControl(f"http://127.0.0.1:{port}").ledger()


# --- misbehaviour ---------------------------------------------------------------------------------------------------------------


def test_a_request_held_before_is_carried_out_when_released(provider, user):
    tokens = provider.connect(user)
    provider.control.misbehave("token", "hold_before")
    with in_background(provider.refresh, tokens["refresh_token"]) as reply:
        eventually(lambda: provider.control.held() == 1)
        assert provider.family(user)["exchanges"] == 0
        assert provider.control.release() == 1
        assert reply.result(20).status_code == 200
    assert provider.family(user)["exchanges"] == 1
    assert provider.control.held() == 0


@pytest.mark.parametrize("endpoint", ["token", "tweets"])
def test_a_request_held_before_whose_client_goes_away_is_never_carried_out(provider, user, endpoint):
    tokens = provider.connect(user)
    provider.control.misbehave(endpoint, "hold_before")
    if endpoint == "token":
        form = urlencode({"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})
        request = ("/2/oauth2/token", basic(CLIENT, SECRET), form, "application/x-www-form-urlencoded")
    else:
        request = ("/2/tweets", f"Bearer {tokens['access_token']}", '{"text": "x"}')
    with leaving(provider, "POST", *request):
        eventually(lambda: provider.control.held() == 1)
    eventually(lambda: provider.control.held() == 0)
    provider.control.behave()
    assert provider.control.release() == 0
    assert provider.texts(user) == []
    assert provider.refresh(tokens["refresh_token"]).status_code == 200  # had it been used, this were reuse
    assert (provider.family(user)["exchanges"], provider.family(user)["reuse"]) == (1, 0)


def test_a_request_held_after_has_happened_already(provider, user):
    token = provider.connect(user)["access_token"]
    provider.control.misbehave("tweets", "hold_after")
    with in_background(provider.post, token, "done") as reply:
        eventually(lambda: provider.control.held() == 1)
        assert provider.texts(user) == ["done"]
        assert not reply.done()
        provider.control.release()
        assert reply.result(20).status_code == 201


def test_a_held_reply_whose_client_goes_away_is_held_no_longer(provider, user):
    token = provider.connect(user)["access_token"]
    provider.control.misbehave("tweets", "hold_after")
    with leaving(provider, "POST", "/2/tweets", f"Bearer {token}", '{"text": "x"}'):
        eventually(lambda: provider.control.held() == 1)
    eventually(lambda: provider.control.held() == 0)
    assert provider.texts(user) == ["x"]


@pytest.mark.parametrize("length", [30, 10**6])
def test_a_client_that_hangs_up_amid_its_request_costs_nothing(provider, user, length):
    token = provider.connect(user)["access_token"]
    with leaving(provider, "POST", "/2/tweets", f"Bearer {token}", '{"text": "' + "x" * length, unsent=9):
        pass
    assert provider.post(token, "still there").status_code == 201  # and nothing was written to stderr: see running()


def test_a_release_frees_all_that_is_held_and_nothing_that_comes_later(provider, user):
    token = provider.connect(user)["access_token"]
    provider.control.misbehave("tweets", "hold_before")
    with ThreadPoolExecutor(9) as pool:
        early = [pool.submit(provider.post, token, f"{n}") for n in range(8)]
        eventually(lambda: provider.control.held() == 8)
        assert provider.control.release() == 8
        assert [reply.result(20).status_code for reply in early] == [201] * 8
        late = pool.submit(provider.post, token, "late")
        eventually(lambda: provider.control.held() == 1)
        assert "late" not in provider.texts(user)
        provider.control.release()
        assert late.result(20).status_code == 201


@pytest.mark.parametrize(("how", "exchanges"), [("drop_before", 0), ("drop_after", 1)])
def test_a_dropped_token_request_ends_without_a_reply(provider, user, how, exchanges):
    token = provider.connect(user)["refresh_token"]
    provider.control.misbehave("token", how, times=1)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        provider.refresh(token)
    assert provider.family(user)["exchanges"] == exchanges
    again = provider.refresh(token)
    assert again.status_code == (400 if exchanges else 200)
    assert provider.family(user)["reuse"] == exchanges


@pytest.mark.parametrize(("how", "texts"), [("drop_before", []), ("drop_after", ["x"])])
def test_a_dropped_post_ends_without_a_reply_on_old_and_new_connections(provider, user, how, texts):
    token = provider.connect(user)["access_token"]
    provider.control.misbehave("tweets", how)
    with httpx.Client(base_url=provider.url, timeout=20, trust_env=False) as fresh:
        for http in (provider.http, fresh):
            with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
                http.post("/2/tweets", json={"text": "x"}, headers={"authorization": f"Bearer {token}"})
    assert provider.texts(user) == texts


@pytest.mark.parametrize("endpoint", ["me", "revoke"])
def test_me_and_revoke_misbehave_too(provider, user, endpoint):
    tokens = provider.connect(user)
    requests = {
        "me": ("GET", "/2/users/me", {}, f"Bearer {tokens['access_token']}"),
        "revoke": ("POST", "/2/oauth2/revoke", {"token": tokens["refresh_token"]}, basic(CLIENT, SECRET)),
    }
    method, path, data, authorization = requests[endpoint]
    provider.control.misbehave(endpoint, "drop_after")
    with pytest.raises(httpx.RemoteProtocolError):
        provider.http.request(method, path, data=data, headers={"authorization": authorization})
    assert provider.family(user)["alive"] is (endpoint == "me")


def test_the_timeline_misbehaves_by_itself(provider, user):
    token = provider.connect(user)["access_token"]
    path = f"/2/users/{account_id(user)}/tweets"
    provider.control.misbehave("timeline", "status", status=429, headers={"x-rate-limit-reset": "1"}, body={}, times=1)
    provider.control.misbehave("timeline", "status", status=503, body={}, account=user, times=1)
    assert provider.post(token, "made").status_code == 201
    assert [provider.api("GET", path, token).status_code for _ in range(3)] == [429, 503, 200]
    provider.control.misbehave("timeline", "hold_after")
    with in_background(provider.api, "GET", path, token) as reply:
        eventually(lambda: provider.control.held() == 1)
        assert provider.api("GET", "/2/users/me", token).status_code == 200
        provider.control.release()
        assert reply.result(20).json()["meta"]["result_count"] == 1


@pytest.mark.parametrize(
    ("endpoint", "method", "path"),
    [
        ("post", "GET", "/2/tweets/{post}"),
        ("delete", "DELETE", "/2/tweets/{post}"),
        ("retweets", "POST", "/2/users/{account}/retweets"),
        ("likes", "POST", "/2/users/{account}/likes"),
    ],
)
def test_what_is_done_with_one_post_misbehaves_too(provider, user, endpoint, method, path):
    token = provider.connect(user)["access_token"]
    post = provider.post(token, "hi").json()["data"]["id"]
    body = {"json": {"tweet_id": post}} if method == "POST" else {}

    def ask() -> httpx.Response:
        return provider.api(method, path.format(post=post, account=account_id(user)), token, **body)

    def asked() -> int:
        ledger = provider.control.ledger()
        mine = [entry for kind in ("reposts", "likes") for entry in ledger[kind] if entry["account"] == user]
        deleted = [entry for entry in ledger["posts"] if entry["id"] == post and entry["deleted_at"]]
        return sum(entry["asked"] for entry in mine) + len(deleted)

    provider.control.misbehave(endpoint, "status", status=503, body={}, times=1)
    assert (ask().status_code, asked()) == (503, 0)
    provider.control.misbehave(endpoint, "drop_after", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        ask()
    assert asked() == (endpoint != "post")
    assert ask().status_code == (400 if endpoint == "retweets" else 200)


def test_a_slow_request_is_answered_late_and_carried_out_though_nobody_waits(provider, user):
    token = provider.connect(user)["access_token"]
    provider.control.misbehave("tweets", "slow", seconds=1.5)
    started = time.monotonic()
    assert provider.post(token, "waited for").status_code == 201
    assert time.monotonic() - started >= 1.5
    provider.control.behave()
    provider.control.misbehave("tweets", "slow", seconds=6)  # long enough to look what is there before it is over
    timeout = httpx.Timeout(20, read=0.7)
    with httpx.Client(base_url=provider.url, timeout=timeout) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post("/2/tweets", json={"text": "left"}, headers={"authorization": f"Bearer {token}"})
    assert provider.texts(user) == ["waited for"]
    eventually(lambda: provider.texts(user) == ["waited for", "left"])


def test_a_200_may_hold_an_error(provider, user):
    """GitHub's way of saying that a grant is dead; nothing has happened to it here."""
    token = provider.connect(user)["refresh_token"]
    provider.control.misbehave("token", "status", times=1, status=200, body={"error": "bad_refresh_token"})
    reply = provider.refresh(token)
    assert (reply.status_code, reply.json()) == (200, {"error": "bad_refresh_token"})
    assert provider.refresh(token).status_code == 200
    assert provider.family(user)["exchanges"] == 1


def test_a_status_changes_nothing_and_a_status_after_comes_when_it_has_happened(provider, user):
    token = provider.connect(user)["access_token"]
    provider.control.misbehave(
        "tweets", "status", times=1, status=429, headers={"x-rate-limit-reset": "1"}, body={"title": "Too Many"}
    )
    limited = provider.post(token, "x")
    assert (limited.status_code, limited.headers["x-rate-limit-reset"]) == (429, "1")
    assert limited.json() == {"title": "Too Many"}
    assert provider.texts(user) == []
    provider.control.misbehave("tweets", "status_after", times=1, status=500, body="<h1>oops</h1>")
    failed = provider.post(token, "x")
    assert (failed.status_code, failed.text) == (500, "<h1>oops</h1>")
    assert provider.texts(user) == ["x"]


def test_malformed_and_empty_replies_say_200_and_have_done_nothing(provider, user):
    token = provider.connect(user)["refresh_token"]
    provider.control.misbehave("token", "malformed", times=1)
    provider.control.misbehave("token", "empty", times=1)
    page, nothing = provider.refresh(token), provider.refresh(token)
    assert (page.status_code, nothing.status_code) == (200, 200)
    assert page.text.startswith("<!doctype html>")
    assert nothing.content == b""
    assert provider.refresh(token).status_code == 200
    assert provider.family(user)["exchanges"] == 1


def test_a_reply_may_leave_out_expires_in(provider, user):
    token = provider.connect(user)["refresh_token"]
    provider.control.misbehave("token", "no_expires_in", times=1)
    reply = provider.refresh(token).json()
    assert "expires_in" not in reply
    assert "expires_in" in provider.refresh(reply["refresh_token"]).json()


def test_a_refresh_token_may_stay_the_same(provider, user):
    token = provider.connect(user)["refresh_token"]
    provider.control.misbehave("token", "keep_refresh_token", times=2)
    for _ in range(2):
        reply = provider.refresh(token)
        assert reply.status_code == 200
        assert "refresh_token" not in reply.json()
    assert "refresh_token" in provider.refresh(token).json()
    family = provider.family(user)
    assert (family["generation"], family["exchanges"], family["reuse"]) == (2, 3, 0)


def test_rules_apply_oldest_first_each_so_many_times_to_their_account_only(provider, user):
    mine, other = provider.connect(user)["access_token"], provider.connect(f"{user}-2")["access_token"]
    first = provider.control.misbehave("tweets", "status", status=500, times=2, account=user)
    second = provider.control.misbehave("tweets", "status", status=503, account=user)
    assert first != second
    assert provider.post(other, "x").status_code == 201
    assert [provider.post(mine, "x").status_code for _ in range(4)] == [500, 500, 503, 503]
    provider.control.behave()
    assert provider.post(mine, "x").status_code == 201


def test_a_fault_of_its_own_is_reported_by_place_and_not_by_content(tmp_path):
    process = launch(write_config(tmp_path))
    try:
        url = process.stdout.readline().split()[1]
        control = SandboxControl(url)
        control.misbehave("me", "status", status=500, headers={"x-bad": "canary\n"})  # the server cannot send this
        with pytest.raises(httpx.RemoteProtocolError), httpx.Client(trust_env=False) as http:
            http.get(f"{url}/2/users/me")
        assert control.held() == 0
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert out == ""
    assert err.startswith("sandbox: LocalProtocolError in ")
    assert err.count("\n") == 1
    assert "canary" not in err
