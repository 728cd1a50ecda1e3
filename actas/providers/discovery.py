"""Asking an issuer for its endpoints: RFC 8414, and OpenID Connect Discovery 1.0, which came before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from actas.errors import ProviderUnavailable
from actas.http import Http, NoReply, NotSent
from actas.providers.model import Provider

SECONDS = 5.0

#: Ours, by theirs.
ENDPOINTS = {
    "authorize_url": "authorization_endpoint",
    "token_url": "token_endpoint",
    "revoke_url": "revocation_endpoint",
    "device_url": "device_authorization_endpoint",
    "account_url": "userinfo_endpoint",
}

#: How the metadata names what we call by a shorter name (RFC 8414 section 2).
CLIENT_AUTH = {
    "basic": "client_secret_basic",
    "post": "client_secret_post",
    "none": "none",
    "private_key_jwt": "private_key_jwt",
}


class BadMetadata(ProviderUnavailable):
    """What an issuer says of itself cannot be, or does not do."""

    code = "bad_metadata"


class NoMetadata(BadMetadata):
    """Where an issuer's metadata should be, there is none."""

    code = "no_metadata"


def metadata_urls(issuer: str) -> list[str]:
    """Where an issuer's metadata is: OpenID's place first, then RFC 8414's (section 3.1), which differ with a path."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return [
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    ]


def discover(provider: Provider, http: Http) -> Provider:
    """A provider with what its issuer says of itself where the profile says nothing.

    Raises:
        ProviderUnavailable: the issuer does not answer.
        BadMetadata: what it answers cannot be used; the message says why.
    """
    assert provider.issuer is not None
    return completed(provider, _metadata(provider.name, provider.issuer, http))


def completed(provider: Provider, metadata: Mapping[str, Any]) -> Provider:
    """A provider, completed by its issuer's metadata. Pure.

    Raises:
        BadMetadata.
    """
    # RFC 8414 section 3.3: identical, or somebody has put another server's metadata there.
    if metadata.get("issuer") != provider.issuer:
        raise BadMetadata(f"{provider.name}: the metadata at its issuer is another issuer's")
    own = provider.model_dump(exclude_unset=True)  # what is said counts, also where it says no
    for needed in ("authorize_url", "token_url", "account_url"):
        if own.get(needed) is None:
            own.pop(needed, None)
    asked = {ours: metadata.get(theirs) for ours, theirs in ENDPOINTS.items() if ours not in own}
    if provider.account_path is not None:
        asked.pop("account_url", None)
    more = {"says_issuer": metadata.get("authorization_response_iss_parameter_supported") is True}
    try:
        whole = Provider.model_validate({**more, **{name: url for name, url in asked.items() if url}, **own})
    except ValidationError as error:
        field = str(error.errors(include_input=False, include_url=False)[0]["loc"][0])
        raise BadMetadata(f"{provider.name}: its issuer's {ENDPOINTS.get(field, field)} cannot be used") from None
    _check_it_sends_nobody_here(whole, asked)
    _check_it_does(whole, metadata)
    return whole


def _check_it_sends_nobody_here(provider: Provider, asked: Mapping[str, Any]) -> None:
    """No issuer elsewhere says what is asked on this machine; a profile may."""
    if provider.issuer and provider.issuer.lower().startswith("https:"):
        for ours, url in asked.items():
            if url and not url.lower().startswith("https:"):
                raise BadMetadata(f"{provider.name}: its issuer's {ENDPOINTS[ours]} cannot be used: it is not https")


def _check_it_does(provider: Provider, metadata: Mapping[str, Any]) -> None:
    missing = [
        theirs
        for ours, theirs in ENDPOINTS.items()
        if ours in {"authorize_url", "token_url"} and not getattr(provider, ours)
    ]
    if provider.whose_url is None:
        missing.append("userinfo_endpoint (or set account_url)")
    if missing:
        raise BadMetadata(f"{provider.name}: its issuer names no {', '.join(missing)}")
    methods = metadata.get(
        "token_endpoint_auth_methods_supported", ["client_secret_basic"]
    )  # the default, says section 2
    if isinstance(methods, list) and CLIENT_AUTH[provider.client_auth] not in methods:
        known = [ours for ours, theirs in CLIENT_AUTH.items() if theirs in methods]
        raise BadMetadata(
            f"{provider.name}: its issuer does not take client_auth {provider.client_auth!r}, but {known}"
        )


def _metadata(name: str, issuer: str, http: Http) -> Mapping[str, Any]:
    wrong, others = "", []
    for url in metadata_urls(issuer):
        try:
            reply = http.send("GET", url, headers={"Accept": "application/json"}, seconds=SECONDS)
        except (NotSent, NoReply):
            raise ProviderUnavailable(f"{name}'s issuer does not answer") from None
        if reply.status >= 500 or reply.status == 429:
            raise ProviderUnavailable(f"{name}'s issuer answers {reply.status}")
        body = reply.json()
        if reply.status == 200 and isinstance(body, dict):
            if "issuer" in body:
                return body
            others.append(body)
        # Some servers have a page for each address that they do not know; the other place may be the right one.
        wrong = f"what is at {url} is none (HTTP {reply.status})"
    if others:
        return others[0]  # it does not say what it must, which is told of
    raise NoMetadata(f"{name}: its issuer has no metadata (RFC 8414): {wrong}")
