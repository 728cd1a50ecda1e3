"""Providers: OAuth authorization servers and their APIs, as data."""

from __future__ import annotations

import threading
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from actas.errors import ProviderUnavailable, SettingsError, UnknownProvider
from actas.http import Http
from actas.installed import installed
from actas.providers.discovery import BadMetadata, NoMetadata, discover
from actas.providers.github import GITHUB
from actas.providers.google import GOOGLE
from actas.providers.linkedin import LINKEDIN
from actas.providers.microsoft import MICROSOFT
from actas.providers.model import Provider
from actas.providers.sandbox import SANDBOX
from actas.providers.x import X

BUILT_IN: Mapping[str, Provider] = {
    provider.name: provider for provider in (GITHUB, GOOGLE, LINKEDIN, MICROSOFT, SANDBOX, X)
}

#: An issuer is asked again for its endpoints after this; what it said before counts while it does not answer.
ASK_AGAIN_SECONDS = 3600.0


class Providers:
    """The providers this process knows, by name."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(providers)
        self._discovered: dict[str, tuple[float, Provider]] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Provider:
        """What is known of a provider without asking anybody; for its endpoints, see ``complete``."""
        try:
            return self._providers[name]
        except KeyError:
            known = ", ".join(sorted(self._providers))
            raise UnknownProvider(f"no provider {name!r}; known: {known}") from None

    def complete(self, name: str, http: Http) -> Provider:
        """A provider with all its endpoints: its issuer is asked for those that its profile does not name.

        Raises:
            UnknownProvider.
            ProviderUnavailable: its issuer does not answer, or not with metadata that can be used.
        """
        provider = self[name]
        if provider.is_complete:
            return provider
        now = time.monotonic()
        asked_at, known = self._discovered.get(name, (0.0, None))
        if known is not None and now - asked_at < ASK_AGAIN_SECONDS:
            return known
        try:
            found = discover(provider, http)
        except ProviderUnavailable as error:
            # What whoever answers in its place shows meanwhile is no word of the issuer's; metadata that is wrong is.
            if known is None or (isinstance(error, BadMetadata) and not isinstance(error, NoMetadata)):
                raise
            found = known
        with self._lock:
            self._discovered[name] = (now, found)
        return found

    @classmethod
    def load(cls, file: Path | None = None) -> Providers:
        """The providers built in and installed, changed and extended by the ``[providers.<name>]`` tables of a file.

        Raises:
            SettingsError: the file cannot be read, or a table has a wrong field (which one is named).
        """
        providers = installed("actas.providers", BUILT_IN, _provider, lambda provider: provider.name)
        for name, table in _tables(file).items():
            base = providers[name].model_dump(exclude_unset=True) if name in providers else {}
            try:
                providers[name] = Provider.model_validate({**_merged(base, table), "name": name})
            except ValidationError as error:
                first = error.errors(include_input=False, include_url=False)[0]
                where = ".".join(["providers", name, *(str(part) for part in first["loc"])])
                raise SettingsError(f"{file}: {where}: {first['msg']}") from None
        return cls(providers)


def _provider(loaded: Any) -> Provider:
    if not isinstance(loaded, Provider):
        raise TypeError(f"is a {type(loaded).__name__}, and must be an actas.providers.Provider")
    return loaded


def _merged(base: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """The table over what is built in; within its tables, too, but not where ``refresh`` is of another kind.

    So one header of an API is changed, and its others stay.
    """
    known, told = base.get("refresh"), table.get("refresh")
    merged = {**base, **table}
    for one, other in (("account_path", "account_url"), ("account_url", "account_path")):
        if one in table and other not in table:  # two ways to say the same
            merged.pop(other, None)
    for name in ("api_headers", "authorize_parameters"):
        if isinstance(table.get(name), dict):
            merged[name] = {**_others(base.get(name, {}), table[name], name), **table[name]}
    if known and isinstance(told, dict) and told.get("kind", known["kind"]) == known["kind"]:
        merged["refresh"] = {**known, **told}
    return merged


def _others(base: Mapping[str, str], told: Mapping[str, Any], name: str) -> dict[str, str]:
    """What a table leaves as it is; a header is the same in whatever case (RFC 9110 section 5.1)."""
    if name != "api_headers":
        return dict(base)
    names = {header.lower() for header in told}
    return {header: value for header, value in base.items() if header.lower() not in names}


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
