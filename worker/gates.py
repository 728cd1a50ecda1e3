"""Closing gates, and standing at them. How they are written and read is in ``actas.gates``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

import redis

from actas.clock import to_numeric_date
from actas.gates import PREFIX, GateReader, Standing, client_gate
from worker.decision import OPERATOR_PAUSE
from worker.errors import AtGate

log = logging.getLogger(__name__)


class Gates(GateReader):
    def close(self, gate: str, until: datetime) -> None:
        """Nobody passes before ``until``."""
        milliseconds = round(to_numeric_date(until) * 1000)
        try:
            self._redis.set(PREFIX + gate, Standing(until).as_text(), pxat=milliseconds)
        except redis.RedisError as error:
            log.warning("gate.close gate=%s redis=%s", gate, type(error).__name__)

    def close_to_client(self, app: str, provider: str) -> None:
        """The provider refuses the app's own credentials: its jobs there wait until an operator has mended them."""
        log.error("client.refused app=%s provider=%s: mend its client credentials", app, provider)
        self.close(client_gate(app, provider), self._clock() + OPERATOR_PAUSE)

    def check(self, gates: Sequence[str]) -> None:
        """Pass if all of these gates are open.

        Raises:
            AtGate: one is closed; until when the last of them is.
        """
        closed = self.closed(gates)
        if closed:
            gate, until = max(closed.items(), key=lambda item: item[1])
            raise AtGate(until, gate=gate.partition(":")[0])
