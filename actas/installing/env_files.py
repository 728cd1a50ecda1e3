"""One file of settings for each role, for its process to source (``. ./worker.env``).

They hold credentials: mode 0600, in a directory of mode 0700, replaced whole or not at all.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from actas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


def make_folder(folder: Path) -> None:
    """Make the directory, its owner's only.

    Raises:
        SettingsError: it cannot be made, is open to others, or is not ours to write.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        open_to_others = folder.stat().st_mode & 0o077
    except OSError as error:
        raise SettingsError(f"cannot use {folder}: {error.strerror}") from None
    if open_to_others:
        raise SettingsError(f"{folder} is open to others, and credentials go there: chmod 700 it, or name another")
    if not os.access(folder, os.W_OK):
        raise SettingsError(f"cannot write to {folder}")


def read(file: Path) -> dict[str, str]:
    """Return what a file exports; nothing if it is not there.

    Raises:
        SettingsError: it holds something else, or cannot be read.
    """
    values: dict[str, str] = {}
    try:
        words = shlex.split(file.read_text(), comments=True)
    except FileNotFoundError:
        return values
    except (OSError, ValueError):
        raise SettingsError(f"cannot read {file}; repair it, or move it away to get new credentials") from None
    for word in words:
        name, given, value = word.partition("=")
        if given:
            values[name] = value
        elif word != "export":
            raise SettingsError(f"{file} holds more than export NAME='value' lines; repair it, or move it away")
    return values


def write(file: Path, values: Mapping[str, str]) -> None:
    """Replace the file.

    Raises:
        SettingsError: the disk does not let us.
    """
    text = "".join(f"export {name}={_quoted(value)}\n" for name, value in values.items())
    try:
        # mkstemp: mode 0600, a name nobody can have put there before.
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "w") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(descriptor)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot write {file}: {error.strerror}") from None


def _quoted(value: str) -> str:
    """Quote for a POSIX shell, always: bare values look as if no quoting was ever needed."""
    return "'" + value.replace("'", "'\"'\"'") + "'"
