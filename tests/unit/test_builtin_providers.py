"""The built-in profiles: what each provider's pages show of its replies, and reports of its errors, is understood."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from actas.actions import BUILT_IN as ACTIONS
from actas.connecting import Connector
from actas.errors import ClientRefused, ConnectError, GrantDead, ProviderBusy, ProviderUnavailable, TokenEndpointError
from actas.http import Reply
from actas.oauth import Pkce, TokenEndpoint, authorization_url, read_tokens
from actas.providers import BUILT_IN
from actas.requests import check_granted
from actas.settings import ClientCredentials
from actas.unshown import in_clear
from tests.unit.recorded import NOW, reply

CLIENT = ClientCredentials(client_id="app", client_secret=SecretStr("canary-secret"))

#: What a token endpoint says, by the page that shows it; then: the scopes by our names, seconds to live, of the refresh
#: token too.
TOKENS = {
    # docs.github.com, "Generating a user access token for a GitHub App", "Refreshing user access tokens"
    "github": (
        {"access_token": "ghu_x", "expires_in": 28800, "refresh_token": "ghr_x", "refresh_token_expires_in": 15897600, "scope": "", "token_type": "bearer"},
        None, 28800, 15897600,
    ),
    # An OAuth app's: docs.github.com, "Authorizing OAuth apps"
    "github (OAuth app)": ({"access_token": "gho_x", "scope": "repo,gist", "token_type": "bearer"}, {"repo", "gist"}, 28800, None),
    # developers.google.com/identity/protocols/oauth2/web-server
    "google": (
        {"access_token": "1/f", "expires_in": 3920, "token_type": "Bearer", "refresh_token": "1//x",
         "scope": "openid https://www.googleapis.com/auth/calendar.events https://www.googleapis.com/auth/gmail.send", "id_token": "e"},
        {"openid", "https://www.googleapis.com/auth/calendar.events", "https://www.googleapis.com/auth/gmail.send"}, 3920, None,
    ),
    "google (access for a time)": ({"access_token": "1/f", "expires_in": 3920, "refresh_token_expires_in": 604800}, None, 3920, 604800),
    # learn.microsoft.com/linkedin, "Refresh Tokens with OAuth 2.0"
    "linkedin": (
        {"access_token": "AQX", "expires_in": 5184000, "refresh_token": "AQW", "refresh_token_expires_in": 31536059, "scope": "openid,profile,w_member_social"},
        {"openid", "profile", "w_member_social"}, 5184000, 31536059,
    ),
    # learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
    "microsoft": (
        {"access_token": "ey", "token_type": "Bearer", "expires_in": 3599, "scope": "https://graph.microsoft.com/Mail.Send", "refresh_token": "A", "id_token": "e"},
        {"Mail.Send"}, 3599, None,
    ),
    # and as it answers: short names, and nothing of offline_access
    "microsoft (short)": (
        {"access_token": "ey", "expires_in": 3599, "ext_expires_in": 3599, "scope": "openid profile Mail.Send User.Read"},
        {"openid", "profile", "Mail.Send", "User.Read"}, 3599, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("whose", TOKENS)
def test_a_token_reply_is_read_as_its_provider_writes_it(whose):
    body, scopes, seconds, refresh_seconds = TOKENS[whose]
    tokens = read_tokens(BUILT_IN[whose.partition(" ")[0]], reply(200, body), NOW)
    assert tokens.access_token.get_secret_value() == body["access_token"]
    assert (tokens.refresh_token and tokens.refresh_token.get_secret_value()) == body.get("refresh_token")
    assert tokens.scopes == (None if scopes is None else frozenset(scopes))
    assert (tokens.access_expires_at - NOW).total_seconds() == seconds
    assert tokens.refresh_expires_in == refresh_seconds


def entra(code: str, number: int) -> dict[str, Any]:
    """learn.microsoft.com/entra/identity-platform/reference-error-codes"""
    return {
        "error": code, "error_description": f"AADSTS{number}: words. Trace ID: x Timestamp: 2026-11-27", "error_codes": [number],
        "timestamp": "2026-11-27 09:00:00Z", "trace_id": "x", "correlation_id": "x",
        "error_uri": f"https://login.microsoftonline.com/error?code={number}",
    }  # fmt: skip


GITHUB_URI = "https://docs.github.com/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/"


@pytest.mark.parametrize(
    ("provider", "status", "body", "kind"),
    [
        # GitHub says all of these with HTTP 200
        ("github", 200, {"error": "bad_refresh_token", "error_description": "The refresh token passed is incorrect or expired.", "error_uri": GITHUB_URI}, GrantDead),
        ("github", 200, {"error": "incorrect_client_credentials", "error_description": "The client_id and/or client_secret passed are incorrect.", "error_uri": GITHUB_URI}, ClientRefused),
        ("github", 200, {"error": "bad_verification_code", "error_description": "The code passed is incorrect or expired.", "error_uri": GITHUB_URI}, TokenEndpointError),
        ("github", 200, {"error": "unsupported_grant_type"}, TokenEndpointError),
        ("github", 200, b"error=bad_refresh_token&error_description=x", ProviderUnavailable),  # without Accept: not asked for
        ("github", 429, {"message": "API rate limit exceeded"}, ProviderBusy),
        ("github", 500, b"<html>", ProviderUnavailable),
        # Google
        ("google", 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, GrantDead),
        ("google", 400, {"error": "invalid_grant", "error_description": "reauth related error (invalid_rapt)", "error_subtype": "invalid_rapt"}, GrantDead),
        ("google", 401, {"error": "invalid_client", "error_description": "The OAuth client was not found."}, ClientRefused),
        ("google", 401, {"error": "unauthorized_client", "error_description": "Unauthorized"}, ClientRefused),
        ("google", 400, {"error": "admin_policy_enforced"}, TokenEndpointError),
        ("google", 503, {"error": "internal_failure"}, ProviderUnavailable),
        # LinkedIn
        ("linkedin", 400, {"error": "invalid_request", "error_description": "The provided authorization grant or refresh token is invalid, expired or revoked"}, GrantDead),
        ("linkedin", 400, {"error": "invalid_grant", "error_description": "x"}, GrantDead),
        ("linkedin", 400, {"error": "invalid_request", "error_description": 'A required parameter "refresh_token" is missing'}, TokenEndpointError),
        ("linkedin", 400, {"error": "invalid_request", "error_description": "Unable to retrieve access token: appid/redirect uri/code verifier does not match authorization code."}, TokenEndpointError),
        ("linkedin", 401, {"error": "invalid_client", "error_description": "Client authentication failed"}, ClientRefused),
        ("linkedin", 429, {"status": 429}, ProviderBusy),
        # Microsoft
        ("microsoft", 400, entra("invalid_grant", 700082), GrantDead),  # too old
        ("microsoft", 400, entra("invalid_grant", 50173), GrantDead),  # revoked: a password was changed
        ("microsoft", 400, entra("invalid_grant", 65001), GrantDead),  # no consent
        ("microsoft", 400, entra("interaction_required", 50076), GrantDead),  # another factor is wanted
        ("microsoft", 400, entra("consent_required", 65001), GrantDead),
        ("microsoft", 401, entra("invalid_client", 7000215), ClientRefused),  # a wrong secret
        ("microsoft", 401, entra("invalid_client", 7000222), ClientRefused),  # an expired one
        ("microsoft", 400, entra("unauthorized_client", 700016), ClientRefused),  # no such app there
        ("microsoft", 400, entra("invalid_scope", 70011), TokenEndpointError),
        ("microsoft", 503, entra("temporarily_unavailable", 90033), ProviderUnavailable),
    ],
)  # fmt: skip
def test_an_error_blames_whom_its_provider_means(provider, status, body, kind):
    """No user loses a connection for an app's mistake, or for an outage."""
    with pytest.raises((TokenEndpointError, ProviderUnavailable)) as caught:
        read_tokens(BUILT_IN[provider], reply(status, body), NOW)
    assert type(caught.value) is kind


# --- connecting, from the browser's return to whose account it is ---


@dataclass
class Script:
    """In the place of ``actas.http.Http``: these replies, in this order."""

    answers: list[Reply]
    asked: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = field(default_factory=list)

    def send(self, method: str, url: str, *, headers: Any = None, form: Any = None, **_: Any) -> Reply:
        self.asked.append((method, url, dict(in_clear(headers)), dict(in_clear(form or {}))))
        return self.answers.pop(0)


@dataclass
class Pending:
    """In the place of ``actas.stores.connects.Connects``: what was begun is there once."""

    begun: dict[str, Any]

    def take(self, *_: Any, **__: Any) -> dict[str, Any]:
        return self.begun


def connected(name: str, tokens: dict[str, Any], account: Any, asked: list[str]):
    provider, script = BUILT_IN[name], Script([reply(200, tokens), reply(200, account)])
    pending = {"salt": "salt", "redirect_uri": "https://app.example/callback", "scopes": asked}
    endpoint = TokenEndpoint(script, provider, CLIENT)
    callback = "https://app.example/callback?state=s&code=c"
    done = Connector("demo", Pending(pending), lambda: NOW).finish(callback, user="u", endpoint=endpoint)
    return done, script.asked


#: By the page that shows it.
ACCOUNTS = {
    # docs.github.com/rest/users/users, "Get the authenticated user"
    "github": ({"login": "octocat", "id": 583231, "node_id": "MDQ6VXNlcjE=", "type": "User", "name": "monalisa octocat", "email": None}, "583231", "https://api.github.com/user"),
    # openid.net/specs/openid-connect-core-1_0.html#UserInfoResponse, which these three follow
    "google": ({"sub": "110169484474386276334", "picture": "https://lh3.googleusercontent.com/x"}, "110169484474386276334", "https://openidconnect.googleapis.com/v1/userinfo"),
    "linkedin": (
        {"sub": "782bbtaQ", "name": "John Doe", "given_name": "John", "family_name": "Doe", "picture": "https://media.licdn.com/x", "locale": "en-US", "email": "doe@email.com", "email_verified": True},
        "782bbtaQ", "https://api.linkedin.com/v2/userinfo",
    ),
    "microsoft": (
        {"sub": "OLu859SGc2Sr9ZsqbkG-QbeLgJlb41KcdiPoLYNpSFA", "name": "Mikah Ollenburg", "picture": "https://graph.microsoft.com/v1.0/me/photo/$value"},
        "OLu859SGc2Sr9ZsqbkG-QbeLgJlb41KcdiPoLYNpSFA", "https://graph.microsoft.com/oidc/userinfo",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCOUNTS)
def test_whose_account_it_is_is_read_where_the_provider_says_it(name):
    body, account, url = ACCOUNTS[name]
    done, asked = connected(name, TOKENS[name][0], body, ["w_member_social"])
    assert (done.provider, done.account, done.client_id) == (name, account, "app")
    (_, _, _, form), (method, at, headers, _) = asked
    assert form["grant_type"] == "authorization_code"
    assert (form["client_id"], form["client_secret"]) == ("app", "canary-secret")  # client_auth "post", all four
    assert (method, at) == ("GET", url)
    assert headers["Authorization"] == f"Bearer {TOKENS[name][0]['access_token']}"
    assert headers.items() >= BUILT_IN[name].api_headers.items()


@pytest.mark.parametrize("name", ACCOUNTS)
@pytest.mark.parametrize("body", [{}, [], None, {"id": None, "sub": None}, {"id": ["1"], "sub": {"x": 1}}])
def test_an_account_that_is_not_told_is_no_connection(name, body):
    with pytest.raises(ConnectError, match="did not tell whose account it is"):
        connected(name, TOKENS[name][0], body, [])


@pytest.mark.parametrize("scope", ["", None])
def test_where_token_replies_name_no_scopes_those_asked_for_count(scope):
    """A GitHub App's tokens have none, so its actions need none."""
    done, _ = connected("github", TOKENS["github"][0] | {"scope": scope}, ACCOUNTS["github"][0], [])
    assert done.scopes == frozenset()
    check_granted(ACTIONS["github.create_issue"], done)


def test_a_user_may_grant_less_than_was_asked_for():
    """At Google each scope has its own tick; what was not ticked, its actions learn early."""
    tokens = TOKENS["google"][0] | {"scope": "https://www.googleapis.com/auth/gmail.send openid"}
    done, _ = connected("google", tokens, ACCOUNTS["google"][0], ["https://www.googleapis.com/auth/calendar.events"])
    assert done.scopes == {"openid", "https://www.googleapis.com/auth/gmail.send"}


# --- what is asked for ---


def sent_to(name: str, scopes: list[str]) -> tuple[str, dict[str, str]]:
    provider = BUILT_IN[name]
    pkce = Pkce(SecretStr("verifier"))
    url = authorization_url(
        provider, CLIENT, redirect_uri="https://app.example/cb", scopes=scopes, state="s", pkce=pkce
    )
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path}", {key: value for key, (value,) in parse_qs(parts.query).items()}


@pytest.mark.parametrize(
    ("name", "place", "has", "has_not"),
    [
        ("github", "github.com/login/oauth/authorize", {"code_challenge_method": "S256"}, {"scope"}),
        ("google", "accounts.google.com/o/oauth2/v2/auth", {"access_type": "offline", "prompt": "consent", "code_challenge_method": "S256"}, set()),
        # PKCE there is for native clients, at another address
        ("linkedin", "www.linkedin.com/oauth/v2/authorization", {}, {"code_challenge", "code_challenge_method"}),
        ("microsoft", "login.microsoftonline.com/common/oauth2/v2.0/authorize", {"code_challenge_method": "S256"}, set()),
    ],
)  # fmt: skip
def test_the_browser_is_sent_where_the_provider_wants_it_with_what_it_wants(name, place, has, has_not):
    base = list(BUILT_IN[name].base_scopes)
    where, query = sent_to(name, base)
    assert where == place
    assert query.items() >= {"response_type": "code", "client_id": "app", "state": "s", **has}.items()
    assert not has_not & query.keys()
    assert query.get("scope", "").split() == sorted(base)


@pytest.mark.parametrize(
    ("name", "sends"), [("github", True), ("google", True), ("linkedin", False), ("microsoft", True)]
)
def test_the_code_verifier_is_for_those_who_know_it(name, sends):
    script = Script([reply(200, TOKENS[name][0])])
    TokenEndpoint(script, BUILT_IN[name], CLIENT).exchange_code(
        code=SecretStr("c"), verifier=SecretStr("v"), redirect_uri="https://app.example/cb", seconds=5, now=NOW
    )
    ((method, url, headers, form),) = script.asked
    assert (method, url) == ("POST", BUILT_IN[name].token_url)
    assert ("code_verifier" in form) is sends
    assert headers["Accept"] == "application/json"  # GitHub answers in a form otherwise


def test_the_headers_of_each_api_name_the_version_that_is_meant():
    assert BUILT_IN["github"].api_headers.keys() == {"Accept", "X-GitHub-Api-Version"}
    assert BUILT_IN["linkedin"].api_headers.keys() == {"LinkedIn-Version", "X-Restli-Protocol-Version"}
