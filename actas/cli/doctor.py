"""`actas doctor`: can this process, with these settings, do its part?"""

from __future__ import annotations

from collections.abc import Callable

import typer

from actas.errors import ActasError
from actas.providers import Providers
from actas.settings import Settings
from actas.stores import database
from actas.vault.room import VaultRoom


def doctor() -> None:
    """Check settings, Vault, MongoDB and providers as this role sees them; exit status 1 if anything is wrong."""
    settings = Settings.from_env()
    print("ok    settings")
    checks: dict[str, Callable[[], object]] = {
        "vault": lambda: VaultRoom(settings).check(),
        "mongodb": lambda: database.check(database.connect(settings.mongodb_url)),
        "providers": lambda: Providers.load(settings.providers_file),
    }
    well = True
    for name, check in checks.items():
        try:
            check()
            print(f"ok    {name}")
        except ActasError as error:
            well = False
            print(f"wrong {name}: {error}")
    if not well:
        raise typer.Exit(1)
