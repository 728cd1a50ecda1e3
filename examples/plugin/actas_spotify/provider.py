"""Spotify, as a confidential client.

Sources, on developer.spotify.com/documentation/web-api: "Authorization Code Flow", "Refreshing tokens", "Scopes", "Rate
Limits", and "Get Current User's Profile".
"""

from __future__ import annotations

from actas.providers import Provider
from actas.providers.model import RefreshProfile

SPOTIFY = Provider(
    name="spotify",
    authorize_url="https://accounts.spotify.com/authorize",
    token_url="https://accounts.spotify.com/api/token",
    revoke_url=None,  # a user withdraws it on the page of their account
    api_url="https://api.spotify.com",
    account_path="/v1/me",
    account_id=("id",),
    client_auth="basic",
    default_scopes=(),  # whoever connects says for which actions
    # "When a refresh token is not returned, continue using the existing token": a confidential client's stays.
    refresh=RefreshProfile(kind="static"),
    default_expires_seconds=3600,
    rate_limit_headers="retry-after",
)
