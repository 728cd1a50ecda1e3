"""The whole of actas on one machine: servers, roles, a sandbox provider, workers, scheduler, beat and Flower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict

from actas.embedded import beside, processes
from actas.embedded.child import STOP_SECONDS, Child, stop_all
from actas.embedded.place import Place
from actas.embedded.servers import HOST, Servers
from actas.installing import env_files, installer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from pydantic import SecretStr

#: The app there is from the start, and what it is at the sandbox, which stands in for the provider "x".
APP, PROVIDER, CLIENT_ID = "demo", "x", "actas-demo"
ROLES = ("worker", "scheduler", "operator", "flower", f"app-{APP}")
FLOWER_USER = "admin"

#: What is stopped while it starts has nothing to finish. And mongod 6.0, told to stop while it becomes primary, may
#: hang for ever; its journal is made for being killed.
ABANDON_SECONDS = 3.0


class Stack:
    """Started whole by :meth:`start`, or in steps: :meth:`start_servers`, :meth:`install`, :meth:`start_processes`.

    As a context manager it starts nothing and stops everything. Whatever it started also dies with this process,
    however that ends. All data is kept, but for the sandbox's, which are in memory.
    """

    #: From :meth:`start_servers` on.
    servers: Servers

    def __init__(
        self,
        directory: Path = Path(".actas"),
        *,
        workers: int = 1,
        concurrency: int = 64,
        worker_app: str = "worker.app",
        settings: Mapping[str, str] | None = None,
        sandbox: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what is to run; nothing happens yet.

        Args:
            directory: for everything that is kept; made, mode 0700.
            workers: how many worker processes.
            concurrency: jobs that each of them runs at once.
            worker_app: the module that workers start from; for tests that put something between.
            settings: more ``ACTAS_*`` settings, for all of our processes.
            sandbox: more fields of the sandbox's configuration (``actas.sandbox.config.Config``).
        """
        self._place = Place(directory)
        self.directory = self._place.path
        #: By name: sandbox, worker1 to workerN, scheduler, beat, flower; from :meth:`start_processes` on.
        self.processes: dict[str, processes.Process] = {}
        self._workers = workers
        self._concurrency = concurrency
        self._worker_app = worker_app
        self._common = {
            "ACTAS_ENV": "development",
            "ACTAS_PROVIDERS_FILE": str(self.directory / "providers.toml"),
        }
        self._settings = dict(settings or {})
        self._sandbox = dict(sandbox or {})
        self._ports: dict[str, int] = {}
        self._app: Child | None = None

    def start(self) -> None:
        """Start everything and wait until it is ready.

        Raises:
            EmbeddedError: something is missing, in use, or did not come up; whatever had started is stopped again.
            Interrupted: as told by :meth:`interrupt`.
        """
        try:
            self.start_servers()
            self.install()
            self.start_processes()
        except BaseException:
            self.stop(ABANDON_SECONDS)
            raise

    def start_servers(self) -> None:
        self._place.enter()
        self._ports = self._place.ports(("valkey", "mongod", "bao", "bao-cluster", "sandbox", "flower"))
        self.servers = Servers.find(self._place, self._ports)
        self.servers.start()

    def install(self) -> None:
        """Make the roles, their env files, the app "demo" and its client at the sandbox; may be run again."""
        roles = self._place.folder("roles")
        vault = _Vault(vault_addr=self.servers.bao.url, vault_token=self.servers.bao.token)
        mongodb_url = self.servers.mongod.url
        installer.install(**vault, mongodb_url=mongodb_url, redis_url=self.servers.valkey.url, out=roles)
        installer.add_app(APP, **vault, mongodb_url=mongodb_url, out=roles)
        secret = self._place.secret("sandbox-client")
        installer.set_client_credentials(app=APP, provider=PROVIDER, client_id=CLIENT_ID, client_secret=secret, **vault)
        self._write_providers()
        for role in ROLES:  # whoever sources such a file in another terminal needs these, too
            file = self.role_file(role)
            env_files.write(file, env_files.read(file) | self._common)

    def start_sandbox(self) -> None:
        """Start the sandbox alone, for who does everything else in a process of their own; from :meth:`install` on."""
        sandbox = self._new_sandbox()
        self.processes = {sandbox.name: sandbox}
        sandbox.launch()
        sandbox.wait_ready()

    def start_processes(self) -> None:
        place, worker = self._place, self.role_env("worker")
        everybody = [
            self._new_sandbox(),
            *(
                processes.worker(place, f"worker{n + 1}", self._concurrency, worker, app=self._worker_app)
                for n in range(self._workers)
            ),
            processes.scheduler(place, self.role_env("scheduler")),
            processes.beat(place, self.role_env("scheduler")),
            processes.flower(place, self._write_flower_config(), self._address("flower"), self.role_env("flower")),
        ]
        self.processes = {process.name: process for process in everybody}
        for process in everybody:
            process.launch()
        for process in everybody:
            process.wait_ready()

    def run_app(self, command: Sequence[str]) -> Child:
        """Run a command as the app "demo", in the caller's directory and terminal, until :meth:`stop` or its own end.

        Raises:
            EmbeddedError: there is no such command.
        """
        app = beside.Beside(self._place, command, self.role_env(f"app-{APP}"))
        self._app = app  # known before it starts: whoever starts it may be interrupted
        app.launch()
        return app

    def interrupt(self) -> None:
        """Tell a start in progress to give up. For signal handlers: it only sets a mark."""
        self._place.stopping = True

    @property
    def interrupted(self) -> bool:
        return self._place.stopping

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop the app, then the processes, then the servers; each is given so many seconds, then killed."""
        if self._app is not None:
            self._app.stop(seconds)
        stop_all(self.processes.values(), seconds)
        if hasattr(self, "servers"):
            stop_all(self.servers, seconds)
        self._place.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def children(self) -> list[Child]:
        return [*self.servers, *self.processes.values()]

    @property
    def sandbox_url(self) -> str:
        return f"http://{self._address('sandbox')}"

    @property
    def flower_url(self) -> str:
        return f"http://{self._address('flower')}"

    @property
    def flower_credentials(self) -> tuple[str, SecretStr]:
        return FLOWER_USER, self._place.secret("flower-admin")

    def role_file(self, role: str) -> Path:
        """Return the env file of one of ROLES; to be sourced by a shell."""
        return self.directory / "roles" / f"{role}.env"

    def role_env(self, role: str) -> dict[str, str]:
        """Return what a process of one of ROLES is told; from :meth:`install` on."""
        return env_files.read(self.role_file(role)) | self._settings

    def _new_sandbox(self) -> processes.Process:
        return processes.sandbox(self._place, self._write_sandbox_config(), self._address("sandbox"), self._common)

    def _address(self, name: str) -> str:
        return f"{HOST}:{self._ports[name]}"

    def _write_providers(self) -> None:
        sandbox = self.sandbox_url
        endpoints = {
            "authorize_url": f"{sandbox}/i/oauth2/authorize",
            "token_url": f"{sandbox}/2/oauth2/token",
            "revoke_url": f"{sandbox}/2/oauth2/revoke",
            "device_url": f"{sandbox}/i/oauth2/device/code",
            "api_url": sandbox,
        }
        lines = [f'{field} = "{url}"\n' for field, url in endpoints.items()]
        lines.append("settle_seconds = 1\n")  # the sandbox shows at once what was posted
        self._place.write(self.directory / "providers.toml", f"[providers.{PROVIDER}]\n{''.join(lines)}")

    def _write_sandbox_config(self) -> Path:
        secret = self._place.secret("sandbox-client").get_secret_value()
        clients = {CLIENT_ID: {"secret": secret, "redirect_uris": None}}
        config = {"host": HOST, "port": self._ports["sandbox"], "clients": clients} | self._sandbox
        return self._place.write(self._place.folder("config") / "sandbox.json", json.dumps(config))

    def _write_flower_config(self) -> Path:
        user, password = self.flower_credentials
        options = {
            "address": HOST,
            "port": self._ports["flower"],
            "basic_auth": [f"{user}:{password.get_secret_value()}"],
            "read_only": True,
        }
        text = "".join(f"{name} = {value!r}\n" for name, value in options.items())
        return self._place.write(self._place.folder("config") / "flower.py", text)


class _Vault(TypedDict):
    vault_addr: str
    vault_token: SecretStr
