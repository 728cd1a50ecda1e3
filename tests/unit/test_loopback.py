"""The listener that `actas connect` waits at: real sockets; only who knows the state brings the answer."""

from __future__ import annotations

import http.client
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from actas.cli.loopback import Loopback, NobodyCame, PortTaken, brings, redirect_uri, state_of
from actas.errors import ConnectError, InvalidRequest
from tests.support import eventually

STATE = "the-state-of-this-one"
AUTHORIZATION = f"https://provider.example/authorize?client_id=c&state={STATE}&scope=a"
ANSWER = f"/callback?state={STATE}&code=c0de"


def fetch(port, target, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, target)
        reply = connection.getresponse()
        return reply.status, dict(reply.headers), reply.read().decode()
    finally:
        connection.close()


@pytest.fixture
def loopback():
    with Loopback() as loopback:
        loopback.expect(AUTHORIZATION)
        yield loopback


@pytest.fixture
def waiting(loopback):
    """Begin to wait in another thread: ``waiting(finish)``; its future."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda finish=lambda url: url, seconds=20: pool.submit(loopback.wait, finish, seconds=seconds)


def test_the_answer_is_handed_over_whole_and_the_browser_is_told(loopback, waiting):
    done = waiting()
    status, headers, page = fetch(loopback.port, f"{ANSWER}&iss=https%3A%2F%2Fa.example")
    assert done.result(5) == f"http://127.0.0.1:{loopback.port}{ANSWER}&iss=https%3A%2F%2Fa.example"
    assert (status, "close this window" in page) == (200, True)
    assert headers["Referrer-Policy"] == "no-referrer", "the page's own address has the code in it"
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "c0de" not in page
    assert "Server" not in headers


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/favicon.ico", 404),
        ("/", 404),
        (f"/callback/?state={STATE}", 404),
        (f"/callbacks?state={STATE}", 404),
        (f"http://127.0.0.1/callback?state={STATE}", 404),
        ("/callback", 400),
        ("/callback?code=c&state=", 400),
        ("/callback?code=c&state=of-a-stranger", 400),
        ("/callback?error=access_denied&state=of-a-stranger", 400),
        (f"/callback?state={STATE}&state=of-a-stranger", 400),
        (f"/callback?state={STATE}x", 400),
        ("/callback?state=%ff%00", 400),
        ("/callback?" + "&".join(f"a{n}=1" for n in range(2000)), 400),
    ],
)
def test_whoever_does_not_know_the_state_is_told_so_and_ends_nothing(loopback, waiting, target, status):
    done = waiting()
    assert fetch(loopback.port, target)[0] == status
    assert not done.done()
    assert fetch(loopback.port, ANSWER)[0] == 200
    assert done.result(5).endswith(ANSWER)


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "PUT"])
def test_only_a_get_is_an_answer(loopback, waiting, method):
    done = waiting()
    assert fetch(loopback.port, ANSWER, method)[0] == 501
    assert not done.done()
    fetch(loopback.port, ANSWER)
    assert done.result(5)


def test_who_connects_and_says_nothing_holds_up_nobody(loopback, waiting):
    """Browsers do: they open connections ahead of need."""
    done = waiting()
    idle = [socket.create_connection(("127.0.0.1", loopback.port)) for _ in range(20)]
    idle[0].sendall(b"GET /callback")
    assert fetch(loopback.port, ANSWER)[0] == 200
    assert done.result(5)
    for each in idle:
        each.close()


def test_an_answer_may_come_before_anybody_waits_for_it(loopback):
    """A provider that has nothing to ask sends the browser back at once."""
    with ThreadPoolExecutor(1) as browser:
        page = browser.submit(fetch, loopback.port, ANSWER)
        assert loopback.wait(lambda url: url, seconds=10).endswith(ANSWER)
        assert page.result(5)[0] == 200


def test_before_a_state_is_known_nothing_is_an_answer():
    with Loopback() as loopback:
        assert fetch(loopback.port, "/callback?state=&code=c")[0] == 400
        assert fetch(loopback.port, "/callback?state=None&code=c")[0] == 400


def test_what_went_wrong_is_said_in_the_browser_and_ends_it(loopback, waiting):
    def finish(_):
        raise ConnectError("x: the user said <no>")

    done = waiting(finish)
    status, _, page = fetch(loopback.port, ANSWER)
    assert (status, "the user said &lt;no&gt;" in page, "<no>" in page) == (400, True, False)
    with pytest.raises(ConnectError):
        done.result(5)


def test_a_mistake_of_ours_is_not_shown_in_the_browser(loopback, waiting):
    def finish(_):
        raise RuntimeError("canary")

    done = waiting(finish)
    status, _, page = fetch(loopback.port, ANSWER)
    assert (status, "canary" in page) == (500, False)
    with pytest.raises(RuntimeError):
        done.result(5)


def test_a_callback_that_is_no_answer_is_said_to_be_none_and_the_waiting_goes_on(loopback, waiting):
    """It has used up nothing: finish_connect raises InvalidRequest before it takes the state."""
    tries = []

    def finish(url):
        tries.append(url)
        if len(tries) == 1:
            raise InvalidRequest("callback_url repeats a parameter")
        return url

    done = waiting(finish)
    status, _, page = fetch(loopback.port, f"{ANSWER}&code=another")
    assert (status, "repeats a parameter" in page) == (400, True)
    assert not done.done()
    assert fetch(loopback.port, ANSWER)[0] == 200
    assert done.result(5).endswith(ANSWER)


def test_nobody_comes():
    with Loopback() as loopback:
        loopback.expect(AUTHORIZATION)
        with pytest.raises(NobodyCame, match="Begin again"):
            loopback.wait(lambda url: url, seconds=0.05)


def test_nothing_listens_afterwards():
    with Loopback() as loopback:
        port = loopback.port
    with pytest.raises(ConnectionRefusedError):
        fetch(port, ANSWER)
    with Loopback(port) as again:  # at once, although connections to it may linger
        assert again.redirect_uri == redirect_uri(port) == f"http://127.0.0.1:{port}/callback"


def test_it_listens_on_loopback_only(loopback):
    assert loopback._server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_named():
    with Loopback() as first, pytest.raises(PortTaken, match=f"127.0.0.1:{first.port}: .*--port"):
        Loopback(first.port)


def test_a_second_answer_at_the_same_time_does_not_hang(loopback, waiting):
    entered, go = threading.Event(), threading.Event()

    def finish(url):
        entered.set()
        go.wait(10)
        return url

    done = waiting(finish)
    with ThreadPoolExecutor(2) as browsers:
        first = browsers.submit(fetch, loopback.port, ANSWER)
        assert entered.wait(5)
        second = browsers.submit(fetch, loopback.port, ANSWER)
        eventually(lambda: loopback._visits.qsize() == 1, seconds=5, what="the second is there")
        go.set()
        assert first.result(5)[0] == 200
        assert done.result(5)
        loopback.__exit__()
        assert second.result(5)[0] == 410


def test_nothing_is_printed(loopback, waiting, capfd):
    """A request's line has a code in it; and so has what a broken connection would be reported with."""
    done = waiting()
    gone = socket.create_connection(("127.0.0.1", loopback.port))
    gone.sendall(b"GET /callback?code=c0de&state=x HTTP/1.1\r\n\r\n")
    gone.close()
    fetch(loopback.port, ANSWER)
    done.result(5)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("url", "does"),
    [
        (f"http://127.0.0.1:1/callback?state={STATE}", True),
        (f"http://127.0.0.1:1/callback?code=c&state={STATE}", True),
        (f"http://127.0.0.1:1/callback?state={STATE}&state={STATE}", False),
        (f"http://127.0.0.1:1/callback#state={STATE}", False),
        ("http://127.0.0.1:1/callback?state=\ud800", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_a_pasted_address_is_checked_for_the_state_first(url, does):
    assert brings(state_of(AUTHORIZATION), url) is does


def test_the_state_is_not_shown():
    assert STATE not in repr(state_of(AUTHORIZATION))
