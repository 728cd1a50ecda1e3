"""The embedded stack for a run of chaos: three members of MongoDB, three apps, and a way to the provider that can be cut."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actas.embedded import processes
from actas.embedded.child import Child
from actas.embedded.stack import APP, CLIENT_ID, PROVIDER
from actas.installing import env_files, installer
from tests.chaos.line import Line
from tests.faults.replica_set import ReplicatedStack

APPS = (APP, "press", "shop")

#: As short as they may be (``actas.settings``): what dies is missed soon.
TIMES = {
    "ACTAS_EXCHANGE_BUDGET_SECONDS": "6",
    "ACTAS_HTTP_TIMEOUT_SECONDS": "6",
    "ACTAS_EXCHANGE_LEASE_SECONDS": "16",
    "ACTAS_JOB_LEASE_SECONDS": "22",
    # Not a lease: so that there are always data keys to be made anew.
    "ACTAS_DATA_KEY_MAX_AGE_DAYS": "0.0003",
}
HTTP_SECONDS = 6.0

#: How long the provider may hide what it has done; nothing in the plan makes it act later than this.
SETTLE_SECONDS = 10

#: Workers want 30 seconds more of a token than it will live: most jobs exchange.
ACCESS_SECONDS = 33


class ChaosStack(ReplicatedStack):
    def __init__(self, directory: Path, *, sandbox: Mapping[str, Any] | None = None) -> None:
        faults = directory / "faults"
        super().__init__(
            directory / "stack",
            workers=2,
            concurrency=32,
            worker_app="tests.faults.faulty_worker",
            settings=TIMES | {"FAULT_DIRECTORY": str(faults)},
            sandbox={"access_seconds": ACCESS_SECONDS, **(sandbox or {})},
        )
        self.faults = faults

    def start_servers(self) -> None:
        super().start_servers()
        #: What actas takes for the provider.
        self.line = Line(self._place.ports(["line"])["line"], to=self._ports["sandbox"])

    def install(self) -> None:
        super().install()
        roles, vault = (
            self._place.folder("roles"),
            {
                "vault_addr": self.servers.bao.url,
                "vault_token": self.servers.bao.token,
            },
        )
        secret = self._place.secret("sandbox-client")
        for app in APPS[1:]:
            installer.add_app(app, **vault, mongodb_url=self.servers.mongod.url, out=roles)
            installer.set_client_credentials(
                app=app, provider=PROVIDER, client_id=CLIENT_ID, client_secret=secret, **vault
            )
            file = self.role_file(f"app-{app}")
            env_files.write(file, env_files.read(file) | self._common)

    def second_beat(self) -> Child:
        return processes.Process(
            self._place,
            "beat2",
            *(*processes.CELERY, "scheduler.app", "beat", f"--schedule={self.directory / 'beat2-schedule'}"),
            "--loglevel=INFO",
            settings=self.role_env("scheduler"),
            says="beat: Starting",
        )

    def _write_providers(self) -> None:
        super()._write_providers()
        file = self.directory / "providers.toml"
        text = file.read_text().replace(self.sandbox_url, self.line.url)
        self._place.write(file, re.sub(r"settle_seconds = .*", f"settle_seconds = {SETTLE_SECONDS}", text))
