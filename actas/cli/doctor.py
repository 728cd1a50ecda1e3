"""`actas doctor`: can this process, with these settings, do its part?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import typer

from actas.errors import ActasError, SettingsError
from actas.providers import Providers
from actas.settings import Settings
from actas.stores import database
from actas.stores.installing import wrong_indexes
from actas.vault.room import VaultRoom


class CannotLook(ActasError):
    """This role may not look there."""

    code = "cannot_look"


def doctor() -> None:
    """Check settings, Vault, MongoDB and providers as this role sees them; exit status 1 if anything is wrong."""
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
