"""Everything an app's process works with: opened when first needed, and anew after a fork."""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass

from actas.http import Http
from actas.settings import Settings
from actas.signing import KeyVersions
from actas.stores.blacklist import Blacklist
from actas.stores.connects import Connects
from actas.stores.database import Documents, connect
from actas.stores.files import Files
from actas.stores.grants import Grants
from actas.stores.jobs import Jobs
from actas.vault.room import VaultRoom


@dataclass(frozen=True, slots=True)
class Room:
    """One process's connections, shared by its threads."""

    database: Documents
    jobs: Jobs
    grants: Grants
    connects: Connects
    blacklist: Blacklist
    files: Files
    vault: VaultRoom
    key_versions: KeyVersions
    http: Http

    @classmethod
    def open(cls, settings: Settings) -> Room:
        database = connect(settings.mongodb_url)
        vault = VaultRoom(settings)
        return cls(
            database=database,
            jobs=Jobs(database),
            grants=Grants(database),
            connects=Connects(database),
            blacklist=Blacklist(database),
            files=Files(database),
            vault=vault,
            key_versions=KeyVersions(vault),
            http=Http(),
        )

    def close(self) -> None:
        self.database.client.close()
        self.vault.close()
        self.http.close()


class Connections:
    """The room of whichever process asks: thread-safe and fork-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._renew()
        _CONNECTIONS.add(self)

    def _renew(self) -> None:
        """No room, and a lock that nobody holds."""
        self._lock = threading.Lock()
        self._room: Room | None = None

    @property
    def room(self) -> Room:
        with self._lock:
            if self._room is None:
                self._room = Room.open(self._settings)
            return self._room

    def close(self) -> None:
        with self._lock:
            if self._room is not None:
                self._room.close()
            self._room = None


#: To be renewed in a child process; weakly, so that being in it keeps none alive.
_CONNECTIONS: weakref.WeakSet[Connections] = weakref.WeakSet()


def _after_fork() -> None:
    """Nothing of the parent's is of use in a child: neither its connections, nor a lock that another thread held."""
    for connections in _CONNECTIONS:
        connections._renew()  # noqa: SLF001


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
