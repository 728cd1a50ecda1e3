"""The ``actas`` console."""

from __future__ import annotations

import sys

import typer

from actas.cli import admin, connect, demo, doctor, events, gates, grants, keys, looking, moving_in, settling, up
from actas.errors import ActasError

app = typer.Typer(
    help="Act as your users while they are away.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show locals, and locals hold what must not be shown
)
app.command()(up.up)
app.command()(demo.demo)
app.command()(admin.init)
app.command()(doctor.doctor)
app.command()(connect.connect)
app.command("gates")(gates.list_gates)
app.command("import-tokens")(moving_in.import_tokens)
looking.jobs.command("resolve")(settling.resolve_job)
looking.jobs.command("retry")(settling.retry_job)
app.add_typer(looking.jobs, name="jobs")
app.add_typer(events.events, name="events")
app.add_typer(grants.grants, name="grants")
app.add_typer(keys.keys, name="keys")

apps = typer.Typer(help="The applications that may enqueue jobs.", no_args_is_help=True)
apps.command("add")(admin.apps_add)
apps.command("list")(admin.apps_list)
apps.command("webhook")(admin.apps_webhook)
app.add_typer(apps, name="apps")


def main() -> None:
    try:
        app()
    except ActasError as error:
        print(f"actas: {error}", file=sys.stderr)
        sys.exit(1)
