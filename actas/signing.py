"""Signing jobs as an app, and knowing the public keys as a worker. Both ask Vault seldom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from actas.errors import SettingsError
from actas.jws import Claims, signing_input
from actas.vault.room import VaultRoom, signing_key_name

#: Seconds a key's versions are believed.
CACHE_SECONDS = 300

#: Seconds a version stays unknown: a job refused for it fails for good, so a key just made or rotated must soon be
#: seen, and made-up ones must not send us to Vault each time.
UNKNOWN_SECONDS = 1

#: Names no app could have are not worth asking for, and forged ones must not fill the memory.
CACHE_NAMES = 1000


class KeyVersions:
    """Public signing keys by name and version, from Vault: never from MongoDB, which an attacker may write."""

    def __init__(self, vault: VaultRoom, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._vault = vault
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, dict[int, bytes]]] = {}

    def all(self, key_name: str, *, seconds: float = CACHE_SECONDS) -> dict[int, bytes]:
        """Every version still honoured; empty if there is no such key; the answer is at most this old.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        with self._lock:
            fetched_at, keys = self._known.get(key_name, (float("-inf"), {}))
            if self._clock() - fetched_at < seconds:
                return keys
        asked_at = self._clock()
        keys = self._vault.public_keys(key_name)
        with self._lock:
            if len(self._known) >= CACHE_NAMES:
                self._known.clear()
            self._known[key_name] = (asked_at, keys)
        return keys

    def get(self, key_name: str, version: int) -> bytes | None:
        """One version's key; None if there is none.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        return self.all(key_name).get(version) or self.all(key_name, seconds=UNKNOWN_SECONDS).get(version)

    def newest(self, app: str) -> int:
        """The version an app signs with.

        Raises:
            SettingsError: the app has no signing key.
        """
        keys = self.all(signing_key_name(app)) or self.all(signing_key_name(app), seconds=UNKNOWN_SECONDS)
        if not keys:
            raise SettingsError(f"app {app} has no signing key in Vault; run `actas apps add {app}`")
        return max(keys)


def sign(vault: VaultRoom, keys: KeyVersions, jobs: Sequence[Claims]) -> list[str]:
    """Sign jobs of one app, with one call to Vault per hundred; returns JWTs in compact form, in order.

    Raises:
        VaultUnavailable, VaultDenied, SettingsError.
    """
    if not jobs:
        return []
    app = jobs[0].app
    version = keys.newest(app)
    inputs = [signing_input(claims, key_version=version) for claims in jobs]
    signatures = vault.sign(app, inputs, version=version)
    return [f"{data.decode()}.{signature}" for data, signature in zip(inputs, signatures, strict=True)]
