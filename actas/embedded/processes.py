"""actas' own processes as children: each with its role's settings and nobody else's."""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import actas
from actas.embedded.child import Child, plain_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actas.embedded.place import Place

CELERY = ("-m", "celery", "-A")


class Process(Child):
    """A Python process of ours; ready once it has written ``says``, or answers HTTP where it has an address."""

    def __init__(
        self,
        place: Place,
        name: str,
        *argv: str,
        settings: Mapping[str, str],
        address: str = "",
        says: str | None = None,
    ) -> None:
        self._says = says
        env = plain_environment() | {"PYTHONPATH": _python_path(), "PYTHONUNBUFFERED": "1"} | dict(settings)
        super().__init__(place, name, [sys.executable, *argv], env=env, address=address)

    def is_ready(self) -> bool:
        if self._says is not None:
            return self._says in self.output()
        return _answers(self.address)


def worker(
    place: Place, name: str, concurrency: int, settings: Mapping[str, str], *, app: str = "worker.app"
) -> Process:
    return Process(
        place,
        name,
        *(*CELERY, app, "worker", "--pool=threads", f"--concurrency={concurrency}"),
        *("--queues=actas.act,actas.grants,actas.submit", f"--hostname={name}@%h"),
        *("--without-mingle", "--without-gossip"),
        "--loglevel=INFO",
        settings=settings,
        says=" ready.",
    )


def scheduler(place: Place, settings: Mapping[str, str]) -> Process:
    return Process(
        place,
        "scheduler",
        *(*CELERY, "scheduler.app", "worker", "--pool=threads", "--concurrency=24"),
        *("--queues=actas.scheduler,actas.events", "--hostname=scheduler@%h", "--without-mingle", "--without-gossip"),
        "--loglevel=INFO",
        settings=settings,
        says=" ready.",
    )


def beat(place: Place, settings: Mapping[str, str]) -> Process:
    return Process(
        place,
        "beat",
        *(*CELERY, "scheduler.app", "beat", f"--schedule={place.path / 'beat-schedule'}", "--loglevel=INFO"),
        settings=settings,
        says="beat: Starting",
    )


def flower(place: Place, config: Path, address: str, settings: Mapping[str, str]) -> Process:
    return Process(
        place, "flower", *CELERY, "worker.app", "flower", f"--conf={config}", settings=settings, address=address
    )


def sandbox(place: Place, config: Path, address: str, settings: Mapping[str, str]) -> Process:
    return Process(place, "sandbox", "-m", "actas.sandbox", "--config", str(config), settings=settings, address=address)


def _python_path() -> str:
    """Where ``actas``, ``worker`` and ``scheduler`` are, first; then what this process was told.

    The children do not run in the caller's directory, which may well have a ``worker`` package of its own.
    """
    ours = Path(actas.__file__).parent.parent
    told = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([str(ours), *(str(Path(entry).absolute()) for entry in told if entry)])


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    connection = HTTPConnection(host, int(port), timeout=1)
    try:
        connection.request("GET", "/healthcheck")
        connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True
