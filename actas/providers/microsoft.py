"""Microsoft: Graph as a user, by the Microsoft identity platform (work, school and personal accounts).

Sources: learn.microsoft.com/entra/identity-platform, "OAuth 2.0 authorization code flow", "Refresh tokens",
"Microsoft Entra authentication and authorization error codes", "OAuth 2.0 device authorization grant", "UserInfo
endpoint"; learn.microsoft.com/graph/throttling. One tenant only: set its id in the place of ``common``.
"""

from __future__ import annotations

from actas.providers.model import FatalError, Provider, RefreshProfile

LOGIN = "https://login.microsoftonline.com/common/oauth2/v2.0"

MICROSOFT = Provider(
    name="microsoft",
    authorize_url=f"{LOGIN}/authorize",
    token_url=f"{LOGIN}/token",
    revoke_url=None,  # it has none (RFC 7009); a user withdraws consent at myapps.microsoft.com
    device_url=f"{LOGIN}/devicecode",
    api_url="https://graph.microsoft.com",
    account_path="/oidc/userinfo",
    account_id=("sub",),
    client_auth="post",
    base_scopes=("offline_access", "openid"),
    default_scopes=(),
    # Its page calls it optional; without it users are told AADSTS90009 and 70011, and a new refresh token comes only
    # where offline_access was asked for.
    scope_at_exchange=True,
    scope_prefix="https://graph.microsoft.com/",
    # A new one each time, the old one not revoked; 90 days for web clients. Single-page apps have 24 hours.
    refresh=RefreshProfile(kind="sliding", idle_seconds=90 * 86400, revocation="grant"),
    default_expires_seconds=3600,
    fatal_errors=(
        FatalError(error="invalid_grant"),  # AADSTS700082 (too old), AADSTS50173 (revoked), AADSTS65001 (no consent)
        FatalError(error="interaction_required"),
        FatalError(error="consent_required"),
    ),
)
