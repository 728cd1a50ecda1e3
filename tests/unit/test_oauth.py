"""The token endpoint: what is sent to it, and what its replies mean."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from actas.connecting import _pkce
from actas.errors import ClientRefused, GrantDead, ProviderUnavailable, TokenEndpointError
from actas.http import Http, Reply
from actas.oauth import Pkce, TokenEndpoint, authorization_url, parse_tokens, read_tokens
from actas.providers import BUILT_IN, Provider
from actas.providers.model import FatalError
from actas.settings import ClientCredentials

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
X = BUILT_IN["x"]
CANARY = "canary-token"
#: More than any access token lives; whatever a reply says, nothing is believed to live longer.
YEAR = timedelta(days=366)

DEAD_AT_X = {"error": "invalid_request", "error_description": "Value passed for the token was invalid."}


def reply(status: int, body: object) -> Reply:
    return Reply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def read(status: int, body: object):
    return read_tokens(X, reply(status, body), NOW)


# --- success ---


def test_a_full_reply_is_read_whole():
    """The example of RFC 6749 section 5.1."""
    tokens = read(
        200,
        {
            "access_token": "2YotnFZFEjr1zCsicMWpAA",
            "token_type": "example",
            "expires_in": 3600,
            "refresh_token": "tGzv3JOkF0XG5Qx2TlKWIA",
            "scope": "b a",
            "example_parameter": "example_value",
        },
    )
    assert tokens.access_token.get_secret_value() == "2YotnFZFEjr1zCsicMWpAA"
    assert tokens.refresh_token.get_secret_value() == "tGzv3JOkF0XG5Qx2TlKWIA"
    assert tokens.access_expires_at == NOW + timedelta(hours=1)
    assert tokens.scopes == {"a", "b"}


@pytest.mark.parametrize("status", [200, 201])
def test_an_access_token_alone_is_a_success(status):
    tokens = read(status, {"access_token": "a"})
    assert tokens.refresh_token is None  # the old one stays in force
    assert tokens.scopes is None  # what was asked for was granted
    assert tokens.access_expires_at == NOW + timedelta(seconds=X.default_expires_seconds)


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (7200, 7200),
        ("7200", 7200),
        (7200.5, 7200.5),
        (0, 0),
        (-1, 0),
        ("-1", 0),
        (None, X.default_expires_seconds),
    ],
)
def test_the_time_to_live_is_read_as_providers_write_it(expires_in, seconds):
    tokens = read(200, {"access_token": "a", "refresh_token": "r", "expires_in": expires_in})
    assert tokens.access_expires_at == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "expires_in",
    ["", "soon", [], {}, True, 1e12, 10**30, float("inf"), float("-inf"), float("nan"), "1e400", "9" * 5000],
)
def test_an_odd_time_to_live_costs_no_tokens(expires_in):
    """Where refresh tokens rotate, what is thrown away here is the grant; a wrong guess only costs a 401."""
    tokens = read(200, {"access_token": "a", "refresh_token": "r", "expires_in": expires_in})
    assert tokens.refresh_token.get_secret_value() == "r"
    assert NOW <= tokens.access_expires_at <= NOW + YEAR


@pytest.mark.parametrize("expires_in", ["", "soon", [], {}, float("nan")])
def test_an_app_that_brings_an_odd_time_to_live_is_told(expires_in):
    """It still has the tokens, and can mend what it says of them."""
    with pytest.raises(TokenEndpointError, match="expires_in") as caught:
        parse_tokens({"access_token": "a", "expires_in": expires_in}, NOW, X)
    assert caught.value.provider_code == "malformed"


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"refresh_token_expires_in": 15897600}, 15897600),  # GitHub, LinkedIn, TikTok
        ({"refresh_token_expires_in": "15897600"}, 15897600),
        ({"refresh_expires_in": 1800}, 1800),  # Keycloak
        ({"refresh_expires_in": 1800, "refresh_token_expires_in": "soon"}, 1800),
        ({"refresh_expires_in": 0}, None),  # Keycloak's offline tokens: no end
        ({}, None),
    ],
)
def test_a_reply_may_say_how_long_its_refresh_token_lives(fields, seconds):
    assert read(200, {"access_token": "a", "refresh_token": "r", **fields}).refresh_expires_in == seconds


@pytest.mark.parametrize("field", ["refresh_token_expires_in", "refresh_expires_in"])
@pytest.mark.parametrize(
    "said", [None, "", "soon", [], {}, True, -1, 1e12, 10**400, float("inf"), float("nan"), "1e400", "9" * 5000]
)
def test_an_odd_end_of_a_refresh_token_is_as_good_as_none(field, said):
    tokens = read(200, {"access_token": "a", "refresh_token": "r", field: said})
    assert (tokens.refresh_token.get_secret_value(), tokens.refresh_expires_in) == ("r", None)
    app = parse_tokens({"access_token": "a", field: said}, NOW, X)
    assert app.refresh_expires_in is None


@pytest.mark.parametrize("body", [{"access_token": "a"}, {"access_token": "a", "expires_in": None}])
def test_a_time_to_live_that_is_not_said_is_the_providers_own_default(body):
    brief = X.model_copy(update={"default_expires_seconds": 60})
    assert read_tokens(brief, reply(200, body), NOW).access_expires_at == NOW + timedelta(seconds=60)


@pytest.mark.parametrize("refresh_token", [None, ""])
def test_no_refresh_token_is_not_an_empty_one(refresh_token):
    assert read(200, {"access_token": "a", "refresh_token": refresh_token}).refresh_token is None


@pytest.mark.parametrize(
    ("scope", "scopes"), [("", None), (None, None), (" ", None), ("a", {"a"}), (" a  b ", {"a", "b"})]
)
def test_scopes_are_separated_by_spaces_and_may_be_left_out(scope, scopes):
    assert read(200, {"access_token": "a", "scope": scope}).scopes == scopes


@given(st.timedeltas(timedelta(days=-2000), timedelta(days=30_000)).map(lambda delta: NOW + delta), st.floats(0, 1e7))
def test_an_expiry_is_kept_in_the_milliseconds_that_mongodb_keeps(now, seconds):
    expires_at = parse_tokens({"access_token": "a", "expires_in": seconds}, now, X).access_expires_at
    assert expires_at.microsecond % 1000 == 0
    assert now + timedelta(seconds=seconds) - expires_at < timedelta(milliseconds=1)


# --- refusals ---


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        # the grant is dead
        (400, {"error": "invalid_grant"}, GrantDead, "invalid_grant"),
        (401, {"error": "invalid_grant", "error_description": "expired"}, GrantDead, "invalid_grant"),
        (400, DEAD_AT_X, GrantDead, "invalid_request"),
        (200, DEAD_AT_X, GrantDead, "invalid_request"),
        (200, {"error": "invalid_grant"}, GrantDead, "invalid_grant"),
        (429, {"error": "invalid_grant"}, GrantDead, "invalid_grant"),
        (500, {"error": "invalid_grant"}, GrantDead, "invalid_grant"),
        # the app's own credentials: no user must suffer for them
        (401, {"error": "invalid_client"}, ClientRefused, "invalid_client"),
        (400, {"error": "unauthorized_client"}, ClientRefused, "unauthorized_client"),
        (200, {"error": "invalid_client"}, ClientRefused, "invalid_client"),
        # refusals that kill nothing
        (400, {"error": "invalid_request"}, TokenEndpointError, "invalid_request"),
        (
            400,
            {"error": "invalid_request", "error_description": "Missing parameter"},
            TokenEndpointError,
            "invalid_request",
        ),
        (400, {"error": "invalid_request", "error_description": None}, TokenEndpointError, "invalid_request"),
        (
            400,
            {"error": "invalid_request", "error_description": ["token was invalid"]},
            TokenEndpointError,
            "invalid_request",
        ),
        (400, {"error": "invalid_scope"}, TokenEndpointError, "invalid_scope"),
        (400, {"error": "unsupported_grant_type"}, TokenEndpointError, "unsupported_grant_type"),
        (400, {"error": "nobody_heard_of_this"}, TokenEndpointError, "nobody_heard_of_this"),
        (
            200,
            {"error": "bad_refresh_token"},
            TokenEndpointError,
            "bad_refresh_token",
        ),  # GitHub's; fatal only in its data
        (400, {"error": ""}, TokenEndpointError, "unreadable"),
    ],
)
def test_a_refusal_is_told_apart(status, body, kind, code):
    with pytest.raises(TokenEndpointError) as caught:
        read(status, body)
    assert (type(caught.value), caught.value.provider_code) == (kind, code)


@pytest.mark.parametrize("status", [200, 400])
def test_a_dead_grant_is_known_by_its_providers_words_whatever_the_status(status):
    """GitHub answers 200 and bad_refresh_token; its description says more, and is not needed."""
    github = X.model_copy(update={"fatal_errors": (FatalError(error="bad_refresh_token"),)})
    body = {"error": "bad_refresh_token", "error_description": "The refresh token passed is incorrect or expired."}
    with pytest.raises(GrantDead) as caught:
        read_tokens(github, reply(status, body), NOW)
    assert caught.value.provider_code == "bad_refresh_token"
    with pytest.raises(TokenEndpointError) as caught:  # what is fatal elsewhere is not so here
        read_tokens(github, reply(status, {"error": "invalid_grant"}), NOW)
    assert not isinstance(caught.value, GrantDead)


def test_an_error_beside_tokens_does_not_cost_them():
    """Success is having an access token: where the old refresh token is dead, the new one must not be thrown away."""
    tokens = read(200, {"access_token": "a", "refresh_token": "r", "error": "invalid_grant"})
    assert tokens.refresh_token.get_secret_value() == "r"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, b""),
        (429, {"error": "rate_limited"}),
        (500, b"<html>"),
        (502, b""),
        (503, {"error": "temporarily_unavailable"}),
        (503, {"error": "invalid_request"}),
        (200, b""),
        (200, b"<html>captive portal</html>"),
        (200, b"\xff\xfe"),
        (200, b"["),
        (200, b"[" * 100_000),
        (200, []),
        (200, {}),
        (200, "access_token"),
        (200, None),
        (200, {"access_token": None}),
        (200, {"access_token": 1}),
        (200, {"access_token": ["a"]}),
        (302, {"access_token": "a"}),
        (400, b"<html>Bad Request</html>"),
        (400, {"error": {"code": 190}}),
        (400, {"error": None}),
        (400, {"errors": [{"message": "no"}]}),
        (404, b""),
        (403, {"access_token": "a"}),
    ],
)
def test_what_is_no_oauth_reply_is_an_outage_and_blames_nobody(status, body):
    with pytest.raises(
        ProviderUnavailable, match=rf"^x's token endpoint answered {status} and no tokens( \([a-zA-Z, ]+\))?$"
    ):
        read(status, body)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"", "its body is empty"),
        (200, b" \n", "its body is empty"),
        (200, b"<html>captive portal</html>", "its body is HTML"),
        (200, b"\xef\xbb\xbf\n<!doctype html>", "its body is HTML"),
        (200, b"access_token=a&token_type=bearer", "its body is no JSON"),
        (200, b'{"access_token": "a"', "its body is no JSON"),
        (200, b"[]", "its body is JSON, but no object"),
        (200, b"1", "its body is JSON, but no object"),
        (200, b"{}", "its body is JSON"),
        (302, b'{"access_token": "a"}', "a redirect, which is not followed"),
    ],
)
def test_an_outage_says_what_sort_of_a_reply_there_was(status, body, words):
    with pytest.raises(ProviderUnavailable, match=rf"answered {status} and no tokens \({words}\)$"):
        read(status, body)


@pytest.mark.parametrize("scope", [1, ["tweet.read"], {CANARY: 1}, True])
def test_tokens_are_not_lost_for_a_scope_that_cannot_be_read(scope):
    tokens = read(200, {"access_token": CANARY, "refresh_token": CANARY, "scope": scope})
    assert (tokens.scopes, tokens.refresh_token) == (None, SecretStr(CANARY))
    with pytest.raises(
        TokenEndpointError, match="scope is not a string"
    ):  # an app that hands such tokens over can mend it
        parse_tokens({"access_token": CANARY, "scope": scope}, NOW, X)


@pytest.mark.parametrize(
    "fields",
    [
        {"access_token": ""},
        {"refresh_token": 1},
        {"refresh_token": [CANARY]},
        {"refresh_token": True},
        # RFC 6749 appendix A.12 and A.17: tokens are printable ASCII; others would break where they are used
        {"access_token": f"{CANARY}\n"},
        {"access_token": f"{CANARY}é"},
        {"access_token": f"{CANARY}\ud800"},
        {"refresh_token": f"{CANARY}\0"},
        {"refresh_token": f"{CANARY}\ud800"},
    ],
)
def test_a_field_with_an_impossible_value_is_named_and_not_shown(fields):
    with pytest.raises(TokenEndpointError, match=next(iter(fields))) as caught:
        read(200, {"access_token": CANARY, "refresh_token": CANARY} | fields)
    assert caught.value.provider_code == "malformed"
    assert "canary" not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@example("x" * 1000)
@given(st.text())
def test_a_providers_error_is_shown_as_a_short_code_only(error):
    with pytest.raises((TokenEndpointError, ProviderUnavailable)) as caught:
        read(400, {"error": error, "error_description": CANARY})
    shown = str(caught.value) + getattr(caught.value, "provider_code", "")
    assert len(shown) < 250
    assert shown.isprintable()
    assert "canary" not in shown


@given(st.integers(100, 599), st.binary() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([
            *("access_token", "refresh_token", "expires_in", "refresh_expires_in", "refresh_token_expires_in", "scope"),
            *("error", "error_description"),
        ]),
        inner,
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_comes_is_tokens_or_one_of_the_documented_errors(status, body):
    try:
        tokens = read(status, body)
    except (TokenEndpointError, ProviderUnavailable):
        return
    assert status < 300
    assert tokens.access_token.get_secret_value()


# --- requests ---


@pytest.fixture
def http():
    http = Http()
    yield http
    http.close()


def provider(url: str, **changed) -> Provider:
    return X.model_copy(update={"token_url": f"{url}/token", "revoke_url": f"{url}/revoke", **changed})


def credentials(secret: str | None = "s", client_id: str = "c") -> ClientCredentials:
    return ClientCredentials(client_id=client_id, client_secret=SecretStr(secret) if secret is not None else None)


def basic(header: str) -> tuple[str, str]:
    """What a server reads from HTTP Basic by RFC 6749 section 2.3.1: two parts, each form-decoded."""
    scheme, _, encoded = header.partition(" ")
    assert scheme == "Basic"
    first, _, second = base64.b64decode(encoded).decode().partition(":")
    return unquote_plus(first), unquote_plus(second)


def test_refreshing_sends_what_rfc_6749_section_6_says(http, peer):
    there = peer(200, b'{"access_token": "a"}')
    endpoint = TokenEndpoint(http, provider(there.url), credentials())
    assert endpoint.refresh(SecretStr("r+ &="), seconds=5, now=NOW).access_token.get_secret_value() == "a"
    assert there.requests[0].startswith(b"POST /token HTTP/1.1\r\n")
    assert dict(parse_qsl(there.body.decode())) == {"grant_type": "refresh_token", "refresh_token": "r+ &="}
    assert there.headers["content-type"] == "application/x-www-form-urlencoded"
    assert there.headers["accept"] == "application/json"


def test_only_a_provider_that_wants_to_know_is_told_for_which_scopes_an_exchange_is(http, peer):
    there = peer(200, b'{"access_token": "a"}')
    told = provider(there.url, scope_at_exchange=True, base_scopes=("offline",))
    TokenEndpoint(http, told, credentials()).refresh(SecretStr("r"), scopes=["b", "a"], seconds=5, now=NOW)
    assert dict(parse_qsl(there.body.decode()))["scope"] == "a b offline"


def test_a_code_is_exchanged_with_its_verifier_and_its_address(http, peer):
    there = peer(200, b'{"access_token": "a"}')
    TokenEndpoint(http, provider(there.url), credentials()).exchange_code(
        code="c0de", verifier="v", redirect_uri="https://app/cb?x=1&y", seconds=5, now=NOW
    )
    assert dict(parse_qsl(there.body.decode())) == {
        "grant_type": "authorization_code",
        "code": "c0de",
        "redirect_uri": "https://app/cb?x=1&y",
        "code_verifier": "v",
    }


@pytest.mark.parametrize(
    ("client_id", "secret"),
    [
        ("client", "secret"),
        ("cl:ient", "se:cret"),  # a colon in the id would otherwise end it
        ("a b+c", "%&=?/#"),
        ("ключ", "пароль é 😀"),
        ("~*-._", "~*-._"),
        ("a%3Ab", "%20+%2B"),  # what looks encoded already is not
        ("a\tb", "a\r\nb"),
        ("c", ""),
    ],
)
def test_basic_authentication_form_encodes_both_parts_first(http, peer, client_id, secret):
    there = peer(200, b'{"access_token": "a"}')
    TokenEndpoint(http, provider(there.url), credentials(secret, client_id)).refresh(SecretStr("r"), seconds=5, now=NOW)
    assert basic(there.headers["authorization"]) == (client_id, secret)
    assert b"client" not in there.body


@pytest.mark.parametrize(
    ("client_auth", "secret", "sent"),
    [
        ("basic", None, {"client_id": "c"}),  # a public client says who it is, RFC 6749 section 3.2.1
        ("post", "s", {"client_id": "c", "client_secret": "s"}),
        ("post", None, {"client_id": "c"}),
        ("none", None, {"client_id": "c"}),
        ("none", "s", {"client_id": "c"}),
    ],
)
def test_other_clients_are_named_in_the_body(http, peer, client_auth, secret, sent):
    there = peer(200, b'{"access_token": "a"}')
    endpoint = TokenEndpoint(http, provider(there.url, client_auth=client_auth), credentials(secret))
    endpoint.refresh(SecretStr("r"), seconds=5, now=NOW)
    form = dict(parse_qsl(there.body.decode()))
    assert {name: value for name, value in form.items() if name.startswith("client")} == sent
    assert "authorization" not in there.headers


def test_a_client_id_goes_by_the_providers_name_for_it(http, peer):
    """TikTok: client_key (developers.tiktok.com, "Manage User Access Tokens with OAuth v2")."""
    there = peer(200, b'{"access_token": "a"}')
    tiktok = provider(there.url, client_auth="post", client_id_parameter="client_key")
    endpoint = TokenEndpoint(http, tiktok, credentials())
    endpoint.refresh(SecretStr("r"), seconds=5, now=NOW)
    endpoint.revoke(SecretStr("r"), hint="refresh_token", seconds=5)
    for request in there.requests:
        form = dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode()))
        assert {name: form[name] for name in form if "client" in name} == {"client_key": "c", "client_secret": "s"}
    query = parse_qs(urlsplit(authorization(tiktok)).query)
    assert {name: query[name] for name in query if "client" in name} == {"client_key": ["c"]}


@pytest.mark.parametrize("status", [200, 204])
def test_revoking_sends_the_token_and_its_kind(http, peer, status):
    there = peer(status)
    TokenEndpoint(http, provider(there.url), credentials()).revoke(SecretStr("r"), hint="refresh_token", seconds=5)
    assert there.requests[0].startswith(b"POST /revoke HTTP/1.1\r\n")
    assert dict(parse_qsl(there.body.decode())) == {"token": "r", "token_type_hint": "refresh_token"}
    assert basic(there.headers["authorization"]) == ("c", "s")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"", ProviderUnavailable),
        (302, b"", ProviderUnavailable),
        (401, b'{"error": "invalid_client"}', ClientRefused),
        (400, b'{"error": "unsupported_token_type"}', TokenEndpointError),
        (200, b'{"error": "temporarily_unavailable"}', TokenEndpointError),
    ],
)
def test_a_revocation_that_did_not_happen_is_no_success(http, peer, status, body, kind):
    there = peer(status, body)
    with pytest.raises(kind):
        TokenEndpoint(http, provider(there.url), credentials()).revoke(SecretStr("r"), hint="refresh_token", seconds=5)


# --- authorization and PKCE ---


def authorization(provider: Provider = X, **changed) -> str:
    given = {
        "redirect_uri": "https://app/cb?x=1&y=é",
        "scopes": ["tweet.write", "offline.access"],
        "state": "st&te",
        "pkce": Pkce(SecretStr("v" * 43)),
    }
    return authorization_url(provider, credentials(), **given | changed)


def test_the_authorization_url_says_what_rfc_6749_and_7636_ask_for():
    url = urlsplit(authorization())
    assert f"{url.scheme}://{url.netloc}{url.path}" == X.authorize_url
    assert parse_qs(url.query, strict_parsing=True) == {
        "response_type": ["code"],
        "client_id": ["c"],
        "redirect_uri": ["https://app/cb?x=1&y=é"],
        "scope": ["offline.access tweet.write"],
        "state": ["st&te"],
        "code_challenge": [Pkce(SecretStr("v" * 43)).challenge],
        "code_challenge_method": ["S256"],
    }


def test_a_provider_may_want_more_said_and_an_address_may_have_a_query_of_its_own():
    wanting = X.model_copy(
        update={"authorize_url": "https://x.example/auth?tenant=1", "authorize_parameters": {"prompt": "consent"}}
    )
    url = urlsplit(authorization(wanting))
    query = parse_qs(url.query, strict_parsing=True)
    assert (url.path, query["tenant"], query["prompt"], query["response_type"]) == (
        "/auth",
        ["1"],
        ["consent"],
        ["code"],
    )


def test_where_a_provider_knows_no_pkce_none_is_sent(http, peer):
    """LinkedIn takes a code_verifier of a confidential client for a mistake."""
    there = peer(200, b'{"access_token": "a"}')
    without = provider(there.url, pkce="none")
    assert "code_challenge" not in authorization(without)
    TokenEndpoint(http, without, credentials()).exchange_code(
        code=SecretStr("c"), verifier=SecretStr("v"), redirect_uri="https://app/cb", seconds=5, now=NOW
    )
    assert b"verifier" not in there.body


def test_no_scope_is_asked_for_by_leaving_it_out():
    assert "scope" not in parse_qs(urlsplit(authorization(scopes=[])).query)


@pytest.mark.parametrize(
    ("changed", "said", "read"),
    [
        ({}, "b a", {"a", "b"}),
        ({}, "a,b", {"a,b"}),
        ({"scope_commas": True}, "a,b c", {"a", "b", "c"}),  # LinkedIn, GitHub
        (
            {"scope_prefix": "https://graph.microsoft.com/"},
            "https://graph.microsoft.com/Mail.Send openid",
            {"Mail.Send", "openid"},
        ),
    ],
)
def test_scopes_are_read_by_the_names_they_are_asked_for_with(changed, said, read):
    there = X.model_copy(update=changed)
    tokens = read_tokens(there, reply(200, {"access_token": "a", "scope": said}), NOW)
    assert tokens.scopes == read


def test_neither_the_verifier_nor_the_client_secret_is_in_the_authorization_url():
    assert "vvv" not in authorization()
    assert "secret" not in authorization()


def test_the_query_of_an_authorization_endpoint_is_kept():
    """RFC 6749 section 3.1: a query component must be retained when adding parameters."""
    url = urlsplit(authorization(X.model_copy(update={"authorize_url": "https://x.example/authorize?tenant=7"})))
    query = parse_qs(url.query, strict_parsing=True)
    assert (query["tenant"], query["response_type"]) == (["7"], ["code"])


def test_the_challenge_is_that_of_rfc_7636_appendix_b():
    pkce = Pkce(SecretStr("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"))
    assert pkce.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_verifier_has_the_form_of_rfc_7636_and_needs_both_the_browsers_and_the_databases_half():
    verifier = _pkce("state", "salt").verifier.get_secret_value()
    assert len(verifier) >= 43
    assert verifier.replace("-", "").replace("_", "").isalnum()
    assert verifier == _pkce("state", "salt").verifier.get_secret_value()
    assert (
        len(
            {
                verifier,
                _pkce("state2", "salt").verifier.get_secret_value(),
                _pkce("state", "salt2").verifier.get_secret_value(),
            }
        )
        == 3
    )
