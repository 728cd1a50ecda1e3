"""One command starts an example with all that it needs, and Ctrl-C ends all of it. (FastAPI's: test_browser.py.)"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from actas.sandbox.remote import SandboxControl
from tests.browsing import Browser
from tests.support import eventually


def posts_to_the_sandbox(example) -> None:
    sandbox = SandboxControl(example.address("timeline"))
    with Browser(example.url) as browser:
        browser.submit(browser.open().form("/sign-in"), user="alice")
        callback = sandbox.authorize(browser.submit(browser.page.form("/connect")).url, "alice")
        browser.submit(browser.open(callback).form("/schedule"), text="by one command")
        eventually(lambda: browser.open().row("by one command")[2] == "succeeded", what="the post is shown as done")
    assert [post["text"] for post in sandbox.ledger()["posts"]] == ["by one command"]


def test_flask_starts_posts_and_ends_with_ctrl_c(start):
    example = start("flask")
    posts_to_the_sandbox(example)
    example.interrupt()
    eventually(example.is_gone, what="nothing is left")
    assert "stopping ..." in example.output
    assert "Traceback" not in example.output


def test_django_starts_and_posts_and_when_it_ends_so_does_all(start):
    example = start("django")
    posts_to_the_sandbox(example)
    os.kill(the_app(example), signal.SIGKILL)
    assert example.process.wait(60) != 0
    assert "python killed by SIGKILL" in example.output
    eventually(example.is_gone, what="nothing is left")


def the_app(example) -> int:
    """The process that answers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                _, *arguments = entry.joinpath("cmdline").read_text().split("\0")
                if arguments[:1] == ["examples/django/app.py"] and example.url.endswith(arguments[-2]):
                    found.append(int(entry.name))
    (app,) = found
    return app
