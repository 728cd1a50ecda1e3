"""Everything that can be read, searched. The attacker reads whatever is kept or shown, as root, and asks Vault nothing.

Reads MongoDB (each document, the oplog, the raw files and the journal), Redis (each key, the append-only file, and every
command while it is sent, so also what is published and never kept), Vault's own files, the output, environment and
command line of each process, all of Flower, what the console prints and what an app is told. Does not read the memory of
a process. What is looked for, plain, in hex, base64, UTF-16 and as URLs, JSON, HTML and Python write it: every token,
code and client secret the provider ever gave, the state and the PKCE verifier of every connection, and every data key,
unwrapped. The run before it takes each path that a token takes, also those that fail; one more secret in each place,
planted readable, shows that the search would have found it.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import httpx
import pytest
import redis
from pymongo import MongoClient

from actas import Grant, connecting
from actas.embedded.demo.flower import FlowerApi
from actas.embedded.demo.places import View, files, views
from actas.embedded.demo.search import search
from actas.embedded.stack import Stack
from actas.vault.room import VaultRoom
from tests.attacks.reading import Overheard, console, processes, records
from tests.attacks.whole_run import Run
from tests.support import eventually
from worker.rescue_slots import PREFIX

#: Each way of looking, with what is planted for it.
VIEWS = {
    "MongoDB: files": {"a document"},
    "MongoDB: documents": {"a document"},
    "Redis: files": {"a key", "a message", "an argument"},
    "Redis: keys and values": {"a key"},
    "Redis: what is sent to it": {"a key", "a message", "an argument", "a publication"},
    "Vault: files": {"a policy"},
    "logs: output of all processes": {"a message"},
    "Flower: answers": {"a message", "an argument"},
    "beat: schedule file": set(),
    "processes: environment and command line": {"a variable", "a word"},
    "roles: env files": set(),
    "console: what it prints": set(),
    "app: what it is told": set(),
}
PLANTS = sorted(set[str]().union(*VIEWS.values()))

READ = ["jobs", "jobs --json", "grants", "grants --json", "keys status", "keys status --json"]


# --- the run ---


@dataclass
class Spied:
    """What only some process' memory may hold, as it passes through this one."""

    #: All that is looked for, by what it is.
    secrets: dict[str, set[str | bytes]] = field(default_factory=dict)

    def see(self, what: str, *values: str | bytes) -> None:
        self.secrets.setdefault(what, set()).update(values)

    def all(self) -> list[tuple[str, str | bytes]]:
        return [(kind, secret) for kind, found in self.secrets.items() for secret in found]


@pytest.fixture(scope="module")
def spied() -> Iterator[Spied]:
    """An app and a worker of this process, watched where data keys and verifiers are in clear."""
    spied, wrap, unwrap, pkce = Spied(), VaultRoom.wrap, VaultRoom.unwrap, connecting._pkce

    def watched_wrap(room: VaultRoom, app: str, keys: Any) -> Any:
        spied.see("data keys", *(key.get_secret_value() for _, key in keys))
        return wrap(room, app, keys)

    def watched_unwrap(room: VaultRoom, app: str, wrapped: Any) -> Any:
        keys = unwrap(room, app, wrapped)
        spied.see("data keys", *(key.get_secret_value() for key in keys))
        return keys

    def watched_pkce(state: str, salt: str) -> Any:
        made = pkce(state, salt)
        spied.see("states", state)
        spied.see("verifiers", made.verifier.get_secret_value())
        return made

    with (
        mock.patch.object(VaultRoom, "wrap", watched_wrap),
        mock.patch.object(VaultRoom, "unwrap", watched_unwrap),
        mock.patch.object(connecting, "_pkce", watched_pkce),
    ):
        yield spied


@dataclass
class Seen:
    """What one look found: secrets that are readable, what was planted, and whether the view is not blind."""

    leaks: list[str]
    planted: dict[str, set[str]]
    sees: bool


@pytest.fixture(scope="module")
def overheard(stack) -> Iterator[Overheard]:
    """From before the first secret comes up."""
    with redis.Redis.from_url(stack.servers.valkey.url.get_secret_value()) as valkey, Overheard(valkey) as listener:
        yield listener


@pytest.fixture(scope="module")
def planted(stack, publish, overheard) -> Iterator[Mapping[str, str]]:
    """One secret for each place, readable there."""
    canaries = {name: secrets.token_urlsafe(40).lower() for name in PLANTS}  # Vault keeps names in small letters
    forms = canaries["a document"], canaries["a document"].encode().hex(), canaries["a document"].encode("utf-16-le")
    with MongoClient(stack.servers.mongod.url.get_secret_value(), w="majority", journal=True) as mongo:
        mongo["planted"]["planted"].insert_one({"_id": 1, "in": [{"forms": forms}]})
        with redis.Redis.from_url(stack.servers.valkey.url.get_secret_value()) as valkey:
            valkey.set("planted", canaries["a key"])
            valkey.publish("planted", canaries["a publication"])
            publish(
                [[canaries["an argument"]], {}, {}],
                serializer="json",
                headers={"id": canaries["a message"], "argsrepr": f"({canaries['an argument']!r},)"},
            )
            policy = stack.servers.bao.url + f"/v1/sys/policies/acl/{canaries['a policy']}"
            token = stack.servers.bao.token.get_secret_value()
            httpx.put(policy, headers={"X-Vault-Token": token}, json={"policy": "# "}).raise_for_status()
            argv = [sys.executable, "-c", "input()", canaries["a word"]]
            with subprocess.Popen(argv, env={"PLANTED": canaries["a variable"]}, stdin=subprocess.PIPE) as child:
                yield canaries
                child.communicate(b"\n")
            valkey.delete("planted")
            httpx.delete(policy, headers={"X-Vault-Token": token}).raise_for_status()
        mongo.drop_database("planted")


@pytest.fixture(scope="module")
def seen(stack, client, sandbox, room, documents, spied, overheard, planted) -> Mapping[str, Seen]:
    """Run all of it, then look everywhere, once."""
    run = Run(stack, client, sandbox, room, documents)
    done, text = run.all_of_it()
    slot = run.rescued()
    with redis.Redis.from_url(stack.servers.valkey.url.get_secret_value()) as valkey:
        assert list(valkey.scan_iter(f"{PREFIX}{slot.id}:*"))
    for each in run.grants():  # whatever key a worker has made meanwhile
        if each.data_key is not None:
            room.keys.get(run.stored(each))
    spied.see("tokens", *sandbox.tokens())
    spied.see("client secrets", stack._place.secret("sandbox-client").get_secret_value())
    with closing(FlowerApi(stack)) as flower:
        eventually(lambda: {done, planted["a message"]} <= flower.jobs().keys(), what="Flower has heard of the jobs")
        looking = [*views(stack, flower, job_id=done, text=text), *more_views(stack, run, slot, overheard)]
        return {str(view): look(view, spied.all(), planted) for view in looking}


def more_views(stack: Stack, run: Run, grant: Grant, overheard: Overheard) -> list[View]:
    shown = [*(f"jobs show {job}" for job in run.jobs), *(f"grants show {grant.id}" for grant in run.grants())]
    commands = [*READ, *shown, *(f"{command} --json" for command in shown)]
    return [
        View("Redis", "what is sent to it", run.jobs[0], overheard.so_far),
        View("processes", "environment and command line", "--concurrency", processes),
        View("roles", "env files", "ACTAS_VAULT_ROLE_ID", lambda: files(stack.directory / "roles")),
        View("console", "what it prints", grant.id, lambda: console(stack.role_env("operator"), *commands)),
        View("app", "what it is told", run.jobs[0], lambda: records(*map(run.client.job, run.jobs), *run.grants())),
    ]


def look(view: View, wanted: Sequence[tuple[str, str | bytes]], planted: Mapping[str, str]) -> Seen:
    named = [*wanted, *planted.items(), ("the control", view.control)]
    seen = Seen([], {}, sees=False)
    for finding in search([secret for _, secret in named], view.read()):
        name = named[finding.secret][0]
        if finding.secret < len(wanted):
            seen.leaks.append(f"one of the {name}, {finding.form}, in {finding.where}")
        elif name in planted:
            seen.planted.setdefault(name, set()).add(finding.form)
        else:
            seen.sees = True
    return seen


# --- what came of it ---


def test_there_is_something_to_look_for(seen, spied):
    counts = {kind: len(found) for kind, found in spied.secrets.items()}
    assert counts["client secrets"] == 1
    assert counts["tokens"] > 10
    assert counts["states"] == counts["verifiers"] >= 3
    assert counts["data keys"] >= 5  # one of each grant, and the one made anew


def test_every_place_was_looked_into(seen):
    assert seen.keys() == VIEWS.keys()


@pytest.mark.parametrize("view", VIEWS)
def test_no_secret_is_readable(seen, view):
    assert seen[view].leaks == []


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_readable_there_is_found(seen, view):
    assert seen[view].sees
    assert seen[view].planted.keys() >= VIEWS[view]


@pytest.mark.parametrize("view", ["MongoDB: files", "MongoDB: documents"])
def test_what_is_planted_is_found_however_it_is_written(seen, view):
    assert seen[view].planted["a document"] == {"raw", "hex", "UTF-16"}


def test_what_is_planted_in_one_place_is_not_seen_where_it_is_not(seen):
    """Or the search would find anything anywhere."""
    for view in VIEWS.keys() - {"MongoDB: files", "MongoDB: documents"}:
        assert "a document" not in seen[view].planted
