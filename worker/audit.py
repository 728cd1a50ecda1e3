"""The audit: every use of a grant's tokens stands in ``effects`` from before it happens, and how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from actas.actions import Refused
from actas.clock import Clock
from actas.errors import ActasError, MongoRefused, MongoUnavailable, TokenEndpointError
from actas.http import NoReply
from actas.records import EffectState, Grant
from actas.stores.effects import Effects
from worker.errors import Outrun, Stopped

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Audit:
    effects: Effects
    clock: Clock
    #: Who we are.
    name: str

    @contextmanager
    def use(
        self,
        kind: str,
        grant: Grant,
        use_id: str,
        *,
        asked_by: str,
        unknown: Callable[[Exception], bool] = lambda error: isinstance(error, NoReply),
    ) -> Iterator[None]:
        """Write down a use of a grant around it; a row without an end says that nobody knows how it went.

        Args:
            kind: exchange, revocation, renewal, verification; a job's own acts are written by ``worker.run``.
            grant: whose tokens.
            use_id: makes the row's id, with the kind.
            asked_by: a job's id, or a chore.
            unknown: whether an error leaves open what the provider did.

        Raises:
            MongoUnavailable, MongoRefused: it cannot be written down, so it must not be done.
        """
        row = f"{kind}:{use_id}"
        self.effects.begin(
            row,
            owner=self.name,
            now=self.clock(),
            kind=kind,
            app=grant.app,
            user=grant.user,
            grant=grant.id,
            asked_by=asked_by,
            generation=grant.generation,
            key_version=grant.data_key.key_version if grant.data_key else None,
        )
        try:
            yield
        except Outrun as error:  # it took place all the same
            self._end(row, EffectState.DONE, code=error.code)
            raise
        except Exception as error:
            self._end(row, EffectState.UNKNOWN if unknown(error) else EffectState.REFUSED, code=error_code(error))
            raise
        self._end(row, EffectState.DONE)

    def _end(self, row: str, state: EffectState, **outcome: str) -> None:
        # The truth stands in the grant; whoever has waited for MongoDB there need not wait for the audit as well.
        try:
            self.effects.finish(row, state, owner=self.name, now=self.clock(), **outcome)
        except (MongoUnavailable, MongoRefused) as error:
            log.warning("audit.end row=%s state=%s code=%s", row, state, error.code)


def error_code(error: Exception) -> str:
    """What to remember of an error: the provider's own code where it gave one. Pure."""
    match error:
        case TokenEndpointError():
            return error.provider_code
        case Refused():
            return error.refusal
        case Stopped():
            return error.reason
        case ActasError():
            return error.code
    return type(error).__name__
