"""X (formerly Twitter), API v2, OAuth 2.0 with PKCE.

Sources: docs.x.com, "OAuth 2.0 Authorization Code Flow with PKCE" and "Rate limits"; X's published OpenAPI document
(v2.167); error bodies as reported by its users. X publishes no lifetime for refresh tokens; six months is said.
"""

from __future__ import annotations

from actas.providers.model import FatalError, KnownRefusal, Provider, RefreshProfile

X = Provider(
    name="x",
    authorize_url="https://x.com/i/oauth2/authorize",
    token_url="https://api.x.com/2/oauth2/token",  # noqa: S106 - an address, not a token
    revoke_url="https://api.x.com/2/oauth2/revoke",
    api_url="https://api.x.com",
    account_path="/2/users/me",
    account_id=("data", "id"),
    client_auth="basic",  # confidential clients; X wants id and secret form-encoded first, as RFC 6749 says
    base_scopes=("offline.access", "users.read", "tweet.read"),  # /2/users/me needs the last two
    default_scopes=("tweet.read", "tweet.write", "users.read"),
    refresh=RefreshProfile(kind="rotating"),  # single use; a reused one kills the family
    default_expires_seconds=7200,
    fatal_errors=(
        # What X says of a dead refresh token, instead of invalid_grant; its other invalid_requests are our fault.
        FatalError(error="invalid_request", description="Value passed for the token was invalid"),
        FatalError(error="invalid_grant"),
    ),
    known_refusals=(
        KnownRefusal(status=403, contains="duplicate content", code="duplicate"),
        # "You cannot retweet a Tweet that you have already retweeted.": 400 by users of API v2; v1.1 had 403 and other
        # words, "You have already retweeted this Tweet" (327) and "You have already favorited this status" (139).
        KnownRefusal(status=400, contains="already retweeted", code="already_done"),
        KnownRefusal(status=403, contains="already retweeted", code="already_done"),
        KnownRefusal(status=403, contains="already favorited", code="already_done"),
        # The type of the document's ResourceNotFoundProblem; what comes before is one of several hosts.
        KnownRefusal(status=404, contains="resource-not-found", code="not_found"),
    ),
    rate_limit_headers="x",
)
