"""What tests of all suites need: waiting for a condition, and reading the provider's own books."""

from __future__ import annotations

import base64
import hashlib
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import redis

from actas import Client, Grant, Settings
from actas.embedded.stack import Stack
from actas.sandbox.remote import SandboxControl

REDIRECT = "http://127.0.0.1:9/callback"  # nobody listens there: the "browser" only reads where it was sent

T = TypeVar("T")


def eventually(look: Callable[[], T], *, seconds: float = 60, what: str = "") -> T:
    """Look until what is seen is truthy; fail when it has not become so in time."""
    ends_at = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > ends_at:
            pytest.fail(f"not within {seconds:g} s: {what or look}; last seen: {seen!r}")
        time.sleep(0.05)
    return seen


@contextmanager
def profiled(database: Any, collections: Sequence[str] = ("blacklist", "grants")) -> Iterator[list[dict[str, Any]]]:
    """What MongoDB did for each operation on these collections meanwhile, by its own account."""
    seen: list[dict[str, Any]] = []
    database["system.profile"].drop()
    database.command("profile", 2)
    try:
        yield seen
    finally:
        database.command("profile", 0)
        seen += database["system.profile"].find({"ns": {"$in": [f"actas.{name}" for name in collections]}})
        database["system.profile"].drop()


@contextmanager
def nothing_is_sent(stack: Stack) -> Iterator[None]:
    """What is due stays where it is until the end of this."""
    stack.processes["scheduler"].pause()
    try:
        yield
    finally:
        stack.processes["scheduler"].resume()


def processes_in(directory: Path) -> dict[int, str]:
    """Command lines, by process id, of all that run in this directory, as everything of a stack does."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if entry.joinpath("cwd").readlink().is_relative_to(directory):
                    found[int(entry.name)] = entry.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # gone, or a zombie, or somebody else's
    return found


def open_all_gates(stack: Stack) -> None:
    """What a test has closed does not hold up the next one."""
    with redis.Redis.from_url(stack.servers.valkey.url.get_secret_value()) as admin, suppress(redis.RedisError):
        for gate in admin.scan_iter("actas:gate:*"):
            admin.delete(gate)


def killed_after(calls: int, method: str) -> list[str]:
    """The console as a command, killed right after so many calls of a method ("module:Class.method") have returned.

    For "in the midst": who watches from outside and then kills may come when all is done.
    """
    module, _, name = method.partition(":")
    cls, _, name = name.partition(".")
    code = f"""
import itertools, os, signal
from {module} import {cls}
from actas.cli import main
real, count = {cls}.{name}, itertools.count(1)
def killed(*args, **kwargs):
    done = real(*args, **kwargs)
    if next(count) == {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
{cls}.{name} = killed
main()
"""
    return [sys.executable, "-c", code]


def settings_from(env: dict[str, str]) -> Settings:
    """Settings of a role of the stack, without touching this process's environment."""
    values = {name.removeprefix("ACTAS_").lower(): value for name, value in env.items() if name.startswith("ACTAS_")}
    return Settings.model_validate(values)


def connected(client: Client, sandbox: SandboxControl, user: str, account: str | None = None) -> Grant:
    """Connect a user's account, as the app and the user's browser do together."""
    request = client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT)
    return client.finish_connect(sandbox.authorize(request.url, account or user), user=user)


def made_stale(documents: Any, user: str) -> None:
    """Let the access token in a user's grant come to its end, so that whoever needs one must exchange.

    ``documents`` is the database as its administrator sees it.
    """
    past = {"access_token.expires_at": datetime.now(UTC) - timedelta(minutes=1)}
    documents["grants"].update_one({"user": user, "access_token": {"$type": "object"}}, {"$set": past})


def family(sandbox: SandboxControl, account: str) -> dict[str, Any]:
    """The provider's own record of an account's latest authorization."""
    return [family for family in sandbox.ledger()["families"] if family["account"] == account][-1]


def dance(client: Client, sandbox: SandboxControl, account: str) -> dict[str, Any]:
    """The authorization code flow as an app would do it by itself: the token endpoint's reply, all of it."""
    credentials = client._room.vault.client_credentials(client.app, "x")
    assert credentials.client_secret is not None
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": credentials.client_id,
        "redirect_uri": REDIRECT,
        "scope": "tweet.read tweet.write users.read offline.access",
        "state": "s",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    callback = sandbox.authorize(f"{sandbox.base_url}/i/oauth2/authorize?{urlencode(query)}", account)
    (code,) = parse_qs(urlsplit(callback).query)["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": verifier}
    reply = httpx.post(
        f"{sandbox.base_url}/2/oauth2/token",
        data=form,
        auth=(credentials.client_id, credentials.client_secret.get_secret_value()),
    )
    assert reply.status_code == 200
    tokens: dict[str, Any] = reply.json()
    return tokens
