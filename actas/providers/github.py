"""GitHub, as a GitHub App acting for a user (user access tokens that expire).

Sources: docs.github.com, "Generating a user access token for a GitHub App", "Refreshing user access tokens",
"Troubleshooting OAuth app access token request errors", "Rate limits for the REST API", "API Versions". An OAuth app's
tokens have no end and no refresh token: nothing here.
"""

from __future__ import annotations

from actas.providers.model import FatalError, KnownLimit, Provider, RefreshProfile

GITHUB = Provider(
    name="github",
    authorize_url="https://github.com/login/oauth/authorize",
    token_url="https://github.com/login/oauth/access_token",  # noqa: S106 - an address, not a token
    # Its own way to revoke (DELETE /applications/{client_id}/grant, with the client's credentials) is not RFC 7009.
    revoke_url=None,
    device_url="https://github.com/login/device/code",
    api_url="https://api.github.com",
    api_headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
    account_path="/user",
    account_id=("id",),
    client_auth="post",
    # A GitHub App's permissions are the app's own, and not asked for in scopes; replies say "".
    base_scopes=(),
    scope_commas=True,
    # Access tokens 8 hours, refresh tokens 6 months; using one ends both it and the access token before.
    refresh=RefreshProfile(kind="rotating", lifetime_seconds=15_897_600, revocation="grant"),
    default_expires_seconds=28_800,
    # Said with HTTP 200: "The refresh token passed is incorrect or expired."
    fatal_errors=(FatalError(error="bad_refresh_token"), FatalError(error="invalid_grant")),
    rate_limit_headers="github",
    # A secondary limit may come with neither of the headers that would tell it from other refusals.
    known_limits=(KnownLimit(status=403, contains="secondary rate limit"),),
    settle_seconds=60,
)
