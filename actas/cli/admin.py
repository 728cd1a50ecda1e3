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


def apps_webhook(
    name: Annotated[str, typer.Argument(help="The app.")],
    vault_addr: VaultAddr,
    url: Annotated[str, typer.Argument(help="Where the app wants its events: https://...")] = "",
    new_secret: Annotated[
        bool, typer.Option("--new-secret", help="The old one signs, too, until called without.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="No events any more.")] = False,
) -> None:
    """Say where an app wants its events (docs/events.md); a secret that is made is printed, once.

    VAULT_TOKEN is read from the environment. It counts ten seconds later.
    """
    token = _secret("VAULT_TOKEN")
    if remove == bool(url):
        raise SettingsError("say either where the app wants its events, or --remove")
    if remove:
        installer.remove_webhook(name, vault_addr=vault_addr, vault_token=token)
        typer.echo(f"app {name} gets no events")
        return
    webhook, made = installer.set_webhook(
        name,
        SecretStr(url),
        new_secret=new_secret,
        development=os.environ.get("ACTAS_ENV") == "development",
        vault_addr=vault_addr,
        vault_token=token,
    )
    typer.echo(f"events of app {name} go to {webhook.host}")
    if made:
        typer.echo(f"signed with {webhook.secret.get_secret_value()} (not shown again)")
    if webhook.previous is not None:
        typer.echo("and with the old secret, until: actas apps webhook NAME URL")


def _secret(name: str) -> SecretStr:
    """Read an administrator's credential.

    Raises:
        SettingsError: it is not set.
    """
    if value := os.environ.get(name):
        return SecretStr(value)
    raise SettingsError(f"{name} is not set, and the installer needs it: an administrator's credential")
