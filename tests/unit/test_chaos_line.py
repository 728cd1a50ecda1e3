"""The line to the provider: what it carries, and that it can be cut in the midst of a request."""

from __future__ import annotations

import socket
import threading

import pytest
from pydantic import SecretStr

from actas.http import Http, NoReply, NotSent
from tests.chaos.line import Line
from tests.unit.peer import http_reply


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def asked(line: Line) -> int:
    http = Http()
    try:
        return http.send("POST", line.url, form={"token": SecretStr("t")}, seconds=5).status
    finally:
        http.close()


def test_it_carries_requests_and_replies_and_does_so_again_after_it_was_cut(peer, port):
    line = Line(port, to=peer(201, b"made").port)
    assert asked(line) == 201
    line.cut()
    with pytest.raises(NotSent):
        asked(line)
    line.mend()
    assert asked(line) == 201
    line.cut()


def test_what_is_on_its_way_is_lost(peer, port):
    reached, release = threading.Event(), threading.Event()

    def answer(connection: socket.socket) -> None:
        reached.set()
        release.wait(5)
        connection.sendall(http_reply(200, b""))

    line = Line(port, to=peer(answer).port)
    threading.Thread(target=lambda: (reached.wait(5), line.cut()), daemon=True).start()
    with pytest.raises(NoReply):
        asked(line)
    release.set()


def test_who_has_nobody_behind_it_hangs_up(port):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        line = Line(port, to=nobody.getsockname()[1])
        with pytest.raises(NoReply):
            asked(line)
        line.cut()
