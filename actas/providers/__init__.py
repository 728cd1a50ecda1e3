"""Providers: OAuth authorization servers and their APIs, as data."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from actas.errors import SettingsError, UnknownProvider
from actas.providers.model import Provider
from actas.providers.x import X

BUILT_IN: Mapping[str, Provider] = {provider.name: provider for provider in (X,)}


class Providers:
    """The providers this process knows, by name."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(providers)

    def __getitem__(self, name: str) -> Provider:
        try:
            return self._providers[name]
        except KeyError:
            known = ", ".join(sorted(self._providers))
            raise UnknownProvider(f"no provider {name!r}; known: {known}") from None

    @classmethod
    def load(cls, file: Path | None = None) -> Providers:
        """The built-in providers, changed and extended by the ``[providers.<name>]`` tables of a TOML file.

        Raises:
            SettingsError: the file cannot be read, or a table has a wrong field (which one is named).
        """
        providers = dict(BUILT_IN)
        for name, table in _tables(file).items():
            base = providers[name].model_dump() if name in providers else {}
            try:
                providers[name] = Provider.model_validate({**_merged(base, table), "name": name})
            except ValidationError as error:
                first = error.errors(include_input=False, include_url=False)[0]
                where = ".".join(["providers", name, *(str(part) for part in first["loc"])])
                raise SettingsError(f"{file}: {where}: {first['msg']}") from None
        return cls(providers)


def _merged(base: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """The table over what is built in; within ``refresh``, too, unless that is of another kind: those share nothing."""
    known, told = base.get("refresh"), table.get("refresh")
    merged = {**base, **table}
    if known and isinstance(told, dict) and told.get("kind", known["kind"]) == known["kind"]:
        merged["refresh"] = {**known, **told}
    return merged


def _tables(file: Path | None) -> Mapping[str, Mapping[str, Any]]:
    if file is None:
        return {}
    try:
        tables = tomllib.loads(file.read_text("utf-8")).get("providers", {})
    except OSError as error:
        raise SettingsError(f"ACTAS_PROVIDERS_FILE {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"ACTAS_PROVIDERS_FILE {file}: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"ACTAS_PROVIDERS_FILE {file}: {error}") from None
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise SettingsError(f"ACTAS_PROVIDERS_FILE {file}: expected [providers.<name>] tables")
    return tables


__all__ = ["BUILT_IN", "Provider", "Providers"]
