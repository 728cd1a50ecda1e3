"""A test's side of ``tests.faults.faulty_worker``: say what is to happen at which step, and read what did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import hvac

from actas.embedded.stack import Stack
from actas.fault_points import FaultPoint
from tests.support import eventually

What = Literal["kill", "stop", "hold"]


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault that happened."""

    pid: int
    point: FaultPoint
    what: What
    #: Of the task that reached the point: a job's id, or a grant's.
    argument: str
    at: float
    #: The argument and the last point of every task that was under way in this process.
    threads: Sequence[tuple[str, str]]


class Faults:
    """Each armed fault strikes once: whoever comes first, in whichever process, or only the task with this argument."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("armed", "taken", "released"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "log").touch()

    def arm(self, point: FaultPoint, what: What, argument: str | None = None) -> None:
        """Let it happen to whoever reaches this point first; with ``argument``: to the task of this job or grant."""
        name = _name(point, argument)
        (self.directory / "released" / name).unlink(missing_ok=True)
        partial = self.directory / f"{name}.part"
        partial.write_text(what)
        partial.rename(self.directory / "armed" / name)

    def disarm(self) -> None:
        """Nothing more happens, and nobody is held."""
        for armed in (self.directory / "armed").iterdir():
            armed.unlink(missing_ok=True)
        for struck in self.struck():
            if struck.what == "hold":
                self.release(struck.point)
                self.release(struck.point, struck.argument)

    def release(self, point: FaultPoint, argument: str | None = None) -> None:
        (self.directory / "released" / _name(point, argument)).touch()

    def struck(self, since: int = 0) -> list[Struck]:
        """Everything that happened, but for the first ``since``."""
        lines = (self.directory / "log").read_text().splitlines()[since:]
        return [_struck(json.loads(line)) for line in lines]

    def strikes(self, point: FaultPoint, what: What, argument: str | None = None) -> Strike:
        """Arm, and return what can be waited for."""
        strike = Strike(self, point, argument, len(self.struck()))
        self.arm(point, what, argument)
        return strike

    @contextmanager
    def held(self, point: FaultPoint) -> Iterator[Strike]:
        """Hold whoever comes to this point first, until the end of this."""
        strike = self.strikes(point, "hold")
        try:
            yield strike
        finally:
            (self.directory / "armed" / _name(point, None)).unlink(missing_ok=True)
            self.release(point)


@dataclass(frozen=True, slots=True)
class Strike:
    faults: Faults
    point: FaultPoint
    argument: str | None
    since: int

    def happened(self, seconds: float = 20) -> Struck:
        """Wait until it did."""

        def look() -> Struck | None:
            for struck in self.faults.struck(self.since):
                if struck.point == self.point and self.argument in {None, struck.argument}:
                    return struck
            return None

        found = eventually(look, seconds=seconds, what=f"a task has come to {self.point}")
        assert found is not None
        return found


def _name(point: FaultPoint, argument: str | None) -> str:
    return str(point) if argument is None else f"{point}@{argument}"


def _struck(entry: dict[str, Any]) -> Struck:
    threads = [(argument, point) for argument, point in entry["threads"]]
    return Struck(entry["pid"], FaultPoint(entry["point"]), entry["what"], entry["argument"], entry["at"], threads)


def heal(stack: Stack) -> None:
    """Whatever stands still goes on; whatever is gone is started again."""
    for child in stack.children:
        child.resume()
    gone = [child for child in stack.children if not child.alive]
    for child in gone:
        child.launch()
    for child in gone:
        child.wait_ready()
    if hvac.Client(url=stack.servers.bao.url).sys.is_sealed():
        stack.servers.bao.restart()  # it unseals itself
