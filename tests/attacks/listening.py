"""Places that show what passes through and is gone afterwards; whoever listens is there before it begins."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import redis
from pymongo import MongoClient
from redis.client import Monitor, PubSub

from actas.embedded.demo.search import Piece

#: More than a run's questions need; a capped collection forgets what was first.
PROFILE_BYTES = 128 * 2**20


@contextmanager
def redis_heard(url: str) -> Iterator[Callable[[], tuple[list[Piece], list[Piece]]]]:
    """Every command that Redis is given, and every message it passes on, until it is asked what they were."""
    end = uuid4().hex.encode()
    commands: list[Piece] = []
    messages: list[Piece] = []
    with redis.Redis.from_url(url) as admin, admin.monitor() as monitor, admin.pubsub() as pubsub:
        pubsub.psubscribe("*")
        assert pubsub.get_message(timeout=20) is not None  # it is heard from now on

        listening = [
            threading.Thread(target=lambda: commands.extend(_commands(monitor, end))),
            threading.Thread(target=lambda: messages.extend(_messages(pubsub, end))),
        ]
        for thread in listening:
            thread.start()

        def heard() -> tuple[list[Piece], list[Piece]]:
            admin.publish("that is all", end)
            for thread in listening:
                thread.join(20)
                assert not thread.is_alive()
            return commands, messages

        try:
            yield heard
        finally:
            heard()


def _commands(monitor: Monitor, end: bytes) -> Iterator[Piece]:
    for line in iter(monitor.connection.read_response, None):
        yield "MONITOR", line
        # As the bytes that were sent: Redis shows what is not printable as C does, and Python reads that.
        yield "MONITOR", line.decode("unicode_escape").encode("latin-1", "replace")
        if end in line:
            return


def _messages(pubsub: PubSub, end: bytes) -> Iterator[Piece]:
    for message in pubsub.listen():
        if message["type"] == "pmessage":
            yield message["channel"].decode(), message["channel"] + b" " + message["data"]
            if message["data"] == end:
                return


@contextmanager
def mongodb_heard(url: str) -> Iterator[Callable[[], list[Piece]]]:
    """Every question that MongoDB is asked, as its administrator can have them written down."""
    with MongoClient(url) as admin:
        database = admin["actas"]
        database.create_collection("system.profile", capped=True, size=PROFILE_BYTES)
        database.command("profile", 2)

        def heard() -> list[Piece]:
            database.command("profile", 0)
            return [("system.profile", batch) for batch in database["system.profile"].find_raw_batches()]

        try:
            yield heard
        finally:
            database.command("profile", 0)
            database["system.profile"].drop()


@contextmanager
def logs_heard() -> Iterator[list[Piece]]:
    """Everything that this process logs, its libraries' DEBUG included."""
    heard: list[Piece] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append((record.name, f"{self.format(record)} {record.args!r}".encode(errors="backslashreplace")))

    root, handler = logging.getLogger(), Handler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield heard
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
