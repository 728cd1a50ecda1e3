"""Where the demo looks for readable tokens.

A *place* keeps or shows data: MongoDB, Redis, Vault, the logs, Flower, beat. Each is looked into in every way there is
(its files, what it answers), and each way has a *control*: something harmless that is there and must be found, for a
search that cannot find anything proves nothing.

Not searched is the provider's side, which has to know the tokens: the sandbox's memory, its configuration, and the
folder of the stack's own passwords, from which both sides take the client secret. Our side of that secret lies in
Vault's KV, and Vault encrypts it; its files are searched.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from actas.embedded.demo.flower import FlowerApi
from actas.embedded.demo.search import Piece
from actas.embedded.stack import Stack
from actas.stores import everything


@dataclass(frozen=True, slots=True)
class View:
    """One way of looking into a place, and what must be found there."""

    place: str
    way: str
    control: str
    read: Callable[[], Iterable[Piece]]

    def __str__(self) -> str:
        return f"{self.place}: {self.way}"


def views(stack: Stack, flower: FlowerApi, *, job_id: str, text: str) -> list[View]:
    """List all views. A post's text is readable in MongoDB by design; its job's id is found wherever the job went.

    Args:
        stack: running.
        flower: of that stack.
        job_id: of a job that has succeeded.
        text: what that job has posted.
    """
    servers, directory = stack.servers, stack.directory
    mongodb, valkey = servers.mongod.url, servers.valkey.url.get_secret_value()
    canary = secrets.token_urlsafe(40)

    def mongodb_files() -> Iterator[Piece]:
        everything.flush(mongodb)
        yield from files(servers.mongod.data)

    def redis_files() -> Iterator[Piece]:
        written_down(valkey)
        yield from files(servers.valkey.data)

    return [
        View("MongoDB", "files", text, mongodb_files),
        View("MongoDB", "documents", text, lambda: everything.documents(mongodb)),
        View("Redis", "files", job_id, redis_files),
        View("Redis", "keys and values", canary, lambda: redis_values(valkey, canary)),
        # The names under which OpenBao keeps things are readable, the things are not.
        View("Vault", "files", "sys/policy/actas-worker", lambda: files(servers.bao.data)),
        View("logs", "output of all processes", job_id, lambda: files(directory / "logs")),
        View("Flower", "answers", job_id, flower.answers),
        View("beat", "schedule file", "actas.dispatch", lambda: files(directory, "beat-schedule*")),
    ]


#: The provider's side, the stack's own passwords, and programs.
_LEFT_OUT = ("secrets", "config/sandbox.json", "bin")


def left_over(directory: Path) -> Iterator[Piece]:
    """Read every file of a stack's directory, but for those of the provider's side."""
    out = [directory / name for name in _LEFT_OUT]
    for file in sorted(directory.rglob("*")):
        if file.is_file() and not any(file.is_relative_to(path) for path in out):
            yield str(file.relative_to(directory)), file.read_bytes()


def files(folder: Path, pattern: str = "**/*") -> Iterator[Piece]:
    """Read all files there; one that its server takes away meanwhile (a journal after a checkpoint) is not there."""
    for file in sorted(folder.glob(pattern)):
        if file.is_file():
            with suppress(FileNotFoundError):
                yield str(file.relative_to(folder.parent)), file.read_bytes()


def written_down(url: str) -> None:
    """Wait until what Redis has done is in its file: while the disk is slow, it puts that off for two seconds."""
    with redis.Redis.from_url(url) as client:
        for _ in range(100):
            if not client.info("persistence").get("aof_buffer_length"):
                return
            time.sleep(0.05)


#: How to read a key of each type, whole.
_READ: dict[bytes, Callable[[bytes], tuple[Any, ...]]] = {
    b"string": lambda key: ("GET", key),
    b"list": lambda key: ("LRANGE", key, 0, -1),
    b"set": lambda key: ("SMEMBERS", key),
    b"zset": lambda key: ("ZRANGE", key, 0, -1),
    b"hash": lambda key: ("HGETALL", key),
    b"stream": lambda key: ("XRANGE", key, "-", "+"),
}


def redis_values(url: str, canary: str) -> Iterator[Piece]:
    """Read every key. When all is done hardly any are left, so a canary is put there, for the search to find."""
    with redis.Redis.from_url(url) as client:
        client.set("actas-demo-canary", canary, ex=600)
        for key in client.scan_iter(count=1000):
            kind = client.execute_command("TYPE", key)
            if kind != b"none":  # it has expired since
                value = client.execute_command(*_READ[kind](key))
                # As Python writes it: what is looked for is plain ASCII in every form, and reads the same there.
                yield repr(key), key + b" " + repr(value).encode()
