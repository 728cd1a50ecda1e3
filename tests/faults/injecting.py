"""A test's side of ``tests.faults.faulty_worker``: say what is to happen at which step, and read what did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

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
    #: Of the fault as it was armed.
    number: str
    #: Of the task that reached the point: a job's id, or a grant's.
    argument: str
    at: float
    #: The argument and the last point of every task that was under way in this process.
    threads: Sequence[tuple[str, str]]


class Faults:
    """Each armed fault strikes once: whoever comes first, in whichever process, or only the task with this argument."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for name in ("armed", "taken", "released"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self._log = directory / "log"
        self._log.touch()

    def arm(self, point: FaultPoint, what: What, argument: str | None = None) -> Strike:
        """Let it happen to whoever reaches this point first; with ``argument``: to the task of this job or grant."""
        strike = Strike(self, point, argument, uuid4().hex)
        partial = self._directory / f"{strike.name}.part"
        partial.write_text(f"{what} {strike.number}")
        partial.rename(self._directory / "armed" / strike.name)
        return strike

    def disarm(self) -> None:
        """Nothing more happens, and nobody is held."""
        for armed in (self._directory / "armed").iterdir():
            armed.unlink(missing_ok=True)
        for struck in self.struck():
            self.release(struck.number)

    def release(self, number: str) -> None:
        (self._directory / "released" / number).touch()

    def struck(self) -> list[Struck]:
        """Everything that has happened."""
        return [_struck(json.loads(line)) for line in self._log.read_text().splitlines()]

    @contextmanager
    def held(self, point: FaultPoint, argument: str | None = None) -> Iterator[Strike]:
        """Hold whoever comes to this point first, until the end of this."""
        strike = self.arm(point, "hold", argument)
        try:
            yield strike
        finally:
            (self._directory / "armed" / strike.name).unlink(missing_ok=True)
            strike.release()


@dataclass(frozen=True, slots=True)
class Strike:
    """One armed fault."""

    faults: Faults
    point: FaultPoint
    argument: str | None
    number: str

    @property
    def name(self) -> str:
        return str(self.point) if self.argument is None else f"{self.point}@{self.argument}"

    def happened(self, seconds: float = 20) -> Struck:
        """Wait until it did."""
        found = eventually(
            lambda: [struck for struck in self.faults.struck() if struck.number == self.number],
            seconds=seconds,
            what=f"a task has come to {self.name}",
        )
        return found[0]

    def release(self) -> None:
        """Who is held here goes on."""
        self.faults.release(self.number)


def _struck(entry: dict[str, Any]) -> Struck:
    threads = [(argument, point) for argument, point in entry.pop("threads")]
    return Struck(**entry | {"point": FaultPoint(entry["point"])}, threads=threads)


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
