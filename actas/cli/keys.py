"""`actas keys`: the life of the keys that protect the tokens, and of those that sign jobs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from actas.cli import client_keys, leak_drill
from actas.cli.looking import AsJson, show, text
from actas.clock import utc_now
from actas.errors import ActasError, NotFound, SettingsError, VaultDenied
from actas.installing.installer import checked_name
from actas.retiring import retire_kek, retire_signing_key
from actas.rewrapping import Rewrapped, rewrap
from actas.settings import Settings
from actas.stores import database
from actas.stores.signed_jobs import SignedJobs
from actas.stores.wrapped_keys import WrappedKeys
from actas.vault.keys import KeyInfo, VaultKeys
from actas.vault.room import kek_name, signing_key_name

keys = typer.Typer(help="Keys: status, rotate, rewrap, retire, and the leak drill.", no_args_is_help=True)

App = Annotated[str | None, typer.Option(help="Only this app's.")]
Signing = Annotated[bool, typer.Option("--signing", help="The keys that sign jobs, not those that wrap data keys.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@dataclass(frozen=True, slots=True)
class House:
    """The rooms that this console's role has the credentials of."""

    wrapped_keys: WrappedKeys
    signed_jobs: SignedJobs
    vault: VaultKeys

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[House]:
        settings = Settings.from_env()
        documents, vault = database.connect(settings.mongodb_url), VaultKeys(settings)
        try:
            yield cls(WrappedKeys(documents), SignedJobs(documents), vault)
        finally:
            vault.close()
            documents.client.close()

    def apps(self, only: str | None) -> list[str]:
        """The named app, or all that have keys, and grants or jobs.

        Apps write names into MongoDB that are perhaps nobody's: those are told and passed over.

        Raises:
            SettingsError: the name cannot be an app's.
            NotFound: there is none.
        """
        if only is not None:
            return [checked_name("app", only)]
        apps = [name for name in sorted({*self.wrapped_keys.apps(), *self.signed_jobs.apps()}) if self._has_keys(name)]
        if not apps:
            raise NotFound("no app has grants or jobs yet; name one: --app NAME")
        return apps

    def _has_keys(self, name: str) -> bool:
        try:
            self.vault.kek(checked_name("app", name))
        except (SettingsError, NotFound):
            print(f"{name!r:.60}: passed over, Vault has no keys of an app of this name", file=sys.stderr)
            return False
        return True


@keys.command()
def status(app: App = None, as_json: AsJson = False) -> None:
    """Show, for each app, the versions of its keys and what depends on each."""
    with House.open() as house:
        found = [_status(name, house) for name in house.apps(app)]
    if as_json:
        print(json.dumps(found))
        return
    columns = ["app", "key", "version", "made", "state", "needed by"]
    show(columns, [row for each in found for row in _rows(each)], as_json=False)
    for each in found:
        print(f"{each['app']}: the oldest data key was made {each['oldest_data_key'] or 'never'}")


def _status(app: str, house: House) -> dict[str, Any]:
    grants, jobs = house.wrapped_keys.counts(app), house.signed_jobs.unfinished(app)
    oldest = house.wrapped_keys.oldest(app)
    return {
        "app": app,
        "kek": _key(house.vault.kek(app), "grants", grants),
        "signing_key": _key(house.vault.signing_key(app), "unfinished_jobs", jobs),
        "oldest_data_key": text(oldest),
    }


def _key(key: KeyInfo, what: str, needed: dict[int, int]) -> dict[str, Any]:
    versions = sorted({*key.created, *needed})
    return {
        "name": key.name,
        "latest": key.latest,
        "min_decryption_version": key.min_decryption_version,
        "versions": [
            {"version": version, "created_at": text(key.created.get(version)), what: needed.get(version, 0)}
            for version in versions
        ],
    }


def _rows(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind, what in (("kek", "grants"), ("signing_key", "unfinished_jobs")):
        key = found[kind]
        for version in key["versions"]:
            number = version["version"]
            state = "latest" if number == key["latest"] else "old"
            yield {
                "app": found["app"],
                "key": key["name"],
                "version": number,
                "made": version["created_at"],
                "state": "retired" if number < key["min_decryption_version"] else state,
                "needed by": f"{version[what]} {what.replace('_', ' ')}",
            }


@keys.command()
def rotate(app: App = None, signing: Signing = False, yes: Yes = False) -> None:
    """Make a new version of the KEK (or, with --signing, of the signing key), which is used from then on.

    Old versions go on working until they are retired; the scheduler rewraps data keys within minutes.
    """
    name_of = signing_key_name if signing else kek_name
    with House.open() as house:
        apps = house.apps(app)
        if not yes:
            typer.confirm(f"rotate {', '.join(name_of(name) for name in apps)}?", abort=True)
        for name in apps:
            house.vault.rotate(name_of(name))
            key = house.vault.signing_key(name) if signing else house.vault.kek(name)
            print(f"{key.name}: version {key.latest} since {text(key.latest_at)}")
    what = "--signing, when the jobs signed before are done" if signing else "when all data keys are rewrapped"
    print(f"in ten minutes at the earliest: actas keys retire {what}")


@keys.command("rewrap")
def rewrap_command(app: App = None) -> None:
    """Move data keys to the newest version of the KEK, now. The scheduler does it by itself within minutes.

    May be ended and begun again at any moment. Exit status 1 if some could not be rewrapped; they are left as they are.
    """
    with House.open() as house:
        results = {name: _rewrap(name, house) for name in house.apps(app)}
    for name, done in results.items():
        print(f"{name}: {done.rewrapped} rewrapped, {done.outrun} outrun by newer ones, {len(done.failed)} failed")
        for grant, code in done.failed.items():
            print(f"  grant {grant} was left as it is: {code}")
    if any(done.failed for done in results.values()):
        raise typer.Exit(1)


def _rewrap(app: str, house: House) -> Rewrapped:
    latest = house.vault.kek(app).latest
    total = sum(count for version, count in house.wrapped_keys.counts(app).items() if version < latest)
    try:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"rewrapping {app}", total=total)
            return rewrap(
                app,
                house.wrapped_keys,
                house.vault,
                thorough=True,
                told=lambda done: bar.update(task, completed=done.rewrapped + done.outrun + len(done.failed)),
            )
    except VaultDenied as error:
        raise VaultDenied(
            f"{error}; the scheduler does this by itself within minutes; to do it now, run with scheduler.env"
        ) from None


@keys.command()
def retire(app: App = None, signing: Signing = False) -> None:
    """Let Vault refuse old versions, if nothing needs them any more and the rotation is ten minutes ago.

    They are hidden, never trimmed: whoever restores a backup may need them. Exit status 1 if something is still needed.
    """
    refused = False
    with House.open() as house:
        for name in house.apps(app):
            try:
                if signing:
                    key = retire_signing_key(name, house.signed_jobs, house.vault, utc_now())
                else:
                    key = retire_kek(name, house.wrapped_keys, house.vault, utc_now())
            except ActasError as error:
                refused = True
                print(f"{name}: not retired: {error}")
                continue
            if key is None:
                print(f"{name}: nothing to retire")
            elif signing:
                print(f"{key.name}: only version {key.latest} is honoured, by every worker within five minutes")
            else:
                print(f"{key.name}: only version {key.latest} is honoured from now on")
    if refused:
        raise typer.Exit(1)


keys.command("client")(client_keys.client)
keys.command("leak-drill")(leak_drill.leak_drill)
