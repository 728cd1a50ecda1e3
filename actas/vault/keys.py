"""The life of keys in Vault, as schedulers and operators see it: versions, rotation, rewrapping, retirement.

What each of the two may do is decided by its policy (``deploy/roles/vault``). Neither ever sees a key.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import hvac

from actas.errors import NotFound, VaultDenied
from actas.vault.room import (
    BATCH,
    TRANSIT,
    VaultRoom,
    _CannotSignIn,
    _Malformed,
    client_key_name,
    kek_name,
    signing_key_name,
)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A transit key: its versions that are still honoured, and when each was made, by Vault's clock."""

    name: str
    created: Mapping[int, datetime]
    latest: int
    min_decryption_version: int

    @property
    def latest_at(self) -> datetime:
        return self.created[self.latest]


class VaultKeys(VaultRoom):
    """The vault room with the doors that only schedulers and operators may use."""

    def kek(self, app: str) -> KeyInfo:
        """What there is to know of an app's KEK.

        Raises:
            NotFound: the app has none.
            VaultUnavailable, VaultDenied.
        """
        return self._read(kek_name(app), "the scheduler's or the operator's")

    def signing_key(self, app: str) -> KeyInfo:
        """What there is to know of an app's signing key.

        Raises:
            NotFound: the app has none.
            VaultUnavailable, VaultDenied.
        """
        return self._read(signing_key_name(app), "the operator's")

    def rotate(self, key_name: str) -> None:
        """Make a new version; from now on it wraps, or signs. After VaultUnavailable it may have been made or not.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        self._change(f"rotate {key_name}", lambda transit: transit.rotate_key(key_name, mount_point=TRANSIT))

    def make_client_key(self, app: str, provider: str, kind: str) -> None:
        """Make the key that an app proves itself with at a provider; nothing happens if there is one.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        name = client_key_name(app, provider)
        self._change(f"make {name}", lambda transit: transit.create_key(name, key_type=kind, mount_point=TRANSIT))

    def retire_before(self, key_name: str, version: int) -> None:
        """Let Vault refuse all versions before this one. They are hidden, not trimmed: this can be taken back.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        self._change(
            f"retire versions of {key_name}",
            lambda transit: transit.update_key_configuration(
                key_name, min_decryption_version=version, mount_point=TRANSIT
            ),
        )

    def rewrap(
        self, app: str, wrapped: Sequence[tuple[str, str]], *, go_on: Callable[[], bool] = lambda: True
    ) -> list[str | None]:
        """Wrap data keys anew under the latest version: pairs of (grant id, wrapped key); None where Vault refuses.

        ``go_on`` is asked after each request: once it says no, what comes back is the results of the first ones only.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        results: list[str | None] = []
        for start in range(0, len(wrapped), BATCH):
            results += self._rewrap(app, wrapped[start : start + BATCH], go_on)
            if not go_on():
                break
        return results

    def _rewrap(self, app: str, batch: Sequence[tuple[str, str]], go_on: Callable[[], bool]) -> list[str | None]:
        items = [
            {"ciphertext": ciphertext, "context": base64.b64encode(grant.encode()).decode()}
            for grant, ciphertext in batch
        ]
        try:
            with _needs(f"rewrap data keys of {app}", "the scheduler's"):
                reply = self._ask(
                    lambda client: client.secrets.transit.rewrap_data(
                        kek_name(app), None, batch_input=items, mount_point=TRANSIT
                    )
                )
        except _Malformed:
            # Vault says of a batch what is wrong with an item of it, and may say so of the whole: then ask one by one.
            if len(batch) == 1:
                return [None]
            singly: list[str | None] = []
            for item in batch:
                singly += self._rewrap(app, [item], go_on)
                if not go_on():
                    break
            return singly
        results = reply["data"]["batch_results"]
        # 200, with an error inside an item and no ciphertext.
        return [None if item.get("error") else item.get("ciphertext") for item in results]

    def _read(self, key_name: str, whose: str) -> KeyInfo:
        try:
            with _needs(f"read {key_name}", whose):
                reply = self._ask(lambda client: client.secrets.transit.read_key(key_name, mount_point=TRANSIT))
        except NotFound:
            raise NotFound(f"Vault has no key {key_name}; is this the name of an app? (`actas apps list`)") from None
        data = reply["data"]
        created = {int(version): _created(key) for version, key in data["keys"].items()}
        return KeyInfo(key_name, created, data["latest_version"], data["min_decryption_version"])

    def _change(self, doing: str, change: Callable[[Any], Any]) -> None:
        def call(client: hvac.Client) -> Any:
            # Vault 1.x and OpenBao answer with the key, or with 204 and nothing.
            reply = change(client.secrets.transit)
            return reply if isinstance(reply, dict) else {"data": {}}

        with _needs(doing, "the operator's"):
            self._ask(call)


@contextmanager
def _needs(doing: str, whose: str) -> Iterator[None]:
    """Say of a refusal what was refused, and whose credentials it takes."""
    try:
        yield
    except (_Malformed, _CannotSignIn):
        raise
    except VaultDenied:
        raise VaultDenied(
            f"Vault refused to {doing}; this takes {whose} credentials (source that role's env file)"
        ) from None


def _created(key: Any) -> datetime:
    """Vault's note of a version: seconds since the epoch, or a public key with an RFC 3339 time."""
    if isinstance(key, Mapping):
        return datetime.fromisoformat(key["creation_time"])
    return datetime.fromtimestamp(key, UTC)
