"""What an app asks for in vain is refused at once, with words that say what to do; and nothing of it is kept."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest

from actas import GrantStatus, JobRequest, JobStatus, errors
from actas.embedded.child import plain_environment
from tests.support import REDIRECT

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
GET = {"provider": "x", "method": "GET", "url": "/2/users/me"}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"action": "x.shout"}, errors.UnknownAction, "known: .*x.post"),
        (
            {"action": "http.request", "payload": GET | {"provider": "nobody"}},
            errors.UnknownProvider,
            "known: github, ",
        ),
        ({"action": "http.request", "payload": GET | {"provider": "github"}}, errors.NoGrant, "not connected"),
        ({"action": "http.request", "payload": GET | {"url": "//evil.example"}}, errors.InvalidPayload, "a path on"),
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
        ({"at": "2027-01-01"}, errors.InvalidTime, "at must be an aware datetime"),
        ({"at": date(2027, 1, 1)}, errors.InvalidTime, "at must be an aware datetime"),
        ({"deadline": HOUR}, errors.InvalidTime, "deadline must be an aware datetime"),
        ({"deadline": timedelta(0)}, errors.InvalidTime, "deadline must be an aware datetime"),
        ({"action": ["x.post"]}, errors.InvalidRequest, "action must be"),
        ({"action": None}, errors.InvalidRequest, "action must be"),
        ({"user": "nobody-has-heard-of"}, errors.NoGrant, "not connected"),
        ({"user": ""}, errors.InvalidRequest, "user"),
        ({"user": 7}, errors.InvalidRequest, "user"),
        ({"user": {"$ne": ""}}, errors.InvalidRequest, "user must be"),
        ({"account": "another"}, errors.NoGrant, "not connected"),
        ({"account": ""}, errors.InvalidRequest, "account must be"),
        ({"account": {"$ne": ""}}, errors.InvalidRequest, "account must be"),
        ({"idempotency_key": ""}, errors.InvalidRequest, "idempotency_key must be"),
        ({"idempotency_key": {"$ne": ""}}, errors.InvalidRequest, "idempotency_key must be"),
        ({"idempotency_key": 77}, errors.InvalidRequest, "idempotency_key must be"),
    ],
)
def test_a_bad_request_is_refused_and_not_kept(client, connect, user, change, error, words):
    connect(user)
    request = {"action": "x.post", "user": user, "payload": {"text": "fine"}} | change
    with pytest.raises(error, match=words):
        client.schedule(request.pop("action"), **request)
    assert client.jobs(user=user) == []


def test_a_batch_of_anything_but_job_requests_is_refused(client, connect, user):
    connect(user)
    request = {"action": "x.post", "user": user, "payload": {"text": "a dict"}}
    for batch in ([JobRequest(**request), request], JobRequest(**request), None):
        with pytest.raises(errors.InvalidRequest, match="list of JobRequest"):
            client.schedule_many(batch)
    assert client.jobs(user=user) == []


#: The second to last is an operator of MongoDB's query language: "any".
NO_TEXT = ("", 7, "a" * 201, "\ud800", ["x"], {"$ne": ""}, None)

TOKENS = {"access_token": "a", "refresh_token": "r", "scope": "tweet.write"}

CALLS = {
    "begin_connect": lambda client, said: client.begin_connect(**{"redirect_uri": REDIRECT} | said),
    "finish_connect": lambda client, said: client.finish_connect(f"{REDIRECT}?code=c&state=s", user=said["user"]),
    "store_grant": lambda client, said: client.store_grant(**{"account": "1", "tokens": TOKENS} | said),
    "grant": lambda client, said: client.grant(**said),
    "grants": lambda client, said: client.grants(user=said["user"]),
    "disconnect": lambda client, said: client.disconnect(**said),
    "jobs": lambda client, said: client.jobs(user=said["user"]),
}


#: Here None means "all" or "the only one".
OPTIONAL = {("grants", "user"), ("jobs", "user"), ("grant", "account"), ("disconnect", "account")}


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *((method, "user") for method in CALLS),
        *((method, "provider") for method in ("begin_connect", "store_grant", "grant", "disconnect")),
        *((method, "account") for method in ("store_grant", "grant", "disconnect")),
    ],
)
def test_what_is_no_text_reaches_nobody_elses_grants_and_jobs(client, connect, user, method, name):
    connect(user)
    for wrong in NO_TEXT:
        if wrong is not None or (method, name) not in OPTIONAL:
            with pytest.raises(errors.InvalidRequest, match=f"^{name} must be a string"):
                CALLS[method](client, {"user": user, "provider": "x", name: wrong})
    assert client.grant(user=user, provider="x").status is GrantStatus.ACTIVE


def test_an_id_that_no_job_has_is_not_found(client, connect, user):
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "not this one"}, at=NOW + HOUR)
    for wrong in (*NO_TEXT, "no-such-job"):
        for method in (client.job, client.cancel, client.wait):
            with pytest.raises(errors.NotFound, match="^no job "):
                method(wrong)
    there = client.job(job.id)
    assert (there.status, there.stop) == (JobStatus.SCHEDULED, False)


@pytest.mark.parametrize("method", ["begin_connect", "store_grant", "grant", "disconnect"])
def test_an_unknown_provider_is_refused(client, user, method):
    with pytest.raises(errors.UnknownProvider, match="known: github, .*, x"):
        CALLS[method](client, {"user": user, "provider": "friendster"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scopes": "tweet.write"}, "scopes must be a list"),
        ({"scopes": [None]}, "scopes has an entry"),
        ({"redirect_uri": None}, "redirect_uri must be"),
        ({"redirect_uri": "app.example/callback"}, "redirect_uri must be"),
    ],
)
def test_a_connection_that_could_not_come_back_is_not_begun(client, user, change, words):
    with pytest.raises(errors.InvalidRequest, match=words):
        client.begin_connect(**{"user": user, "provider": "x", "redirect_uri": REDIRECT} | change)


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


FORK = """
import os, signal, threading
from actas import Client, Settings

settings = dict(app="demo", env="development", vault_token="t", vault_addr="http://127.0.0.1:9")
client = Client(Settings(**settings, mongodb_url="mongodb://127.0.0.1:9/actas"))
rooms = client._room
taken, done = threading.Event(), threading.Event()

def open_connections():
    with client._connections._lock:
        taken.set()
        done.wait()

threading.Thread(target=open_connections).start()
taken.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)  # ends it, where it would wait for the lock for ever
    os._exit(0 if client._room is not rooms else 1)
_, status = os.waitpid(child, 0)
done.set()
assert status == 0, status
assert client._room is rooms
del client, rooms
import gc, actas.room
gc.collect()
assert not list(actas.room._CONNECTIONS)
"""


def test_a_fork_while_another_thread_opens_the_connections_leaves_the_child_free():
    env = plain_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", FORK], env=env, timeout=60, check=True)
