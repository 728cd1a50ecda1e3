"""More places to read than the demo looks into: what processes were started with, and what consoles and apps are told."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Self
from unittest import mock
from uuid import uuid4

import redis
from typer.testing import CliRunner

from actas import Grant, Job
from actas.cli import app as console_app
from actas.embedded.demo.search import Piece
from tests.support import eventually

LAST_WORD = "the last word"


class Overheard:
    """Every command that Redis is sent, by whomever, from here on (MONITOR)."""

    def __init__(self, admin: redis.Redis) -> None:
        self._admin = admin
        self._said: list[bytes] = []

    def __enter__(self) -> Self:
        self._monitor = self._admin.monitor().__enter__()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._admin.echo(f"{LAST_WORD} of all")
        self._thread.join()
        self._monitor.__exit__(*_)

    def _listen(self) -> None:
        last = f"{LAST_WORD} of all".encode()
        while not self._said or last not in self._said[-1]:
            self._said.append(bytes(self._monitor.connection.read_response(disable_decoding=True)))

    def so_far(self) -> Iterator[Piece]:
        word = f"{LAST_WORD} {uuid4()}"
        self._admin.echo(word)
        eventually(lambda: any(word.encode() in said for said in self._said[-1000:]), what="all that was sent is heard")
        yield from ((f"command {number}", said) for number, said in enumerate(list(self._said)))


def processes() -> Iterator[Piece]:
    """Environment and command line of every process begun from here, and of those that they began."""
    for pid in _descendants(os.getpid()):
        for what in ("environ", "cmdline"):
            with contextlib.suppress(OSError):  # it has ended
                yield f"/proc/{pid}/{what}", Path(f"/proc/{pid}/{what}").read_bytes()


def console(env: Mapping[str, str], *commands: str) -> Iterator[Piece]:
    """What `actas` prints to somebody with such an environment."""
    with mock.patch.dict(os.environ, env):
        for command in commands:
            result = CliRunner().invoke(console_app, command.split())
            assert result.exit_code == 0, f"{command}: {result.output}"
            yield f"actas {command}", result.output.encode()


def records(*told: Job | Grant) -> Iterator[Piece]:
    """What an app gets to see of its jobs and grants, and what becomes of that in its own logs."""
    for record in told:
        yield f"{type(record).__name__} {record.id}", f"{record} {record!r} {asdict(record)}".encode()


def _descendants(pid: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])  # proc_pid_stat(5)
            children.setdefault(parent, []).append(int(stat.parent.name))
    waiting = children.get(pid, [])
    while waiting:
        child = waiting.pop()
        yield child
        waiting += children.get(child, [])
