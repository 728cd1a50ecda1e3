"""The way from a provider's own addresses to the sandbox: a profile is tried as it is, addresses and all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from actas.http import Http, NotSent, Reply
from actas.providers import Provider
from actas.providers.discovery import metadata_urls


def local(provider: Provider, sandbox_url: str, name: str | None = None) -> Provider:
    """The profile with its addresses at the sandbox's persona of this name (default: the provider's own).

    Its API is at ``/api``, and its other APIs at ``/api1``, ``/api2`` and so on.
    """
    here = f"{sandbox_url.rstrip('/')}/p/{name or provider.name}"
    moved: dict[str, Any] = {"api_url": f"{here}/api"}
    for field, path in (("authorize_url", "authorize"), ("token_url", "token"), ("revoke_url", "revoke")):
        if getattr(provider, field) is not None:
            moved[field] = f"{here}/{path}"
    if provider.device_url is not None:
        moved["device_url"] = f"{here}/device"
    if provider.whose_url is not None:
        moved |= {"account_url": f"{here}/account", "account_path": None}
    if provider.issuer is not None:
        moved["issuer"] = here
    moved["other_api_urls"] = tuple(f"{here}/api{n + 1}" for n in range(len(provider.other_api_urls)))
    return provider.model_copy(update=moved)


class Detour(Http):
    """Sends what is for a provider's addresses to a persona, and nothing to anywhere else."""

    def __init__(self, provider: Provider, persona_url: str) -> None:
        super().__init__()
        self._exact = dict(_exact(provider, persona_url))
        self._bases = [(provider.api_base, f"{persona_url}/api")]
        self._bases += [
            (base.rstrip("/"), f"{persona_url}/api{n + 1}") for n, base in enumerate(provider.other_api_urls)
        ]
        self._lock = threading.Lock()
        #: Where requests wanted to go that are for none of the provider's addresses, without their queries.
        self.astray: list[str] = []

    def to(self, url: str) -> str | None:
        """Where at the persona an address of the provider's is; None: it is none of these."""
        address, mark, query = url.partition("?")
        if address in self._exact:
            return self._exact[address] + mark + query
        for base, here in self._bases:
            if address == base or address.startswith(f"{base}/"):
                return here + url[len(base) :]
        return None

    def path_of(self, url: str) -> str:
        """The persona's path for a path on the API, or for a whole address.

        Raises:
            ValueError: it is on none of the provider's addresses.
        """
        found = self.to(self._bases[0][0] + url if url.startswith("/") else url)
        if found is None:
            raise ValueError(f"{url} is on none of the profile's addresses (api_url, other_api_urls)")
        return "/" + urlsplit(found).path.partition("/p/")[2].partition("/")[2]

    def send(self, method: str, url: str, **more: Any) -> Reply:
        """As ``Http.send``."""
        there = self.to(url)
        if there is None:
            with self._lock:
                self.astray.append(url.partition("?")[0])
            raise NotSent(f"{url.partition('?')[0]} is none of the provider's addresses")
        return super().send(method, there, **more)


def _exact(provider: Provider, persona_url: str) -> Iterator[tuple[str, str]]:
    endpoints = {
        "authorize": provider.authorize_url,
        "token": provider.token_url,
        "revoke": provider.revoke_url,
        "device": provider.device_url,
        "account": provider.whose_url,
    }
    for path, url in endpoints.items():
        if url is not None:
            yield url.partition("?")[0], f"{persona_url}/{path}"
    for url in metadata_urls(provider.issuer) if provider.issuer else ():
        yield url, f"{persona_url}/.well-known/openid-configuration"
