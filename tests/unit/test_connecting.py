"""What an app asks a user for, and whether the answer is from where the user was sent."""

from __future__ import annotations

import pytest

from actas import Client
from actas.connecting import check_issuer
from actas.errors import ConnectError, InvalidRequest, UnknownAction
from actas.providers import BUILT_IN, Provider
from actas.settings import Settings

ISSUER = "https://login.new.example/tenant"
NEW = Provider(name="new", issuer=ISSUER, default_scopes=("read",), base_scopes=("openid",))
UNSAID = Provider(name="other", issuer=ISSUER)


@pytest.fixture(scope="module")
def client() -> Client:
    """It opens no connection before it needs one."""
    nowhere = {"mongodb_url": "mongodb://127.0.0.1:1", "vault_addr": "http://127.0.0.1:1", "vault_token": "t"}
    return Client(Settings(app="demo", env="development", **nowhere))


@pytest.mark.parametrize(
    ("provider", "scopes", "actions", "asked"),
    [
        # the actions' own scopes, and no others'
        (BUILT_IN["x"], None, ["x.post"], BUILT_IN["x"].default_scopes),
        (BUILT_IN["x"], ["like.write"], ["x.post"], ("like.write", *BUILT_IN["x"].default_scopes)),
        (BUILT_IN["x"], ["like.write"], None, ("like.write",)),
        (BUILT_IN["x"], [], [], ()),
        (BUILT_IN["x"], None, [], ()),
        (BUILT_IN["x"], None, None, BUILT_IN["x"].default_scopes),
        (NEW, None, None, ("read",)),
        (NEW, ["write"], None, ("write",)),
        (UNSAID, None, None, ()),  # no action is for it
    ],
)
def test_an_app_asks_for_what_its_actions_need(client, provider, scopes, actions, asked):
    """The provider's base scopes are added to all of these, by ``begin_connect``."""
    assert client._scopes(provider, scopes, actions) == sorted(asked)


@pytest.mark.parametrize(
    ("provider", "scopes", "actions", "error", "words"),
    [
        (NEW, None, ["x.post"], InvalidRequest, "x.post, which is an action of x"),
        (NEW, None, ["x.shout"], UnknownAction, "known: .*x.post"),
        (NEW, None, "x.post", InvalidRequest, "actions must be a list"),
        (NEW, None, [7], InvalidRequest, "actions must be"),
        (NEW, None, 7, InvalidRequest, "actions must be"),
        (NEW, "read write", None, InvalidRequest, "scopes must be"),
        (NEW, ["read write"], ["x.post"], InvalidRequest, "scope"),
        (NEW, [""], None, InvalidRequest, "scope"),
    ],
)
def test_what_nobody_can_ask_for_is_said(client, provider, scopes, actions, error, words):
    with pytest.raises(error, match=words):
        client._scopes(provider, scopes, actions)


@pytest.mark.parametrize(
    ("provider", "issuer", "taken"),
    [
        # RFC 9207 section 2.4: compared as it stands
        (NEW, ISSUER, True),
        (NEW, None, True),
        (NEW, f"{ISSUER}/", False),
        (NEW, "https://login.new.example", False),
        (NEW, "https://login.new.example/other", False),
        (NEW, "", False),
        (NEW.model_copy(update={"says_issuer": True}), ISSUER, True),
        (NEW.model_copy(update={"says_issuer": True}), None, False),
        # where nobody has told us the issuer: the place the browser was sent to
        (BUILT_IN["x"], None, True),
        (BUILT_IN["x"], "https://x.com", True),
        (BUILT_IN["x"], "https://x.com/i/oauth2", True),
        (BUILT_IN["x"], "https://x.com.elsewhere.example", False),
        (BUILT_IN["x"], "http://x.com", False),
        (BUILT_IN["x"], "https://x.com:8443", False),
        (BUILT_IN["x"], "https://[", False),
        (BUILT_IN["x"].model_copy(update={"says_issuer": True}), None, False),
    ],
)
def test_an_answer_of_somebody_elses_is_refused(provider, issuer, taken):
    if taken:
        check_issuer(issuer, provider)
    else:
        with pytest.raises(ConnectError):
            check_issuer(issuer, provider)
