"""Everything that can be read, searched. The attacker reads whatever is kept or shown, as root, and asks Vault nothing.

Reads MongoDB (each document, the oplog, the raw files and the journal), Redis (each key, the append-only file), Vault's
own files, the output, environment and command line of each process, all of Flower, what the console prints and what an
app is told. Listens while all of it happens: to every command that Redis is given and every message that it passes on
(queue items, events, remote control), to every question that MongoDB is asked, to the DEBUG logs of an app and a worker
with all their libraries. Does not read the memory of a process, nor the traffic with Vault or the provider (TLS). What
is looked for, plain, in hex, base64, UTF-16, packed, and as URLs, JSON, HTML and Python write it: every token, code and
client secret the provider ever gave, the state and the PKCE verifier of every connection, every data key, unwrapped,
and the secrets and the query of the app's webhook. The run before it takes each path that a token takes, also those that fail; one more secret in each place,
planted readable, shows that the search would have found it.
"""

from __future__ import annotations

import gzip
import html
import json
import logging
import secrets
import subprocess
import sys
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from urllib.parse import quote, quote_plus

import httpx
import pytest
import redis
from pydantic import SecretStr
from pymongo import MongoClient

from actas import Grant, connecting
from actas.embedded.demo.flower import FlowerApi
from actas.embedded.demo.places import View, files, views
from actas.embedded.demo.search import Piece, search
from actas.embedded.stack import Stack
from actas.installing import installer
from actas.vault.room import VaultRoom
from tests.attacks.listening import logs_heard, mongodb_heard, redis_heard
from tests.attacks.reading import console, processes, records, unpacked
from tests.attacks.whole_run import Run
from tests.receiving import Receiver, receiver
from tests.support import eventually
from worker.rescue_slots import PREFIX

#: With what tokens may have in them and is escaped somewhere; each form is written of a secret of its own.
AWKWARD = "+/=~ <&>'\"%\\"
FORMS: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "in hex": lambda text: text.encode().hex().encode(),
    "in HEX": lambda text: text.encode().hex().upper().encode(),
    **{f"in base64, after {n}": lambda text, n=n: b64encode(bytes(n) + text.encode() + b"!") for n in range(3)},
    **{
        f"in base64url, after {n}": lambda text, n=n: urlsafe_b64encode(bytes(n) + text.encode() + b"!")
        for n in range(3)
    },
    "in a path": lambda text: quote(text, safe="").encode(),
    "in a form": lambda text: quote_plus(text).encode(),
    "in JSON": lambda text: json.dumps(text).encode(),
    "in HTML": lambda text: html.escape(text).encode(),
    "in Python": lambda text: repr(text.encode()).encode(),
    "in UTF-16": lambda text: text.encode("utf-16-le"),
    "in UTF-16, the other way": lambda text: text.encode("utf-16-be"),
    "in gzip": lambda text: gzip.compress(text.encode()),
    "in zlib": lambda text: zlib.compress(text.encode()),
}

#: Each way of looking, with what is planted for it.
VIEWS = {
    "MongoDB: files": set(FORMS),
    "MongoDB: documents": set(FORMS),
    "MongoDB: questions as they come": {"a question"},
    "Redis: files": {"a key", "a message", "an argument"},
    "Redis: keys and values": {"a key"},
    "Redis: commands as they come": {"a key", "a message", "an argument", "a binary key"},
    "Redis: messages as they come": {"a message", "an argument"},
    "Vault: files": {"a policy"},
    "logs: output of all processes": {"a message"},
    "logs: DEBUG of an app and a worker": {"a log line"},
    "Flower: answers": {"a message", "an argument"},
    "beat: schedule file": set(),
    "processes: environment and command line": {"a variable", "a word"},
    "roles: env files": set(),
    "console: what it prints": set(),
    "app: what it is told": set(),
    "app: what its webhook is sent": set(),
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
    planted: set[str]
    sees: bool


@dataclass(frozen=True)
class Heard:
    """Who listens; each can be asked what there was to be heard."""

    redis: Callable[[], tuple[list[Piece], list[Piece]]]
    mongodb: Callable[[], list[Piece]]
    logs: list[Piece]
    webhook: Receiver


@pytest.fixture(scope="module")
def webhook(stack, spied) -> Iterator[Receiver]:
    """The app's own, with two secrets, before anything happens of which it is told."""
    where = {"vault_addr": stack.servers.bao.url, "vault_token": stack.servers.bao.token}
    with receiver() as there:
        for new_secret in (False, True):
            url = SecretStr(f"{there.url}/hook?key=query{secrets.token_hex(16)}")
            stored, _ = installer.set_webhook("demo", url, new_secret=new_secret, development=True, **where)
            spied.see("webhook secrets", stored.secret.get_secret_value())
        spied.see("queries of webhooks", url.get_secret_value().partition("=")[2])
        yield there
        installer.remove_webhook("demo", **where)


@pytest.fixture(scope="module")
def heard(stack, webhook) -> Iterator[Heard]:
    servers = stack.servers
    with ExitStack() as listening:
        yield Heard(
            listening.enter_context(redis_heard(servers.valkey.url.get_secret_value())),
            listening.enter_context(mongodb_heard(servers.mongod.url.get_secret_value())),
            listening.enter_context(logs_heard()),
            webhook,
        )


@pytest.fixture(scope="module")
def planted(stack, publish, heard) -> Iterator[Mapping[str, str | bytes]]:
    """One secret for each place, readable there."""
    canaries: dict[str, Any] = {name: secrets.token_urlsafe(40).lower() for name in PLANTS}  # Vault's names are small
    canaries |= {name: f"{canaries[name]}{AWKWARD}" for name in FORMS} | {"a binary key": secrets.token_bytes(32)}
    forms = [write(canaries[name]) for name, write in FORMS.items()]
    logging.getLogger("planted").debug("%s", canaries["a log line"])
    with MongoClient(stack.servers.mongod.url.get_secret_value(), w="majority", journal=True) as mongo:
        mongo["planted"]["planted"].insert_one({"_id": 1, "in": [{"forms": forms}]})
        mongo["actas"]["jobs"].find_one({"user": canaries["a question"]})
        with redis.Redis.from_url(stack.servers.valkey.url.get_secret_value()) as valkey:
            valkey.set("planted", canaries["a key"])
            valkey.echo(canaries["a binary key"])
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
def seen(stack, client, sandbox, room, documents, spied, heard, planted) -> Mapping[str, Seen]:
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
    eventually(lambda: heard.webhook.of(run.jobs[-1]), what="the app was told of the last job")
    with closing(FlowerApi(stack)) as flower:
        eventually(lambda: {done, planted["a message"]} <= flower.jobs().keys(), what="Flower has heard of the jobs")
        looking = [
            *heard_views(heard, done),
            *views(stack, flower, job_id=done, text=text),
            *more_views(stack, run, slot),
            View("app", "what its webhook is sent", run.jobs[-1], lambda: sent_to(heard.webhook)),
        ]
        return {str(view): look(view, spied.all(), planted) for view in looking}


def heard_views(heard: Heard, job: str) -> list[View]:
    questions, (commands, messages) = heard.mongodb(), heard.redis()
    logs = heard.logs.copy()
    return [
        View("MongoDB", "questions as they come", job, lambda: questions),
        View("Redis", "commands as they come", job, lambda: commands),
        View("Redis", "messages as they come", job, lambda: messages),
        View("logs", "DEBUG of an app and a worker", job, lambda: logs),
    ]


def more_views(stack: Stack, run: Run, grant: Grant) -> list[View]:
    shown = [*(f"jobs show {job}" for job in run.jobs), *(f"grants show {grant.id}" for grant in run.grants())]
    commands = [*READ, *shown, *(f"{command} --json" for command in shown)]
    return [
        View("processes", "environment and command line", "--concurrency", processes),
        View("roles", "env files", "ACTAS_VAULT_ROLE_ID", lambda: files(stack.directory / "roles")),
        View("console", "what it prints", grant.id, lambda: console(stack.role_env("operator"), *commands)),
        View("app", "what it is told", run.jobs[0], lambda: records(*map(run.client.job, run.jobs), *run.grants())),
    ]


def sent_to(webhook: Receiver) -> Iterator[Piece]:
    for request in webhook.requests:
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        yield f"webhook {request.id}", json.dumps(headers).encode() + request.body


def look(view: View, wanted: Sequence[tuple[str, str | bytes]], planted: Mapping[str, str | bytes]) -> Seen:
    named = [*wanted, *planted.items(), ("the control", view.control)]
    seen = Seen([], set(), sees=False)
    for finding in search([secret for _, secret in named], unpacked(view.read())):
        name = named[finding.secret][0]
        if finding.secret < len(wanted):
            seen.leaks.append(f"one of the {name}, {finding.form}, in {finding.where}")
        elif name in planted:
            seen.planted.add(name)
        else:
            seen.sees = True
    return seen


# --- what came of it ---


def test_there_is_something_to_look_for(seen, spied):
    counts = {kind: len(found) for kind, found in spied.secrets.items()}
    assert counts["client secrets"] == 1
    assert (counts["webhook secrets"], counts["queries of webhooks"]) == (2, 1)
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
    assert seen[view].planted >= VIEWS[view]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("view", ["MongoDB: files", "MongoDB: documents"])
def test_what_is_planted_is_found_however_it_is_written(seen, view, form):
    """One secret, one form: none is found by another's."""
    assert form in seen[view].planted


def test_what_is_planted_in_one_place_is_not_seen_where_it_is_not(seen):
    """Or the search would find anything anywhere."""
    for view in VIEWS.keys() - {"MongoDB: files", "MongoDB: documents", "logs: DEBUG of an app and a worker"}:
        assert not seen[view].planted & FORMS.keys()
