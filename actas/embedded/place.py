"""The directory of one embedded stack: its owner's only, used by one supervisor at a time, remembering its ports."""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
import socket
from typing import TYPE_CHECKING

from pydantic import SecretStr

from actas.embedded import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Below the kernel's ephemeral ports: a port from those may become some client's own end while its server is down for a
# restart, or a client that keeps knocking there may even connect to itself.
_PORTS = range(20_000, 32_768)


class Place:
    """The data directory; everything inside is 0700 or 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        #: Set it, from a signal handler for instance, and who is waiting for something to start gives up.
        self.stopping = False
        self._lock = -1
        #: What says that a port is ours, held as long as the directory.
        self._reservations: list[socket.socket] = []

    def enter(self) -> None:
        """Make the directory and lock it until :meth:`leave`, or until this process ends, however it ends.

        Raises:
            EmbeddedError: it is in use, it is not ours, or it cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (self.path / "lock").exists() and any(self.path.iterdir()):
                raise EmbeddedError(f"{self.path} has other things in it; name a new directory")
            self.path.chmod(0o700)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EmbeddedError(f"cannot use {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            user = os.pread(lock, 20, 0).decode().strip()
            os.close(lock)
            raise EmbeddedError(
                f"{self.path} is in use by process {user}; stop that one, or name another directory"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def leave(self) -> None:
        for reservation in self._reservations:
            reservation.close()
        self._reservations.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def folder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def write(self, file: Path, text: str) -> Path:
        """Write a file, mode 0600, whole or not at all."""
        partial = file.with_name(f"{file.name}.part")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        partial.replace(file)
        return file

    def secret(self, name: str) -> SecretStr:
        """Return the secret of this name, made on first use: 256 bits in hex, which every server here takes."""
        if (kept := self.kept_secret(name)) is not None:
            return kept
        return self.keep_secret(name, secrets.token_hex(32))

    def secret_file(self, name: str) -> Path:
        return self.folder("secrets") / name

    def kept_secret(self, name: str) -> SecretStr | None:
        file = self.secret_file(name)
        return SecretStr(file.read_text()) if file.exists() else None

    def keep_secret(self, name: str, value: str) -> SecretStr:
        self.write(self.secret_file(name), value)
        return SecretStr(value)

    def ports(self, names: Iterable[str]) -> dict[str, int]:
        """Return a free loopback port for each name; the ones of last time, where they still are free.

        They are ours until :meth:`leave`: no other stack takes one whose server is just not up.
        """
        file = self.path / "ports.json"
        kept: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        chosen: dict[str, int] = {}
        for name in names:
            candidates = [kept[name]] if name in kept else []
            candidates += random.sample(_PORTS, 1000)
            chosen[name] = next(port for port in candidates if _is_free(port) and self._reserve(port))
        self.write(file, json.dumps(chosen))
        return chosen

    def _reserve(self, port: int) -> bool:
        # An abstract socket (unix(7)): known to all in this network namespace, and gone with us, however we end.
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0actas-embedded-port-{port}")
        except OSError:
            reservation.close()
            return False
        self._reservations.append(reservation)
        return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: remains of closed connections (TIME_WAIT) do not matter, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
