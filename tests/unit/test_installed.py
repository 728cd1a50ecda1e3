"""Providers and actions of other packages: what is of use is there by its name, what is not stops the start."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import actas.installed
from actas.actions import Actions
from actas.errors import SettingsError
from actas.providers import Providers

PROVIDER = """
from actas.providers import Provider
FORUM = Provider(name="forum", issuer="https://forum.example")
AGAIN = Provider(name="x", issuer="https://x.example")
NUMBER = 7
"""

ACTION = """
from collections.abc import Mapping
from typing import Any
from actas.actions import Action, ActionHttp, Payload, Result

class Note(Payload):
    text: str

class Write(Action[Note]):
    name = "forum.write"
    provider = "forum"
    scopes = frozenset({"write"})
    idempotent = False
    payload_type = Note

    def perform(self, http, payload, job_id):
        raise NotImplementedError

class Taken(Write):
    name = "x.post"

class Nameless(Write):
    name = None

class Scopes(Write):
    scopes = {"write"}

class Odd(Write):
    payload_type = dict

class Raises(Write):
    def __init__(self):
        raise RuntimeError("no such forum")

class Needs(Write):
    def __init__(self, address):
        pass

WRITE = Write()
NUMBER = 7
"""

SERIAL = itertools.count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Install a package of one module, as pip would: its files on the path, and beside them what it says of itself."""
    monkeypatch.syspath_prepend(tmp_path)
    actas.installed._loaded.cache_clear()
    modules = []

    def package(group: str, text: str, **points: str) -> str:
        module = f"plugin{next(SERIAL)}"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = (f"{name} = {module}{place}\n" for name, place in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{''.join(lines)}")
        return module

    yield package
    actas.installed._loaded.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


def test_a_provider_of_another_package_is_there_by_its_name_and_a_file_may_change_it(package, tmp_path):
    package("actas.providers", PROVIDER, whatever=":FORUM")
    assert Providers.load()["forum"].issuer == "https://forum.example"
    file = tmp_path / "providers.toml"
    file.write_text("[providers.forum]\nsettle_seconds = 2")
    assert (Providers.load(file)["forum"].settle_seconds, Providers.load(file)["forum"].api_url) == (
        2,
        "https://forum.example",
    )


@pytest.mark.parametrize("point", [":Write", ":WRITE"], ids=["class", "instance"])
def test_an_action_of_another_package_is_there_by_its_name(package, point):
    package("actas.actions", ACTION, whatever=point)
    assert Actions()["forum.write"].scopes == {"write"}
    assert Actions().scopes_for("forum") == {"write"}


@pytest.mark.parametrize(
    ("group", "text", "place", "why"),
    [
        ("actas.providers", PROVIDER, ":NUMBER", "is a int, and must be an actas.providers.Provider"),
        ("actas.providers", PROVIDER, ":AGAIN", "x is there already"),
        ("actas.providers", PROVIDER, ":NOTHING", "cannot be loaded: AttributeError"),
        ("actas.providers", PROVIDER, ".inside:FORUM", "cannot be loaded: ModuleNotFoundError"),
        ("actas.providers", "import nothing_of_this_name", ":FORUM", "cannot be loaded: ModuleNotFoundError"),
        ("actas.providers", "this is no Python", ":FORUM", "cannot be loaded: SyntaxError"),
        ("actas.providers", "raise RuntimeError('not today')", ":FORUM", "cannot be loaded: RuntimeError: not today"),
        (
            "actas.providers",
            "from actas.providers import Provider\nFORUM = Provider(name='forum')",
            ":FORUM",
            "authorize_url",
        ),
        ("actas.actions", ACTION, ":NUMBER", "is a int, and must be an actas.actions.Action"),
        ("actas.actions", ACTION, ":Note", "must be an actas.actions.Action|Field required"),
        ("actas.actions", ACTION, ":Taken", "x.post is there already"),
        ("actas.actions", ACTION, ":Nameless", "Nameless.name must be a str"),
        ("actas.actions", ACTION, ":Scopes", "Scopes.scopes must be a frozenset"),
        ("actas.actions", ACTION, ":Odd", "Odd.payload_type must be a Payload"),
        ("actas.actions", ACTION, ":Raises", "no such forum"),
        ("actas.actions", ACTION, ":Needs", "address"),
    ],
)
def test_what_is_of_no_use_stops_the_start_and_names_its_package(package, group, text, place, why):
    name = package(group, text, whatever=place)
    with pytest.raises(SettingsError, match=why) as caught:
        (Providers.load if group == "actas.providers" else Actions)()
    assert f"{name}'s entry point 'whatever' of {group}" in str(caught.value)


def test_two_packages_cannot_bring_the_same_name(package):
    package("actas.providers", PROVIDER, forum=":FORUM")
    package("actas.providers", PROVIDER, forum=":FORUM")
    with pytest.raises(SettingsError, match="forum is there already"):
        Providers.load()
