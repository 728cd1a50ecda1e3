"""A listener on loopback for one callback: how a program without a server ends an authorization (RFC 8252 section 7.3).

Everybody on this machine, and any page in its browsers, can send requests here. Only who knows the state of the
authorization that is waited for brings its answer; all others are told so, and end nothing.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from actas.errors import ActasError, InvalidRequest

T = TypeVar("T")

HOST = "127.0.0.1"
PATH = "/callback"

#: A browser opens connections ahead of need, and others may hold some open: each has a thread, and ends by itself.
REQUEST_SECONDS = 10

#: A page that its browser does not fetch within this is not waited for.
PAGE_SECONDS = 5

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the page's own address has the code in it
    "Cache-Control": "no-store",
}


class PortTaken(ActasError):
    """Nobody can listen on this port: another program does, or it is not ours to use."""

    code = "port_taken"


class NobodyCame(ActasError):
    """Nobody came back from the provider in time; nothing was stored. Begin again."""

    code = "nobody_came"


class _Visit:
    """A browser that came with the state, and waits for its page."""

    def __init__(self, url: str) -> None:
        self.url = SecretStr(url)
        self.page: Future[tuple[HTTPStatus, str]] = Future()
        self.served = threading.Event()


class Loopback:
    """Listens from its making to its closing; a context manager."""

    def __init__(self, port: int = 0) -> None:
        """Listen on a port of this machine; 0: any that is free.

        Raises:
            PortTaken.
        """
        self._visits: queue.SimpleQueue[_Visit] = queue.SimpleQueue()
        self._state: SecretStr | None = None
        try:
            self._server = _Server((HOST, port), _handler(self))
        except OSError as error:
            raise PortTaken(f"cannot listen on {HOST}:{port}: {error.strerror}; say another --port") from None
        self.port: int = self._server.server_address[1]
        self.redirect_uri = redirect_uri(self.port)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._state = None
        self._server.shutdown()
        self._server.server_close()
        for late in self._waiting():
            late.page.set_result((HTTPStatus.GONE, _page("Too late", "Nobody waits for this any more.")))

    def expect(self, authorization_url: str) -> None:
        """Take the answer to this authorization request, from now on: before a browser is sent there."""
        self._state = state_of(authorization_url)

    def wait(self, finish: Callable[[str], T], *, seconds: float) -> T:
        """Wait for the browser that brings the answer; what ``finish`` makes of the callback's URL.

        ``finish`` is called by this thread. Its ``InvalidRequest`` is shown in the browser, and waiting goes on: such a
        callback was no answer. All else ends it, and is shown there, too.

        Raises:
            NobodyCame, and what ``finish`` raises.
        """
        ends_at = time.monotonic() + seconds
        while True:
            try:
                visit = self._visits.get(timeout=max(0.0, ends_at - time.monotonic()))
            except queue.Empty:
                raise NobodyCame from None
            with contextlib.suppress(InvalidRequest), _shown(visit) as show:
                done = finish(visit.url.get_secret_value())
                show(HTTPStatus.OK, "Connected", "You may close this window.")
                return done

    def _waiting(self) -> Iterator[_Visit]:
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._visits.get_nowait()

    def answer(self, target: str) -> tuple[HTTPStatus, str] | _Visit:
        """What to say to a request for ``target``, or the visit whose page is to be waited for."""
        path, _, query = target.partition("?")
        if path != PATH:
            return HTTPStatus.NOT_FOUND, _page("Nothing here", "This is actas, waiting for an account to be connected.")
        url = f"{self.redirect_uri}?{query}"
        if self._state is None or not brings(self._state, url):
            text = "This is not the answer that is waited for; nothing came of it, and the waiting goes on."
            return HTTPStatus.BAD_REQUEST, _page("Not this one", text)
        visit = _Visit(url)
        self._visits.put(visit)
        return visit


def redirect_uri(port: int) -> str:
    """Where the provider is to send the browser back to (RFC 8252 section 7.3)."""
    return f"http://{HOST}:{port}{PATH}"


def state_of(authorization_url: str) -> SecretStr:
    """The state that an answer to this authorization request must bring."""
    (state,) = parse_qs(urlsplit(authorization_url).query)["state"]
    return SecretStr(state)


def brings(state: SecretStr, url: str) -> bool:
    """Whether a callback's URL has just this state. Pure."""
    try:
        given = parse_qs(urlsplit(url).query, keep_blank_values=True).get("state", [])
    except ValueError:
        return False
    expected = state.get_secret_value().encode()
    return len(given) == 1 and secrets.compare_digest(given[0].encode(errors="replace"), expected)


@contextlib.contextmanager
def _shown(visit: _Visit) -> Iterator[Callable[[HTTPStatus, str, str], None]]:
    """Let the browser have its page before anything else happens: this process may be about to end."""

    def show(status: HTTPStatus, title: str, text: str) -> None:
        visit.page.set_result((status, _page(title, text)))
        visit.served.wait(PAGE_SECONDS)

    try:
        yield show
    except ActasError as error:
        show(HTTPStatus.BAD_REQUEST, "Not connected", str(error))
        raise
    except BaseException:
        show(HTTPStatus.INTERNAL_SERVER_ERROR, "Not connected", "Something went wrong; the terminal may say what.")
        raise


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name != "nt"  # there it would let another program listen, too
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Who hangs up in the middle is no news."""


def _handler(loopback: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            answer = loopback.answer(self.path)
            if not isinstance(answer, _Visit):
                self._send(*answer)
                return
            try:
                self._send(*answer.page.result())
            finally:
                answer.served.set()

        def _send(self, status: HTTPStatus, page: str) -> None:
            body = page.encode()
            self.send_response_only(status)
            for name, value in {**HEADERS, "Content-Length": str(len(body)), "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            """Nothing: a request's line has a code in it."""

    return Handler


def _page(title: str, text: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f"<body><h1>{escape(title)}</h1><p>{escape(text)}</p></body></html>"
    )
