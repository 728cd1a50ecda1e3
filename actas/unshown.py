"""What a library wants in clear and nobody else is to see: error reporters record the local variables of each frame.

Some print them, and some (Sentry's, for one) walk through every mapping by themselves, whatever it would print.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from pydantic import Secret, SecretStr

#: Names and values of a header, a form or a JSON object, secret or not.
Fields: TypeAlias = Mapping[str, Any]


class Unprinted(dict[str, Any]):
    """A dict that does not print what is in it: all that a library can be given."""

    def __repr__(self) -> str:
        return f"<{len(self)} fields>"


class Unshown(Unprinted):
    """One that gives a value to whoever asks for it by its name, and none to whoever walks through it."""

    def __init__(self, fields: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__()
        for name, value in ((name, fields[name]) for name in fields) if isinstance(fields, Mapping) else fields:
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, Secret(value))

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name).get_secret_value()

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - this is that get


def in_clear(fields: Fields | None) -> Unprinted:
    """The same with its secrets in clear, for a library, and for no variable of ours."""
    return Unprinted(
        (name, value.get_secret_value() if isinstance(value, (SecretStr, Secret)) else value)
        for name, value in (fields or {}).items()
    )
