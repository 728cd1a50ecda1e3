"""The example apps: each runs as a process of its own, and is used as its users would, through its pages only."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from actas.embedded.child import plain_environment
from actas.embedded.stack import Stack
from tests.browsing import Browser
from tests.cutting_proxy import CuttingProxy
from tests.support import eventually, family

REPOSITORY = Path(__file__).parents[2]
APPS = {
    "fastapi": ("-m", "uvicorn", "--app-dir", "examples/fastapi", "app:app", "--port", "{port}"),
    "flask": ("-m", "flask", "--app", "examples/flask/app.py", "run", "--port", "{port}"),
    "django": ("examples/django/app.py", "runserver", "--noreload", "127.0.0.1:{port}"),
}
TOO_LONG = "not to be lost " * 20


@pytest.fixture(scope="module")
def vault(stack: Stack) -> Iterator[CuttingProxy]:
    """What stands between the apps and Vault."""
    proxy = CuttingProxy(urlsplit(stack.servers.bao.url).netloc)
    yield proxy
    proxy.cut()


@pytest.fixture(scope="module", params=APPS)
def app(request: pytest.FixtureRequest, stack: Stack, vault: CuttingProxy, tmp_path_factory) -> Iterator[str]:
    """The address of an example app that runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    told = stack.role_env("app-demo") | {"ACTAS_VAULT_ADDR": f"http://{vault.address}", "APP_URL": url}
    log = tmp_path_factory.mktemp(request.param) / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *(part.format(port=port) for part in APPS[request.param])],
            cwd=REPOSITORY,
            env=plain_environment() | {"PYTHONPATH": str(REPOSITORY)} | told,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: process.poll() is not None or answers(url), what="the app answers")
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(30)
    assert "Traceback" not in log.read_text(), log.read_text()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def browsers(app: str) -> Iterator[Callable[[str], Browser]]:
    """A browser for each user, signed in."""
    with ExitStack() as all_of_them:

        def signed_in(user: str) -> Browser:
            browser = all_of_them.enter_context(Browser(app))
            browser.submit(browser.open().form("/sign-in"), user=user)
            assert f"Signed in as {user}" in browser.page.text
            return browser

        yield signed_in


@pytest.fixture
def browser(browsers, user) -> Browser:
    return browsers(user)


@pytest.fixture
def connected(browser, sandbox, user) -> Browser:
    callback = sandbox.authorize(browser.submit(browser.page.form("/connect")).url, user)
    assert browser.open(callback).said["status"].startswith("Connected: account ")
    return browser


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def test_a_post_goes_out_once_although_its_form_is_sent_thrice_and_is_shown_as_it_was_typed(connected, posts, user):
    form, text = connected.page.form("/schedule"), "one <b>&amp;\r\n{{ two }} <script>alert(1)</script>"
    fields = form.fields | {"text": text}
    with ThreadPoolExecutor(2) as pool:  # a double click
        twice = list(pool.map(lambda _: connected.send(form.action, fields).status_code, range(2)))
    assert twice == [200, 200]
    typed = text.replace("\r", "")
    assert connected.submit(form, text=text).said["status"].startswith("Scheduled for ")  # back, and again
    row = eventually(lambda: "succeeded" in (row := connected.open().row(typed)) and row, what="it is shown as done")
    assert row[3].startswith("post ")
    assert "<b>" not in connected.page.html
    assert "alert(1)</script>" not in connected.page.html
    assert posts(user) == [typed]
    assert [form.action for form in connected.page.forms].count("/cancel") == 0


def test_a_form_that_comes_again_with_another_text_is_refused_and_the_text_is_kept(connected, posts, user):
    form = connected.page.form("/schedule")
    connected.submit(form, text="the first", when=in_an_hour())
    page = connected.submit(form, text="the second", when=in_an_hour())
    assert page.status == 400
    assert "belongs to a job with other content" in page.said["alert"]
    assert "the second</textarea>" in page.html
    assert [row[0] for row in page.rows] == ["the first"]
    connected.submit(page.form("/schedule"), text="the second", when=in_an_hour())
    assert [row[0] for row in connected.page.rows] == ["the second", "the first"]
    assert posts(user) == []


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"text": TOO_LONG}, "280"),
        ({"text": "local time", "when": "2030-01-01T09:00"}, "time zone"),
        ({"text": "next century", "when": "2126-01-01T09:00Z"}, "days ahead"),
        ({"text": "whose?", "account": "' or 1=1"}, "not connected"),
    ],
    ids=lambda value: value.get("text", "")[:12] if isinstance(value, dict) else None,
)
def test_what_actas_refuses_is_said_and_nothing_breaks(connected, typed, says):
    page = connected.submit(connected.page.form("/schedule"), **typed)
    assert page.status == 400
    assert says in page.said["alert"]
    assert connected.open().rows == []


def test_a_long_text_that_is_refused_is_still_there(connected):
    assert f"{TOO_LONG}</textarea>" in connected.submit(connected.page.form("/schedule"), text=TOO_LONG).html


def test_a_user_who_says_no_is_told_so_kindly(browser, sandbox, client, user):
    callback = sandbox.authorize(browser.submit(browser.page.form("/connect")).url, user, allow=False)
    assert browser.open(callback).said == {"status": "You said no, so nothing was connected."}
    assert browser.page.status == 200
    assert client.grants(user=user) == []


def test_an_answer_for_another_user_or_a_used_one_connects_nobody(browser, browsers, sandbox, client, user):
    callback = sandbox.authorize(browser.submit(browser.page.form("/connect")).url, user)
    other = browsers(f"{user}-other")
    assert "is another user's" in other.open(callback).said["status"]
    assert client.grants(user=f"{user}-other") == []
    assert "Connected" in browser.open(callback).said["status"], "and the first user's is not spoilt by that"
    assert "was used before" in browser.open(callback).said["status"]


@pytest.mark.parametrize("query", ["", "?code=c", "?state=a&state=b", "?state=%00&code=%ff", "?error=access_denied"])
def test_a_callback_that_is_none_is_an_error_page(browser, query):
    page = browser.open(f"/callback{query}")
    assert page.status in {200, 400}
    assert page.said
    assert "Connected" not in page.text


def test_nobody_who_is_not_signed_in_gets_past_the_first_page(app):
    with Browser(app) as stranger:
        assert stranger.send("/sign-in", {"user": "mallory"}).status_code in {400, 403}, "without having seen the form"
        assert stranger.open("/callback?state=s&code=c").form("/sign-in")
        token = stranger.page.form("/sign-in").fields
        for path in ("/connect", "/schedule", "/cancel", "/disconnect"):
            fields = token | {"job": "j", "account": "a", "text": "t", "key": "k"}
            assert "Your name" in stranger.send(path, fields).text


def test_a_post_without_its_sites_token_does_nothing(connected, browsers, user):
    connected.submit(connected.page.form("/schedule"), text="waits", when=in_an_hour())
    rows = connected.page.rows
    forms = connected.page.forms
    assert {form.action for form in forms} == {"/disconnect", "/connect", "/schedule", "/cancel"}
    own = {"text", "when", "account", "key", "job"}
    foreign = browsers(f"{user}-mallory").page.form("/connect").fields
    assert len(foreign) == 1, "the token of another session"
    for form in [*forms, browsers(user).page.form("/connect")]:
        bare = {name: value for name, value in form.fields.items() if name in own} | {"text": "forged"}
        for fields in (bare, bare | foreign, bare | dict.fromkeys(foreign, ""), bare | dict.fromkeys(foreign, "é")):
            assert connected.send(form.action, fields).status_code in {400, 403}
    assert connected.send("/sign-in", {"user": "mallory"}).status_code in {400, 403}
    assert connected.open().rows == rows
    assert f"Signed in as {user}" in connected.page.text


def test_a_job_is_cancelled_by_its_own_user_only(connected, browsers, posts, user):
    connected.submit(connected.page.form("/schedule"), text="never mind", when=in_an_hour())
    job = connected.page.form("/cancel").fields["job"]
    other = browsers(f"{user}-other")
    reply = other.send("/cancel", other.page.form("/connect").fields | {"job": job})
    assert (reply.status_code, "There is no such thing." in reply.text) == (400, True)
    assert connected.open().row("never mind")[2] == "scheduled"
    assert connected.submit(connected.page.form("/cancel")).said["status"] == "Cancelled."
    assert connected.page.row("never mind")[2] == "cancelled"
    assert posts(user) == []


def test_disconnecting_stops_what_waits_and_ends_the_grant_at_the_provider(connected, sandbox, user):
    connected.submit(connected.page.form("/schedule"), text="too late", when=in_an_hour())
    page = connected.submit(connected.page.form("/disconnect"))
    assert page.said["status"] == "Disconnected. Posts that will not go out: 1."
    assert page.row("too late")[2] == "cancelled"
    assert "/schedule" not in [form.action for form in page.forms]
    eventually(lambda: not family(sandbox, user)["alive"], what="the provider has heard of it")


def test_an_outage_is_said_and_ends_by_itself(connected, vault):
    vault.cut()
    try:
        page = connected.submit(connected.page.form("/schedule"), text="when it is over")
        assert page.status == 503
        assert "Vault" in page.said["alert"]
    finally:
        vault.mend()
    connected.submit(connected.open().form("/schedule"), text="when it is over", when=in_an_hour())
    assert connected.page.row("when it is over")[2] == "scheduled"
