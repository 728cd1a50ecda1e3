"""A worker process says how many jobs it runs at once, as long as it takes any."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field

from actas.slots import VALID_SECONDS, Slots

#: Twice in vain, and it still holds.
EVERY_SECONDS = VALID_SECONDS / 3


@dataclass(frozen=True, slots=True)
class Announcer:
    slots: Slots
    worker: str
    count: int
    #: Of all that threading has, this alone may be used in a signal's handler.
    _ends: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)

    def start(self) -> None:
        threading.Thread(target=self._run, name="announcer", daemon=True).start()

    def end(self) -> None:
        """Take it back, soon; may be called in a signal's handler."""
        self._ends.put(None)

    def _run(self) -> None:
        while True:
            self.slots.announce(self.worker, self.count)
            try:
                self._ends.get(timeout=EVERY_SECONDS)
            except queue.Empty:
                continue
            self.slots.withdraw(self.worker, self.count)
            return
