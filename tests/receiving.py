"""A webhook's other side: a real HTTP server that keeps what it is sent and answers as it is told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def subject(self) -> str:
        data = self.told["data"]
        return next(data[name] for name in ("job", "grant", "provider") if name in data)


@dataclass
class Receiver:
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    #: By request: a status, and headers.
    answer: Callable[[Request], tuple[int, dict[str, str]]] = lambda _: (204, {})

    def of(self, subject: str, type_: str | None = None) -> list[Request]:
        """What came about a job, a grant or a provider."""
        return [each for each in self.requests if each.subject == subject and type_ in {None, each.told["type"]}]

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.requests]


@contextmanager
def receiver() -> Iterator[Receiver]:
    there = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            body = self.rfile.read(size)
            if len(body) < size:  # its sender was killed amid it: nothing has come
                self.close_connection = True
                return
            request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            there.requests.append(request)
            status, headers = there.answer(request)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    there.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def hanging() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in held:
                each.close()
