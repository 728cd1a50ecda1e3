"""`actas doctor --provider`: what can be found out about a provider without acting there."""

from __future__ import annotations

import json
import tomllib

import pytest
import typer
from pymongo import MongoClient
from typer.testing import CliRunner

from actas.cli import doctor
from actas.clock import utc_now
from actas.embedded.stack import CLIENT_ID
from actas.errors import InvalidRequest, SettingsError, UnknownProvider
from actas.examining import examine
from actas.settings import ClientCredentials
from tests.support import settings_from
from tests.unit.peer import Peer, http_reply


@pytest.fixture
def look(stack):
    """What is found about x as the app's role sees it, with changed settings: states by name, texts by name."""

    def look(user=None, provider="x", secret=None, **changed):
        settings = settings_from(stack.role_env("app-demo") | changed)
        if secret is not None:
            known = {"demo/x": ClientCredentials(client_id=CLIENT_ID, client_secret=secret)}
            settings = settings.model_copy(update={"clients": known})
        found = list(examine(settings, provider, user, utc_now))
        return {each.name: each.state for each in found}, {each.name: each.text for each in found}

    return look


@pytest.fixture
def other(stack, tmp_path):
    """The settings that change fields of x in the providers file."""

    def other(more="", **fields):
        there = tomllib.loads((stack.directory / "providers.toml").read_text())["providers"]["x"]
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in (there | fields).items())
        file = tmp_path / "providers.toml"
        file.write_text(f"[providers.x]\n{lines}\n{more}")
        return {"ACTAS_PROVIDERS_FILE": str(file)}

    return other


@pytest.fixture
def peer():
    """A server that answers whatever it is told to."""
    peers = []

    def serve(status, body=b"", *headers):
        peers.append(Peer(lambda connection: connection.sendall(http_reply(status, body, *headers))))
        return peers[-1].url

    yield serve
    for each in peers:
        each.close()


def test_all_is_well_and_nothing_was_done(look, sandbox):
    before = sandbox.ledger()
    states, texts = look()
    assert states == dict.fromkeys(("profile", "network", "account", "credentials", "client"), "ok")
    assert texts["client"] == "x knows it, and refuses a made-up refresh token (invalid_request)"
    after = sandbox.ledger()
    assert (after["posts"], after["families"]) == (before["posts"], before["families"])


def test_a_wrong_secret_is_told_apart_from_a_dead_token(look):
    states, texts = look(secret="CANARY")
    assert states["client"] == "wrong"
    assert "refuses the app's own client credentials" in texts["client"]
    assert "CANARY" not in str(texts)


def test_a_secret_that_was_pasted_with_a_line_s_end_is_told(look):
    states, texts = look(secret="CANARY\n")
    assert (states["credentials"], texts["credentials"].partition(";")[0]) == (
        "wrong",
        "client_secret begins or ends with a blank or a line's end",
    )


def test_a_provider_without_credentials_is_told_so(look, other, stack):
    url = stack.sandbox_url
    text = f'\n[providers.new]\nauthorize_url = "{url}/a"\ntoken_url = "{url}/t"\napi_url = "{url}"\n'
    text += 'account_path = "/2/users/me"\naccount_id = ["data", "id"]\nrefresh = { kind = "static" }\n'
    states, texts = look(provider="new", **other(text))
    assert states == {"profile": "ok", "network": "ok", "account": "ok", "credentials": "wrong"}
    assert "actas/demo/new" in texts["credentials"]


def test_a_host_that_is_not_reached_is_named(look, other):
    states, texts = look(**other(account_url="http://127.0.0.1:1/me"))
    assert (states["account"], texts["account"]) == ("wrong", "http://127.0.0.1:1/me is not reached")


@pytest.mark.parametrize(("status", "state"), [(401, "ok"), (403, "ok"), (404, "wrong"), (200, "wrong")])
def test_an_account_address_has_to_want_a_token(look, other, peer, status, state):
    assert look(**other(account_url=f"{peer(status)}/me"))[0]["account"] == state


def test_a_clock_that_is_off_is_told(look, other, peer):
    url = peer(200, b"", "Date: Mon, 23 Nov 2020 09:00:00 GMT")
    states, texts = look(**other(authorize_url=f"{url}/a"))
    assert states["clock"] == "wrong"
    assert "is NTP running?" in texts["clock"]


@pytest.mark.parametrize(
    ("status", "body", "state", "words"),
    [
        (400, b'{"error": "invalid_grant"}', "ok", "knows it"),
        (400, b'{"error": "odd_error"}', "-", "none of the profile's fatal_errors"),
        (401, b'{"error": "invalid_client"}', "wrong", "refuses the app's own client credentials"),
        (429, b"", "-", "ask again later"),
        (500, b"<html>", "wrong", "token endpoint"),
        (200, b'{"access_token": "CANARY"}', "wrong", "this is no provider"),
    ],
)
def test_what_the_token_endpoint_says_of_a_made_up_token(look, other, peer, status, body, state, words):
    states, texts = look(**other(token_url=f"{peer(status, body)}/t"))
    assert (states["client"], words in texts["client"]) == (state, True)
    assert "CANARY" not in str(texts)


def test_an_issuer_that_does_not_answer_ends_it(look, other):
    changed = other('[providers.new]\nissuer = "http://127.0.0.1:1"\n')
    assert look(provider="new", **changed) == ({"profile": "wrong"}, {"profile": "new's issuer does not answer"})


def test_what_a_user_has_granted_is_said_by_action(look, connect, user, stack):
    assert look(user)[0]["grant"] == "wrong"
    connect(user)
    states, texts = look(user)
    assert (states["grant"], states["actions"]) == ("ok", "ok")
    assert {"x.post", "x.thread"} <= set(texts["actions"].removeprefix("granted for: ").split(", "))


def test_a_grant_that_needs_its_user_is_called_wrong(look, connect, user, stack, client):
    grant = connect(user)
    with MongoClient(stack.servers.mongod.url.get_secret_value()) as admin:
        admin["actas"]["grants"].update_one({"_id": grant.id}, {"$set": {"status": "reauthorization_required"}})
    states, texts = look(user)
    assert states["grant"] == "wrong"
    assert "reauthorization_required" in texts["grant"]


def test_it_is_for_an_app_and_for_a_provider_that_is_known(look, stack):
    with pytest.raises(SettingsError, match="ACTAS_APP"):
        list(examine(settings_from(stack.role_env("worker")), "x", None, utc_now))
    with pytest.raises(UnknownProvider):
        look(provider="y")


def test_the_console_prints_it_and_ends_with_1_if_something_is_wrong(stack, monkeypatch, user):
    app = typer.Typer()
    app.command()(doctor.doctor)
    for name, value in stack.role_env("app-demo").items():
        monkeypatch.setenv(name, value)
    well = CliRunner().invoke(app, ["--provider", "x"])
    assert (well.exit_code, "ok    client: x knows it" in well.output) == (0, True)
    wrong = CliRunner().invoke(app, ["--provider", "x", "--user", user])
    assert (wrong.exit_code, "wrong grant: " in wrong.output) == (1, True)
    assert isinstance(CliRunner().invoke(app, ["--user", user]).exception, InvalidRequest)
