"""A worker that could not keep its promises does not start: one clear line, no traceback, nothing secret."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from pydantic import SecretStr
from pymongo import MongoClient

from actas import Client
from actas.celery_config import celery_config
from actas.embedded import binaries, child
from actas.embedded.stack import Stack
from actas.errors import SettingsError, VaultDenied, VaultUnavailable
from actas.installing.addresses import password_in
from tests.support import eventually, settings_from

REPOSITORY = Path(__file__).parents[2]

COMMANDS = {
    "worker": ("worker", ["-A", "worker.app", "worker", "--pool=threads", "--concurrency=1"]),
    "scheduler": ("scheduler", ["-A", "scheduler.app", "worker", "--pool=threads", "--queues=actas.scheduler"]),
}


#: The same as ``python -m celery``, where something goes wrong that nobody thought of; its text may hold anything.
BROKEN = """
import sys
from celery.__main__ import main
from {role} import room

def fail(*_, **__):
    raise LookupError("canary")

room.Room.open = fail
sys.exit(main())
"""


def start(
    stack: Stack,
    name: str,
    change: dict[str, str],
    arguments: list[str] | None = None,
    program: tuple[str, str] = ("-m", "celery"),
) -> str:
    """Start a process that is expected to give up at once; its output, when it has."""
    role, command = COMMANDS[name]
    env = child.plain_environment() | stack.role_env(role) | {"ACTAS_ENV": "development"} | change
    env = {key: value for key, value in env.items() if value != "(unset)"} | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, *program, *(arguments or command), "--hostname=refused@test"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert "Traceback" not in output, output
    return output


def lines_of_ours(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("actas: ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_setting_is_named_with_the_nearest_valid_one(stack, name):
    output = start(stack, name, {"ACTAS_MONGO_URL": "mongodb://u:canary@h/db"})
    assert lines_of_ours(output) == ["actas: unknown setting ACTAS_MONGO_URL; did you mean ACTAS_MONGODB_URL?"]
    assert "canary" not in output


def test_an_unreachable_vault_is_said(stack):
    output = start(stack, "worker", {"ACTAS_VAULT_ADDR": "http://127.0.0.1:1"})
    (line,) = lines_of_ours(output)
    assert "Vault" in line
    assert "unreachable" in line


def test_a_wrong_approle_secret_is_said_and_not_shown(stack):
    output = start(stack, "worker", {"ACTAS_VAULT_SECRET_ID": "canary-secret-id"})
    (line,) = lines_of_ours(output)
    assert "AppRole" in line
    assert "canary" not in output


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mongodb_without_a_replica_set_is_refused(stack, lone_mongod, name):
    (line,) = lines_of_ours(start(stack, name, {"ACTAS_MONGODB_URL": lone_mongod}))
    assert "not a replica set" in line
    assert "rs.initiate" in line


@pytest.mark.parametrize("file", ["/nowhere/ca.pem", __file__])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_for_mongodbs_tls_that_is_none_is_said(stack, name, file):
    url = stack.role_env(COMMANDS[name][0])["ACTAS_MONGODB_URL"]
    output = start(stack, name, {"ACTAS_MONGODB_URL": f"{url}&tls=true&tlsCAFile={file}"})
    (line,) = lines_of_ours(output)
    assert "ACTAS_MONGODB_URL" in line
    assert "tlsCAFile" in line
    assert password_in(SecretStr(url)).get_secret_value() not in output


@pytest.mark.parametrize("file", ["/nowhere/ca.pem", __file__])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_for_vaults_tls_that_is_none_is_said(stack, name, file):
    vault = {"ACTAS_VAULT_ADDR": "https://127.0.0.1:1", "ACTAS_VAULT_CA_FILE": file}
    (line,) = lines_of_ours(start(stack, name, vault))
    assert line.startswith("actas: ACTAS_VAULT_CA_FILE: ")


@pytest.mark.parametrize("password", ["canary/ss", "12/canary", "can[ary"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_redis_address_that_its_password_breaks_apart_is_said_and_not_shown(stack, name, password):
    address = stack.servers.valkey.address
    output = start(stack, name, {"ACTAS_REDIS_URL": f"redis://actas-{name}:{password}@{address}/0"})
    (line,) = lines_of_ours(output)
    assert line.startswith("actas: ACTAS_REDIS_URL: ")
    assert "canary" not in output
    assert "[ary" not in output


def test_a_redis_option_that_is_none_is_said_where_only_the_gates_have_it(stack):
    url = stack.role_env("worker")["ACTAS_REDIS_URL"]
    output = start(stack, "worker", {"ACTAS_BROKER_URL": url, "ACTAS_REDIS_URL": f"{url}?canary=1"})
    (line,) = lines_of_ours(output)
    assert "ACTAS_REDIS_URL" in line
    assert password_in(SecretStr(url)).get_secret_value() not in output
    assert "canary" not in output


@pytest.mark.parametrize("name", COMMANDS)
def test_what_nobody_thought_of_is_said_by_its_kind_alone(stack, name):
    output = start(stack, name, {}, program=("-c", BROKEN.format(role=name)))
    assert lines_of_ours(output) == ["actas: unexpected LookupError while starting"]
    assert "canary" not in output


def test_a_pool_that_forks_is_refused(stack):
    arguments = ["-A", "worker.app", "worker", "--pool=processes", "--concurrency=1"]
    (line,) = lines_of_ours(start(stack, "worker", {}, arguments))
    assert "--pool=threads" in line


def test_missing_redis_is_said(stack):
    (line,) = lines_of_ours(start(stack, "worker", {"ACTAS_REDIS_URL": "(unset)"}))
    assert "ACTAS_REDIS_URL" in line


@pytest.fixture(scope="module")
def lone_mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real mongod, started the way many start one: without --replSet."""
    directory = tmp_path_factory.mktemp("lone")
    program = binaries.find(binaries.MONGOD, directory)
    (directory / "db").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            program,
            f"--dbpath={directory / 'db'}",
            f"--port={port}",
            "--bind_ip=127.0.0.1",
            f"--unixSocketPrefix={directory}",
            f"--logpath={directory / 'log'}",
        ],
    )
    url = f"mongodb://127.0.0.1:{port}/actas"
    try:
        with MongoClient(url, serverSelectionTimeoutMS=60_000) as client:
            client.admin.command("ping")
        yield url
    finally:
        process.terminate()
        process.wait(20)


# --- the same for an app's Client: it starts, and its first call says what is wrong ---


def test_a_client_says_that_vault_is_away(app_settings, user):
    away = app_settings.model_copy(update={"vault_addr": "http://127.0.0.1:1"})
    with Client(away) as client, pytest.raises(VaultUnavailable):
        client.begin_connect(user=user, provider="x", redirect_uri="http://127.0.0.1/cb")


def test_a_client_with_a_wrong_secret_says_so(stack, user):
    env = stack.role_env("app-demo") | {"ACTAS_VAULT_SECRET_ID": "canary"}
    with Client(settings_from(env)) as client, pytest.raises(VaultDenied, match="AppRole") as caught:
        client.begin_connect(user=user, provider="x", redirect_uri="http://127.0.0.1/cb")
    assert "canary" not in repr(caught.value)


def test_a_client_without_an_app_name_is_refused_at_once(app_settings):
    with pytest.raises(SettingsError, match="ACTAS_APP"):
        Client(app_settings.model_copy(update={"app": None}))


# --- and one that runs is not stopped by whoever may only look ---


def test_a_command_that_stops_or_steers_is_not_heard(stack):
    """By Flower's user, who may publish on the channel of these commands, as all who hold its credentials may."""
    broker = SecretStr(stack.role_env("flower")["ACTAS_BROKER_URL"])
    with Celery("looking-on", set_as_current=False) as looking_on:
        looking_on.conf.update(celery_config(broker))

        def heard() -> set[str]:
            """Who answers in time; on a busy machine that may be some of them."""
            return {node for answer in looking_on.control.ping(timeout=5) for node in answer}

        everybody = eventually(
            lambda: len(there := heard()) == 4 and there, what="two workers, a scheduler and beat answer"
        )
        for command in ("shutdown", "pool_shrink", "cancel_consumer", "rate_limit"):
            looking_on.control.broadcast(command, arguments={"queue": "actas.act", "n": 64})
        # Heard in the order they were sent: who answers now has got the others, too.
        eventually(lambda: heard() >= everybody, what="all of them answer still")
    assert all(process.alive for process in stack.processes.values())
