"""Standard Webhooks: what is signed and how, addresses and keys that fit, when it is tried again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr, ValidationError

from actas import webhooks
from actas.errors import VaultUnavailable
from actas.settings import Settings
from actas.unshown import Unshown
from actas.vault.room import VaultRoom
from actas.webhooks import PAUSES, BadWebhook, Webhook, new_secret, next_try, signature
from scheduler.shares import FOR_SLOW, SHARE, THREADS, Shares
from scheduler.webhooks import SECONDS, Webhooks

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
URL, SECRET = "https://app.example/hooks?key=canary", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def webhook(**fields):
    return Webhook(**({"url": URL, "secret": SECRET} | fields))


# --- signing ---


def test_a_signature_is_that_of_the_specifications_own_libraries():
    """The vector that the reference implementations of Standard Webhooks are tested with."""
    made = signature(
        SecretStr("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_prefix_of_a_secret_is_no_part_of_the_key():
    bare = SecretStr(SECRET.removeprefix("whsec_"))
    assert signature(SecretStr(SECRET), "e", 1, b"{}") == signature(bare, "e", 1, b"{}")


def test_the_headers_are_those_of_the_specification_and_say_what_is_signed():
    headers = webhook().headers("evt_1", b"{}", NOW)
    assert headers["webhook-id"] == "evt_1"
    assert int(headers["webhook-timestamp"]) == NOW.timestamp()
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"evt_1.{headers['webhook-timestamp']}.{{}}".encode()
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_with_two_secrets_there_are_two_signatures():
    old, new = new_secret(), new_secret()
    both = webhook(secret=new, previous=old).headers("e", b"{}", NOW)["webhook-signature"].split(" ")
    assert both == [signature(key, "e", int(NOW.timestamp()), b"{}") for key in (new, old)]


def test_a_secret_that_is_made_fits_and_is_made_once():
    made = {new_secret().get_secret_value() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert secret.startswith("whsec_")
        assert webhook(secret=secret)


# --- what fits ---


@pytest.mark.parametrize("url", ["https://a.example", "https://a.example:8443/x?y=z", "https://[::1]/", "http://127.0.0.1:8/x", "http://localhost/", "http://[::1]:9/"])  # fmt: skip
def test_addresses_that_fit(url):
    assert webhook(url=url).is_plain == url.startswith("http:")


@pytest.mark.parametrize("url", ["", "a.example", "http://a.example/", "http://10.0.0.1/", "ftp://a.example", "https://", "https:///x", "https://user:pw@a.example/", "https://a.example/#x", "https://a.example:no/", "https://[::1", "http://127.0.0.1.example/", "http://localhost.example/"])  # fmt: skip
def test_addresses_that_do_not_fit_are_refused_and_not_shown(url):
    with pytest.raises(ValidationError) as error:
        webhook(url=f"{url}?q=canary" if "#" not in url else url)
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!!", "whsec_" + base64.b64encode(bytes(23)).decode(), "whsec_" + base64.b64encode(bytes(65)).decode()])  # fmt: skip
@pytest.mark.parametrize("which", ["secret", "previous"])
def test_secrets_that_do_not_fit_are_refused_and_not_shown(which, secret):
    with pytest.raises(ValidationError) as error:
        webhook(**{which: secret})
    assert secret[6:] == "" or secret[6:] not in str(error.value)


def test_a_webhook_shows_neither_its_secrets_nor_its_address():
    shown = f"{webhook(previous=SECRET)!r} {webhook()} {webhook().host}"
    assert "canary" not in shown
    assert SECRET[8:] not in shown
    assert webhook().host == "app.example"


# --- again ---


def test_an_event_is_tried_for_three_days_and_then_given_up():
    at, tries = NOW, 1
    while (following := next_try(tries, at, jitter=0)) is not None:
        assert following - at == PAUSES[tries - 1]
        at, tries = following, tries + 1
    assert tries == 10
    assert PAUSES[0] == timedelta(seconds=5)
    assert timedelta(days=3) < at - NOW < timedelta(days=3.5)


@pytest.mark.parametrize("tries", range(1, 10))
def test_what_failed_together_does_not_come_again_together(tries):
    early, late = next_try(tries, NOW, jitter=0), next_try(tries, NOW, jitter=1)
    assert timedelta(0) < late - early <= PAUSES[tries - 1] * webhooks.JITTER


# --- settings ---


@pytest.fixture
def env(monkeypatch):
    monkeypatch.setenv("ACTAS_MONGODB_URL", "mongodb://host/")
    monkeypatch.setenv("ACTAS_VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("ACTAS_VAULT_ROLE_ID", "r")
    monkeypatch.setenv("ACTAS_VAULT_SECRET_ID", "s")


@pytest.mark.usefixtures("env")
def test_webhooks_may_be_given_by_the_environment(monkeypatch):
    monkeypatch.setenv("ACTAS_WEBHOOKS", json.dumps({"demo": {"url": URL, "secret": SECRET}}))
    assert Settings.from_env().webhooks["demo"].host == "app.example"


# --- the scheduler's memory of them ---


class Vault:
    def __init__(self, webhook=None):
        self.asked, self.answer = [], webhook

    def webhook(self, app):
        self.asked.append(app)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("there", [None, webhook()])
def test_vault_is_asked_once_in_a_while(there):
    vault, clock = Vault(there), Clock()
    known = Webhooks(vault, plain_allowed=False, monotonic=clock)
    assert [known.of("a") for _ in range(100)] == [there] * 100
    assert vault.asked == ["a"]
    clock.now = SECONDS + 1
    vault.answer = webhook(secret=new_secret())
    assert known.of("a") == vault.answer


@pytest.mark.parametrize("name", ["", "../b", "a/x", "A", "a b", "None!", "x" * 41])
def test_what_cannot_be_the_name_of_an_app_never_becomes_a_path_in_vault(name):
    vault = Vault(webhook())
    assert Webhooks(vault, plain_allowed=False).of(name) is None
    assert vault.asked == []


def test_plain_http_is_for_development():
    plain = Vault(webhook(url="http://127.0.0.1/"))
    assert Webhooks(plain, plain_allowed=True).of("a") is not None
    with pytest.raises(BadWebhook):
        Webhooks(plain, plain_allowed=False).of("a")


def test_an_app_with_a_webhook_that_is_of_no_use_still_wants_its_events():
    assert Webhooks(Vault(BadWebhook()), plain_allowed=False).wanted("a")
    assert not Webhooks(Vault(None), plain_allowed=False).wanted("a")


@pytest.mark.parametrize("error", [BadWebhook(), AttributeError("canary")])
def test_whatever_stands_there_is_a_bad_webhook_and_vault_is_not_asked_for_it_at_each_event(error):
    vault = Vault(error)
    known = Webhooks(vault, plain_allowed=False)
    for _ in range(10):
        assert known.wanted("a")
        with pytest.raises(BadWebhook) as raised:
            known.of("a")
        assert "canary" not in str(raised.value)
    assert vault.asked == ["a"]


@pytest.mark.usefixtures("env")
@pytest.mark.parametrize("value", [5, 0.5, True, ["https://a.example"], {"a": 1}])
@pytest.mark.parametrize("name", ["url", "secret", "previous"])
def test_what_is_no_text_in_vault_is_a_bad_webhook(monkeypatch, name, value):
    monkeypatch.setattr(VaultRoom, "_kept", lambda *_: Unshown({"url": URL, "secret": SECRET} | {name: value}))
    with pytest.raises(BadWebhook):
        VaultRoom(Settings.from_env()).webhook("shop")


def test_while_vault_is_away_nobody_knows_who_wants_events():
    with pytest.raises(VaultUnavailable):
        Webhooks(Vault(VaultUnavailable()), plain_allowed=False).wanted("a")


# --- shares ---


def test_an_app_has_its_share_of_the_threads_and_the_rest_is_the_others():
    shares = Shares()
    shares.answered("a", answers=True)
    held = [shares.taken("a") for _ in range(SHARE + 1)]
    assert [each.__enter__() for each in held] == [True] * SHARE + [False]
    with shares.taken("b") as free:
        assert free
    for each in held:
        each.__exit__(None, None, None)
    with shares.taken("a") as free:
        assert free


def test_never_do_more_than_so_many_threads_send():
    shares = Shares()
    held = [shares.taken(f"app{n}") for n in range(THREADS + 1)]
    assert [each.__enter__() for each in held].count(True) == THREADS


def test_an_endpoint_that_does_not_answer_holds_one_thread_only():
    shares = Shares()
    shares.answered("a", answers=False)
    with shares.taken("a") as first, shares.taken("a") as second:
        assert (first, second) == (True, False)
    shares.answered("a", answers=True)
    with shares.taken("a") as first, shares.taken("a") as second:
        assert (first, second) == (True, True)


def test_an_endpoint_of_which_nothing_is_known_yet_has_one_thread():
    """After a restart nothing is known of any, and a few that hang would have all threads at once."""
    shares = Shares()
    with ExitStack() as held:
        for n in range(SHARE):
            assert [held.enter_context(shares.taken(f"new{n}")) for _ in range(SHARE)] == [True, *[False] * (SHARE - 1)]
        with shares.taken("well") as free:
            assert free
    shares.answered("new0", answers=True)
    with ExitStack() as held:
        assert [held.enter_context(shares.taken("new0")) for _ in range(SHARE)] == [True] * SHARE


def test_endpoints_that_do_not_answer_have_half_of_the_threads_together():
    shares = Shares()
    for n in range(THREADS):
        shares.answered(f"slow{n}", answers=False)
    with ExitStack() as held:
        taken = [held.enter_context(shares.taken(f"slow{n}")) for n in range(THREADS)]
        assert taken == [True] * FOR_SLOW + [False] * (THREADS - FOR_SLOW)
        shares.answered("well", answers=True)
        assert [held.enter_context(shares.taken("well")) for _ in range(SHARE)] == [True] * SHARE
    with shares.taken(f"slow{THREADS - 1}") as free:
        assert free


def test_shares_are_kept_under_many_threads():
    shares, most, lock = Shares(), [0, 0], threading.Lock()

    def work():
        for _ in range(200):
            with shares.taken("a") as free, lock:
                most[0] += free
                most[1] = max(most)
            with lock:
                most[0] -= free

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with shares.taken("a") as free:
        assert free, "all was given back"
