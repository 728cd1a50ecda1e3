"""`actas doctor`: can this process, with these settings, do its part?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Annotated

import typer

from actas.clock import utc_now
from actas.errors import ActasError, InvalidRequest, SettingsError
from actas.examining import examine
from actas.providers import Providers
from actas.settings import Settings
from actas.stores import database
from actas.stores.installing import wrong_indexes
from actas.vault.room import VaultRoom


class CannotLook(ActasError):
    """This role may not look there."""

    code = "cannot_look"


def doctor(
    provider: Annotated[
        str | None, typer.Option(help="Look at this provider, too, as the app whose role this is; nothing is posted.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="And at what this user has granted there.")] = None,
) -> None:
    """Check settings, Vault, MongoDB and providers as this role sees them; exit status 1 if anything is wrong."""
    if user is not None and provider is None:
        raise InvalidRequest("--user is for --provider: what has the user granted where?")
    settings = Settings.from_env()
    print("ok    settings")
    checks: dict[str, Callable[[Settings], object]] = {
        "vault": vault,
        "mongodb": mongodb,
        "indexes": indexes,
        "providers": lambda settings: Providers.load(settings.providers_file),
    }
    well = True
    for name, check in checks.items():
        try:
            check(settings)
            print(f"ok    {name}")
        except CannotLook as error:
            print(f"-     {name}: {error}")
        except ActasError as error:
            well = False
            print(f"wrong {name}: {error}")
    if provider is not None and well:
        for finding in examine(settings, provider, user, utc_now):
            well &= finding.state != "wrong"
            print(f"{finding.state:<5} {finding.name}: {finding.text}")
    if not well:
        raise typer.Exit(1)


def vault(settings: Settings) -> None:
    with closing(VaultRoom(settings)) as room:
        room.check()


def mongodb(settings: Settings) -> None:
    documents = database.connect(settings.mongodb_url)
    with documents.client:
        database.check(documents)


def indexes(settings: Settings) -> None:
    """Make sure that questions are answered from indexes, and that what must be unique is.

    Raises:
        CannotLook: only the operator's role may list indexes.
        SettingsError: some are missing or different.
        MongoUnavailable, MongoRefused.
    """
    documents = database.connect(settings.mongodb_url)
    with documents.client:
        wrong = wrong_indexes(documents)
    if wrong is None:
        raise CannotLook("this role may not list them; the operator's may")
    if wrong:
        raise SettingsError(f"{', '.join(wrong)}; run `actas init`")
