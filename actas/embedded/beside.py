"""A command of the user's own beside the stack: an app under development, or a script."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from actas.embedded import EmbeddedError
from actas.embedded.child import Child

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actas.embedded.place import Place


class Beside(Child):
    """Runs where its user is: in the same directory, on the same terminal, with the same environment but ``ACTAS_*``.

    It gets no input: Ctrl-C and the keyboard stay with the supervisor.
    """

    def __init__(self, place: Place, command: Sequence[str], settings: Mapping[str, str]) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("ACTAS_")}
        env |= {"PATH": _path(), "PYTHONUNBUFFERED": "1", **settings}
        super().__init__(place, Path(command[0]).name, [find(command[0]), *command[1:]], env=env)

    def _spawn(self) -> None:
        self._open(Path.cwd(), output=None)

    def is_ready(self) -> bool:
        return self.alive

    def output(self) -> str:
        return ""  # is on the terminal


def find(program: str) -> str:
    """Where a program is.

    Raises:
        EmbeddedError: nowhere.
    """
    found = shutil.which(program, path=_path())
    if found is None:
        raise EmbeddedError(f"there is no command {program!r}")
    return str(Path(found).absolute())


def _path() -> str:
    """What stands beside the Python that we run in goes first: `uvicorn` is this environment's, activated or not."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
