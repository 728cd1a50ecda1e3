"""`actas connect`: a browser that comes back, one that is elsewhere, a code on another device."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from actas import GrantStatus, JobStatus
from actas.cli import connect as verb
from actas.cli.loopback import Loopback
from actas.errors import ConnectError, InvalidRequest, InvalidState
from tests.support import connected

#: A browser as $BROWSER names one: it stays until it has the page, as some do, and keeps what it was shown.
BROWSER = """#!{python}
import sys, urllib.request
from actas.sandbox.remote import SandboxControl
callback = SandboxControl({sandbox!r}).authorize(sys.argv[1], {user!r})
open({page!r}, "wb").write(urllib.request.urlopen(callback).read())
"""


def fetch(url):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.request("GET", f"{parts.path}?{parts.query}")
    reply = connection.getresponse()
    return reply.status, reply.read().decode()


def test_from_the_command_to_the_page_that_says_connected(client, sandbox, stack, tmp_path, user, posts):
    browser, page = tmp_path / "browser", tmp_path / "page.html"
    browser.write_text(BROWSER.format(python=sys.executable, sandbox=sandbox.base_url, user=user, page=str(page)))
    browser.chmod(0o755)
    env = stack.role_env("app-demo") | {"BROWSER": str(browser), "PATH": os.environ["PATH"]}
    env |= {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", "from actas.cli import main; main()", "connect", "x", "--user", user, "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["user"], said["provider"], said["status"]) == (user, "x", "active")
    assert "Connected" in page.read_text()
    job = client.schedule("x.post", user=user, payload={"text": "from a terminal"})
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert not [token for token in sandbox.tokens() if token in done.stdout + done.stderr]


@pytest.fixture
def terminal(client, user, monkeypatch):
    """Somebody at a terminal: ``terminal(way, *arguments)`` begins, and gives what is said and what comes of it."""
    said: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(verb, "_say", said.put)
    with ThreadPoolExecutor(1) as pool:

        def begin(way, *arguments, scopes=None, actions=None, **options):
            asked = verb._Asked(client, user, "x", scopes, actions)
            return pool.submit(getattr(asked, way), *arguments, **options)

        begin.said = said
        yield begin


def heard(said, pattern):
    """What is said until this is, and then this."""
    while True:
        if found := re.search(pattern, said.get(timeout=20)):
            return found[1]


def test_a_stranger_on_this_machine_ends_nothing_and_the_user_may_say_no(terminal, client, sandbox, user):
    done = terminal("by_browser", 0, open_it=False)
    url = heard(terminal.said, r"(http://\S+/authorize\?\S+)")
    callback = sandbox.authorize(url, user, allow=False)
    port = urlsplit(callback).port
    assert fetch(f"http://127.0.0.1:{port}/callback?error=access_denied&state=made-up")[0] == 400
    stranger = client.begin_connect(
        user=f"{user}-mallory", provider="x", redirect_uri=f"http://127.0.0.1:{port}/callback"
    )
    assert fetch(sandbox.authorize(stranger.url, f"{user}-mallory"))[0] == 400
    assert not done.done()
    status, page = fetch(callback)
    assert (status, "the user said no" in page, "must connect again" in page) == (400, True, True)
    with pytest.raises(ConnectError, match="the user said no"):
        done.result(20)
    assert client.grants(user=user) == client.grants(user=f"{user}-mallory") == []


def test_what_is_asked_for_can_be_said(terminal, sandbox, user):
    done = terminal("by_browser", 0, open_it=False, scopes=["users.read"], actions=["x.post"])
    url = heard(terminal.said, r"(http://\S+/authorize\?\S+)")
    assert "scope=offline.access+tweet.read+tweet.write+users.read&" in f"{url}&"
    assert fetch(sandbox.authorize(url, user))[0] == 200
    assert done.result(20).status is GrantStatus.ACTIVE


def test_a_callback_that_another_has_used_up_ends_it_and_says_so(terminal, client, sandbox, user):
    done = terminal("by_browser", 0, open_it=False)
    callback = sandbox.authorize(heard(terminal.said, r"(http://\S+/authorize\?\S+)"), user)
    client.finish_connect(callback, user=user)
    assert fetch(callback)[0] == 400
    with pytest.raises(InvalidState):
        done.result(20)


def test_an_address_that_is_registered_has_its_port(terminal, sandbox, user):
    with Loopback() as free:
        port = free.port
    done = terminal("by_browser", port, open_it=False)
    callback = sandbox.authorize(heard(terminal.said, r"(http://\S+/authorize\?\S+)"), user)
    assert callback.startswith(f"http://127.0.0.1:{port}/callback?")
    assert fetch(callback)[0] == 200
    assert done.result(20).user == user


def test_the_address_may_be_pasted(terminal, client, sandbox, user, monkeypatch):
    pasted = queue.Queue()
    monkeypatch.setattr(verb.typer, "prompt", lambda *_, **__: pasted.get(timeout=20))
    done = terminal("by_paste", 9)
    callback = sandbox.authorize(heard(terminal.said, r"(http://\S+/authorize\?\S+)"), user)
    assert callback.startswith("http://127.0.0.1:9/callback?")
    for wrong in ("", "what?", "http://127.0.0.1:9/callback?code=c&state=s", callback.partition("?")[0]):
        pasted.put(wrong)
        heard(terminal.said, "(not the answer to this)")
    pasted.put(f"{callback}&code=another")
    heard(terminal.said, "(repeats a parameter: code)")
    pasted.put(f" {callback}\n")
    assert done.result(20).user == user


def test_a_code_may_be_entered_elsewhere(terminal, sandbox, user, posts, client):
    done = terminal("by_code")
    shown = heard(terminal.said, r"^(open .* and enter this code: \S+)")
    page, code = re.search(r"open (\S+) in .* code: (\S+)", shown).groups()
    sandbox.enter_code(page, code, user)
    grant = done.result(20)
    assert (grant.user, grant.status) == (user, GrantStatus.ACTIVE)
    job = client.schedule("x.post", user=user, payload={"text": "by a code"})
    assert client.wait(job.id).status is JobStatus.SUCCEEDED


def test_a_user_may_say_no_to_a_code_and_a_grant_that_was_there_stays(client, sandbox, user):
    before = connected(client, sandbox, user)
    request = client.begin_device_connect(user=user, provider="x")
    sandbox.enter_code(request.verification_uri_complete, request.user_code, user, allow=False)
    with pytest.raises(ConnectError, match="^x: the user said no .access_denied.; nothing was stored"):
        client.finish_device_connect(request)
    assert client.grant(user=user, provider="x").generation == before.generation


@pytest.mark.parametrize("how", ["malformed", "empty", "drop_before"])
def test_a_provider_that_gives_no_code_is_told_of(client, sandbox, user, how):
    sandbox.misbehave("device", how, times=1)
    with pytest.raises(ConnectError, match="^x.*nothing was stored"):
        client.begin_device_connect(user=user, provider="x")


def test_where_there_are_no_codes_that_is_told_early(client, sandbox, user, monkeypatch):
    without = {"x": client._providers["x"].model_copy(update={"device_url": None})}
    monkeypatch.setattr(client._providers, "_providers", without)
    with pytest.raises(InvalidRequest, match="x cannot be connected by a code"):
        client.begin_device_connect(user=user, provider="x")


def test_a_device_code_is_stored_nowhere(client, documents, sandbox, user):
    request = client.begin_device_connect(user=user, provider="x")
    code = request.device_code.get_secret_value()
    for name in documents.list_collection_names():
        assert not [found for found in documents[name].find() if code in repr(found)]
    assert code not in repr(request)
