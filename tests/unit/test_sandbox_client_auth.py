"""The sandbox is strict about clients: each proves itself in its own way, and with an assertion once."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.requests import Request

from actas.sandbox.client_auth import ASSERTION_TYPE, ClientAuthentication, OAuthError
from actas.sandbox.config import Client

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
KEY, OTHER = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
HERE = "http://127.0.0.1:8480"
CLIENTS = {
    "basic": Client(secret="s"),
    "post": Client(secret="s", auth="post"),
    "public": Client(),
    "signed": Client(jwks={"keys": [KEY.as_dict(private=False)]}),
    "other": Client(jwks={"keys": [OTHER.as_dict(private=False)]}),
    "broken": Client(jwks={"keys": [{"kty": "?"}]}),
}


def authenticated(
    authentication: ClientAuthentication, form: dict[str, str], path: str = "/2/oauth2/token", basic: str = ""
) -> str:
    headers = [(b"host", b"127.0.0.1:8480")]
    if basic:
        headers.append((b"authorization", b"Basic " + base64.b64encode(basic.encode())))
    scope = {"type": "http", "scheme": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    return authentication.client_id(Request(scope), form)


@pytest.fixture
def authentication() -> ClientAuthentication:
    return ClientAuthentication(CLIENTS, lambda: NOW)


def claims(**changed: Any) -> dict[str, Any]:
    now = NOW.timestamp()
    asked = {"iss": "signed", "sub": "signed", "aud": f"{HERE}/2/oauth2/token", "jti": "1", "iat": now, "exp": now + 60}
    return {name: value for name, value in (asked | changed).items() if value is not None}


def assertion(said: dict[str, Any], key: ECKey = KEY) -> dict[str, str]:
    token = jwt.encode({"alg": "ES256"}, said, key)
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": token}


def test_each_client_is_taken_in_its_own_way(authentication):
    assert authenticated(authentication, {}, basic="basic:s") == "basic"
    assert authenticated(authentication, {"client_id": "post", "client_secret": "s"}) == "post"
    assert authenticated(authentication, {"client_id": "public"}) == "public"
    assert authenticated(authentication, assertion(claims())) == "signed"
    for jti, audience in (("2", HERE), ("3", f"{HERE}/2/oauth2/token")):
        said = assertion(claims(jti=jti, aud=audience)) | {"client_id": "signed"}
        assert authenticated(authentication, said, path="/2/oauth2/revoke") == "signed"


@pytest.mark.parametrize(
    ("form", "basic"),
    [
        ({}, "post:s"),
        ({}, "signed:s"),
        ({}, "public:s"),
        ({}, "basic:wrong"),
        ({}, "basic:"),
        ({}, "nobody:s"),
        ({"client_id": "basic", "client_secret": "s"}, ""),
        ({"client_id": "signed", "client_secret": "s"}, ""),
        ({"client_id": "public", "client_secret": ""}, ""),
        ({"client_id": "post", "client_secret": "wrong"}, ""),
        ({"client_id": "post", "client_secret": ""}, ""),
        ({"client_id": "post"}, ""),
        ({"client_id": "basic"}, ""),
        ({"client_id": "signed"}, ""),
        ({}, ""),
        (assertion(claims(iss="basic", sub="basic")), ""),
        (assertion(claims(iss="broken", sub="broken")), ""),
        (assertion(claims(iss="post", sub="post")) | {"client_id": "post"}, ""),
    ],
)
def test_another_way_is_refused_as_the_clients_fault(authentication, form, basic):
    with pytest.raises(OAuthError) as refused:
        authenticated(authentication, form, basic=basic)
    assert refused.value.status == 401
    assert refused.value.error in {"invalid_client", "unauthorized_client"}


@pytest.mark.parametrize(
    ("form", "basic"),
    [
        ({"client_secret": "s"}, "basic:s"),
        ({"client_id": "post"}, "basic:s"),
        (assertion(claims()), "basic:s"),
        (assertion(claims()) | {"client_secret": "s"}, ""),
        (assertion(claims()) | {"client_assertion_type": "saml2-bearer"}, ""),
        ({"client_assertion": assertion(claims())["client_assertion"]}, ""),
    ],
)
def test_two_ways_at_once_are_no_request(authentication, form, basic):
    with pytest.raises(OAuthError) as refused:
        authenticated(authentication, form, basic=basic)
    assert (refused.value.status, refused.value.error) == (400, "invalid_request")


@pytest.mark.parametrize(
    "said",
    [
        assertion(claims(), key=OTHER),
        assertion(claims(iss="somebody")),
        assertion(claims(aud="https://elsewhere/token")),
        assertion(claims(aud=None)),
        assertion(claims(aud=[f"{HERE}/2/oauth2/token"])),  # allowed by RFC 7523; not what we send
        assertion(claims(exp=NOW.timestamp() - 6)),
        assertion(claims(exp=NOW.timestamp() + 3600)),
        assertion(claims(exp=None)),
        assertion(claims(exp="soon")),
        assertion(claims(iat=NOW.timestamp() + 60)),
        assertion(claims(jti=None)),
        assertion(claims()) | {"client_id": "other"},
        assertion(claims()) | {"client_assertion": "a.b.c"},
        assertion(claims()) | {"client_assertion": "e30.W10.x"},
    ],
)
def test_an_assertion_that_is_not_right_is_refused(authentication, said):
    with pytest.raises(OAuthError) as refused:
        authenticated(authentication, said)
    assert (refused.value.status, refused.value.error) == (401, "invalid_client")


def test_an_assertion_is_good_once_and_until_its_end():
    clock = [NOW]
    authentication = ClientAuthentication(CLIENTS, lambda: clock[0])
    said = assertion(claims())
    assert authenticated(authentication, said) == "signed"
    with pytest.raises(OAuthError, match="used before"):
        authenticated(authentication, said)
    clock[0] += timedelta(minutes=2)
    with pytest.raises(OAuthError, match="has ended"):
        authenticated(authentication, assertion(claims(jti="2")))
