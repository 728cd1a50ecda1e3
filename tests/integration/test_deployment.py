"""docker-compose.yml without Docker: the same configuration files, scripts and commands, as processes on this machine.

Each service gets a directory that stands in for its root, with its own mounts and secrets in it and nobody else's; names
of services become ports of 127.0.0.1. All else is as it stands there. Valkey stands in for Redis, OpenBao for Vault.
What this cannot try (images, networks, users, capabilities, limits) is listed in docs/operations.md.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hvac
import pytest
import yaml
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from actas import Client, JobStatus
from actas.embedded import binaries
from actas.embedded.child import Child, plain_environment, stop_all
from actas.embedded.place import Place
from actas.installing import env_files
from actas.sandbox.remote import SandboxControl
from tests.support import REDIRECT, eventually, settings_from

REPO = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((REPO / "docker-compose.yml").read_text())["services"]
MEMBERS = ("mongodb1", "mongodb2", "mongodb3")
STAND_INS = {"redis-server": binaries.VALKEY, "mongod": binaries.MONGOD, "vault": binaries.BAO}


class Service(Child):
    """One service: its own root directory, and its process."""

    def __init__(self, name: str, host: Path, place: Place, ports: dict[str, int], ready: str = "") -> None:
        self.stated = SERVICES[name]
        self.root = host / "roots" / name
        self._ports = ports
        self._ready = ready
        self._member = name if name in MEMBERS else MEMBERS[0]
        self._lay_out(host)
        own, ours = self.root / "usr" / "local" / "bin", Path(sys.executable).parent
        env = plain_environment() | {
            "PATH": os.pathsep.join([str(own), str(host / "bin"), str(ours), os.environ["PATH"]]),
            "PYTHONPATH": str(REPO),
            "PYTHONUNBUFFERED": "1",
            **{key: self.here(value) for key, value in self.stated.get("environment", {}).items()},
        }
        super().__init__(place, name, ["/usr/bin/env", *self.argv()], env=env)

    def _lay_out(self, host: Path) -> None:
        for folder in ("run/secrets", "tmp"):
            (self.root / folder).mkdir(parents=True)
        for secret in self.stated.get("secrets", []):
            role = "roles/" if secret.endswith(".env") else ""
            (self.root / "run" / "secrets" / secret).symlink_to(host / "secrets" / f"{role}{secret}")
        for volume in self.stated.get("volumes", []):
            source, target, *_ = volume.split(":")
            mounted = self.root / target[1:]
            mounted.parent.mkdir(parents=True, exist_ok=True)
            if source.startswith("./deploy/"):
                mounted.write_text(self.here((REPO / source).read_text()))
            else:
                mounted.symlink_to(host / source)
        for program in (REPO / "deploy" / "bin").iterdir():
            copy = self.root / "usr" / "local" / "bin" / program.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(self.here(program.read_text()).replace("#!/usr/bin/env python3", f"#!{sys.executable}"))
            copy.chmod(0o755)

    def here(self, text: str) -> str:
        """A text of the deployment with this machine's paths and addresses in it; all in one pass."""
        ports = self._ports
        named = {
            **{f"{name}:{port}": f"127.0.0.1:{ports[name]}" for name, port in dict.fromkeys(MEMBERS, 27017).items()},
            "redis:6379": f"127.0.0.1:{ports['redis']}",
            "vault:8200": f"127.0.0.1:{ports['vault']}",
            "127.0.0.1:8200": f"127.0.0.1:{ports['vault']}",
            "0.0.0.0:8200": f"127.0.0.1:{ports['vault']}",
            "vault:8201": f"127.0.0.1:{ports['vault-cluster']}",
            "127.0.0.1:5555": f"127.0.0.1:{ports['flower']}",
            "port = 5555": f"port = {ports['flower']}",
            "port 6379": f"port {ports['redis']}",
            "port: 27017": f"port: {ports[self._member]}",
            "0.0.0.0": "127.0.0.1",
            **{path: f"{self.root}{path}" for path in ("/run/secrets", "/etc/actas", "/data", "/vault/data", "/tmp")},
        }
        longest_first = sorted(named, key=len, reverse=True)
        pattern = r"(?<![\w.])(" + "|".join(map(re.escape, longest_first)) + r")(?!\w)"
        return re.sub(pattern, lambda found: named[found[1]], text)

    def argv(self, command: str | None = None) -> list[str]:
        """Entrypoint and command; with a command, those of `docker compose run SERVICE COMMAND`."""
        words = shlex.split(command or self.stated.get("command", ""))
        return [self.here(word) for word in [*self.stated.get("entrypoint", []), *words]]

    def is_ready(self) -> bool:
        return self._ready in self.output() if self._ready else self.is_well()

    def is_well(self) -> bool:
        """Run the health check."""
        kind, *test = self.stated["healthcheck"]["test"]
        words = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        return self.run([self.here(word).replace("$$", "$") for word in words]).returncode == 0

    def once(self, command: str | None = None) -> str:
        """A one-shot, from its working directory."""
        done = self.run(self.argv(command))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        where = self.root / self.stated.get("working_dir", "/tmp")[1:]
        return subprocess.run(  # noqa: PLW1510 - whoever asks looks at the status
            ["/usr/bin/env", *words], env=self.env, cwd=where, capture_output=True, text=True, timeout=120
        )


class Host:
    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "deploy").mkdir()
        shutil.copy(REPO / "deploy" / "prepare.sh", path / "deploy")
        subprocess.run(["sh", path / "deploy" / "prepare.sh"], check=True, capture_output=True)
        (path / "bin").mkdir()
        for name, binary in STAND_INS.items():
            (path / "bin" / name).symlink_to(binaries.find(binary, path / "bin" / "copies"))
        # What the wheel's entry point is, installed or not.
        (path / "bin" / "actas").write_text(f"#!{sys.executable}\nfrom actas.cli import main\nmain()\n")
        (path / "bin" / "actas").chmod(0o755)
        self.place = Place(path / "processes")
        self.place.enter()
        self.ports = self.place.ports(("redis", *MEMBERS, "vault", "vault-cluster", "flower", "sandbox"))
        self.services: dict[str, Service] = {}
        self.running: list[Child] = []
        self.vault = hvac.Client(f"http://127.0.0.1:{self.ports['vault']}")
        self.sandbox = SandboxControl(f"http://127.0.0.1:{self.ports['sandbox']}")

    def service(self, name: str, ready: str = "") -> Service:
        if name not in self.services:
            self.services[name] = Service(name, self.path, self.place, self.ports, ready)
        return self.services[name]

    def start(self, *services: Child) -> None:
        self.running += services
        for service in services:
            service.launch()
        for service in services:
            service.wait_ready()

    def role(self, name: str) -> dict[str, str]:
        return env_files.read(self.path / "secrets" / "roles" / f"{name}.env")

    def member(self, name: str) -> dict[str, Any]:
        """What a member of the replica set says about itself."""
        password = (self.path / "secrets" / "mongodb-admin").read_text()
        with MongoClient[dict[str, Any]](
            "127.0.0.1", self.ports[name], directConnection=True, username="admin", password=password
        ) as client:
            return client.admin.command("hello")

    def stop(self) -> None:
        for member in MEMBERS:  # asked to stop together, a primary waits in vain for the others to catch up
            self.service(member).kill()
        stop_all(self.running)
        self.place.leave()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("host"))
    try:
        host.start(
            host.service("redis", "Ready to accept connections"),
            *(host.service(member, "Waiting for connections") for member in MEMBERS),
            host.service("vault", "server started!"),
        )
        unseal(host)
        install(host)
        start_sandbox(host)
        worker = host.service("worker", " ready.")
        worker.env["ACTAS_PROVIDERS_FILE"] = str(host.path / "providers.toml")
        host.start(
            worker, host.service("scheduler", " ready."), host.service("beat", "beat: Starting"), host.service("flower")
        )
        with restart_policy(host):
            yield host
    finally:
        host.stop()


@contextmanager
def restart_policy(host: Host) -> Iterator[None]:
    """What the engine does by `restart: unless-stopped`, and not in vain.

    A Celery worker that loses Redis just while it acknowledges a message ends, instead of connecting again (kombu 5.7:
    AttributeError in _connparams while it restores what was not acknowledged).
    """
    over = threading.Event()

    def restart() -> None:
        while not over.wait(0.5):
            for service in host.running:
                if service.died and isinstance(service, Service) and service.stated["restart"] == "unless-stopped":
                    service.launch()

    engine = threading.Thread(target=restart)
    engine.start()
    try:
        yield
    finally:
        over.set()
        engine.join()


def unseal(host: Host) -> None:
    """What docs/operations.md has a person do."""
    vault = host.service("vault")
    assert not vault.is_well()
    made = host.vault.sys.initialize(secret_shares=3, secret_threshold=2)
    assert not vault.is_well()
    host.vault.sys.submit_unseal_keys(made["keys"][:2])
    eventually(vault.is_well, seconds=60, what="Vault is unsealed")
    token = host.path / "secrets" / "vault-token"
    token.write_text(made["root_token"])
    token.chmod(0o600)
    host.vault.token = made["root_token"]


def install(host: Host) -> None:
    host.service("replica-set").once()
    init = host.service("init")
    init.once()
    init.once("actas apps add blog")
    secret = {"client_id": "blog-at-x", "client_secret": "secret-of-blog-at-x"}
    host.vault.secrets.kv.v2.create_or_update_secret("actas/blog/x", secret, mount_point="kv")


def start_sandbox(host: Host) -> None:
    clients = {"blog-at-x": {"secret": "secret-of-blog-at-x", "redirect_uris": None}}
    config = host.path / "sandbox.json"
    config.write_text(json.dumps({"port": host.ports["sandbox"], "clients": clients}))
    config.chmod(0o600)
    url = host.sandbox.base_url
    (host.path / "providers.toml").write_text(
        f'[providers.x]\nauthorize_url = "{url}/i/oauth2/authorize"\ntoken_url = "{url}/2/oauth2/token"\n'
        f'revoke_url = "{url}/2/oauth2/revoke"\napi_url = "{url}"\n'
    )
    env = plain_environment() | {"PYTHONPATH": str(REPO), "ACTAS_ENV": "development"}
    argv = [sys.executable, "-m", "actas.sandbox", "--config", str(config)]
    sandbox = Child(host.place, "sandbox", argv, env=env)
    sandbox.is_ready = lambda: "sandbox: " in sandbox.output()  # type: ignore[method-assign]
    host.start(sandbox)


@pytest.fixture(scope="module")
def client(host: Host) -> Iterator[Client]:
    env = host.role("app-blog") | {"ACTAS_PROVIDERS_FILE": str(host.path / "providers.toml")}
    with Client(settings_from(env)) as client:
        yield client


@pytest.fixture(scope="module")
def connected(host: Host, client: Client) -> str:
    request = client.begin_connect(user="alice", provider="x", redirect_uri=REDIRECT)
    client.finish_connect(host.sandbox.authorize(request.url, "alice"), user="alice")
    return "alice"


@pytest.mark.parametrize("name", ["worker", "scheduler", "beat", "flower", "vault"])
def test_a_health_check_says_well_while_its_service_runs(host: Host, name: str) -> None:
    eventually(host.service(name).is_well, seconds=30, what=f"{name} is well")


def test_a_health_check_says_unwell_when_its_service_stands_still(host: Host) -> None:
    names = ("worker", "beat")
    for name in names:
        host.service(name).pause()
    try:
        with ThreadPoolExecutor() as checking:
            well = dict(zip(names, checking.map(lambda name: host.service(name).is_well(), names), strict=True))
    finally:
        for name in names:
            host.service(name).resume()
    assert well == dict.fromkeys(names, False)


def test_the_three_members_are_one_set_and_founding_it_again_changes_nothing(host: Host) -> None:
    before = host.member("mongodb1")
    assert sorted(before["hosts"]) == sorted(f"127.0.0.1:{host.ports[member]}" for member in MEMBERS)
    host.service("replica-set").once()
    assert host.member("mongodb1")["setVersion"] == before["setVersion"]


def test_redis_knows_the_roles_after_a_restart_and_nobody_else(host: Host) -> None:
    redis = host.service("redis")
    redis.restart()
    users = (redis.root / "data" / "users.acl").read_text().split("\n")
    names = {line.split()[1]: line.split()[2] for line in users if line}
    assert names == {
        "default": "off",
        "admin": "on",
        **{f"actas-{role}": "on" for role in ("worker", "scheduler", "operator", "flower", "producer")},
    }
    assert (host.path / "secrets" / "redis-admin").read_text() not in "".join(users)


def test_a_service_that_dies_is_there_again(host: Host) -> None:
    worker = host.service("worker")
    os.kill(worker.pid, signal.SIGKILL)  # not by our own hand, as far as the policy knows
    eventually(lambda: worker.alive and worker.is_well(), seconds=60, what="the worker is back and well")


def test_the_console_finds_everything_in_order(host: Host) -> None:
    assert "wrong" not in host.service("console").once()


def test_a_job_is_done_by_the_deployment_as_it_stands(host: Host, client: Client, connected: str) -> None:
    job = client.schedule("x.post", user=connected, payload={"text": "from the deployment"})
    assert client.wait(job.id, timeout=60).status is JobStatus.SUCCEEDED


def test_a_job_is_done_after_the_primary_died(host: Host, client: Client, connected: str) -> None:
    (primary,) = (member for member in MEMBERS if host.member(member)["isWritablePrimary"])
    host.service(primary).kill()

    def another_leads() -> bool:
        try:
            return any(host.member(member)["isWritablePrimary"] for member in MEMBERS if member != primary)
        except PyMongoError:
            return False

    eventually(another_leads, seconds=60, what="another member is primary")
    job = client.schedule("x.post", user=connected, payload={"text": "after the failover"})
    assert client.wait(job.id, timeout=60).status is JobStatus.SUCCEEDED
