"""Standing at gates, and closing and opening them. How they move is in ``worker.probing``; here they do, in Redis."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import cast

import redis
from pydantic import SecretStr

from actas.clock import Clock, to_numeric_date
from actas.errors import ActasError
from actas.gates import PREFIX, AtGate, GateReader, Standing, called, client_gate, grant_gate, provider_gate
from worker.closing import Closing, Whose, closings, openings
from worker.probing import failed, given_back, half_open, kept_until, shut, taken

log = logging.getLogger(__name__)

#: (app, provider, until, if anybody has said so, code)
Capped = Callable[[str, str, datetime | None, str], None]

#: While a probe is under way, and may be back at any moment, a job looks in again this soon.
PEEK = timedelta(seconds=2)

#: Others may move a gate between our look and our move; then we look again.
TRIES = 5

#: What somebody must do, or wait for, before these gates open for good.
TO_DO = {
    "client_refused": "the app's client credentials there must be mended",
    "out_of_credits": "the app must buy credits there",
    "usage_capped": "the app has used up what it may do there",
    "rate_limited": "the app has reached its limit of a day there",
}

MOVE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1
"""

#: A provider's gate opens to any answer of it, a client's to its probe's only: others may have asked before it closed.
OPEN = """
redis.call('DEL', KEYS[1])
for i = 2, #KEYS do
    local standing = redis.call('GET', KEYS[i])
    if standing and string.sub(standing, -2) == ' 1' then redis.call('DEL', KEYS[i]) end
end
"""


class Gates(GateReader):
    def __init__(self, redis_url: SecretStr, clock: Clock, *, capped: Capped = lambda *_: None) -> None:
        """As ``GateReader``; ``capped`` is told of each refusal that closes an app's gate.

        Raises:
            SettingsError.
        """
        super().__init__(redis_url, clock)
        self._capped = capped

    # --- standing at them ---

    @contextmanager
    def pass_through(self, whose: Whose, *, seconds: float) -> Iterator[list[ActasError | None]]:
        """Pass a job's gates; see ``passing``. What comes of its requests goes into the list that is given.

        That moves gates at the end only: writing down what the provider has done comes before.

        Raises:
            AtGate.
        """
        said: list[ActasError | None] = []
        gates = [
            provider_gate(whose.provider),
            client_gate(whose.app, whose.provider),
            grant_gate(whose.grant, whose.action or ""),
        ]
        with self.passing(gates, seconds=seconds):
            try:
                yield said
            finally:
                for each in said:
                    self.seen(each, whose)

    @contextmanager
    def passing(self, gates: Sequence[str], *, seconds: float) -> Iterator[Sequence[str]]:
        """Pass these gates, as the probe of those that need one: of which, that is given.

        It has so many seconds for that, and gives back what it did not use.

        Raises:
            AtGate: one is closed; until when the last of them is, or soon if a probe is under way.
        """
        probes: dict[str, Standing] = {}
        try:
            self._enter(gates, seconds, probes)
            yield list(probes)
        finally:
            for gate, probe in probes.items():
                self._give_back(gate, probe)

    def check(self, gates: Sequence[str]) -> None:
        """Pass if all of these gates are open, or half so.

        Raises:
            AtGate: one is closed; until when the last of them is.
        """
        now = self._clock()
        _refuse([(gate, standing) for gate, standing in self.standings(gates).items() if standing.closed(now)], now)

    def _enter(self, gates: Sequence[str], seconds: float, probes: dict[str, Standing]) -> None:
        now = self._clock()
        standings = self.standings(gates)
        _refuse([(gate, standing) for gate, standing in standings.items() if standing.closed(now)], now)
        for gate, standing in standings.items():
            if half_open(standing, now):
                if (probe := self.take(gate, seconds)) is None:
                    raise AtGate(now + PEEK, gate=called(gate))
                probes[gate] = probe

    def take(self, gate: str, seconds: float, *, however: bool = False) -> Standing | None:
        """Be the probe of a gate, if it waits for one (``however``: if it is not closed); None if it does not."""

        def take(standing: Standing) -> Standing | None:
            now = self._clock()
            free = not standing.closed(now) if however else half_open(standing, now)
            return taken(standing, now, seconds) if free else None

        moved = self._move(gate, take)
        return moved[1] if moved else None

    def _give_back(self, gate: str, probe: Standing) -> None:
        """Let another be the probe; if anything came of this one, the gate has moved, and does not now."""
        self._move(gate, lambda standing: given_back(probe, self._clock()) if standing == probe else None)

    # --- closing and opening them ---

    def seen(self, error: ActasError | None, whose: Whose) -> None:
        """Do what follows for all others from what came of a request: an error, or None for what was asked for."""
        if opening := openings(error, whose):
            self.open(*opening)
        for closing in closings(error, whose):
            self._close(closing, whose)

    def open(self, gate: str, *if_probed: str) -> None:
        """Open a gate at once; and others, if a probe is on its way through them."""
        keys = [PREFIX + each for each in (gate, *if_probed)]
        try:
            self._redis.eval(OPEN, len(keys), *keys)
        except redis.RedisError as error:
            log.warning("gate.open gate=%s redis=%s", gate, type(error).__name__)

    def close(self, gate: str, until: datetime) -> None:
        """Nobody passes before ``until``, and all may then."""
        self._move(gate, lambda standing: shut(standing, self._clock(), until, probe=False))

    def fail(self, closing: Closing) -> Standing | None:
        """Close a gate as it is to be closed, or count the failure; how it stands then if it was open before."""

        def fail(standing: Standing) -> Standing:
            now = self._clock()
            if closing.until is not None:
                return shut(standing, now, closing.until, probe=closing.probe)
            return failed(standing, now, closing.pauses, closing.by)

        moved = self._move(closing.gate, fail)
        return moved[1] if moved is not None and moved[0].level == 0 < moved[1].level else None

    def _close(self, closing: Closing, whose: Whose) -> None:
        """Close a gate, and say so in the log: once, however often its probe fails."""
        if self.fail(closing) is not None:
            level = logging.ERROR if closing.code in TO_DO else logging.WARNING
            todo = TO_DO.get(closing.code, "its first request after a pause tells whether it is over")
            log.log(level, "gate.closed gate=%s code=%s: %s", closing.gate, closing.code, todo)
        if closing.gate == client_gate(whose.app, whose.provider):
            # Each time: it is one event all day, and whoever died, or could not write it, has left it to us.
            try:
                self._capped(whose.app, whose.provider, closing.until, closing.code)
            except ActasError as error:  # what came of the request matters more
                log.warning("gate.untold gate=%s code=%s", closing.gate, error.code)

    # --- in Redis ---

    def _move(self, gate: str, to: Callable[[Standing], Standing | None]) -> tuple[Standing, Standing] | None:
        """Move a gate by compare-and-set; before and after, or None if it does not move, or Redis is away."""
        for _ in range(TRIES):
            try:
                text = cast("str | None", self._redis.get(PREFIX + gate))
                before = Standing.from_text(text)
                after = to(before)
                if after is None or after == before:
                    return None
                keep = round(to_numeric_date(kept_until(after, self._clock())) * 1000)
                if self._redis.eval(MOVE, 1, PREFIX + gate, text or "", after.as_text(), keep):
                    return before, after
            except (redis.RedisError, UnicodeDecodeError) as error:  # the latter: what is there is no text
                log.warning("gate.move gate=%s redis=%s", gate, type(error).__name__)
                return None
        return None


def _refuse(closed: Sequence[tuple[str, Standing]], now: datetime) -> None:
    if closed:
        gate, standing = max(closed, key=lambda item: item[1].until)
        until = min(standing.until, now + PEEK) if standing.probing else standing.until
        raise AtGate(until, gate=called(gate))
