"""The embedded stack: real servers and processes, started, killed, moved, and leaving nothing behind."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from socketserver import BaseRequestHandler
from urllib.parse import urlsplit

import pytest
import redis
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from actas.embedded import EmbeddedError
from actas.embedded.beside import Beside
from actas.embedded.child import Child, plain_environment
from actas.embedded.place import Place
from actas.embedded.stack import ROLES, Stack
from actas.providers import Providers
from tests.support import eventually, processes_in

# With the signals of a terminal: whoever runs the tests in the background may have left us theirs ignored, and `up`
# respects that (nohup).
AS_A_SHELL = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); s.signal(s.SIGHUP, s.SIG_DFL)"
CONSOLE = [sys.executable, "-c", f"{AS_A_SHELL}; from actas.cli import main; main()"]
SERVERS = {"valkey", "mongod", "bao"}
PROCESSES = {"sandbox", "worker1", "scheduler", "beat", "flower"}


def secrets_in(directory: Path) -> dict[str, str]:
    """Every secret of a stack, by a name for it: its own, and those of the roles."""
    found = {file.name: file.read_text() for file in (directory / "secrets").iterdir()}
    for file in (directory / "roles").iterdir():
        for line in file.read_text().splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            value = value.strip("'")
            if name == "ACTAS_VAULT_SECRET_ID":
                found[f"{file.name} {name}"] = value
            elif password := urlsplit(value).password:
                found[f"{file.name} {name}"] = password
    return found


def http_get(url: str, path: str, headers=None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def valkey_client(stack: Stack) -> redis.Redis:
    return redis.Redis.from_url(stack.servers.valkey.url.get_secret_value(), decode_responses=True)


def mongo_client(stack: Stack) -> MongoClient:
    return MongoClient(stack.servers.mongod.url.get_secret_value(), w="majority", journal=True)


def bao(stack: Stack, method: str, path: str, body=None):
    connection = http.client.HTTPConnection(stack.servers.bao.address, timeout=10)
    try:
        headers = {"X-Vault-Token": stack.servers.bao.token.get_secret_value()}
        connection.request(method, f"/v1/{path}", json.dumps(body) if body else None, headers)
        return json.loads(connection.getresponse().read() or "{}")
    finally:
        connection.close()


def write_marks(stack: Stack, mark: str) -> None:
    with valkey_client(stack) as valkey, mongo_client(stack) as mongo:
        valkey.set("mark", mark)
        mongo.test.marks.insert_one({"mark": mark})
    bao(stack, "PUT", "cubbyhole/mark", {"mark": mark})


def read_marks(stack: Stack) -> list[str]:
    with valkey_client(stack) as valkey, mongo_client(stack) as mongo:
        return [
            valkey.get("mark"),
            mongo.test.marks.find_one()["mark"],
            bao(stack, "GET", "cubbyhole/mark")["data"]["mark"],
        ]


# --- the servers ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Servers with roles, without processes; in a place whose name each of them has to quote in its own way."""
    with Stack(tmp_path_factory.mktemp("bare") / """d'é "1" %41#?\\ta""") as stack:
        stack.start_servers()
        stack.install()
        yield stack


def test_each_server_knows_its_administrator_and_refuses_strangers(bare):
    servers = bare.servers
    with valkey_client(bare) as valkey:
        assert valkey.execute_command("ACL WHOAMI") == "admin"
        assert valkey.config_get("appendonly", "maxmemory-policy") == {
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
        }
    with (
        redis.Redis.from_url(f"redis://{servers.valkey.address}") as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    with mongo_client(bare) as mongo:
        assert mongo.admin.command("hello")["setName"] == "actas"
    with MongoClient(f"mongodb://{servers.mongod.address}") as stranger:
        with pytest.raises(OperationFailure, match="requires authentication"):
            stranger.admin.command("listDatabases")
        with pytest.raises(OperationFailure, match="requires authentication"):
            stranger.admin.command("createUser", "eve", pwd="eve", roles=["root"])
    assert bao(bare, "GET", "auth/token/lookup-self")["data"]["policies"] == ["root"]
    assert http_get(servers.bao.url, "/v1/sys/mounts")[0] == 403


def test_everything_listens_on_loopback_only(bare):
    ports = {int(server.address.partition(":")[2]) for server in bare.servers}
    listening = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == "0A":
                host, _, port = address.rpartition(":")
                listening.setdefault(int(port, 16), set()).add(host)
    assert {port: listening.get(port) for port in ports} == {port: {"0100007F"} for port in ports}


def test_role_files_hold_what_their_role_needs_and_survive_another_installation(bare):
    before = {role: bare.role_env(role) for role in ROLES}
    assert set(before["flower"]) == {"ACTAS_BROKER_URL", "ACTAS_ENV", "ACTAS_PROVIDERS_FILE"}
    assert before["app-demo"]["ACTAS_APP"] == "demo"
    bare.install()
    assert {role: bare.role_env(role) for role in ROLES} == before


def test_the_provider_x_is_the_sandbox(bare):
    x = Providers.load(Path(bare.role_env("app-demo")["ACTAS_PROVIDERS_FILE"]))["x"]
    assert {x.api_url} == {bare.sandbox_url}
    assert all(url.startswith(f"{bare.sandbox_url}/") for url in (x.authorize_url, x.token_url, x.revoke_url))


def test_servers_killed_and_started_again_have_kept_everything(bare):
    write_marks(bare, "killed")
    for server in bare.servers:
        server.kill()
        assert (server.alive, server.died, server.state) == (False, False, "killed by SIGKILL")
    bare.servers.start()
    assert read_marks(bare) == ["killed"] * 3


def test_a_paused_server_stands_still_until_it_is_resumed(bare):
    server = bare.servers.valkey
    with redis.Redis.from_url(server.url.get_secret_value(), socket_timeout=0.3, retry=None) as valkey:
        server.pause()
        with pytest.raises(redis.TimeoutError):
            valkey.ping()
        assert server.alive
        server.resume()
    with valkey_client(bare) as patient:
        assert patient.ping()


def test_a_paused_server_can_be_stopped(bare):
    server = bare.servers.valkey
    server.pause()
    server.stop()
    assert server.state == "exited with status 0", "it was woken up, not killed in the end"
    server.start()


def test_a_child_outlives_the_thread_that_started_it(bare):
    server = bare.servers.valkey
    thread = threading.Thread(target=server.restart)
    thread.start()
    thread.join()
    eventually(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists(), what="the thread is really gone")
    assert server.is_ready()
    assert server.alive


def test_a_restart_is_not_a_death_for_whoever_watches_meanwhile(bare):
    server = bare.servers.valkey
    over = threading.Event()
    seen = []

    def watch():
        while not over.is_set():
            seen.append(server.died)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(3):
            server.restart()
    finally:
        over.set()
        watcher.join()
    assert set(seen) == {False}
    os.kill(server.pid, signal.SIGKILL)  # not by its supervisor
    eventually(lambda: server.died, what="it is said to have died")
    server.start()


def test_a_server_that_cannot_start_says_why(bare):
    server = bare.servers.valkey
    server.stop()
    with socket.create_server(("127.0.0.1", int(server.address.partition(":")[2]))):
        with pytest.raises(EmbeddedError) as caught:
            server.start()
        text = str(caught.value)
        assert text.startswith("valkey stopped while starting: exited with status 1; the end of ")
        assert "Address already in use" in text
        assert server.died
    server.start()


def test_a_second_stack_in_the_same_directory_is_refused_and_harms_nothing(bare):
    with pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}; stop that one"):
        Stack(bare.directory).start()
    assert all(server.is_ready() for server in bare.servers)


def test_a_server_that_runs_is_not_started_twice(bare):
    pid = bare.servers.bao.pid
    with pytest.raises(EmbeddedError, match="bao is running already"):
        bare.servers.bao.start()
    assert (bare.servers.bao.pid, bare.servers.bao.alive) == (pid, True)


def test_nothing_starts_when_a_program_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    stack = Stack(tmp_path / "data")
    with pytest.raises(EmbeddedError, match="no valkey-server found") as caught:
        stack.start()
    assert "\n" not in str(caught.value)
    assert processes_in(stack.directory) == {}
    Place(stack.directory).enter()  # and the directory is free again


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(EmbeddedError, match="has other things in it; name a new directory"):
        Stack(tmp_path).start()
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


class Other(socketserver.TCPServer):
    """Somebody else's server: as servers do, it takes a port that still has remains of closed connections (TIME_WAIT)."""

    allow_reuse_address = True


def test_ports_are_kept_and_a_taken_one_is_replaced_without_losing_data(tmp_path):
    names = SERVERS | {"bao-cluster"}
    with Stack(tmp_path / "data") as stack:
        stack.start_servers()
        write_marks(stack, "moved")
        addresses = [server.address for server in stack.servers]
        kept = json.loads((stack.directory / "ports.json").read_text())
    with ExitStack() as others:
        for name in names:
            other = others.enter_context(Other(("127.0.0.1", kept[name]), BaseRequestHandler))
            threading.Thread(target=other.serve_forever, args=(0.1,), daemon=True).start()
            others.callback(other.shutdown)
        with stack:
            stack.start_servers()
            assert read_marks(stack) == ["moved"] * 3
            moved = json.loads((stack.directory / "ports.json").read_text())
    assert {name for name in kept if kept[name] != moved[name]} == names
    assert all(server.address != before for server, before in zip(stack.servers, addresses, strict=True))


def test_a_child_whose_start_was_interrupted_is_known_and_can_be_stopped(tmp_path):
    class Interrupt(BaseException):
        pass

    def interrupt(*_):
        raise Interrupt

    class Sleeping(Child):
        def _spawn(self):
            os.kill(os.getpid(), signal.SIGUSR1)  # whoever waits for this start is interrupted, and it goes on
            super()._spawn()

    place = Place(tmp_path / "data")
    place.enter()
    child = Sleeping(place, "sleeping", ["/bin/sleep", "60"], env=plain_environment())
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupt):
            child.launch()
    finally:
        signal.signal(signal.SIGUSR1, before)
    child.stop()
    assert child.state == "killed by SIGTERM"
    assert processes_in(place.path) == {}
    place.leave()


def test_a_port_stays_its_stack_s_while_its_server_is_down(tmp_path):
    one, other = Place(tmp_path / "one"), Place(tmp_path / "other")
    one.enter()
    other.enter()
    ports = one.ports(["valkey", "mongod"])
    other.write(other.path / "ports.json", json.dumps(ports))  # where it would rather be, and nobody listens there
    assert not set(other.ports(ports).values()) & set(ports.values())
    one.leave()
    other.leave()
    one.enter()
    assert one.ports(ports) == ports
    one.leave()


def test_a_child_that_ignores_sigterm_is_killed_in_the_end(tmp_path):
    class Stubborn(Child):
        def is_ready(self):
            return "deaf" in self.output()

    place = Place(tmp_path / "data")
    place.enter()
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    child = Stubborn(place, "stubborn", [sys.executable, "-c", code], env=plain_environment())
    child.start()
    child.stop(0.2)
    assert child.state == "killed by SIGKILL"
    place.leave()


def test_a_command_beside_the_stack_runs_where_its_user_is_with_the_apps_settings_and_no_others(tmp_path, monkeypatch):
    place = Place(tmp_path / "data")
    place.enter()
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("ACTAS_VAULT_TOKEN", "of another stack")
    monkeypatch.setenv("THEIR_OWN", "1")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # where this environment's python does not stand
    code = "import json, os, sys; json.dump([sys.executable, dict(os.environ)], open('told', 'w')); sys.exit(7)"
    app = Beside(place, ["python", "-c", code], {"ACTAS_APP": "demo"})
    app.launch()
    eventually(lambda: app.status is not None, what="it ends")
    assert (app.name, app.status, app.died) == ("python", 7, True)
    executable, told = json.loads((tmp_path / "project/told").read_text())
    assert Path(executable).parent == Path(sys.executable).parent
    assert {name: value for name, value in told.items() if name.startswith("ACTAS_")} == {"ACTAS_APP": "demo"}
    assert told["THEIR_OWN"] == "1"
    place.leave()


# --- actas up ---------------------------------------------------------------------------------------------------------


class Up:
    """``actas up`` as a process of its own, in a process group of its own, as a shell would start it."""

    def __init__(self, directory: Path, log: Path) -> None:
        self.directory = directory
        self._log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [*CONSOLE, "up", "--directory", str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_ready(self) -> None:
        eventually(
            lambda: "in another terminal" in self.output or self.process.poll() is not None, what="up is up", seconds=60
        )
        assert self.process.poll() is None, self.output

    def interrupt(self) -> int:
        """Ctrl-C: the terminal sends SIGINT to everybody in the foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def row(self, name: str) -> list[str]:
        """A line of the status table: name, address, pid, state."""
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in self.output.splitlines()]
        (row,) = [row for row in rows if row and row[0] == name]
        return row


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    home = tmp_path_factory.mktemp("up")
    up = Up(home / "data", home / "log")
    try:
        up.wait_ready()
        yield up
    finally:
        up.kill()


def test_up_starts_everything_and_shows_it(up):
    table = {name: up.row(name) for name in SERVERS | PROCESSES}
    assert {row[3] for row in table.values()} == {"running"}
    assert {int(row[2]) for row in table.values()} == set(processes_in(up.directory))
    assert {name for name, row in table.items() if row[1].startswith("127.0.0.1:")} == SERVERS | {"sandbox", "flower"}


def test_the_file_it_names_is_all_another_terminal_needs(up):
    (line,) = [line for line in up.output.splitlines() if line.startswith("in another terminal: ")]
    code = "from actas.settings import Settings; print(Settings.from_env().app)"
    script = f'{line.removeprefix("in another terminal: ")} && "$0" -c "$1"'
    done = subprocess.run(["bash", "-c", script, sys.executable, code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "demo\n", "")


def test_no_secret_stands_in_any_argv(up):
    argvs = processes_in(up.directory)
    assert len(argvs) == len(SERVERS | PROCESSES)
    for name, secret in secrets_in(up.directory).items():
        assert len(secret) >= 20, name
        assert not any(secret in argv for argv in argvs.values()), name


def test_each_process_is_told_its_own_role_and_no_other(up):
    secrets = secrets_in(up.directory)
    roles = {"worker1": "worker.env", "scheduler": "scheduler.env", "beat": "scheduler.env", "flower": "flower.env"}
    for name in SERVERS | PROCESSES:
        environment = Path("/proc", up.row(name)[2], "environ").read_text()
        told = {of for of, secret in secrets.items() if secret in environment}
        assert {of.split()[0] for of in told} == ({roles[name]} if name in roles else set()), name


def test_all_files_are_their_owners_only(up):
    assert up.directory.stat().st_mode & 0o777 == 0o700
    open_to_others = []
    for folder, _, files in os.walk(up.directory):
        for path in (Path(folder), *(Path(folder, file) for file in files)):
            try:
                if path.stat().st_mode & 0o077:
                    open_to_others.append(path)
            except FileNotFoundError:
                continue  # they are at work
    assert open_to_others == []


def test_flower_wants_a_password_and_sees_the_worker(up):
    url = f"http://{up.row('flower')[1]}"
    assert http_get(url, "/workers")[0] == 401
    password = (up.directory / "secrets" / "flower-admin").read_text()
    headers = {"Authorization": f"Basic {base64.b64encode(f'admin:{password}'.encode()).decode()}"}
    eventually(lambda: b"worker1@" in http_get(url, "/workers?json=1", headers)[1], what="the worker is seen")


def test_a_second_up_in_the_same_directory_is_refused_in_one_line(up):
    second = subprocess.run(
        [*CONSOLE, "up", "--directory", str(up.directory)], check=False, capture_output=True, text=True
    )
    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert line.startswith(f"actas: {up.directory} is in use by process {up.process.pid}; stop that one")
    assert len(processes_in(up.directory)) == len(SERVERS | PROCESSES)


@pytest.fixture(scope="module")
def again(up, tmp_path_factory):
    """A second life in the same directory, after SIGKILL of the first; ends the tests that use ``up``."""
    assert len(processes_in(up.directory)) == len(SERVERS | PROCESSES)
    up.kill()
    eventually(lambda: not processes_in(up.directory), what="all are gone")
    again = Up(up.directory, tmp_path_factory.mktemp("again") / "log")
    try:
        again.wait_ready()
        yield again
    finally:
        again.kill()


def test_sigkill_of_the_supervisor_leaves_no_process_and_the_next_start_works(up, again):
    for name in SERVERS | {"sandbox", "flower"}:
        assert again.row(name)[1] == up.row(name)[1], "at the same port"


def test_a_process_that_dies_is_reported_while_the_rest_runs_on_and_ctrl_c_leaves_nothing(again):
    os.kill(int(again.row("worker1")[2]), signal.SIGKILL)
    eventually(lambda: "worker1 died: killed by SIGKILL; the end of " in again.output, what="up says so")
    eventually(lambda: " ready." in again.output.partition("worker1 died")[2], what="with the end of its log")
    assert len(processes_in(again.directory)) == len(SERVERS | PROCESSES) - 1
    assert again.interrupt() == 1, "as the status table was not true to the end"
    assert processes_in(again.directory) == {}
    assert "Traceback" not in again.output


def test_up_with_a_command_that_is_not_there_starts_nothing(tmp_path):
    up = [*CONSOLE, "up", "--directory", str(tmp_path / "data"), "--", "no-such-command", "--port", "1"]
    done = subprocess.run(up, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "actas: there is no command 'no-such-command'\n")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_in_the_middle_of_the_start_leaves_no_process(number, tmp_path):
    up = Up(tmp_path / "data", tmp_path / "log")
    try:
        eventually(lambda: processes_in(up.directory), what="the first process")
        up.process.send_signal(number)
        assert up.process.wait(30) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        eventually(lambda: not processes_in(up.directory), what="all are gone")
        assert "Traceback" not in up.output
    finally:
        up.kill()
