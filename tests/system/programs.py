"""Whole programs, from outside: those that Debian has, and what a README says to type."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from actas.embedded.child import plain_environment
from tests.support import eventually, processes_in

REPOSITORY = Path(__file__).parents[2]

# Whoever runs the tests in the background may have left us SIGINT ignored, and `up` respects that (nohup).
AS_A_SHELL = "import os, signal as s, sys; s.signal(s.SIGINT, s.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"


def program(name: str) -> str:
    """Where a program is that install.sh has seen to."""
    found = shutil.which(name, path=f"{Path(sys.prefix, 'tools')}{os.pathsep}{os.environ['PATH']}")
    assert found, f"{name} is missing: make test-system"
    return found


class Example:
    """What the one command in an example's README starts; in a directory and at a port of our own."""

    def __init__(self, name: str, home: Path) -> None:
        (command,) = re.findall(r"^make .*$", (REPOSITORY / "examples" / name / "README.md").read_text(), re.MULTILINE)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.directory = home / "data"
        self._log = home / "log"
        venv = Path(sys.prefix)
        # Whatever installed what the tests run in is not remade for it.
        ours = [f"PORT={port}", f"ARGS=--directory={self.directory}", f"VENV={venv}", f"--old-file={venv / '.ready'}"]
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", AS_A_SHELL, *command.split(), *ours],
                cwd=REPOSITORY,
                env=plain_environment() | {"PYTHONPATH": str(REPOSITORY)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # as a shell does
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_ready(self) -> None:
        eventually(lambda: self.process.poll() is not None or self.answers(), what="the example answers")
        assert self.process.poll() is None, self.output

    def answers(self) -> bool:
        try:
            return httpx.get(self.url).status_code == 200
        except httpx.TransportError:
            return False

    def address(self, of: str) -> str:
        """An address that it prints."""
        (found,) = re.findall(rf"{of}: (http\S+)", self.output)
        return found

    def interrupt(self) -> int:
        """Ctrl-C: the terminal sends SIGINT to everybody in the foreground group; make's status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)

    def is_gone(self) -> bool:
        return not processes_in(self.directory) and not self.answers()

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        eventually(self.is_gone, what="all are gone")
