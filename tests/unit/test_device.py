"""The device flow (RFC 8628) against a peer of real sockets that says what it is told to; the time is the test's."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from joserfc.jwk import ECKey
from pydantic import SecretStr

from actas.client_auth import Assertions
from actas.client_keys import ClientKey
from actas.device import INTERVAL_SECONDS, LONGEST, DeviceConnector
from actas.errors import ConnectError, InvalidRequest, VaultUnavailable
from actas.http import Http
from actas.oauth import TokenEndpoint
from actas.providers import BUILT_IN
from actas.settings import ClientCredentials
from tests.unit.peer import Peer, http_reply, reset

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
CODES = {
    "device_code": "canary-device-code",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://a.example/device",
    "verification_uri_complete": "https://a.example/device?user_code=WDJB-MJHT",
    "expires_in": 600,
    "interval": 2,
}
TOKENS = {"access_token": "canary-access", "refresh_token": "canary-refresh", "expires_in": 60, "scope": "b a"}
PENDING, SLOW_DOWN = {"error": "authorization_pending"}, {"error": "slow_down"}


class Provider:
    """Says one thing after the other at its token endpoint: (status, body), bytes, or "gone"."""

    def __init__(self):
        self.codes = (200, CODES)
        self.account = "17"
        self.says = []
        self.asked = []
        self.peer = Peer(self.answer)

    def answer(self, connection):
        request = self.peer.requests[-1]
        path = request.split(b" ")[1]
        form = dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode()))
        if path == b"/device":
            connection.sendall(reply(*self.codes))
            self.asked.append(form)
        elif path == b"/me":
            connection.sendall(reply(200, {"data": {"id": self.account}}))
        else:
            self.asked.append(form)
            says = self.says.pop(0)
            reset(connection) if says == "gone" else connection.sendall(reply(*says))


def reply(status, body, *headers):
    return http_reply(status, body if isinstance(body, bytes) else json.dumps(body).encode(), *headers)


class Time:
    """A clock that goes on when somebody sleeps, and only then."""

    def __init__(self):
        self.passed = 0.0
        self.pauses = []

    def sleep(self, seconds):
        self.passed += seconds
        self.pauses.append(seconds)

    def monotonic(self):
        return 1000.0 + self.passed


@pytest.fixture
def there():
    provider = Provider()
    yield provider
    provider.peer.close()


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def connector(time):
    return DeviceConnector(lambda: NOW + timedelta(seconds=time.passed), time.sleep, time.monotonic)


@pytest.fixture
def profile(there):
    url = there.peer.url
    changes = {"device_url": f"{url}/device", "token_url": f"{url}/token", "api_url": url, "account_path": "/me"}
    return BUILT_IN["x"].model_copy(update={**changes, "client_auth": "post"})


CLIENT = ClientCredentials(client_id="c", client_secret=SecretStr("s"))


@pytest.fixture
def endpoint(profile):
    """The provider's endpoint; with changes to its profile."""
    http = Http()
    yield lambda **changed: TokenEndpoint(http, profile.model_copy(update=changed), CLIENT)
    http.close()


@pytest.fixture
def begin(connector, endpoint):
    return lambda **changed: connector.begin(user="alice", endpoint=endpoint(**changed), scopes=["b", "a", "c"])


@pytest.fixture
def finish(connector, endpoint, begin):
    return lambda: connector.finish(begin(), endpoint())


def test_a_code_is_asked_for_and_shown_to_the_user_only(there, begin):
    request = begin()
    assert there.asked == [{"scope": "a b c", "client_id": "c", "client_secret": "s"}]
    assert (request.user_code, request.verification_uri) == ("WDJB-MJHT", "https://a.example/device")
    assert request.verification_uri_complete.endswith("=WDJB-MJHT")
    assert (request.expires_in, request.interval) == (timedelta(minutes=10), 2)
    assert "canary" not in repr(request)
    assert "WDJB" not in repr(request), "who enters it connects another account for this user"


def test_the_device_code_is_polled_for_at_the_interval_and_becomes_tokens(there, time, finish):
    there.says = [(400, PENDING), (400, PENDING), (200, TOKENS)]
    done = finish()
    assert (done.account, done.scopes, done.client_id) == ("17", {"a", "b"}, "c")
    assert done.tokens.refresh_token.get_secret_value() == "canary-refresh"
    assert time.pauses == [2, 2, 2]
    assert there.asked[-1] == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "canary-device-code",
        "client_id": "c",
        "client_secret": "s",
    }


@pytest.mark.parametrize("status", [400, 200, 403, 428], ids=["RFC", "GitHub", "Google", "Google's other"])
def test_each_slow_down_counts_from_then_on_whatever_the_status(there, time, finish, status):
    there.says = [(status, SLOW_DOWN), (status, PENDING), (status, SLOW_DOWN), (200, TOKENS)]
    assert finish().account == "17"
    assert time.pauses == [2, 7, 7, 12]


@pytest.mark.parametrize("trouble", ["gone", (502, b"<html>"), (200, b""), (302, b"")], ids=str)
def test_a_provider_in_trouble_is_asked_less_often_and_in_the_end_answers(there, time, finish, trouble):
    there.says = [trouble] * 7 + [(400, PENDING), (200, TOKENS)]
    assert finish().account == "17"
    assert time.pauses == [2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_limit_is_kept(there, time, finish):
    there.says = [(429, b""), (429, SLOW_DOWN), (200, TOKENS)]
    assert finish().account == "17"
    assert time.pauses == [2, 7, 12]


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ((400, {"error": "access_denied"}), "the user said no"),
        ((403, {"error": "access_denied"}), "the user said no"),
        ((400, {"error": "expired_token"}), "nobody entered the code in time"),
        ((400, {"error": "invalid_grant"}), "gave no tokens .invalid_grant"),
        ((401, {"error": "invalid_client"}), "refused the app's own client credentials"),
        ((400, {"error": "unsupported_grant_type"}), "gave no tokens .unsupported_grant_type"),
        ((400, {"error": "canary-device-code in it"}), "gave no tokens .unreadable"),
        ((200, {"access_token": "canary-access\n"}), "access_token has impossible characters"),
    ],
)
def test_what_ends_it_says_why_and_that_nothing_was_stored(there, time, finish, says, words):
    there.says = [(400, PENDING), says]
    with pytest.raises(
        ConnectError, match=f"^x.*{words}.*; nothing was stored, and the user must connect again$"
    ) as caught:
        finish()
    assert "canary" not in repr(caught.value)
    assert caught.value.__context__ is None
    assert len(time.pauses) == 2


def test_nobody_is_asked_after_the_code_has_ended(there, time, finish):
    there.codes = (200, CODES | {"expires_in": 11})
    there.says = [(400, PENDING)] * 5
    with pytest.raises(ConnectError, match="nobody entered the code in time; nothing"):
        finish()
    assert (time.passed, there.says) == (10, [])


def test_if_it_could_not_be_asked_that_is_why(there, finish):
    there.codes = (200, CODES | {"expires_in": 3})
    there.says = [(503, b"")]
    with pytest.raises(ConnectError, match="in time; when last asked: x's token endpoint answered 503"):
        finish()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"interval": None}, (INTERVAL_SECONDS, 600)),
        ({"interval": 0}, (INTERVAL_SECONDS, 600)),
        ({"interval": -1}, (INTERVAL_SECONDS, 600)),
        ({"interval": "7"}, (7, 600)),
        ({"interval": [1]}, (INTERVAL_SECONDS, 600)),
        ({"interval": 1e9}, (60, 600)),
        ({"expires_in": "300"}, (2, 300)),
        ({"expires_in": None}, (2, 600)),
        ({"expires_in": "soon"}, (2, 600)),
        ({"expires_in": True}, (2, 600)),
        ({"expires_in": 10**400}, (2, 600)),
        ({"expires_in": 1e300}, (2, LONGEST.total_seconds())),
    ],
)
def test_odd_times_are_as_good_as_none(there, begin, change, expected):
    there.codes = (200, CODES | change)
    request = begin()
    assert (request.interval, request.expires_in.total_seconds()) == expected


def test_google_calls_the_address_by_another_name(there, begin):
    there.codes = (200, {name: value for name, value in CODES.items() if "uri" not in name})
    there.codes[1]["verification_url"] = "https://www.google.com/device"
    request = begin()
    assert (request.verification_uri, request.verification_uri_complete) == ("https://www.google.com/device", None)


@pytest.mark.parametrize(
    "complete", [None, 1, "javascript:alert(1)", "http://a.example/", "https://a.example/\x1b[2J", "https://["]
)
def test_an_address_that_nobody_should_open_is_not_shown(there, begin, complete):
    there.codes = (200, CODES | {"verification_uri_complete": complete})
    assert begin().verification_uri_complete is None


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ((200, CODES | {"user_code": None}), "user_code is missing"),
        ((200, CODES | {"user_code": "\x1b[2Jcanary"}), "user_code is missing, or cannot be one"),
        ((200, CODES | {"device_code": 1}), "device_code is missing"),
        ((200, CODES | {"verification_uri": "http://a.example/"}), "verification_uri is no https address"),
        ((200, CODES | {"verification_uri": ""}), "verification_uri is missing"),
        ((200, b"<html>canary"), r"device endpoint answered 200 and no code \(its body is HTML\)"),
        ((200, b""), r"device endpoint answered 200 and no code \(its body is empty\)"),
        ((200, {"error": "invalid_scope"}), "invalid_scope"),
        ((302, b""), "a redirect, which is not followed"),
        ((400, {"error": "unauthorized_client"}), "refused the app's own client credentials .unauthorized_client"),
        ((404, b""), "device endpoint answered 404"),
        ((429, b""), "device endpoint answered 429"),
    ],
)
def test_a_provider_that_gives_no_code_is_told_of(there, begin, codes, words):
    there.codes = codes
    with pytest.raises(ConnectError, match=words) as caught:
        begin()
    assert "canary" not in repr(caught.value)


def test_a_provider_without_a_device_flow_is_told_apart_early(begin):
    with pytest.raises(InvalidRequest, match="x cannot be connected by a code: its profile has no device_url"):
        begin(device_url=None)


class Signing:
    """Vault, away for some signatures: True is one that it gives, False one that it does not."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def client_key(self, app, provider):
        key = ECKey.generate_key("P-256").as_pem(private=False).decode()
        return ClientKey("actas-client-a.x", "ecdsa-p256", {1: key})

    def sign_as_client(self, key, data, *, version, algorithm):
        if not self.answers.pop(0):
            raise VaultUnavailable
        return "signature"


def signing(endpoint, *answers):
    there = endpoint(client_auth="private_key_jwt")
    return replace(there, assertions=Assertions.of(Signing(*answers), "a", there.provider, lambda: NOW))


def test_a_vault_that_is_away_for_a_moment_ends_no_connection(there, time, connector, endpoint, begin):
    """The code lives for minutes, and so does the user's patience."""
    there.says = [(200, TOKENS)]
    done = connector.finish(begin(), signing(endpoint, False, True))
    assert done.account == "17"
    assert time.pauses == [2, 4]


def test_where_vault_is_away_the_user_is_told_to_begin_again(connector, endpoint):
    with pytest.raises(VaultUnavailable, match="nothing was stored, and the user must connect again$"):
        connector.begin(user="alice", endpoint=signing(endpoint, False), scopes=["a"])


@pytest.mark.parametrize("account", ["", "1\x1b]0;owned\x07", "1\n2", "\u202e71", "x" * 10_000, True, None, ["17"]])
def test_an_account_that_cannot_be_shown_is_none(there, finish, account):
    """It stands on terminals, where a provider must not write what it likes."""
    there.account, there.says = account, [(200, TOKENS)]
    with pytest.raises(ConnectError, match="did not tell whose account it is"):
        finish()
