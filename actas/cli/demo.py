"""`actas demo`: the main job, end to end, in about a minute, with the proof that it was done."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from actas.embedded import EmbeddedError
from actas.embedded.demo import story
from actas.embedded.demo.screen import Screen
from actas.embedded.demo.verdict import Verdict, judge
from actas.embedded.stack import APP, Stack
from actas.errors import ActasError

if TYPE_CHECKING:
    from types import FrameType


def demo(
    directory: Annotated[
        Path, typer.Option(help="Where each run makes a directory of its own.", file_okay=False)
    ] = Path(".actas-demo"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")] = False,
) -> None:
    """Post as three users who are away, on real servers, and compare the provider's books with the jobs.

    Exit status 0 only if everything agrees; then the run's directory is removed, unless it was to be kept.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background
            signal.signal(number, _interrupt)
    screen = Screen(Console())
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        run = Path(tempfile.mkdtemp(prefix="run-", dir=directory))
    except OSError as error:
        raise EmbeddedError(f"cannot use {directory}: {error.strerror}") from None
    stack = Stack(run, workers=2, sandbox=story.SANDBOX)
    told: story.Told | None = None
    try:
        with stack:
            told = story.tell(stack, screen)
            if keep:
                _conclude(judge(told.evidence), run, screen)
                _stay(stack, screen)
    except KeyboardInterrupt:
        stack.stop(0)  # it may have come while they were being stopped
        if told is None:
            _remove(run)
            raise typer.Exit(130) from None
    except ActasError:
        screen.say(f"the demo did not come to its end; the logs are in {run / 'logs'}")
        raise
    assert told is not None
    if keep:
        screen.say(f"stopped; its data stay in {run}")
        raise typer.Exit(1 if judge(told.evidence).wrong else 0)
    verdict = judge(story.search_what_is_left(told, run, screen))
    if not verdict.wrong:
        _remove(run)
    _conclude(verdict, run, screen)
    raise typer.Exit(1 if verdict.wrong else 0)


def _conclude(verdict: Verdict, run: Path, screen: Screen) -> None:
    for wrong in verdict.wrong:
        screen.say(f"  wrong: {wrong}")
    if verdict.wrong:
        screen.say(f"not everything agrees; the logs are in {run / 'logs'}")
    screen.say(verdict.line)


def _stay(stack: Stack, screen: Screen) -> NoReturn:
    user, _ = stack.flower_credentials
    screen.say(f"timeline: {stack.sandbox_url}")
    screen.say(
        f"Flower:   {stack.flower_url} (user {user}, password in {stack.directory / 'secrets' / 'flower-admin'})"
    )
    screen.say(f"in another terminal: source {stack.role_file(f'app-{APP}')} and try `actas jobs`")
    screen.say("everything runs until Ctrl-C")
    while True:
        signal.pause()


def _remove(run: Path) -> None:
    shutil.rmtree(run, ignore_errors=True)
    with contextlib.suppress(OSError):  # another run is there
        run.parent.rmdir()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
