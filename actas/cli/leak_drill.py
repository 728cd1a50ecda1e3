"""`actas keys leak-drill`: after a suspected leak. Says what it does, shows how far it is, and what it is worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from actas.cli.looking import text
from actas.clock import utc_now
from actas.drilling import Drilling, Report
from actas.errors import NotFound
from actas.installing.installer import checked_name
from actas.providers import Providers
from actas.retiring import NotRetired, TooEarly, retire_kek, settled_at
from actas.settings import Settings
from actas.stores import database
from actas.stores.drills import Drill, Drills
from actas.stores.renewals import Renewals
from actas.stores.wrapped_keys import WrappedKeys
from actas.vault.keys import VaultKeys

LOOK_SECONDS = 1.0

#: Nothing moves for so long: what is left has failed more than once, or nobody is at work.
PATIENCE_SECONDS = 180.0

#: Of grants that could not be renewed, for each reason.
EXAMPLES = 10


def leak_drill(
    app: Annotated[str | None, typer.Option(help="Only this app's.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[
        bool, typer.Option(help="Wait, ten minutes at most, and retire the old versions of the KEK.")
    ] = True,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="End the drill although some grants could not be renewed.")
    ] = False,
) -> None:
    """After a suspected leak: rotate the KEK, replace every data key, and have rotating providers replace their tokens.

    Workers do it while you watch, or do not: interrupted and run again, it goes on where it is. In the end it says what
    is now worthless to a thief, and what is not. Exit status 1 if something is left.
    """
    console = Console(stderr=True)
    with _open() as (drilling, wrapped_keys):
        apps = [checked_name("app", app)] if app else wrapped_keys.apps()
        if not apps:
            raise NotFound("no app has grants; there is nothing to replace")
        new = [name for name in apps if drilling.drills.open(name) is None]
        if new and give_up:
            raise NotFound(f"no drill is open for {', '.join(new)}, so there is nothing to give up")
        if new and not yes:
            typer.confirm(
                f"rotate the KEK of {', '.join(new)}, replace every data key, and exchange at rotating providers?",
                abort=True,
            )
        done = True
        try:
            # All begin before any is watched: each minute counts, and the scheduler works on all.
            for drill in [drilling.begin(name) for name in apps]:
                done &= _see_through(drill, drilling, wrapped_keys, console, wait=wait, give_up=give_up)
        except KeyboardInterrupt:
            print("the drill goes on without being watched; to see and to end it: actas keys leak-drill")
            raise typer.Exit(130) from None
    if not done:
        raise typer.Exit(1)


@contextmanager
def _open() -> Iterator[tuple[Drilling, WrappedKeys]]:
    settings = Settings.from_env()
    providers = Providers.load(settings.providers_file)
    documents, vault = database.connect(settings.mongodb_url), VaultKeys(settings)
    try:
        yield Drilling(Drills(documents), Renewals(documents), vault, providers, utc_now), WrappedKeys(documents)
    finally:
        vault.close()
        documents.client.close()


def _see_through(
    drill: Drill, drilling: Drilling, wrapped_keys: WrappedKeys, console: Console, *, wait: bool, give_up: bool
) -> bool:
    """Watch a drill to its end; False if something is left of it."""
    print(f"{drill.app}: drill since {text(drill.began_at)}, KEK version {drill.key_version}")
    nothing_left, retired = watch(drill, drilling, console, patience=0 if give_up else PATIENCE_SECONDS), True
    if nothing_left and wait:
        # Before it is closed: what arrives meanwhile, wrapped before the rotation, is renewed, too.
        try:
            retire(drill, drilling, wrapped_keys, console)
        except NotRetired as error:
            print(error)
            retired = False
        nothing_left = watch(drill, drilling, console)
    report = drilling.finish(drill) if nothing_left or give_up else drilling.report(drill)
    for line in told(report, drill, drilling.clock()):
        print(line)
    if not nothing_left and not give_up:
        print(
            "the drill stays open, and what is left is tried again each minute; run this again to see and to end it,"
            " with --give-up to end it as it is"
        )
    return nothing_left and retired


def watch(
    drill: Drill,
    drilling: Drilling,
    console: Console,
    *,
    patience: float = PATIENCE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Show progress until nothing is left, or nothing has moved for ``patience`` seconds; whether nothing is left."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(f"renewing grants of {drill.app}", total=drill.to_renew)
        progress = drilling.progress(drill)
        moved_at, before = time.monotonic(), progress.left
        while progress.left and time.monotonic() - moved_at < patience:
            failed = f", {progress.left - progress.untried} failed so far" if progress.failed else ""
            bar.update(
                task,
                completed=max(0, drill.to_renew - progress.left),
                description=f"renewing grants of {drill.app}{failed}",
            )
            sleep(LOOK_SECONDS)
            progress = drilling.progress(drill)
            if progress.left != before:
                moved_at, before = time.monotonic(), progress.left
    return not progress.left


def retire(
    drill: Drill,
    drilling: Drilling,
    wrapped_keys: WrappedKeys,
    console: Console,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Retire the old versions of the KEK as soon as that may be.

    Raises:
        NotRetired: data keys are left under older versions.
    """
    ready_at = settled_at(drilling.vault.kek(drill.app))
    with console.status("") as shown:
        while True:
            try:
                retire_kek(drill.app, wrapped_keys, drilling.vault, drilling.clock())
                return
            except TooEarly:
                left = (ready_at - drilling.clock()).total_seconds()
                shown.update(f"the old versions of the KEK can be retired in {max(0, left):.0f} s (Ctrl-C: later)")
                sleep(LOOK_SECONDS)


def told(report: Report, drill: Drill, now: datetime) -> Iterator[str]:
    """The report, line by line. Pure."""
    yield f"{drill.app}: what a thief's copy from before {text(drill.began_at)} is worth now"
    yield f"  data keys replaced: {report.replaced}; what was encrypted under the old ones is no longer here"
    if report.old_kek_retired:
        yield f"  KEK: versions before {drill.key_version} are retired; Vault no longer unwraps a copied data key"
    else:
        yield (
            f"  KEK: versions before {drill.key_version} still work; whoever may unwrap at Vault could read a copy;"
            f" end that: actas keys retire --app {drill.app}"
        )
    if report.rotated:
        yield f"  refresh tokens, exchanged at the provider, old ones worthless: {_counts(report.rotated)}"
    if report.kept_refresh_token:
        yield (
            f"  refresh tokens of providers not known to rotate: {_counts(report.kept_refresh_token)}; if a thief has"
            " decrypted them, they work until their users disconnect and connect again"
        )
    if (until := report.access_tokens_until) is not None and until > now:
        yield f"  access tokens from before may work until {text(until)} at the latest"
    else:
        yield "  access tokens from before have all ended"
    if report.passed_over:
        yield f"  not active, and so not renewed: {_counts(report.passed_over)}"
    for code, grants in report.failed.items():
        more = ", ..." if len(grants) > EXAMPLES else ""
        yield f"  could not be renewed ({code}): {len(grants)}: {', '.join(grants[:EXAMPLES])}{more}"
    if report.untried:
        yield f"  not tried yet: {report.untried}; are the scheduler and workers running?"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
