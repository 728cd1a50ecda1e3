"""`actas events`: what is on its way to the webhooks of apps, and what was given up. For operators."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from actas.cli.looking import AsJson, show, text
from actas.clock import utc_now
from actas.errors import NotFound
from actas.settings import Settings
from actas.stores.database import connect
from actas.stores.outbox import Outbox, OutboxState, Row

events = typer.Typer(help="Events on their way to apps: list, retry.", invoke_without_command=True)

COLUMNS = ("id", "app", "type", "subject", "at", "state", "tries", "next_at", "last")


@events.callback()
def list_events(
    context: typer.Context,
    app: Annotated[str | None, typer.Option(help="Only this app's.")] = None,
    state: Annotated[OutboxState | None, typer.Option(help="Only in this state; default: all but delivered.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List events that have not arrived, the newest first."""
    if context.invoked_subcommand is not None:
        return
    database = connect(Settings.from_env().mongodb_url)
    with database.client:
        found = Outbox(database).find(app=app, state=state, limit=limit)
    show(COLUMNS, [_row(row) for row in found], as_json=as_json)


@events.command("retry")
def retry_event(event_id: str) -> None:
    """Have an event sent at once that waits or was given up; its tries begin anew."""
    database = connect(Settings.from_env().mongodb_url)
    with database.client:
        if not Outbox(database).retry(event_id, utc_now()):
            raise NotFound(f"no event {event_id!r:.100} that has not arrived")
    print("it is sent within a second or two; see: actas events")


def _row(row: Row) -> dict[str, Any]:
    subject = next((row.event.data[name] for name in ("job", "grant", "provider") if name in row.event.data), None)
    known = {"id": row.event.id, "app": row.event.app, "type": row.event.type, "at": row.event.at, "subject": subject}
    known |= {"state": row.state, "tries": row.tries, "next_at": row.next_at, "last": row.last}
    return {name: text(known[name]) for name in COLUMNS}
