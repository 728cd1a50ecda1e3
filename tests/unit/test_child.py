"""A process under the stack's control, where what is promised of it is not seen from its servers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from actas.embedded.child import Child
from actas.embedded.place import Place

#: Many threads, each of which does something all the time.
BUSY = """
import threading
def work():
    while True:
        sum(range(100))
for _ in range(20):
    threading.Thread(target=work).start()
"""


@pytest.fixture
def busy(tmp_path):
    child = Child(Place(tmp_path), "busy", [sys.executable, "-c", BUSY], env={})
    child.launch()
    yield child
    child.kill()


def states(pid: int) -> list[str]:
    """What each of a process's threads is at, as /proc/<pid>/task/<tid>/stat says (proc(5)): R, S, T, ..."""
    return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()]


def test_a_process_stands_still_once_pause_returns(busy):
    for _ in range(100):
        busy.pause()
        assert set(states(busy.pid)) == {"T"}
        busy.resume()


def test_pausing_what_is_gone_or_paused_already_holds_nobody_up(busy, tmp_path):
    busy.pause()
    busy.pause()
    busy.kill()
    busy.pause()
    Child(Place(tmp_path), "never", [sys.executable], env={}).pause()
