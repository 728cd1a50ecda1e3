"""Reading tokens: the only place where data keys exist unwrapped, few and for a few minutes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from pydantic import SecretBytes, SecretStr

from actas.envelope import Envelope, Purpose, decrypt
from actas.errors import EnvelopeError, EnvelopeVersionError
from actas.records import Grant
from actas.vault.room import VaultRoom

CAPACITY = 2_000


class DataKeys:
    """Unwrapped data keys: the least recently used go first, and each goes after ``seconds`` (0: none is kept)."""

    def __init__(
        self,
        vault: VaultRoom,
        *,
        seconds: float,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vault = vault
        self._seconds = seconds
        self._capacity = capacity
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: OrderedDict[tuple[str, str], tuple[float, SecretBytes]] = OrderedDict()

    def read(self, grant: Grant, purpose: Purpose) -> SecretStr:
        """Decrypt a grant's token.

        Raises:
            EnvelopeError, EnvelopeVersionError: it cannot be read, and why.
            VaultUnavailable, VaultDenied.
        """
        envelope = _envelope(grant, purpose)
        try:
            return self._decrypt(grant, purpose, envelope)
        except EnvelopeVersionError:
            raise
        except EnvelopeError:
            # Once more with a key fresh from Vault: the cached one may be what is wrong.
            self._forget(grant)
            return self._decrypt(grant, purpose, envelope)

    def get(self, grant: Grant) -> SecretBytes:
        """A grant's unwrapped data key."""
        if grant.data_key is None:
            raise EnvelopeError("the grant has no data key")
        name = (grant.id, grant.data_key.id)
        with self._lock:
            kept = self._keys.get(name)
            if kept is not None and kept[0] > self._clock():
                self._keys.move_to_end(name)
                return kept[1]
        key = self._vault.unwrap(grant.app, [(grant.id, grant.data_key.wrapped)])[0]
        with self._lock:
            if self._seconds > 0:
                self._keys[name] = (self._clock() + self._seconds, key)
                self._keys.move_to_end(name)
            while len(self._keys) > self._capacity:
                self._keys.popitem(last=False)
        return key

    def _forget(self, grant: Grant) -> None:
        if grant.data_key is not None:
            with self._lock:
                self._keys.pop((grant.id, grant.data_key.id), None)

    def _decrypt(self, grant: Grant, purpose: Purpose, envelope: Envelope) -> SecretStr:
        key = self.get(grant)
        assert grant.data_key is not None
        return decrypt(
            key, envelope, grant.context(purpose, generation=grant.generation, data_key_id=grant.data_key.id)
        )


def _envelope(grant: Grant, purpose: Purpose) -> Envelope:
    if purpose is Purpose.ACCESS:
        envelope = grant.access_token.envelope if grant.access_token else None
    else:
        envelope = grant.refresh_token
    if envelope is None:
        raise EnvelopeError(f"the grant has no {purpose} token")
    return envelope
