"""More places to read than the demo looks into: what processes were started with, and what consoles and apps are told."""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from unittest import mock

from typer.testing import CliRunner

from actas import Grant, Job
from actas.cli import app as console_app
from actas.embedded.demo.search import Piece


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


def unpacked(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Each piece as it is, and what gzip or zlib have packed anywhere in it."""
    for where, data in pieces:
        yield where, data
        view = memoryview(data)
        for found in _PACKED.finditer(data):
            packed = zlib.decompressobj(wbits=47)  # either of the two
            with contextlib.suppress(zlib.error):  # it only looked like one
                yield where, packed.decompress(view[found.start() :], 2**20)


#: How gzip (RFC 1952) and zlib (RFC 1950) begin, at every level that Python's own have.
_PACKED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")


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
