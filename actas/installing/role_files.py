"""The policies and roles under ``deploy/roles``, which say who may do what in Vault, MongoDB and Redis."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def read(service: str, name: str, **placeholders: str) -> str:
    """Return a role file's text, with each ``{placeholder}`` filled in.

    In a wheel the files lie inside the package (pyproject.toml, force-include), in a checkout under deploy/.
    """
    inside = _PACKAGE / "_roles"
    folder = inside if inside.is_dir() else _PACKAGE.parent / "deploy" / "roles"
    text = (folder / service / name).read_text()
    for placeholder, value in placeholders.items():
        text = text.replace("{" + placeholder + "}", value)
    return text
