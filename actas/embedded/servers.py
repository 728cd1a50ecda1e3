"""Valkey, MongoDB and OpenBao as children. Secrets are in files of mode 0600, so that no password stands in any argv.

Each ``configure`` writes those files and returns the arguments. JSON does for YAML and HCL, too.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from actas.embedded import EmbeddedError, binaries
from actas.embedded.child import Child, plain_environment
from actas.stores.founding import ADMIN, SET, OneNode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from actas.embedded.place import Place

HOST = "127.0.0.1"

#: Who is asked whether it is ready, and is, answers in this time; else it is asked again.
ANSWER_SECONDS = 1.0
#: Who has answered once may stall this long, as the whole machine sometimes does.
STALL_SECONDS = 10.0

_VAULT_UNINITIALIZED = 501  # /sys/health: 200 active, 429 standby, 501 uninitialized, 503 sealed


class Server(Child):
    """A server: a program, its configuration, its data folder, and the port it listens on."""

    def __init__(self, name: str, program: Path, place: Place, ports: dict[str, int]) -> None:
        self._place = place  # before Child does it, because configure() writes there
        self.data = place.folder(name)
        self.address = f"{HOST}:{ports[name]}"
        super().__init__(place, name, [program, *self.configure(ports)], env=plain_environment(), address=self.address)

    def configure(self, ports: dict[str, int]) -> list[str]:
        raise NotImplementedError

    def _write_config(self, name: str, text: str) -> str:
        return str(self._place.write(self._place.folder("config") / name, text))


class Valkey(Server):
    """The Redis protocol: broker and gates. Appends to a log, never evicts, knows no anonymous user."""

    def configure(self, ports: dict[str, int]) -> list[str]:
        password = self._place.secret("valkey-admin").get_secret_value()
        self.url = SecretStr(f"redis://admin:{password}@{self.address}/0")
        users = self.data / "users.acl"
        if not users.exists():  # from the first start on the server writes it (ACL SAVE)
            digest = hashlib.sha256(password.encode()).hexdigest()
            self._place.write(users, f"user default off\nuser admin on #{digest} ~* &* +@all\n")
        settings = {
            "bind": HOST,
            "port": str(ports["valkey"]),
            "dir": str(self.data),
            "aclfile": str(users),
            "appendonly": "yes",
            "rdbcompression": "no",  # as mongod below: these files are searched for tokens
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        # Nothing secret, and no file: its name would be taken for a pattern, and one that fits nothing for no settings.
        return [word for name, value in settings.items() for word in (f"--{name}", value)]

    def is_ready(self) -> bool:
        url, once = self.url.get_secret_value(), Retry(NoBackoff(), 0)
        with redis.Redis.from_url(url, retry=once, socket_timeout=ANSWER_SECONDS) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):  # not listening yet, or still loading
                return False


class Mongod(Server):
    """MongoDB with users, as a replica set of one, which majority writes and retried writes need."""

    def configure(self, ports: dict[str, int]) -> list[str]:
        self._password = self._place.secret("mongod-admin")
        password = self._password.get_secret_value()
        self.url = SecretStr(f"mongodb://{ADMIN}:{password}@{self.address}/?replicaSet={SET}&authSource=admin")
        self._place.secret("mongod-key")
        name = self.data.name
        config = {
            "net": {"bindIp": HOST, "port": ports[name], "unixDomainSocket": {"enabled": False}},
            "storage": {
                "dbPath": str(self.data),
                # Uncompressed, because the demo and the attack tests search these files for tokens, byte by byte.
                "wiredTiger": {
                    "engineConfig": {
                        "cacheSizeGB": 0.25,
                        "journalCompressor": "none",
                        # Not 3 * 100 MB for a fresh, empty directory.
                        "configString": "log=(file_max=16MB,prealloc=false)",
                    },
                    "collectionConfig": {"blockCompressor": "none"},
                    "indexConfig": {"prefixCompression": False},
                },
            },
            "replication": {"replSetName": SET, "oplogSizeMB": 256},
            "security": {"authorization": "enabled", "keyFile": str(self._place.secret_file("mongod-key"))},
            "setParameter": {"diagnosticDataCollectionEnabled": False},
        }
        return ["--config", self._write_config(f"{name}.json", json.dumps(config))]

    def wait_ready(self) -> None:
        with closing(OneNode(self.address, self._password, seconds=ANSWER_SECONDS)) as node:
            self.wait_until(node.answers)
        with closing(OneNode(self.address, self._password, seconds=STALL_SECONDS)) as node:
            if not node.knows_admin():
                node.make_set()
                self.wait_until(node.is_primary)
                node.make_admin()
            self.wait_until(node.is_at_home)
            self.wait_until(node.is_primary)

    def is_ready(self) -> bool:
        with closing(OneNode(self.address, self._password, seconds=ANSWER_SECONDS)) as node:
            return node.is_primary()


class Bao(Server):
    """OpenBao, which is Vault here: raft storage, unsealed by a key file, so that a restart loses nothing."""

    def configure(self, ports: dict[str, int]) -> list[str]:
        self._port = ports["bao"]
        self.url = f"http://{self.address}"
        cluster = f"{HOST}:{ports['bao-cluster']}"
        self._place.secret("bao-seal")
        config = {
            # The multiplier is for how long an election waits; the default is made for networks and takes 7 s.
            "storage": {"raft": {"path": str(self.data), "node_id": "actas", "performance_multiplier": "1"}},
            "listener": {"tcp": {"address": self.address, "cluster_address": cluster, "tls_disable": True}},
            "api_addr": self.url,
            "cluster_addr": f"http://{cluster}",
            "seal": {
                "static": {
                    "current_key_id": "1",
                    # Not as_uri(): OpenBao takes what follows as it stands, and decodes nothing.
                    "current_key": f"file://{self._place.secret_file('bao-seal')}",
                }
            },
            "ui": False,
        }
        return ["server", f"-config={self._write_config('bao.json', json.dumps(config))}"]

    @property
    def token(self) -> SecretStr:
        """The root token; there is one after the first start."""
        token = self._place.kept_secret("bao-root-token")
        if token is None:
            raise EmbeddedError(f"{self._place.path} has an initialized OpenBao, but not its root token; remove it")
        return token

    def wait_ready(self) -> None:
        self.wait_until(lambda: self._status() is not None)
        if self._status() == _VAULT_UNINITIALIZED and not self._place.secret_file("bao-root-token").exists():
            self._place.keep_secret("bao-root-token", self._initialize())
        super().wait_ready()
        self.token  # noqa: B018 - raises early

    def is_ready(self) -> bool:
        return self._status() == 200

    def _initialize(self) -> str:
        # The recovery key, which could make another root token, is thrown away: this one does not expire.
        status, body = self._request("PUT", "/v1/sys/init", {"recovery_shares": 1, "recovery_threshold": 1})
        if status != 200:
            raise EmbeddedError(f"OpenBao refused to initialize (HTTP {status}): {self.obituary()}")
        return str(json.loads(body)["root_token"])

    def _status(self) -> int | None:
        try:
            return self._request("GET", "/v1/sys/health", seconds=ANSWER_SECONDS)[0]
        except (OSError, HTTPException):
            return None

    def _request(
        self, method: str, path: str, body: dict[str, int] | None = None, *, seconds: float = 30
    ) -> tuple[int, bytes]:
        connection = HTTPConnection(HOST, self._port, timeout=seconds)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()


@dataclass(frozen=True)
class Servers:
    """The three of them."""

    valkey: Valkey
    mongod: Mongod
    bao: Bao

    @classmethod
    def find(cls, place: Place, ports: dict[str, int]) -> Servers:
        """Find all programs before anything starts.

        Raises:
            EmbeddedError: one is missing, or this machine cannot run them.
        """
        copies = place.path / "bin"
        valkey, mongod, bao = (binaries.find(one, copies) for one in (binaries.VALKEY, binaries.MONGOD, binaries.BAO))
        return cls(
            Valkey("valkey", valkey, place, ports),
            Mongod("mongod", mongod, place, ports),
            Bao("bao", bao, place, ports),
        )

    def __iter__(self) -> Iterator[Server]:
        return iter((self.valkey, self.mongod, self.bao))

    def start(self) -> None:
        """Start them side by side, and wait for all."""
        for server in self:
            server.launch()
        for server in self:
            server.wait_ready()
