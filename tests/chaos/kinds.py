"""The kinds of jobs that apps ask for, each with what the provider has of it once it is done."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from actas.actions import BUILT_IN


@dataclass(frozen=True, slots=True)
class JobKind:
    action: str
    weight: float
    #: From a text that nobody else uses.
    payload: Callable[[random.Random, str], Mapping[str, Any]]
    texts: Callable[[Mapping[str, Any]], tuple[str, ...]]


def _thread(draw: random.Random, marker: str) -> Mapping[str, Any]:
    return {"posts": [f"{marker}, {number}" for number in range(1, draw.randint(2, 4) + 1)]}


ALL = (
    JobKind("x.post", 4, lambda _, marker: {"text": marker}, lambda payload: (payload["text"],)),
    JobKind("x.thread", 1, _thread, lambda payload: tuple(payload["posts"])),
)

KINDS = tuple(kind for kind in ALL if kind.action in BUILT_IN)
