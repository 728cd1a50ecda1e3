"""`actas connect`: what is refused before anything is asked of anybody."""

from __future__ import annotations

import sys
import threading

import pytest
from typer.testing import CliRunner

from actas.cli import app, connect


@pytest.mark.parametrize("more", [["--paste"], ["--port", "8000"]], ids=str)
def test_with_a_code_nobody_is_sent_back_anywhere(more):
    done = CliRunner().invoke(app, ["connect", "x", "--user", "u", "--device", *more])
    assert done.exit_code == 2
    assert "--device" in done.output


@pytest.mark.parametrize("argv", [["x"], ["x", "--user", "u", "--port", "65536"], ["--user", "u"]], ids=str)
def test_what_is_needed_is_named(argv):
    assert CliRunner().invoke(app, ["connect", *argv]).exit_code == 2


@pytest.mark.parametrize(
    ("platform", "variables", "opens"),
    [
        ("linux", {}, False),  # or a text browser would take the terminal over
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"BROWSER": "lynx"}, True),
        ("darwin", {}, True),
        ("win32", {}, True),
    ],
)
def test_a_browser_is_opened_where_there_are_windows(monkeypatch, platform, variables, opens):
    opened = threading.Event()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(connect.webbrowser, "open", lambda url: opened.set())
    connect.open_browser("https://a.example")
    assert opened.wait(5 if opens else 0.05) is opens
