"""Clients that prove themselves by a key in Vault, and secrets that are changed under living grants."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from actas import Client, GrantStatus, JobStatus
from actas.cli import app as console_app
from actas.clock import utc_now
from actas.embedded import binaries
from actas.embedded.stack import APP, CLIENT_ID, Stack
from actas.errors import ClientRefused, NoClientKey, SettingsError, VaultDenied, VaultUnavailable
from actas.examining import examine
from actas.installing import installer
from actas.sandbox.remote import SandboxControl
from tests.support import REDIRECT, made_stale, settings_from
from worker.chores import revoke_grant
from worker.room import Room

KINDS = {"ecdsa-p256": "", "rsa-2048": 'assertion_algorithm = "PS256"', "ed25519": 'assertion_audience = "issuer"'}


class Sealed:
    """Vault, sealed between its last answer and the signature."""

    def __init__(self, vault: Any) -> None:
        self._vault = vault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    def sign_as_client(self, *_: Any, **__: Any) -> str:
        raise VaultUnavailable


@pytest.fixture
def console(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`actas keys client`, with the credentials of a role."""

    def console(*words: str, role: str = "operator", answer: str | None = None) -> Any:
        for name, value in stack.role_env(role).items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(console_app, ["keys", "client", *words], input=answer)

    return console


def registered(console: Callable[..., Any], sandbox: SandboxControl, client_id: str, *words: str) -> dict[str, Any]:
    """What an operator does: prints the set, and registers it at the provider."""
    printed = console(*words, "--json")
    assert printed.exit_code == 0, printed.output
    jwks: dict[str, Any] = json.loads(printed.stdout)
    sandbox.register(client_id, jwks=jwks, redirect_uris=None)
    return jwks


@contextmanager
def house(stack: Stack, providers: Path) -> Iterator[tuple[Client, Room]]:
    """An app and a worker of this process, who know these providers."""
    more = {"ACTAS_PROVIDERS_FILE": str(providers)}
    room = Room.open(settings_from(stack.role_env("worker") | more))
    try:
        with Client(settings_from(stack.role_env("app-demo") | more)) as client:
            yield client, room
    finally:
        room.close()


def provider_file(stack: Stack, tmp_path: Path, name: str, more: str) -> Path:
    url = stack.sandbox_url
    file = tmp_path / "providers.toml"
    file.write_text(f"""
[providers.{name}]
issuer = "{url}"
authorize_url = "{url}/i/oauth2/authorize"
token_url = "{url}/2/oauth2/token"
revoke_url = "{url}/2/oauth2/revoke"
api_url = "{url}"
account_path = "/2/users/me"
account_id = ["data", "id"]
client_auth = "private_key_jwt"
base_scopes = ["offline.access", "users.read", "tweet.read"]
default_scopes = ["tweet.write"]
fatal_errors = [{{ error = "invalid_request", description = "Value passed for the token was invalid" }}]
{more}
""")
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_an_account_lives_on_a_client_key_from_connection_to_revocation(
    stack, sandbox, console, documents, user, tmp_path, kind
):
    name = f"signed_{kind}"
    client_id = f"client-{kind}"
    where = {"vault_addr": stack.servers.bao.url, "vault_token": stack.servers.bao.token}
    installer.set_client_credentials(app=APP, provider=name, client_id=client_id, client_secret=None, **where)
    file = provider_file(stack, tmp_path, name, KINDS[kind])
    settings = settings_from(stack.role_env("app-demo") | {"ACTAS_PROVIDERS_FILE": str(file)})

    def doctor() -> dict[str, str]:
        return {found.name: f"{found.state} {found.text}" for found in examine(settings, name, None, utc_now)}

    assert f"wrong app {APP} has no key for {name}" in doctor()["credentials"]
    with house(stack, file) as (client, room):
        with pytest.raises(NoClientKey, match=f"actas keys client {APP} {name}"):
            client.begin_connect(user=user, provider=name, redirect_uri=REDIRECT)
        registered(console, sandbox, client_id, APP, name, "--type", kind)
        assert doctor()["client"].startswith("ok")
        request = client.begin_connect(user=user, provider=name, redirect_uri=REDIRECT)
        grant = client.finish_connect(sandbox.authorize(request.url, user), user=user)

        def exchanged() -> int:
            made_stale(documents, user)
            stored = room.grants.get(grant.id)
            assert stored is not None
            return room.exchange.access_token(stored).grant.generation

        # sealed just then: nothing is sent, and the grant knows nothing of it
        made_stale(documents, user)
        stored = room.grants.get(grant.id)
        with pytest.raises(VaultUnavailable):
            replace(room.exchange, vault=Sealed(room.vault)).access_token(stored)
        stored = room.grants.get(grant.id)
        assert (stored.unanswered_at, stored.failure, stored.generation) == (None, None, 1)
        assert exchanged() == 2
        # another version; the provider, which holds one key only, is told of it in its time
        both = json.loads(console(APP, name, "--rotate", "--json").stdout)
        assert len(both["keys"]) == 2
        assert exchanged() == 3
        sandbox.register(client_id, jwks={"keys": both["keys"][1:]}, redirect_uris=None)
        assert exchanged() == 4
        assert console(APP, name, "--retire", "--yes").exit_code == 0
        assert json.loads(console(APP, name, "--json").stdout) == {"keys": both["keys"][1:]}
        assert exchanged() == 5
        # and where it does not know the key at all, no user is to blame
        sandbox.register(client_id, jwks={"keys": both["keys"][:1]}, redirect_uris=None)
        with pytest.raises(ClientRefused):
            exchanged()
        sandbox.register(client_id, jwks={"keys": both["keys"]}, redirect_uris=None)
        assert client.grant(user=user, provider=name).status is GrantStatus.ACTIVE
        client.disconnect(user=user, provider=name)
        assert revoke_grant(grant.id, room) is True
    (family,) = [family for family in sandbox.ledger()["families"] if family["account"] == user]
    assert (family["alive"], family["exchanges"]) == (False, 4)


def test_the_console_makes_a_key_once_and_says_what_is_wrong(console):
    printed = console(APP, "printed")
    assert printed.exit_code == 0
    first = json.loads(printed.stdout)
    assert (first["keys"][0]["kty"], first["keys"][0]["alg"]) == ("EC", "ES256")
    assert "actas-client-demo.printed (ecdsa-p256), version 1" in printed.stderr
    assert json.loads(console(APP, "printed", "--json").stdout) == first
    for words, error in (
        ((APP, "printed", "--type", "ed25519"), "is of type ecdsa-p256, and that cannot be changed"),
        ((APP, "printed", "--type", "aes256-gcm96"), "--type must be one of"),
        ((APP, "printed", "--rotate", "--retire"), "between them the provider must learn"),
        ((APP, "A B"), "cannot be the name of a provider"),
        ((APP, "webhook"), "cannot be the name of a provider"),
        (("a.b", "printed"), "cannot be the name of this app"),
    ):
        refused = console(*words)
        assert isinstance(refused.exception, SettingsError), words
        assert error in str(refused.exception)
    for words, role in (((APP, "printed", "--rotate"), "worker"), (("nobody", "printed"), "operator")):
        refused = console(*words, role=role)
        assert isinstance(refused.exception, VaultDenied), words
        assert "operator's credentials" in str(refused.exception)
    console(APP, "printed", "--rotate")
    assert console(APP, "printed", "--retire", answer="n\n").exit_code == 1
    assert len(json.loads(console(APP, "printed", "--json").stdout)["keys"]) == 2


# --- secrets ---


@pytest.fixture
def kv_patch(stack: Stack, tmp_path: Path) -> Callable[..., None]:
    """`vault kv patch` as docs/operations.md has it, with OpenBao's program of the same manners."""
    program = binaries.find(binaries.BAO, tmp_path)
    env = {"BAO_ADDR": stack.servers.bao.url, "BAO_TOKEN": stack.servers.bao.token.get_secret_value()}

    def kv_patch(*fields: str, stdin: str) -> None:
        argv = [str(program), "kv", "patch", "-mount=kv", f"actas/{APP}/x", *fields]
        subprocess.run(argv, input=stdin, text=True, env=env | {"HOME": str(tmp_path)}, check=True, capture_output=True)

    return kv_patch


def test_jobs_go_on_over_a_change_of_secret(stack, client, sandbox, connect, documents, user, kv_patch):
    """Store both, change it at the provider, put the old one away: no job fails, none waits for an operator."""
    connect(user)
    old = client._room.vault.client_credentials(APP, "x").client_secret.get_secret_value()
    new = "a new one: +%é"

    def job_done() -> None:
        made_stale(documents, user)
        job = client.wait(client.schedule("x.post", user=user, payload={"text": f"{len(done)}"}).id)
        assert (job.status, job.attempts, job.error) == (JobStatus.SUCCEEDED, 1, None)
        done.append([step["to"] for step in job.history])

    done: list[list[str]] = []
    try:
        kv_patch("other_client_secrets=-", stdin=new)
        job_done()
        sandbox.register(CLIENT_ID, secret=new, redirect_uris=None)
        job_done()
        kv_patch("client_secret=-", "other_client_secrets=", stdin=new)
        stored = client._room.vault.client_credentials(APP, "x")
        assert (stored.client_secret, stored.other_client_secrets) == (SecretStr(new), ())
        job_done()
    finally:
        kv_patch("client_secret=-", "other_client_secrets=", stdin=old)
        sandbox.register(CLIENT_ID, secret=old, redirect_uris=None)
    assert done == [["queued", "running", "succeeded"]] * 3
