"""Every built-in provider through the whole battery, against the examples of its documentation.

The tokens in the examples are shortened: the sandbox puts its own in.
"""

from __future__ import annotations

from actas.providers import BUILT_IN
from actas.testing import ProviderBattery, Reply


class TestX(ProviderBattery):
    """docs.x.com, "OAuth 2.0 Authorization Code Flow with PKCE", "User access token"; "Get my User"; "Rate limits".

    What is said of a dead token is not documented, but as users report it (design facts, section 9).
    """

    provider = BUILT_IN["x"]
    token_reply = {
        "token_type": "bearer",
        "expires_in": 7200,
        "access_token": "cDl4...",
        "scope": "tweet.read users.read",
        "refresh_token": "dUJx...",
    }
    account_reply = {"data": {"id": "2244994945", "name": "X Dev", "username": "TwitterDev"}}
    account = "2244994945"
    account_at = "https://api.x.com/2/users/me"
    dead = [
        Reply(400, {"error": "invalid_request", "error_description": "Value passed for the token was invalid."}),
        Reply(400, {"error": "invalid_grant"}),
    ]
    wrong_client = Reply(
        401, {"error": "unauthorized_client", "error_description": "Missing valid authorization header"}
    )
    limits = [
        Reply(
            429,
            {"title": "Too Many Requests", "status": 429, "type": "about:blank", "detail": "Too Many Requests"},
            {"x-rate-limit-limit": "15", "x-rate-limit-remaining": "0", "x-rate-limit-reset": "{reset}"},
            pause=600,
        )
    ]
    rotates = True
    refresh_scope = "offline.access"
    scopes = ["tweet.write"]


class TestSandbox(TestX):
    """What comes with actas has X's ways."""

    provider = BUILT_IN["sandbox"]
    account_at = None


class TestGitHub(ProviderBattery):
    """docs.github.com, "Refreshing user access tokens", "Get the authenticated user", "Troubleshooting OAuth app access
    token request errors": errors come with HTTP 200; "Rate limits for the REST API"; "API Versions".
    """

    provider = BUILT_IN["github"]
    token_reply = {
        "access_token": "ghu_16C7...",
        "expires_in": 28800,
        "refresh_token": "ghr_1B4a...",
        "refresh_token_expires_in": 15897600,
        "scope": "",
        "token_type": "bearer",
    }
    account_reply = {"login": "octocat", "id": 583231, "node_id": "MDQ6VXNlcjE=", "name": "monalisa octocat"}
    account = "583231"
    account_at = "https://api.github.com/user"
    dead = [
        Reply(
            200,
            {
                "error": "bad_refresh_token",
                "error_description": "The refresh token passed is incorrect or expired.",
                "error_uri": "https://docs.github.com",
            },
        )
    ]
    wrong_client = Reply(
        200,
        {
            "error": "incorrect_client_credentials",
            "error_description": "The client_id and/or client_secret passed are incorrect.",
        },
    )
    limits = [Reply(429, {"message": "You have exceeded a secondary rate limit"}, {"retry-after": "60"})]
    rotates = True
    client_auth = "post"
    error_status = 200
    revokes = False
    api_headers = {"x-github-api-version": "2022-11-28"}


class TestGoogle(ProviderBattery):
    """developers.google.com/identity/protocols/oauth2/web-server; /openid-connect/openid-connect, for the userinfo."""

    provider = BUILT_IN["google"]
    token_reply = {
        "access_token": "1/fFAG...",
        "expires_in": 3920,
        "token_type": "Bearer",
        "scope": "https://www.googleapis.com/auth/drive.metadata.readonly",
        "refresh_token": "1//xEoD...",
    }
    refresh_reply = {
        "access_token": "1/fFAG...",
        "expires_in": 3920,
        "scope": "https://www.googleapis.com/auth/drive.metadata.readonly",
        "token_type": "Bearer",
    }
    account_reply = {"sub": "110248495921238986420", "picture": "https://lh3.googleusercontent.com/..."}
    account = "110248495921238986420"
    account_at = "https://openidconnect.googleapis.com/v1/userinfo"
    dead = [
        Reply(400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}),
        Reply(
            400,
            {"error": "invalid_grant", "error_subtype": "invalid_rapt", "error_description": "reauth related error"},
        ),
    ]
    wrong_client = Reply(401, {"error": "invalid_client", "error_description": "Unauthorized"})
    rotates = False
    client_auth = "post"
    authorize_parameters = {"access_type": "offline", "prompt": "consent"}
    iss = "https://accounts.google.com"
    scopes = ["https://www.googleapis.com/auth/calendar.events"]
    #: accounts.google.com/.well-known/openid-configuration
    metadata = {
        "issuer": "https://accounts.google.com",
        "authorization_endpoint": "https://accounts.google.com/o/oauth2/v2/auth",
        "device_authorization_endpoint": "https://oauth2.googleapis.com/device/code",
        "token_endpoint": "https://oauth2.googleapis.com/token",
        "userinfo_endpoint": "https://openidconnect.googleapis.com/v1/userinfo",
        "revocation_endpoint": "https://oauth2.googleapis.com/revoke",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "code_challenge_methods_supported": ["plain", "S256"],
    }


class TestLinkedIn(ProviderBattery):
    """learn.microsoft.com/linkedin, "Refresh Tokens with OAuth 2.0", "Authorization Code Flow (3-legged OAuth)",
    "Sign In with LinkedIn using OpenID Connect".
    """

    provider = BUILT_IN["linkedin"]
    token_reply = {
        "access_token": "AQXN...",
        "expires_in": 5184000,
        "refresh_token": "AQWA...",
        "refresh_token_expires_in": 31536000,
        "scope": "openid,profile,w_member_social",
    }
    refresh_reply = {
        "access_token": "BBBB...",
        "expires_in": 86400,
        "refresh_token": "AQWA...",
        "refresh_token_expires_in": 439200,
    }
    account_reply = {"sub": "782bbtaQ", "name": "John Doe", "given_name": "John", "locale": "en-US"}
    account = "782bbtaQ"
    account_at = "https://api.linkedin.com/v2/userinfo"
    dead = [
        Reply(400, {"error": "invalid_grant", "error_description": "The provided refresh token is expired"}),
        Reply(
            400,
            {
                "error": "invalid_request",
                "error_description": "The provided authorization grant or refresh token is invalid, expired or revoked",
            },
        ),
    ]
    wrong_client = Reply(401, {"error": "invalid_client", "error_description": "Client authentication failed"})
    rotates = False
    client_auth = "post"
    pkce = False
    scope_separator = ","
    scopes = ["w_member_social"]
    api_headers = {"X-Restli-Protocol-Version": "2.0.0"}


class TestMicrosoft(ProviderBattery):
    """learn.microsoft.com/entra/identity-platform, "OAuth 2.0 authorization code flow", "UserInfo endpoint",
    "Microsoft Entra authentication and authorization error codes".
    """

    provider = BUILT_IN["microsoft"]
    token_reply = {
        "access_token": "eyJ0...",
        "token_type": "Bearer",
        "expires_in": 3599,
        "scope": "https://graph.microsoft.com/mail.read",
        "refresh_token": "AwAB...",
        "id_token": "eyJ0...",
    }
    account_reply = {"sub": "OLu859SGc2Sr9ZsqbkG-QbeLgJlb41KcdiPoLYNpSFA", "name": "Mikah Ollenburg"}
    account = "OLu859SGc2Sr9ZsqbkG-QbeLgJlb41KcdiPoLYNpSFA"
    account_at = "https://graph.microsoft.com/oidc/userinfo"
    dead = [
        Reply(
            400,
            {
                "error": "invalid_grant",
                "error_description": "AADSTS700082: The refresh token has expired due to inactivity.",
                "error_codes": [700082],
                "timestamp": "2026-01-09 02:02:12Z",
                "trace_id": "255d1aef-8c98-452f-ac51-23d051240864",
            },
        ),
        Reply(400, {"error": "interaction_required", "error_description": "AADSTS50076", "error_codes": [50076]}),
        Reply(400, {"error": "consent_required", "error_description": "AADSTS65001", "error_codes": [65001]}),
    ]
    wrong_client = Reply(
        401,
        {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."},
    )
    limits = [Reply(429, {"error": "temporarily_unavailable"}, {"retry-after": "10"})]
    rotates = False
    renews = True
    client_auth = "post"
    refresh_scope = "offline_access"
    scope_prefix = "https://graph.microsoft.com/"
    unsaid_scopes = ["offline_access"]
    scopes = ["Mail.Send"]
    revokes = False
