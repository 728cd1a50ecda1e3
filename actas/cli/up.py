"""`actas up`: the whole of actas on this machine, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from actas.embedded import Interrupted, beside
from actas.embedded.stack import APP, Stack

if TYPE_CHECKING:
    from types import FrameType

    from actas.embedded.child import Child

WATCH_SECONDS = 0.2


def up(
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this, too, as the app: actas up -- COMMAND ...", show_default=False)
    ] = None,
    directory: Annotated[Path, typer.Option(help="Where everything is kept.", file_okay=False)] = Path(".actas"),
    workers: Annotated[int, typer.Option(help="How many worker processes.", min=1)] = 1,
) -> None:
    """Start servers, sandbox, workers, scheduler and Flower on this machine, until Ctrl-C.

    When one of them dies, it says so and keeps the rest running (killing a worker is a fair experiment), and its exit
    status in the end is 1. Ctrl-C, SIGTERM and SIGHUP stop everything in order; a second one ends it at once.

    A COMMAND is run in this directory and on this terminal, with the settings of the app "demo", once all the rest is
    ready; when it ends, so does everything, with its exit status.
    """
    console = Console()
    if command:
        beside.find(command[0])  # now, rather than after the start
    stack = Stack(directory, workers=workers)
    _stop_on_signals(stack)
    dead: list[Child] = []
    status = 0
    try:
        with contextlib.suppress(Interrupted):
            with console.status("starting ..."):
                stack.start()
            _show(stack, console)
            app = stack.run_app(command) if command else None
            status = _watch(stack, console, dead, app)
        with contextlib.suppress(OSError):  # the terminal may be gone
            console.print("stopping ...")
    finally:
        stack.stop()
    raise typer.Exit(status or (1 if dead else 0))


def _stop_on_signals(stack: Stack) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        # Only a mark: an exception from here could hit any line, and be swallowed by some library's.
        stack.interrupt()
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)  # the second time we die, and the kernel kills the rest (leash.py)

    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup, or a shell's background
    ]
    for number in numbers:
        signal.signal(number, stop)


def _show(stack: Stack, console: Console) -> None:
    table = Table("name", "address", "pid", "state")
    for child in stack.children:
        table.add_row(child.name, child.address, str(child.pid), child.state)
    console.print(table)
    user, _ = stack.flower_credentials
    password = stack.directory / "secrets" / "flower-admin"
    console.print(f"in another terminal: source {_short(stack.role_file(f'app-{APP}'))}", soft_wrap=True)
    console.print(
        f"timeline: {stack.sandbox_url}  Flower: {stack.flower_url} (user {user}, password in {_short(password)})",
        soft_wrap=True,
    )


def _watch(stack: Stack, console: Console, dead: list[Child], app: Child | None) -> int:
    """Until told to stop, or until the app ends by itself: then its exit status, as a shell would put it."""
    while not stack.interrupted:
        if app is not None and app.status is not None:
            console.print(f"{app.name} {app.state}", markup=False, soft_wrap=True)
            return app.status if app.status >= 0 else 128 - app.status
        for child in stack.children:
            if child.died and child not in dead:
                dead.append(child)
                console.print(f"{child.name} died: {child.obituary()}", style="red", markup=False, soft_wrap=True)
        time.sleep(WATCH_SECONDS)
    return 0


def _short(path: Path) -> str:
    return shlex.quote(min(str(path), os.path.relpath(path), key=len))
