"""What goes wrong, when, and for how long: drawn from a seed before anything happens. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

WORKERS = ("worker1", "worker2")

#: What one of us may be doing at the provider.
ENDPOINTS = ("posting", "exchanging", "revoking", "looking")

#: The leases of the stack (tests/chaos/stack.py); what stands still longer than a job's comes back to find it taken.
SHORT, LONG = (0.5, 10.0), (23.0, 30.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One way of going wrong: what it is done to, and how long that lasts."""

    name: str
    weight: float
    #: One of these is hit, and by one fault at a time.
    targets: Sequence[str]
    seconds: tuple[float, float] = (0.0, 0.0)
    #: How long the target is left alone afterwards, so that everything makes progress.
    calm: float = 4.0


FAULTS = (
    Fault("kill", 8, WORKERS, (0.1, 3)),
    Fault("kill", 3, ("scheduler",), (0.1, 4)),
    Fault("kill", 2, ("beat",), (0.1, 5)),
    Fault("stop", 4, WORKERS, SHORT),
    Fault("stop", 2, WORKERS, LONG, calm=8),
    Fault("stop", 2, ("scheduler",), SHORT),
    Fault("stop", 1, ("scheduler",), LONG),
    Fault("stop", 2, ("beat",), SHORT),
    Fault("stop", 1, ("beat",), LONG),
    Fault("second beat", 1, ("beat2",), (10, 40)),
    # Whoever comes first to a named step of the path is killed, or held there.
    Fault("kill at a step", 5, ("step1", "step2"), (5, 10), calm=1),
    Fault("hold at a step", 3, ("step1", "step2"), (1, 25), calm=1),
    Fault("stopped", 2, ("redis",), (0.5, 6), calm=8),
    Fault("kill", 2, ("redis",), (0.1, 4), calm=8),
    Fault("wiped", 3, ("redis",), calm=6),
    Fault("kill", 2, ("mongodb",), (2, 10), calm=14),  # the first leads again after that
    Fault("stop", 2, ("mongodb",), (2, 12), calm=14),
    Fault("stop", 1, ("mongodb2", "mongodb3"), (2, 15)),
    Fault("kill", 1, ("mongodb2", "mongodb3"), (1, 8)),
    Fault("sealed", 3, ("vault",), (1, 10), calm=8),
    Fault("kill", 2, ("vault",), (0.1, 5), calm=8),
    Fault("its tokens end", 1, ("vault",), calm=8),
    Fault("down", 2, ("provider",), (1, 8), calm=6),
    Fault("stands still", 1, ("provider",), (1, 5), calm=6),
    # These last for so many requests.
    Fault("503", 3, ENDPOINTS, (2, 15)),
    Fault("500", 2, ENDPOINTS, (1, 3)),
    Fault("429", 3, ("posting", "exchanging", "looking"), (2, 8)),
    Fault("slow", 2, ("posting", "exchanging", "looking"), (2, 10)),
    Fault("reset before", 2, ENDPOINTS, (1, 3)),
    Fault("reset after", 3, ENDPOINTS, (1, 2)),
    Fault("malformed", 1, ENDPOINTS, (1, 2)),
)

#: One of these is enough to stop everything, and two at once would only stop it longer.
MONGODB = {"mongodb", "mongodb2", "mongodb3"}


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault that is to happen: so many seconds after the beginning, to whom, and for how long."""

    at: float
    fault: str
    target: str
    seconds: float
    #: For what the fault leaves open: which step, how slow.
    draw: float

    def __str__(self) -> str:
        return f"{self.at:7.1f} s  {self.target}: {self.fault}, {self.seconds:.1f}"


def drawn(draw: random.Random, seconds: float, *, pause: float = 2.5) -> list[Strike]:
    """A plan for so many seconds, with a fault every ``pause`` seconds on average; the last ends before the end."""
    plan: list[Strike] = []
    busy: dict[str, float] = {}
    at = draw.expovariate(1 / pause)
    while at < seconds:
        fault = draw.choices(FAULTS, [fault.weight for fault in FAULTS])[0]
        strike = Strike(at, fault.name, draw.choice(fault.targets), draw.uniform(*fault.seconds), draw.random())
        ends_at = at + strike.seconds
        if ends_at < seconds and busy.get(_resource(strike.target), 0) <= at:
            plan.append(strike)
            busy[_resource(strike.target)] = ends_at + fault.calm
        at += draw.expovariate(1 / pause)
    return plan


def _resource(target: str) -> str:
    return "mongodb" if target in MONGODB else target
