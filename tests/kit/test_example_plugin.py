"""The example plugin: installed as a package, found by its entry points, and put through the kit's battery."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"

FOUND = """
from actas.actions import Actions
from actas.providers import Providers

provider = Providers.load()["spotify"]
print(provider.api_url, *sorted(action.name for action in Actions().all() if action.provider == "spotify"))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where the plugin is installed: a folder of its own, so that nothing else of this environment changes."""
    target = tmp_path_factory.mktemp("site-packages")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--target", str(target))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(PLUGIN)], check=True, capture_output=True)
    return target


@pytest.fixture
def run(installed):
    """A Python process that has it installed."""

    def run(*arguments):
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])}
        return subprocess.run([sys.executable, *arguments], env=env, check=False, capture_output=True, text=True)

    return run


def test_it_is_found_by_its_entry_points_and_by_nothing_else(run):
    done = run("-c", FOUND)
    assert done.stdout.split() == ["https://api.spotify.com", "spotify.create_playlist", "spotify.save_to_library"]
    without = subprocess.run([sys.executable, "-c", FOUND], check=False, capture_output=True, text=True)
    assert "no provider 'spotify'" in without.stderr


def test_it_passes_the_battery(run):
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests"))
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
