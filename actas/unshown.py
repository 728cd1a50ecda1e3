"""What a library wants in clear and nobody else is to see: error reporters record the local variables of each frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import SecretStr

#: Names and values of a header or a form, secret or not.
Fields: TypeAlias = Mapping[str, str | SecretStr]


class Unshown(dict[str, Any]):
    """A dict that does not show what is in it."""

    def __repr__(self) -> str:
        return f"<{len(self)} fields>"


def in_clear(fields: Fields | None) -> Unshown:
    """The same with its secrets in clear, not to be shown."""
    return Unshown(
        (name, value.get_secret_value() if isinstance(value, SecretStr) else value)
        for name, value in (fields or {}).items()
    )
