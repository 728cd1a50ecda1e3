"""What all batteries of a session share: real servers with their roles, the sandbox, and a clock that can be moved."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from actas import Settings
from actas.client_keys import ALGORITHMS
from actas.clock import utc_now
from actas.embedded.stack import APP, Stack
from actas.gates import PREFIX
from actas.providers import Provider
from actas.redis_client import redis_client
from actas.room import Connections
from actas.settings import ClientCredentials
from actas.stores.database import connect
from actas.vault.keys import VaultKeys
from worker.room import Room

_KEPT = pytest.StashKey["Bench"]()
#: Waiting for a lock or a lease is real; there is no reason to wait as long as in earnest.
LONGEST_SLEEP = 0.02


#: The kind of key that signs with an algorithm; None: the one that is made if nothing is said.
KINDS: dict[str | None, str] = {
    None: "ecdsa-p256",
    **{algorithm: kind for kind, algorithms in reversed(list(ALGORITHMS.items())) for algorithm in algorithms},
}


class Clock:
    """Business time: now, or as far ahead as a test wants."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self._ahead

    def reset(self) -> None:
        self._ahead = timedelta()

    def go_on_to(self, moment: datetime) -> None:
        """Be at this time, if it is not past."""
        self._ahead = max(self._ahead, moment - utc_now())

    def go_on(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


class Bench:
    """Started when the first battery needs it, stopped with the session."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="actas-testing-"))
        self._stack = Stack(self._directory / "stack")
        self._numbers = itertools.count(1)
        #: Called before everything stops.
        self.at_the_end: list[Callable[[], object]] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        stack = self._stack
        stack.start_servers()
        stack.install()
        stack.start_sandbox()
        self.app = APP
        self.sandbox_url = stack.sandbox_url
        self.clock = Clock()
        self.worker_settings = _settings(stack.role_env("worker"))
        self.app_settings = _settings(stack.role_env(f"app-{APP}"))
        self._operator_settings = _settings(stack.role_env("operator"))
        #: As an administrator sees it.
        self.documents = connect(stack.servers.mongod.url)
        self.at_the_end.append(self.documents.client.close)
        self._redis = redis_client(stack.servers.valkey.url, seconds=10, connect_seconds=10)
        self.at_the_end.append(self._redis.close)
        #: Of all apps here, which are one and the same to everything but the provider.
        self.connections = Connections(self.app_settings)
        self.at_the_end.append(self.connections.close)
        room = Room.open(self.worker_settings, clock=self.clock)
        self.at_the_end.append(room.close)
        exchange = replace(room.exchange, sleep=lambda seconds: time.sleep(min(seconds, LONGEST_SLEEP)))
        self.room = replace(room, exchange=exchange)

    def stop(self) -> None:
        for close in reversed(self.at_the_end):
            close()
        self._stack.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def number(self) -> int:
        """One that nothing else here has."""
        return next(self._numbers)

    def know(self, provider: str, credentials: ClientCredentials) -> None:
        """Let the app be this at a provider, for both sides."""
        for settings in (self.worker_settings, self.app_settings):
            settings.clients[f"{self.app}/{provider}"] = credentials

    def client_jwks(self, provider: Provider) -> dict[str, Any]:
        """The keys that the app signs with at a provider, which are made when first asked for."""
        with closing(VaultKeys(self._operator_settings)) as vault:
            vault.make_client_key(self.app, provider.name, KINDS.get(provider.assertion_algorithm, KINDS[None]))
            return vault.client_key(self.app, provider.name).jwk_set()

    def open_all_gates(self) -> None:
        for gate in self._redis.scan_iter(f"{PREFIX}*"):
            self._redis.delete(gate)

    @contextmanager
    def at_its_own_time(self) -> Iterator[None]:
        """Nothing of what happens in here outlasts it: neither the clock nor a closed gate."""
        self.clock.reset()
        try:
            yield
        finally:
            self.clock.reset()
            self.open_all_gates()


def bench(config: pytest.Config) -> Bench:
    """The session's bench."""
    if _KEPT not in config.stash:
        config.stash[_KEPT] = Bench()
        config.add_cleanup(config.stash[_KEPT].stop)
    return config.stash[_KEPT]


def _settings(env: dict[str, str]) -> Settings:
    """A role's settings, without touching this process's environment."""
    values = {name.removeprefix("ACTAS_").lower(): value for name, value in env.items() if name.startswith("ACTAS_")}
    return Settings.model_validate(values | {"clients": {}})
