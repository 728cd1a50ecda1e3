"""A worker process says how many jobs it runs at once, as long as it takes any: not while Vault or MongoDB is away.

While they are, it takes no message either: each would wait here, and go back, where another process may be well.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from actas.clock import Clock
from actas.slots import VALID_SECONDS, Slots
from worker.outage import Outage

log = logging.getLogger(__name__)

#: Twice in vain, and it still holds.
EVERY_SECONDS = VALID_SECONDS / 3

#: How often it is looked whether something of ours is away.
LOOK_SECONDS = 1


@dataclass(slots=True)
class Announcer:
    worker: str
    count: int
    #: None: it runs no jobs, only what else there is.
    slots: Slots | None
    outage: Outage
    #: Take messages, or none.
    take: Callable[[bool], None]
    clock: Clock
    #: Of all that threading has, this alone may be used in a signal's handler.
    _told: queue.SimpleQueue[Literal["look", "end"]] = field(default_factory=queue.SimpleQueue, init=False)
    _well: bool = field(default=True, init=False)
    _again_at: float = field(default=0, init=False)

    def start(self) -> None:
        self.outage.moved = self.look
        threading.Thread(target=self._run, name="announcer", daemon=True).start()

    def look(self) -> None:
        """Look at once whether something of ours is away."""
        self._told.put("look")

    def end(self) -> None:
        """Take it back, soon; may be called in a signal's handler."""
        self._told.put("end")

    def _run(self) -> None:
        while self._next(self._look()) == "look":
            pass
        if self.slots is not None:
            self.slots.withdraw(self.worker, self.count)
            self.slots.withdraw(self.worker, 0)

    def _next(self, until: datetime | None) -> Literal["look", "end"]:
        """What is to be done, once there is something to do."""
        left = LOOK_SECONDS if until is None else (until - self.clock()).total_seconds()
        try:
            return self._told.get(timeout=min(max(left, 0), LOOK_SECONDS))
        except queue.Empty:
            return "look"

    def _look(self) -> datetime | None:
        """Ask what is away, if it is time to, and do what follows; until when it lasts."""
        try:
            self._become(well=self._well and not self.outage.seems_to_begin())  # to ask takes its time
            if not self._well or time.monotonic() >= self._again_at:
                self._announce()
            until = self.outage.lasts()
        except Exception as error:  # noqa: BLE001 - who cannot tell goes on: what is away will show itself
            log.warning("outage.unknown error=%s", type(error).__name__)
            until = None
        self._become(well=until is None)
        return until

    def _become(self, *, well: bool) -> None:
        if well is not self._well:
            self._well = well
            log.warning("outage.over" if well else "outage.takes_nothing")
            self.take(well)
            self._announce()

    def _announce(self) -> None:
        self._again_at = time.monotonic() + EVERY_SECONDS
        if self.slots is not None:
            says, said = (self.count, 0) if self._well else (0, self.count)
            self.slots.announce(self.worker, says)
            self.slots.withdraw(self.worker, said)
