"""What one sees: a table that changes where there is a terminal, a line for each change where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from actas.embedded.demo.plan import USERS, Post
from actas.records import Job
from actas.states import JobStatus

_STYLES = {
    JobStatus.SCHEDULED: "dim",
    JobStatus.QUEUED: "yellow",
    JobStatus.RUNNING: "yellow",
    JobStatus.SUCCEEDED: "green",
    JobStatus.EXPIRED: "magenta",
    JobStatus.CANCELLED: "magenta",
}


class Screen:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._told: dict[Post, int] = {}

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While jobs are watched, the table stands below what is said."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False) as self._live:
            yield
        self._live = None

    def show(self, jobs: Mapping[Post, Job]) -> None:
        """Show how the jobs stand."""
        if self._live is not None:
            self._live.update(_table(jobs), refresh=True)
            return
        changes = []
        for post, job in jobs.items():
            steps = list(job.history)[self._told.get(post, 0) :]
            self._told[post] = len(job.history)
            changes += [(step["at"], post.name, _state(step["to"], step.get("code"))) for step in steps]
        for at, name, state in sorted(changes):
            self.say(f"  {at:%H:%M:%S}.{at.microsecond // 1000:03}  {name:<8} {state}")


def _table(jobs: Mapping[Post, Job]) -> Table:
    table = Table(*USERS)
    columns = [[_cell(post, job) for post, job in jobs.items() if post.user == user] for user in USERS]
    for row in range(max(map(len, columns))):
        table.add_row(*(column[row] if row < len(column) else "" for column in columns))
    return table


def _cell(post: Post, job: Job) -> Text:
    state = _state(job.status, job.error.code if job.error else None)
    return Text(f"{f'+{post.due:g}':>3} s  {state}", style=_STYLES.get(job.status, "red"))


def _state(status: str, code: str | None) -> str:
    return f"{status} ({code})" if code not in {None, status} else status
