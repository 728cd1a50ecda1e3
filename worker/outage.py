"""Outages of ours: this process does not reach Vault or MongoDB. One of its threads asks whether they are back.

Each process has a gate of its own: what it does not reach, others may.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from actas.errors import ActasError, MongoUnavailable, VaultUnavailable
from actas.gates import all_gate
from worker.closing import Closing, Pauses
from worker.gates import Gates

log = logging.getLogger(__name__)

#: After an outage all is on its way again within this time, and while one lasts each process asks Vault as seldom.
PAUSES = Pauses(timedelta(seconds=1), timedelta(seconds=15))

#: Both may let us wait for their own timeouts before they do not answer.
ASKING_SECONDS = 20


class Outage:
    def __init__(self, gates: Gates, worker: str, asks: Sequence[Callable[[], None]]) -> None:
        """``asks``: each asks one of ours whether it is there, and raises if not; ``worker``: who announces slots."""
        self._gates = gates
        self._gate = all_gate(worker)
        self._asks = asks

    def check(self) -> None:
        """Pass if nothing of ours is known to be away; the first to come after a pause asks.

        Raises:
            AtGate: something is.
        """
        with self._gates.passing([self._gate], seconds=ASKING_SECONDS) as probes:
            if probes and not self._well():
                self._gates.check([self._gate])

    def seen(self, error: Exception) -> None:
        """If something of ours seems to be away: keep all others from it while we ask, and longer if it is."""
        if isinstance(error, VaultUnavailable | MongoUnavailable) and self._gates.take(
            self._gate, ASKING_SECONDS, however=True
        ):
            self._well()

    def _well(self) -> bool:
        """Ask, and open the gate or close it for longer."""
        away = None
        for ask in self._asks:
            try:
                ask()
            except (VaultUnavailable, MongoUnavailable) as error:
                away = error.code
                break
            except ActasError:
                log.warning("outage.refused")  # whoever refuses is there
        if away is None:
            self._gates.open(self._gate)
        elif self._gates.fail(Closing(self._gate, away, pauses=PAUSES)):
            log.error("outage.began code=%s", away)
        return away is None
