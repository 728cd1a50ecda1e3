"""Google: Calendar and Gmail as a user (OAuth 2.0 for web server applications).

Sources: developers.google.com/identity/protocols/oauth2 ("Refresh token expiration"), .../oauth2/web-server ("Set
authorization parameters", "Revoking a token"), accounts.google.com/.well-known/openid-configuration, and
developers.google.com/workspace/calendar/api/guides/errors for limits that come as 403.
"""

from __future__ import annotations

from actas.providers.model import FatalError, KnownLimit, KnownRefusal, Provider, RefreshProfile

GOOGLE = Provider(
    name="google",
    issuer="https://accounts.google.com",
    authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
    token_url="https://oauth2.googleapis.com/token",  # noqa: S106 - an address, not a token
    revoke_url="https://oauth2.googleapis.com/revoke",
    # For the few scopes that Google allows devices: openid, email, profile, and some of Drive and YouTube.
    device_url="https://oauth2.googleapis.com/device/code",
    api_url="https://www.googleapis.com",
    other_api_urls=("https://gmail.googleapis.com",),
    account_url="https://openidconnect.googleapis.com/v1/userinfo",
    account_id=("sub",),
    client_auth="post",
    # access_type: else there is no refresh token; prompt: else there is one at the first consent only.
    authorize_parameters={"access_type": "offline", "prompt": "consent"},
    base_scopes=("openid",),
    default_scopes=(),  # its scopes reach far, and some need Google's review: an app says which
    # It lives until revoked, or six months without use; seven days while the app is in testing.
    refresh=RefreshProfile(kind="sliding", idle_seconds=180 * 86400),
    default_expires_seconds=3600,
    fatal_errors=(FatalError(error="invalid_grant"),),  # also for a Workspace session that ended (invalid_rapt)
    known_refusals=(
        # A calendar event's id is the client's; 409: there is one of it ("The requested identifier already exists").
        KnownRefusal(status=409, contains="duplicate", code="duplicate"),
        KnownRefusal(status=409, contains="identifier already exists", code="duplicate"),
    ),
    # "Handle API errors" of Calendar and of Gmail: limits per minute and per day, a calendar's own, an account's.
    known_limits=(
        KnownLimit(status=403, contains="rateLimitExceeded"),
        KnownLimit(status=403, contains="userRateLimitExceeded"),
        KnownLimit(status=403, contains="quotaExceeded"),
        KnownLimit(status=403, contains="dailyLimitExceeded"),
    ),
)
