"""Connecting accounts, interfered with. The attacker is a user of the app, or lures one; sees and makes callback URLs.

Can begin connections of their own, take callbacks and codes out of browsers, send others' browsers anywhere, and, once,
write to MongoDB. Has neither the app's client secret nor its session cookies. What is tried: another's state, a state
used twice, too late, made up, or another app's; a code from another session (RFC 9700 section 4.5), from another
provider (RFC 9207); a verifier that does not fit. Nobody may get a grant for an account that they did not allow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from actas import Client
from actas.connecting import ConnectRequest
from actas.errors import ConnectError, InvalidRequest, InvalidState
from actas.sandbox.remote import SandboxControl
from tests.support import REDIRECT, family


@pytest.fixture
def begin(client) -> Callable[[str], ConnectRequest]:
    return lambda user: client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT)


def parameter(url: str, name: str) -> str:
    (value,) = parse_qs(urlsplit(url).query)[name]
    return value


def used_codes(sandbox: SandboxControl) -> int:
    """How many connections the provider has seen through."""
    return len(sandbox.ledger()["families"])


def test_a_callback_works_once(client, sandbox, user, begin):
    callback = sandbox.authorize(begin(user).url, user)
    client.finish_connect(callback, user=user)
    with pytest.raises(InvalidState):
        client.finish_connect(callback, user=user)


def test_a_callback_used_twice_at_the_same_moment_works_once(client, sandbox, user, begin):
    callback = sandbox.authorize(begin(user).url, user)
    before, start = used_codes(sandbox), threading.Barrier(8)

    def finish(_: int) -> bool:
        for _ in range(2):  # the first time, for all of them to have a connection to MongoDB by the second
            start.wait(10)
            client.grants(user=user)
        start.wait(10)
        try:
            return client.finish_connect(callback, user=user).user == user
        except InvalidState:
            return False

    with ThreadPoolExecutor(8) as browsers:
        assert sum(browsers.map(finish, range(8))) == 1
    assert used_codes(sandbox) == before + 1
    assert family(sandbox, user)["alive"] is True  # a code that is used twice ends what came of it (RFC 6749 4.1.2)


def test_a_callback_of_which_the_connection_failed_does_not_work_again(client, sandbox, user, begin):
    callback = sandbox.authorize(begin(user).url, user)
    sandbox.misbehave("token", "drop_before", times=1)
    with pytest.raises(ConnectError):
        client.finish_connect(callback, user=user)
    with pytest.raises(InvalidState):
        client.finish_connect(callback, user=user)
    assert client.grants(user=user) == []


def test_another_users_callback_is_refused_and_does_not_spoil_the_rightful_one(client, sandbox, user, begin):
    callback = sandbox.authorize(begin(user).url, user)
    with pytest.raises(InvalidState):
        client.finish_connect(callback, user=f"{user}-mallory")
    assert client.finish_connect(callback, user=user).user == user


def test_a_victim_lured_to_the_attackers_callback_gets_no_grant_of_the_attackers(client, sandbox, user, begin):
    """Login CSRF (RFC 6749 section 10.12): the victim's posts would appear in the attacker's account."""
    callback = sandbox.authorize(begin(f"{user}-mallory").url, f"{user}-mallory")
    with pytest.raises(InvalidState):
        client.finish_connect(callback, user=user)
    assert client.grants(user=user) == []


def test_another_apps_callback_is_refused(client, sandbox, user, begin, app_settings):
    callback = sandbox.authorize(begin(user).url, user)
    with Client(app_settings.model_copy(update={"app": "other"})) as other, pytest.raises(InvalidState):
        other.finish_connect(callback, user=user)


@pytest.mark.parametrize(("milliseconds", "works"), [(0, False), (-1, True)], ids=["after", "before"])
def test_a_callback_after_ten_minutes_is_refused(
    client, sandbox, user, begin, app_settings, documents, milliseconds, works
):
    callback = sandbox.authorize(begin(user).url, user)
    begun = documents["connects"].find_one({"user": user})["created_at"]
    later = begun + timedelta(minutes=10, milliseconds=milliseconds)
    with Client(app_settings, clock=lambda: later) as late:
        if works:
            assert late.finish_connect(callback, user=user).user == user
        else:
            with pytest.raises(InvalidState):
                late.finish_connect(callback, user=user)


@pytest.mark.parametrize("state", ["made-up", "", "' or 1=1", "[$ne]=", "\x00", "x" * 10_000])
def test_a_made_up_state_is_refused(client, user, begin, state):
    begin(user)
    with pytest.raises(InvalidState):
        client.finish_connect(f"{REDIRECT}?code=c&state={quote(state)}", user=user)


def test_a_state_read_in_the_database_is_of_no_use(client, user, begin, documents):
    """What lies there is a digest; the callback needs what was digested."""
    begin(user)
    pending = documents["connects"].find_one({"user": user})
    for value in (pending["_id"], pending["salt"]):
        with pytest.raises(InvalidState):
            client.finish_connect(f"{REDIRECT}?code=c&state={value}", user=user)


def test_a_code_stolen_from_another_connection_fails_for_want_of_its_verifier(client, sandbox, user, begin):
    """RFC 9700 section 4.5: the attacker puts the victim's code into a connection of their own."""
    mine, stolen = begin(user), begin(f"{user}-victim")
    code = parameter(sandbox.authorize(stolen.url, f"{user}-victim"), "code")
    with pytest.raises(ConnectError, match="gave no tokens"):
        client.finish_connect(f"{REDIRECT}?code={code}&state={parameter(mine.url, 'state')}", user=user)
    assert client.grants(user=user) == []


def test_a_code_of_an_authorization_the_app_never_began_fails(client, sandbox, user, begin):
    """The same with a code from a URL the attacker made, with a challenge of their own."""
    mine = begin(user)
    url = begin(f"{user}-victim").url
    foreign = url.replace(parameter(url, "code_challenge"), "A" * 43).replace(parameter(url, "state"), "of-mallory")
    code = parameter(sandbox.authorize(foreign, f"{user}-victim"), "code")
    with pytest.raises(ConnectError, match="gave no tokens"):
        client.finish_connect(f"{REDIRECT}?code={code}&state={parameter(mine.url, 'state')}", user=user)
    assert client.grants(user=user) == []


@pytest.mark.parametrize(
    "change",
    [{"salt": "A" * 43}, {"salt": ""}, {"redirect_uri": "http://127.0.0.1:9/elsewhere"}],
    ids=["another verifier", "a verifier of the state alone", "another redirect_uri"],
)
def test_a_pending_connection_edited_in_the_database_fails_at_the_provider(
    client, sandbox, user, begin, documents, change
):
    callback = sandbox.authorize(begin(user).url, user)
    documents["connects"].update_one({"user": user}, {"$set": change})
    with pytest.raises(ConnectError, match="gave no tokens"):
        client.finish_connect(callback, user=user)
    assert client.grants(user=user) == []


@pytest.mark.parametrize("change", [{"user": "mallory"}, {"app": "mallory"}], ids=str)
def test_a_pending_connection_given_to_another_is_not_the_first_ones_any_more(
    client, sandbox, user, begin, documents, change
):
    """Who writes to MongoDB can spoil a connection; what the browser brings is still taken for its own user only."""
    callback = sandbox.authorize(begin(user).url, user)
    documents["connects"].update_one({"user": user}, {"$set": change})
    with pytest.raises(InvalidState):
        client.finish_connect(callback, user=user)


@pytest.mark.parametrize(
    "issuer",
    [
        "https://evil.example",
        "http://127.0.0.1",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:{port}@evil.example",
        "http://127.0.0.1:{port}.evil.example",
        "http://[",
        "",
    ],
)
def test_an_answer_of_another_provider_is_refused_and_its_code_goes_nowhere(client, sandbox, user, begin, issuer):
    """Mix-up (RFC 9207): the browser was sent to one provider, and comes back with another's code."""
    before = used_codes(sandbox)
    callback = sandbox.authorize(begin(user).url, user)
    issuer = issuer.replace("{port}", sandbox.base_url.rpartition(":")[2])
    with pytest.raises(ConnectError, match="not from x"):
        client.finish_connect(f"{callback}&iss={quote(issuer, safe='')}", user=user)
    assert used_codes(sandbox) == before
    assert client.grants(user=user) == []


def test_an_answer_that_says_it_is_from_where_the_browser_was_sent_is_taken(client, sandbox, user, begin):
    callback = sandbox.authorize(begin(user).url, user)
    issuer = quote(f"{sandbox.base_url}/some/path", safe="")
    assert client.finish_connect(f"{callback}&iss={issuer}", user=user).user == user


def test_two_answers_at_once_about_who_it_is_from_are_refused(client, sandbox, user, begin):
    callback = sandbox.authorize(begin(user).url, user)
    both = "&".join(f"iss={quote(issuer, safe='')}" for issuer in (sandbox.base_url, "https://evil.example"))
    with pytest.raises(InvalidRequest, match="repeats a parameter"):
        client.finish_connect(f"{callback}&{both}", user=user)
