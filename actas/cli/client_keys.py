"""`actas keys client`: the key with which an app proves itself at a provider, and what that provider is told of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated

import typer

from actas.cli.looking import AsJson
from actas.client_keys import ALGORITHMS, ClientKey
from actas.errors import NoClientKey, SettingsError, VaultDenied
from actas.installing.installer import checked_name, checked_provider
from actas.settings import Settings
from actas.vault.keys import VaultKeys

DEFAULT_KIND = "ecdsa-p256"


def client(
    app: Annotated[str, typer.Argument(help="The app.")],
    provider: Annotated[str, typer.Argument(help="The provider, whose client_auth is private_key_jwt.")],
    kind: Annotated[
        str | None, typer.Option("--type", help=f"{', '.join(ALGORITHMS)}; for a new key {DEFAULT_KIND}.")
    ] = None,
    rotate: Annotated[bool, typer.Option("--rotate", help="Make a new version; old ones still sign.")] = False,
    retire: Annotated[bool, typer.Option("--retire", help="Forget all versions but the newest.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print an app's public key at a provider, as a JWK set to register there; make the key if there is none.

    The private half stays in Vault. To change it: --rotate, register the set that is printed, and when the provider
    no longer takes the old one, --retire.
    """
    checked_name("app", app)
    checked_provider(provider)
    if kind is not None and kind not in ALGORITHMS:
        raise SettingsError(f"--type must be one of {', '.join(ALGORITHMS)}")
    if rotate and retire:
        raise SettingsError("say either --rotate or --retire: between them the provider must learn of the new key")
    with closing(VaultKeys(Settings.from_env())) as vault, _as_operator(app):
        key = _there_or_made(vault, app, provider, kind)
        if rotate:
            vault.rotate(key.name)
        if retire and len(key.public) > 1:
            if not yes:
                typer.confirm(f"forget all versions of {key.name} but {max(key.public)}?", abort=True)
            vault.retire_before(key.name, max(key.public))
        key = vault.client_key(app, provider)
    if not as_json:
        print(f"{key.name} ({key.kind}), version {', '.join(map(str, sorted(key.public)))}", file=sys.stderr)
    print(json.dumps(key.jwk_set(), indent=None if as_json else 2))


@contextmanager
def _as_operator(app: str) -> Iterator[None]:
    try:
        yield
    except VaultDenied:
        raise VaultDenied(
            f"Vault refused; this takes the operator's credentials (source that role's env file), and {app} must be"
            " the name of an app (`actas apps list`)"
        ) from None


def _there_or_made(vault: VaultKeys, app: str, provider: str, kind: str | None) -> ClientKey:
    try:
        key = vault.client_key(app, provider)
    except NoClientKey:
        vault.make_client_key(app, provider, kind or DEFAULT_KIND)
        key = vault.client_key(app, provider)
    if key.kind not in ALGORITHMS or (kind is not None and kind != key.kind):
        raise SettingsError(f"Vault's key {key.name} is of type {key.kind}, and that cannot be changed")
    return key
