"""LinkedIn: posting as a member.

Sources: learn.microsoft.com/linkedin, "Authorization Code Flow (3-legged OAuth)", "Refresh Tokens with OAuth 2.0"
(for approved partners only), "Authenticating with OAuth 2.0 for Native Clients", "Sign In with LinkedIn using OpenID
Connect", "Posts API", "LinkedIn API Versioning", "API Rate Limiting"; error bodies as reported by its users.
"""

from __future__ import annotations

from actas.providers.model import FatalError, KnownRefusal, Provider, RefreshProfile

LINKEDIN = Provider(
    name="linkedin",
    authorize_url="https://www.linkedin.com/oauth/v2/authorization",
    token_url="https://www.linkedin.com/oauth/v2/accessToken",  # noqa: S106 - an address, not a token
    # No page of its documentation describes it, and many programs use it, with access tokens.
    revoke_url="https://www.linkedin.com/oauth/v2/revoke",
    api_url="https://api.linkedin.com",
    # A version is supported for at least a year; set a later one in the providers file.
    api_headers={"LinkedIn-Version": "202610", "X-Restli-Protocol-Version": "2.0.0"},
    account_path="/v2/userinfo",
    account_id=("sub",),
    client_auth="post",
    pkce="none",  # for native clients only, at another address, where LinkedIn has enabled it for an app
    base_scopes=("openid", "profile"),
    default_scopes=("w_member_social",),
    scope_commas=True,
    # 365 days from the first; an exchange gives the same one, whose time goes on.
    refresh=RefreshProfile(kind="static", lifetime_seconds=365 * 86400),
    default_expires_seconds=60 * 86400,
    fatal_errors=(
        FatalError(error="invalid_grant"),
        # "The provided authorization grant or refresh token is invalid, expired or revoked": 365 days are over.
        FatalError(error="invalid_request", description="refresh token is invalid"),
    ),
    known_refusals=(KnownRefusal(status=422, contains="DUPLICATE_POST", code="duplicate"),),
)
