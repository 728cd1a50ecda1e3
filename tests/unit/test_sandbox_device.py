"""The sandbox's device codes (RFC 8628), without any HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from actas.sandbox.device import CODE_SECONDS, INTERVAL_SECONDS, LETTERS, Devices
from actas.sandbox.oauth import OAuthError
from actas.sandbox.pages import device_page

SCOPES = frozenset({"tweet.read", "offline.access"})


class FakeClock:
    def __init__(self):
        self.now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def devices(clock):
    return Devices(clock)


def refused(devices, asked, client_id="c"):
    with pytest.raises(OAuthError) as caught:
        devices.redeem(asked.device_code, client_id)
    return caught.value.error


def test_what_a_user_allows_is_there_for_the_device_once(devices):
    asked = devices.begin("c", SCOPES)
    assert devices.answer(asked.user_code, "alice")
    assert devices.redeem(asked.device_code, "c") == ("alice", SCOPES)
    assert refused(devices, asked) == "invalid_grant"


def test_a_user_code_is_for_people(devices):
    code = devices.begin("c", SCOPES).user_code
    assert set(code) <= {*LETTERS, "-"}
    assert devices.waiting(f" {code.lower().replace('-', ' ')} ")
    assert not devices.waiting(code[:-1])
    assert not devices.waiting("")


def test_until_the_user_answers_the_device_is_to_wait_and_not_to_ask_too_often(devices, clock):
    asked = devices.begin("c", SCOPES)
    assert refused(devices, asked) == "authorization_pending"
    clock.pass_(INTERVAL_SECONDS)
    assert refused(devices, asked) == "authorization_pending"
    clock.pass_(INTERVAL_SECONDS / 2)
    assert refused(devices, asked) == "slow_down"
    clock.pass_(INTERVAL_SECONDS)
    assert refused(devices, asked) == "slow_down", "it is five seconds more from now on, and now ten"
    devices.answer(asked.user_code, "alice")
    clock.pass_(INTERVAL_SECONDS + 10)
    assert devices.redeem(asked.device_code, "c") == ("alice", SCOPES)


def test_a_user_may_say_no_and_that_stays(devices):
    asked = devices.begin("c", SCOPES)
    assert devices.answer(asked.user_code, None)
    assert not devices.answer(asked.user_code, "alice")
    assert refused(devices, asked) == "access_denied"


def test_both_codes_end(devices, clock):
    asked, allowed = devices.begin("c", SCOPES), devices.begin("c", SCOPES)
    devices.answer(allowed.user_code, "alice")
    clock.pass_(CODE_SECONDS)
    assert not devices.answer(asked.user_code, "alice")
    assert refused(devices, asked) == "expired_token"
    assert refused(devices, allowed) == "expired_token"


def test_another_clients_code_is_no_code(devices):
    asked = devices.begin("c", SCOPES)
    devices.answer(asked.user_code, "alice")
    assert refused(devices, asked, client_id="d") == "invalid_grant"
    assert devices.redeem(asked.device_code, "c")


def test_the_page_escapes_what_comes_from_outside():
    page = device_page('"><b>', "<i>client</i>", ["<s>"])
    assert not [tag for tag in ('"><b>', "<i>", "<s>") if tag in page]
    assert "asks, for these scopes" not in device_page("", None, ())


def test_whoever_searches_for_leaks_knows_both_codes(devices):
    asked = devices.begin("c", SCOPES)
    assert set(devices.codes()) == {asked.device_code, asked.user_code}
