"""Outages of ours: this process does not reach Vault or MongoDB. One of its threads asks whether they are back.

Each process has a gate of its own: what it does not reach, others may. ``worker.announcing`` leaves them the messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from actas.errors import ActasError, MongoUnavailable, VaultUnavailable
from actas.gates import AtGate, all_gate
from worker.closing import Closing, Pauses
from worker.gates import Gates

log = logging.getLogger(__name__)

#: After an outage all is on its way again within this time, and while one lasts each process asks Vault as seldom.
PAUSES = Pauses(timedelta(seconds=1), timedelta(seconds=15))

#: Both may let us wait for their own timeouts before they do not answer.
ASKING_SECONDS = 20


class Outage:
    def __init__(
        self,
        gates: Gates,
        worker: str,
        asks: Sequence[Callable[[], None]],
        *,
        seems_to_begin: Callable[[], bool] = lambda: False,
    ) -> None:
        """Be the outage of one process.

        Args:
            gates: where its gate is.
            worker: who announces slots.
            asks: each asks one of ours whether it is there, and raises if not.
            seems_to_begin: whether MongoDB seems to be away, without asking.
        """
        self._gates = gates
        self._gate = all_gate(worker)
        self._asks = asks
        self.seems_to_begin = seems_to_begin
        #: Called whenever ``lasts`` may have changed.
        self.moved: Callable[[], None] = lambda: None

    def check(self) -> None:
        """Pass if nothing of ours is known to be away; the first to come after a pause asks.

        Raises:
            AtGate: something is.
        """
        with self._gates.passing([self._gate], seconds=ASKING_SECONDS) as probes:
            if probes and not self._well():
                self._gates.check([self._gate])

    def lasts(self) -> datetime | None:
        """As ``check``, but None if nothing is away, and else until when nobody asks again.

        It asks, too, if MongoDB seems to be away: each job that finds out for itself waits for a timeout.
        """
        if self.seems_to_begin():
            self.seen(MongoUnavailable())
        try:
            self.check()
        except AtGate as closed:
            return closed.until
        return None

    def seen(self, error: Exception) -> None:
        """If something of ours seems to be away: keep all others from it while we ask, and longer if it is."""
        if isinstance(error, VaultUnavailable | MongoUnavailable) and self._gates.take(
            self._gate, ASKING_SECONDS, however=True
        ):
            self.moved()  # to ask may take as long as the job has waited already
            self._well()
            self.moved()

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
