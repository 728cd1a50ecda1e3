"""The worker, with something between: at a named step it is killed, stopped or held, where a test has said so.

What a test says is a file in FAULT_DIRECTORY, put there by ``tests.faults.injecting.Faults``.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from celery.signals import task_postrun, task_prerun

from actas import fault_points
from actas.fault_points import FaultPoint
from worker.app import app

__all__ = ["app"]  # for `celery -A`

DIRECTORY = Path(os.environ["FAULT_DIRECTORY"])

#: Who is held longer than this goes on by itself: the test that held it is gone.
HELD_AT_MOST_SECONDS = 120

#: What each of this process's threads is at: the argument of its task, and the last step that was reached.
_at: dict[int, list[str]] = {}


@task_prerun.connect
def begun(args: Any, **_: Any) -> None:
    _at[threading.get_ident()] = [str(args[0]) if args else "", ""]


@task_postrun.connect
def ended(**_: Any) -> None:
    _at.pop(threading.get_ident(), None)


def reached(point: FaultPoint) -> None:
    here = _at.setdefault(threading.get_ident(), ["", ""])
    here[1] = str(point)
    argument = here[0]
    for name in (f"{point}@{argument}", str(point)):
        taken = DIRECTORY / "taken" / f"{name}.{os.getpid()}.{time.monotonic_ns()}"
        try:
            (DIRECTORY / "armed" / name).rename(taken)  # of all threads of all processes, one
        except FileNotFoundError:
            continue
        suffer(point, argument, *taken.read_text().split())


def suffer(point: FaultPoint, argument: str, what: str, number: str) -> None:
    entry = {
        "pid": os.getpid(),
        "point": str(point),
        "what": what,
        "number": number,
        "argument": argument,
        "at": time.time(),
        # Whoever else a signal hits, and where.
        "threads": list(_at.values()),
    }
    with (DIRECTORY / "log").open("a") as log:
        log.write(json.dumps(entry) + "\n")
    match what:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "hold":
            gives_up_at = time.monotonic() + HELD_AT_MOST_SECONDS
            while time.monotonic() < gives_up_at and not (DIRECTORY / "released" / number).exists():
                time.sleep(0.02)


fault_points.listen(reached)
