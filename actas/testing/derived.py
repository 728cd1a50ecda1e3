"""A provider as its profile describes it: for actions, whose battery takes the profile for granted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actas.providers import Provider
from actas.providers.discovery import CLIENT_AUTH

ACCOUNT = "9876543210"


def persona_of(provider: Provider, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the sandbox is told to play (``actas.sandbox.personas.Persona``). Pure."""
    reply: Any = ACCOUNT
    for name in reversed(provider.account_id):
        reply = {name: reply}
    return {
        "client_auth": provider.client_auth,
        "client_id_parameter": provider.client_id_parameter,
        "pkce": provider.pkce == "S256",
        "iss": provider.issuer if provider.says_issuer else None,
        "token_reply": {
            "token_type": "Bearer",
            "access_token": "",
            "expires_in": 3600,
            "refresh_token": "",
            "scope": "",
        },
        "rotates": provider.refresh.rotates,
        "renews": provider.refresh.rotates,
        "scope_separator": "," if provider.scope_commas else " ",
        "scope_prefix": provider.scope_prefix,
        "revokes": provider.revoke_url is not None,
        "account_reply": reply,
        "account": ACCOUNT,
        "metadata": None if metadata is None else dict(metadata),
        "api_headers": dict(provider.api_headers),
    }


def metadata_of(provider: Provider) -> dict[str, Any] | None:
    """What an issuer might say of itself where the profile leaves that to it; None: it leaves nothing. Pure."""
    if provider.is_complete or provider.issuer is None:
        return None
    issuer = provider.issuer.rstrip("/")
    return {
        "issuer": provider.issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "revocation_endpoint": f"{issuer}/revoke",
        "userinfo_endpoint": f"{issuer}/userinfo",
        "token_endpoint_auth_methods_supported": [CLIENT_AUTH[provider.client_auth]],
    }
