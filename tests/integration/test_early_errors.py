"""What an app asks for in vain is refused at once, with words that say what to do; and nothing of it is kept."""

from __future__ import annotations

import multiprocessing
import os
from datetime import UTC, datetime, timedelta

import pytest

from actas import errors
from tests.support import REDIRECT

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"action": "x.shout"}, errors.UnknownAction, "known: x.post"),
        ({"payload": {"text": "x" * 281}}, errors.InvalidPayload, "280"),
        ({"payload": {"text": ""}}, errors.InvalidPayload, "text"),
        ({"payload": {}}, errors.InvalidPayload, "text"),
        ({"payload": {"text": "x", "colour": "red"}}, errors.InvalidPayload, "colour"),
        ({"payload": {"text": "x", "padding": "x" * 70_000}}, errors.InvalidPayload, "65536"),
        ({"payload": {"text": object()}}, errors.InvalidPayload, "JSON"),
        ({"payload": "text"}, errors.InvalidPayload, "JSON"),
        ({"at": datetime(2027, 1, 1)}, errors.InvalidTime, "time zone"),  # noqa: DTZ001 - the mistake to be caught
        ({"deadline": datetime(2027, 1, 1)}, errors.InvalidTime, "time zone"),  # noqa: DTZ001
        ({"at": NOW + HOUR, "deadline": NOW}, errors.InvalidTime, "not after"),
        ({"at": NOW - 2 * HOUR, "deadline": NOW - HOUR}, errors.InvalidTime, "passed already"),
        ({"at": NOW + timedelta(days=401)}, errors.InvalidTime, "400 days"),
        ({"user": "nobody-has-heard-of"}, errors.NoGrant, "not connected"),
        ({"user": ""}, errors.InvalidRequest, "user"),
        ({"user": 7}, errors.InvalidRequest, "user"),
        ({"account": "another"}, errors.NoGrant, "not connected"),
    ],
)
def test_a_bad_request_is_refused_and_not_kept(client, connect, user, change, error, words):
    connect(user)
    request = {"action": "x.post", "user": user, "payload": {"text": "fine"}} | change
    with pytest.raises(error, match=words):
        client.schedule(request.pop("action"), **request)
    assert client.jobs(user=user) == []


def test_an_unknown_provider_is_refused(client, user):
    with pytest.raises(errors.UnknownProvider, match="known: x"):
        client.begin_connect(user=user, provider="friendster", redirect_uri=REDIRECT)


def test_a_grant_without_the_scope_is_refused_with_the_scopes_name(client, sandbox, user):
    request = client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT, scopes=["tweet.read"])
    client.finish_connect(sandbox.authorize(request.url, user), user=user)
    with pytest.raises(errors.InsufficientScope, match="tweet.write"):
        client.schedule("x.post", user=user, payload={"text": "no"})


def test_errors_carry_codes_and_never_the_payload(client, connect, user):
    connect(user)
    with pytest.raises(errors.ActasError) as caught:
        client.schedule("x.post", user=user, payload={"text": "canary" * 100})
    assert caught.value.code == "invalid_payload"
    assert "canary" not in repr(caught.value) + str(caught.value)
    assert caught.value.__suppress_context__


def _list_jobs(client, user, results):
    results.put((os.getpid(), len(client.jobs(user=user))))


def test_a_client_used_before_a_fork_works_after_it(client, connect, user):
    connect(user)
    client.schedule("x.post", user=user, payload={"text": "before the fork"}, at=NOW + HOUR)
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    child = fork.Process(target=_list_jobs, args=(client, user, results))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    pid, count = results.get()
    assert (pid, count) == (child.pid, 1)
    assert len(client.jobs(user=user)) == 1  # and the parent's connections are as they were
