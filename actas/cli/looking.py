"""`actas jobs`: what an app sees of its own, and an operator of all; and how such listings look."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from actas.cli.job_story import Journal, advice
from actas.clock import utc_now
from actas.errors import MongoRefused, NotFound
from actas.records import Job
from actas.requests import is_short_text
from actas.settings import Settings
from actas.states import JobStatus
from actas.stores.database import connect
from actas.stores.effects import Effect, Effects
from actas.stores.grants import Grants
from actas.stores.jobs import Jobs
from actas.stores.refusals import Refusals
from actas.stores.resolutions import Resolutions

jobs = typer.Typer(help="Jobs: list, show, cancel, resolve, retry; what was refused.", invoke_without_command=True)

#: What somebody should look at, counted up to here below each listing.
COUNTED = 1000

#: A pipe gets whole lines.
PIPE_WIDTH = 240

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
App = Annotated[str | None, typer.Option(help="Only this app's; for operators.")]
User = Annotated[str | None, typer.Option(help="Only this user's.")]


@dataclass(frozen=True, slots=True)
class Stores:
    """Straight to the collections: an operator's role may look at all apps, which a Client never does."""

    app: str | None
    jobs: Jobs
    grants: Grants
    effects: Effects
    refusals: Refusals
    resolutions: Resolutions

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Stores]:
        settings = Settings.from_env()
        database = connect(settings.mongodb_url)
        with database.client:
            rooms = (Jobs(database), Grants(database), Effects(database), Refusals(database), Resolutions(database))
            yield cls(settings.app, *rooms)

    def job(self, job_id: str) -> Job:
        job = self.jobs.get(job_id) if is_short_text(job_id) else None
        if job is None or self.app not in {None, job.app}:
            raise NotFound(f"no job {job_id!r:.100}")
        return job


@jobs.callback()
def list_jobs(
    context: typer.Context,
    app: App = None,
    user: User = None,
    status: Annotated[JobStatus | None, typer.Option(help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    if context.invoked_subcommand is not None:
        return
    with Stores.open() as stores:
        whose = stores.app or app
        found = stores.jobs.find(app=whose, user=user, status=status, limit=limit)
        counts = [
            (stores.jobs.count(bad, app=whose, user=user, limit=COUNTED), bad)
            for bad in (JobStatus.UNCERTAIN, JobStatus.FAILED)
        ]
    columns = ["id", *([] if stores.app else ["app"]), "user", "action", "run_at", "status", "result"]
    show(columns, [job_row(job) for job in found], as_json=as_json)
    if len(found) == limit:
        print(f"these are the newest {limit}; if there are older ones, --limit shows more", file=sys.stderr)
    if any(count for count, _ in counts) and not as_json:
        told = [f"{count}{'+' * (count == COUNTED)} {bad}" for count, bad in counts if count]
        print(f"{', '.join(told)} (actas jobs --status ...; then: actas jobs show ID)")


@jobs.command("show")
def show_job(job_id: str, as_json: AsJson = False) -> None:
    """Tell what happened to a job, step by step. The payload is not shown."""
    with Stores.open() as stores:
        job = stores.job(job_id)
        journal: Journal = {}
        try:
            journal = stores.effects.of_job(job.id, job.grant)
        except MongoRefused:
            print("the journal of its steps is closed to apps; the operator's role may read it", file=sys.stderr)
    row = job_row(job) | {"error": f"{job.error.code}: {job.error.message}" if job.error else None}
    history = [{name: text(value) for name, value in step.items()} for step in job.history]
    steps = [step_row(step, effect) for step, effect in sorted(journal.items())]
    next_ = advice(job, journal, utc_now())
    if as_json:
        print(json.dumps(row | {"history": history, "steps": steps, "next": next_}))
        return
    for name, value in row.items():
        print(f"{name:>12}  {value if value is not None else ''}")
    for step in history:
        print(f"{step['at']:>32}  {step['to']} {step.get('code', '')}")
    for step in steps:
        words = [step["state"], step["code"], step["result"], f"begun {step['begun']}"]
        words += [f"ended {step['ended']}"] if step["ended"] else []
        print(f"{'step ' + str(step['step']):>12}  {' '.join(word for word in words if word)}")
    if next_:
        print(f"{'next':>12}  {next_}")


@jobs.command("refused")
def list_refused(
    app: App = None, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50, as_json: AsJson = False
) -> None:
    """List what `actas.submit` has refused of rightly signed jobs in the last 30 days, the newest first."""
    with Stores.open() as stores:
        found = stores.refusals.find(app=stores.app or app, limit=limit)
    columns = ["at", "app", "job", "code", "message"]
    show(columns, [{name: text(row[name]) for name in columns} for row in found], as_json=as_json)


@jobs.command("cancel")
def cancel_job(job_id: str) -> None:
    """Cancel a job that no worker holds, or ask the one that does to stop."""
    with Stores.open() as stores:
        job = stores.job(job_id)
        one = {"_id": job.id}
        asked = stores.jobs.ask_to_stop(one)  # first: a worker may take it, or put it back, between the two
        if stores.jobs.cancel_waiting(one, code="cancelled", message="cancelled at the console", now=utc_now()):
            print("cancelled")
        elif asked:
            print("a worker holds it and was asked to stop; see: actas jobs show", job.id)
        else:
            print(f"too late: the job is {stores.job(job_id).status}")
            raise typer.Exit(1)


def job_row(job: Job) -> dict[str, Any]:
    names = ("id", "app", "user", "action", "run_at", "deadline", "next_at", "status", "attempts", "result")
    return {name: text(getattr(job, name)) for name in names}


def step_row(step: int, effect: Effect) -> dict[str, Any]:
    """One step of a job, as the journal has it."""
    facts = {"begun": effect.started_at, "ended": effect.finished_at, "result": effect.result, "code": effect.code}
    return {"step": step, "state": str(effect.state)} | {name: text(value) for name, value in facts.items()}


def text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    return str(value) if isinstance(value, str) else value


def show(columns: Sequence[str], rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    table = Table()
    for name in columns:
        # An id that is cut short is of no use, and a state is what one looks for.
        table.add_column(name, no_wrap=name in {"id", "status"}, overflow="fold")
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=PIPE_WIDTH)
    console.print(table)
