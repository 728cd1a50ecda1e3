"""An issuer says where its endpoints are: over real sockets, with servers that say too little, too much or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from actas.errors import ProviderUnavailable, UnknownProvider
from actas.http import Http
from actas.providers import ASK_AGAIN_SECONDS, Provider, Providers
from actas.providers.discovery import BadMetadata, NoMetadata, completed, discover, metadata_urls
from tests.unit.peer import Peer, http_reply

NOT_FOUND = http_reply(404, b"<h1>not here</h1>")


@pytest.fixture
def http():
    http = Http()
    yield http
    http.close()


def metadata(issuer: str, /, **changed: Any) -> dict[str, Any]:
    asked = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "revocation_endpoint": f"{issuer}/revoke",
        "device_authorization_endpoint": f"{issuer}/device",
        "userinfo_endpoint": f"{issuer}/userinfo",
    }
    return {name: value for name, value in (asked | changed).items() if value is not None}


@pytest.fixture
def issuer(peer) -> Callable[..., tuple[Provider, Peer]]:
    """A provider of which only the issuer is known, and the server that answers there, by path."""

    def make(path: str = "", **answers: bytes | dict[str, Any]) -> tuple[Provider, Peer]:
        def answer(connection) -> None:
            asked = there.requests[-1].split()[1].decode()
            place = "openid" if asked.endswith("openid-configuration") else "oauth"
            reply = answers.get(place, NOT_FOUND)
            if isinstance(reply, dict):
                reply = http_reply(200, json.dumps(metadata(there.url + path, **reply)).encode())
            connection.sendall(reply)

        there = peer(answer)
        return Provider(name="new", issuer=there.url + path), there

    return make


def paths(there: Peer) -> list[str]:
    return [request.split()[1].decode() for request in there.requests]


# --- where it is asked ---


def test_the_places_differ_where_an_issuer_has_a_path():
    """OpenID Connect Discovery 1.0 section 4 appends, RFC 8414 section 3.1 inserts."""
    assert metadata_urls("https://x.example/") == metadata_urls("https://x.example")
    assert metadata_urls("https://x.example/tenant/1") == [
        "https://x.example/tenant/1/.well-known/openid-configuration",
        "https://x.example/.well-known/oauth-authorization-server/tenant/1",
    ]


def test_openids_place_is_asked_first_and_completes_the_profile(http, issuer):
    known, there = issuer(openid={})
    found = discover(known, http)
    url = there.url
    assert (found.authorize_url, found.token_url) == (f"{url}/authorize", f"{url}/token")
    assert (found.revoke_url, found.device_url) == (f"{url}/revoke", f"{url}/device")
    assert (found.whose_url, found.account_id) == (f"{url}/userinfo", ("sub",))
    assert (found.says_issuer, found.is_complete) == (False, True)
    assert paths(there) == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    "first",
    [
        NOT_FOUND,
        http_reply(200, b"<h1>Welcome</h1>"),
        http_reply(200, b"[]"),
        http_reply(200, b'{"error": "not_found"}'),
    ],
    ids=["404", "HTML", "another kind of JSON", "an error in JSON"],
)
def test_rfc_8414s_place_is_asked_where_the_other_has_none(http, issuer, first):
    """Some servers have a page of HTML for every address."""
    known, there = issuer("/tenant", openid=first, oauth={})
    assert discover(known, http).token_url == f"{there.url}/tenant/token"
    assert paths(there) == [
        "/tenant/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/tenant",
    ]


def test_what_the_profile_says_counts_and_what_it_does_not_say_is_asked(http, issuer):
    known, there = issuer(openid={"authorization_response_iss_parameter_supported": True})
    own = known.model_copy(update={"token_url": "https://own.example/token", "account_path": "/me"})
    found = discover(Provider.model_validate(own.model_dump(exclude_unset=True)), http)
    assert (found.token_url, found.authorize_url) == ("https://own.example/token", f"{there.url}/authorize")
    assert (found.whose_url, found.account_url) == (f"{there.url}/me", None)
    assert found.says_issuer is True


def test_a_profile_can_say_no():
    """Where an issuer says that it does what it does not do."""
    said = metadata("https://x.example", authorization_response_iss_parameter_supported=True)
    known = Provider(name="new", issuer="https://x.example", says_issuer=False, revoke_url=None)
    found = completed(known, said)
    assert (found.says_issuer, found.revoke_url) == (False, None)
    unsaid = completed(Provider(name="new", issuer="https://x.example"), said)
    assert (unsaid.says_issuer, unsaid.revoke_url) == (True, "https://x.example/revoke")
    nothing = Provider(name="new", issuer="https://x.example", token_url=None, account_url=None)
    assert completed(nothing, said).is_complete, "what is needed is asked for all the same"


# --- what it may not say ---


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"issuer": "https://elsewhere.example"}, "another issuer's"),
        ({"issuer": None}, "another issuer's"),
        ({"token_endpoint": None}, "names no token_endpoint$"),
        ({"authorization_endpoint": None}, "names no authorization_endpoint$"),
        ({"userinfo_endpoint": None}, "names no userinfo_endpoint .or set account_url.$"),
        ({"token_endpoint": "http://elsewhere.example/token"}, "token_endpoint cannot be used"),
        ({"authorization_endpoint": "/authorize"}, "authorization_endpoint cannot be used"),
        ({"revocation_endpoint": ["https://x.example"]}, "revocation_endpoint cannot be used"),
        ({"userinfo_endpoint": "https://u:p@x.example/"}, "userinfo_endpoint cannot be used"),
        ({"device_authorization_endpoint": 1}, "device_authorization_endpoint cannot be used"),
        ({"token_endpoint_auth_methods_supported": ["client_secret_post", "tls"]}, "client_auth 'basic', but .'post'."),
        ({"token_endpoint_auth_methods_supported": []}, "client_auth 'basic', but .."),
    ],
)
def test_metadata_that_cannot_be_used_says_why(http, issuer, said, why):
    known, _ = issuer(openid=said)
    with pytest.raises(BadMetadata, match=f"^new: .*{why}"):
        discover(known, http)


@pytest.mark.parametrize("endpoint", ["token_endpoint", "userinfo_endpoint", "revocation_endpoint"])
def test_no_issuer_elsewhere_says_what_is_asked_on_this_machine(endpoint):
    """Else it could have a worker send its tokens, or whatever it calls one, to what listens here."""
    said = metadata("https://x.example", **{endpoint: "http://127.0.0.1:8200/v1/sys/seal"})
    with pytest.raises(BadMetadata, match=f"{endpoint} cannot be used: it is not https"):
        completed(Provider(name="new", issuer="https://x.example"), said)


@pytest.mark.parametrize("client_auth", ["basic", "post", "none", "private_key_jwt"])
def test_a_client_is_registered_in_a_way_that_the_issuer_takes(client_auth):
    known = Provider(name="new", issuer="https://x.example", client_auth=client_auth)
    methods = ["client_secret_basic", "client_secret_post", "none", "private_key_jwt"]
    every = metadata("https://x.example", token_endpoint_auth_methods_supported=methods)
    assert completed(known, every).client_auth == client_auth
    unsaid = metadata("https://x.example")  # RFC 8414 section 2: then it is client_secret_basic
    if client_auth == "basic":
        assert completed(known, unsaid).client_auth == client_auth
    else:
        with pytest.raises(BadMetadata, match=f"'{client_auth}', but .'basic'."):
            completed(known, unsaid)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (NOT_FOUND, NoMetadata),
        (http_reply(200, b"<h1>Welcome</h1>"), NoMetadata),
        (http_reply(200, b""), NoMetadata),
        (http_reply(200, b"{"), NoMetadata),
        (http_reply(403, b"{}"), NoMetadata),
        (http_reply(200, b"{}"), BadMetadata),
        (http_reply(500, b"{}"), ProviderUnavailable),
        (http_reply(429, b"{}"), ProviderUnavailable),
        (http_reply(200, b"{" + b" " * 1_000_001 + b"}"), ProviderUnavailable),
    ],
    ids=["404", "HTML", "nothing", "no JSON", "403", "says nothing", "500", "429", "too much"],
)
def test_an_issuer_that_says_nothing_of_use_is_unavailable(http, issuer, reply, kind):
    known, there = issuer(openid=reply, oauth=reply)
    with pytest.raises(ProviderUnavailable) as caught:
        discover(known, http)
    assert type(caught.value) is kind
    assert "new" in str(caught.value)
    assert len(there.requests) == (2 if issubclass(kind, BadMetadata) else 1)


def test_no_redirect_is_followed(http, issuer, peer):
    """Whoever can have an issuer redirect must not name its endpoints."""
    elsewhere = peer(200, b"{}")
    moved = http_reply(302, b"", f"Location: {elsewhere.url}/")
    known, _ = issuer(openid=moved, oauth=moved)
    with pytest.raises(BadMetadata, match="HTTP 302"):
        discover(known, http)
    assert elsewhere.requests == []


def test_nobody_there_is_unavailable_and_not_more(http, peer):
    there = peer(200)
    there.close()
    with pytest.raises(ProviderUnavailable) as caught:
        discover(Provider(name="new", issuer=there.url), http)
    assert type(caught.value) is ProviderUnavailable


# --- when it is asked ---


@pytest.fixture
def now(monkeypatch) -> list[float]:
    now = [1000.0]

    class Time:
        monotonic = staticmethod(lambda: now[0])

    monkeypatch.setattr("actas.providers.time", Time)
    return now


def test_an_issuer_is_asked_once_an_hour(http, issuer, now):
    known, there = issuer(openid={})
    providers = Providers({"new": known})
    first = providers.complete("new", http)
    now[0] += ASK_AGAIN_SECONDS - 1
    assert providers.complete("new", http) is first
    assert len(there.requests) == 1
    now[0] += 1
    assert providers.complete("new", http) == first
    assert len(there.requests) == 2
    assert providers["new"] is known  # who needs no endpoint asks nobody


def test_while_an_issuer_is_away_what_it_said_before_counts(http, issuer, now):
    known, there = issuer(openid={})
    providers = Providers({"new": known})
    first = providers.complete("new", http)
    there.close()
    now[0] += ASK_AGAIN_SECONDS
    assert providers.complete("new", http) is first
    with pytest.raises(ProviderUnavailable):
        Providers({"new": known}).complete("new", http)  # who starts just now has nothing to go by


@pytest.mark.parametrize(
    "page", [NOT_FOUND, http_reply(403, b"{}"), http_reply(200, b"<h1>Back soon</h1>")], ids=["404", "403", "HTML"]
)
def test_a_page_in_the_place_of_an_issuer_is_not_its_word(http, peer, now, page):
    """A gateway's, while what stands behind it is being replaced: nobody's exchange has to wait for that."""
    answers = []
    there = peer(lambda connection: connection.sendall(answers[0]))
    answers.append(http_reply(200, json.dumps(metadata(there.url)).encode()))
    providers = Providers({"new": Provider(name="new", issuer=there.url)})
    first = providers.complete("new", http)
    answers[0] = page
    now[0] += ASK_AGAIN_SECONDS
    assert providers.complete("new", http) is first
    with pytest.raises(NoMetadata):
        Providers({"new": Provider(name="new", issuer=there.url)}).complete("new", http)


def test_an_issuer_that_says_something_wrong_is_not_away(http, issuer, now):
    answers: dict[str, Any] = {}
    known, _ = issuer(openid=answers)
    providers = Providers({"new": known})
    providers.complete("new", http)
    answers["issuer"] = "https://elsewhere.example"
    now[0] += ASK_AGAIN_SECONDS
    with pytest.raises(BadMetadata):
        providers.complete("new", http)


def test_a_whole_profile_asks_nobody(http, peer):
    there = peer(200, b"{}")
    whole = Provider(
        name="new",
        issuer=there.url,
        authorize_url=there.url,
        token_url=there.url,
        account_url=there.url,
    )
    assert Providers({"new": whole}).complete("new", http) is whole
    assert there.requests == []
    with pytest.raises(UnknownProvider):
        Providers({"new": whole}).complete("old", http)
