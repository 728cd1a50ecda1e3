"""The walls of docs/architecture.md: who may import what, wherever in a module the import stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = ("actas", "worker", "scheduler")


@dataclass(frozen=True)
class Wall:
    """Modules of ``behind`` are imported by ``only`` these files and folders."""

    behind: tuple[str, ...]
    only: tuple[str, ...]


WALLS = (
    # The test kit runs the worker's own code in its process, beside the stack: it is above all of them.
    Wall(("worker",), only=("worker/", "actas/testing/")),
    Wall(("scheduler",), only=("scheduler/",)),
    Wall(
        ("celery", "kombu", "billiard", "vine"),
        only=("worker/app.py", "worker/tasks.py", "scheduler/app.py", "scheduler/tasks.py"),
    ),
    Wall(("hvac",), only=("actas/vault/",)),
    Wall(("httpx", "httpcore"), only=("actas/http.py",)),
    Wall(("twitter_text", "pkg_resources"), only=("actas/actions/counting.py",)),
    Wall(("pymongo", "bson", "gridfs"), only=("actas/stores/",)),
    # From the top down: the console starts the stack, the stack starts the sandbox.
    Wall(("actas.cli",), only=("actas/cli/",)),
    Wall(("actas.embedded",), only=("actas/embedded/", "actas/cli/", "actas/testing/")),
    Wall(("actas.sandbox",), only=("actas/sandbox/", "actas/embedded/", "actas/cli/", "actas/testing/")),
    Wall(("actas.testing",), only=("actas/testing/",)),
    Wall(("pytest", "_pytest"), only=("actas/testing/",)),
)


def violations(root: Path) -> list[str]:
    """Every import under ``root`` that breaks a wall, as ``file:line: imports module``."""
    found = []
    for file in modules(root):
        path = file.relative_to(root).as_posix()
        for line, module in imports(file, path):
            broken = module is None or any(
                _within(module, wall.behind) and not path.startswith(wall.only) for wall in WALLS
            )
            if broken:
                found.append(f"{path}:{line}: imports {module or 'a name made at run time'}")
    return found


def modules(root: Path) -> list[Path]:
    return sorted(file for part in HOUSE for file in (root / part).rglob("*.py"))


def imports(file: Path, path: str) -> Iterator[tuple[int, str | None]]:
    """Line and full name of everything a file imports; None for a name that only exists at run time."""
    package = path.split("/")[:-1]
    for node in ast.walk(ast.parse(file.read_text(), path)):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield node.lineno, alias.name
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package[: len(package) - level + 1] if level else []
                origin = ".".join([*above, *([module] if module else [])])
                for alias in names:  # what is imported from a package may be a module of it
                    yield node.lineno, f"{origin}.{alias.name}"
            case ast.Call(func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module")):
                match node.args:
                    case [ast.Constant(value=str(name)), *_] if not name.startswith("."):
                        yield node.lineno, name
                    case _:
                        yield node.lineno, None


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_no_module_reaches_through_a_wall():
    assert violations(ROOT) == []


def test_every_wall_has_something_behind_it_and_somebody_who_may_pass():
    """A wall around a library that nobody uses, or that was renamed, would hold by doing nothing."""
    used = {
        (wall, path)
        for wall in WALLS
        for file in modules(ROOT)
        if (path := file.relative_to(ROOT).as_posix()).startswith(wall.only)
        for _, module in imports(file, path)
        if module is not None and _within(module, wall.behind[:1])
    }
    assert {wall for wall, _ in used} == set(WALLS)


def test_every_module_of_the_house_is_looked_at():
    looked_at = {file.relative_to(ROOT).as_posix() for file in modules(ROOT)}
    assert {"actas/client.py", "actas/providers/x.py", "worker/run.py", "scheduler/tasks.py"} <= looked_at


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("actas/client.py", "import worker"),
        ("actas/client.py", "import worker.run as r"),
        ("actas/client.py", "from scheduler import dispatch"),
        ("actas/cli/doctor.py", "from scheduler.room import Room"),
        ("worker/run.py", "from scheduler.room import Room"),
        ("scheduler/tasks.py", "import worker.tasks"),
        ("worker/run.py", "import celery"),
        ("worker/run.py", "from celery.exceptions import Retry"),
        ("worker/tasks/more.py", "import celery"),
        ("actas/celery_config.py", "import kombu"),
        ("actas/installing/installer.py", "import hvac"),
        ("actas/vault_too.py", "import hvac"),
        ("worker/keys.py", "from hvac import exceptions"),
        ("worker/exchange.py", "import httpx"),
        ("actas/https.py", "import httpx"),
        ("actas/oauth.py", "import httpcore"),
        ("scheduler/dispatch.py", "import pymongo"),
        ("actas/records.py", "from bson import ObjectId"),
        ("actas/client.py", "import actas.embedded.stack"),
        ("actas/client.py", "from actas import embedded"),
        ("actas/client.py", "from actas.sandbox.remote import SandboxControl"),
        ("actas/client.py", "from . import embedded"),
        ("actas/client.py", "from .cli import main"),
        ("actas/stores/jobs.py", "from ..sandbox import state"),
        ("actas/stores/jobs.py", "from .. import sandbox"),
        ("actas/sandbox/app.py", "from actas.embedded import stack"),
        ("actas/embedded/stack.py", "from actas.cli import app"),
        ("worker/run.py", "from actas.sandbox import state"),
        ("actas/cli/doctor.py", "from actas.testing import ProviderBattery"),
        ("actas/client.py", "import pytest"),
        # wherever it stands
        ("worker/run.py", "def f():\n    def g():\n        import celery"),
        ("worker/run.py", "class C:\n    import celery"),
        ("worker/run.py", "if TYPE_CHECKING:\n    import celery"),
        ("worker/run.py", "try:\n    pass\nexcept E:\n    import celery"),
        ("worker/run.py", "x = 1; import json, celery"),
        ("worker/run.py", "import importlib\nimportlib.import_module('celery.app')"),
        ("worker/run.py", "from importlib import import_module\nimport_module('celery')"),
        ("worker/run.py", "__import__('celery')"),
        # and what cannot be seen may not be
        ("worker/run.py", "__import__(name)"),
        ("worker/run.py", "importlib.import_module('.x', 'celery')"),
    ],
)
def test_a_planted_violation_is_caught(tmp_path, path, source):
    plant(tmp_path, path, source)
    assert [found.split(":")[0] for found in violations(tmp_path)] == [path]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("worker/run.py", "from worker import exchange\nfrom actas.states import JobStatus"),
        ("worker/tasks.py", "from celery import Task"),
        ("scheduler/app.py", "import celery"),
        ("actas/http.py", "import httpx"),
        ("actas/vault/room.py", "import hvac.exceptions"),
        ("actas/stores/jobs.py", "from pymongo.errors import BulkWriteError\nfrom .database import translated"),
        ("actas/cli/up.py", "from actas.embedded.stack import Stack"),
        ("actas/embedded/stack.py", "from actas.sandbox import config"),
        ("actas/testing/world.py", "import pytest\nfrom worker.run import run\nfrom actas.sandbox import remote"),
        # names that only look alike
        (
            "actas/client.py",
            "import workers\nimport celery_types\nfrom actas import client_worker\nfrom x import worker",
        ),
        ("actas/client.py", "text = 'import celery'  # import celery"),
        ("actas/client.py", "from .worker import x"),  # a module of ours that happens to be called so
    ],
)
def test_what_is_allowed_is_not_caught(tmp_path, path, source):
    plant(tmp_path, path, source)
    assert violations(tmp_path) == []


def plant(root: Path, path: str, source: str) -> None:
    (root / path).parent.mkdir(parents=True)
    (root / path).write_text(source)
