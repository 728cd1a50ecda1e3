"""`actas init` and `actas apps`: the installer's door. Secrets come from the environment, never from arguments."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from actas.errors import SettingsError
from actas.installing import installer

VaultAddr = Annotated[
    str, typer.Option(envvar=["ACTAS_VAULT_ADDR", "VAULT_ADDR"], help="Where Vault is, here and for all roles.")
]
Out = Annotated[Path, typer.Option(help="Directory for the env files of the roles.", file_okay=False)]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


def init(vault_addr: VaultAddr, out: Out = Path("secrets")) -> None:
    """Install actas in Vault, MongoDB and Redis; write an env file for each role. May be run again.

    Administrators' credentials are read from VAULT_TOKEN, ACTAS_MONGODB_URL and ACTAS_REDIS_URL.
    """
    files = installer.install(
        vault_addr=vault_addr,
        vault_token=_secret("VAULT_TOKEN"),
        mongodb_url=_secret("ACTAS_MONGODB_URL"),
        redis_url=_secret("ACTAS_REDIS_URL"),
        out=out,
    )
    for file in files:
        typer.echo(f"wrote {file}")
    typer.echo("next: actas apps add NAME")


def apps_add(
    name: Annotated[str, typer.Argument(help="1 to 40 of a-z, 0-9 and -.")],
    vault_addr: VaultAddr,
    out: Out = Path("secrets"),
) -> None:
    """Give an app its keys, its Vault role and its MongoDB user; write its env file. May be run again.

    Administrators' credentials are read from VAULT_TOKEN and ACTAS_MONGODB_URL.
    """
    file = installer.add_app(
        name,
        vault_addr=vault_addr,
        vault_token=_secret("VAULT_TOKEN"),
        mongodb_url=_secret("ACTAS_MONGODB_URL"),
        out=out,
    )
    typer.echo(f"wrote {file}")


def apps_list(vault_addr: VaultAddr, as_json: Json = False) -> None:
    """List the apps that were added; VAULT_TOKEN is read from the environment."""
    names = installer.list_apps(vault_addr=vault_addr, vault_token=_secret("VAULT_TOKEN"))
    typer.echo(json.dumps(names) if as_json else "\n".join(names))


def _secret(name: str) -> SecretStr:
    """Read an administrator's credential.

    Raises:
        SettingsError: it is not set.
    """
    if value := os.environ.get(name):
        return SecretStr(value)
    raise SettingsError(f"{name} is not set, and the installer needs it: an administrator's credential")
