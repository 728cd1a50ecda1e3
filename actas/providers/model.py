"""What there is to know about a provider."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator


def _tls_or_loopback(url: str) -> str:
    """Tokens travel over TLS (RFC 6749 section 1.6), or not further than this machine."""
    parts = urlsplit(url)
    if not url.isprintable() or " " in url or parts.username is not None:
        raise ValueError("must be an address without spaces, control characters and credentials")
    if parts.scheme == "https" and parts.hostname:
        return url
    if parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}:
        return url
    raise ValueError("must be an https:// address (http:// only to this machine)")


Url = Annotated[str, AfterValidator(_tls_or_loopback)]


#: A span of time in seconds, of not more than a hundred years: a number beyond that is not one of seconds.
Seconds = Annotated[int, Field(gt=0, le=100 * 365 * 86400)]


class RefreshProfile(BaseModel, frozen=True, extra="forbid"):
    """What becomes of a refresh token when it is used, and what it dies of when it is not.

    rotating: each exchange returns a new one and kills the old (RFC 9700 section 4.14.2), at once or after a while;
    sliding: the same one lives on, its idle time starts anew; static: nothing changes.
    """

    kind: Literal["rotating", "sliding", "static"]
    #: Seconds from a refresh token's issue to its end, however much it is used; None: as far as known, it has none.
    lifetime_seconds: Seconds | None = None
    #: Seconds without an exchange after which a refresh token is dead; None: as far as known, it may lie idle.
    idle_seconds: Seconds | None = None
    #: Seconds for which a used refresh token is accepted again, as if it had not been; None: not once.
    reuse_window_seconds: Seconds | None = None
    #: What revoking one token (RFC 7009 section 2.1) takes along: that token only, or the whole authorization.
    revocation: Literal["token", "grant"] = "grant"

    @property
    def rotates(self) -> bool:
        """Whether a refresh token is for one use."""
        return self.kind == "rotating"

    @field_validator("idle_seconds")
    @classmethod
    def _idle_time_passes(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("kind") == "static":
            raise ValueError("a static token has none; one whose idle time starts anew with each use is sliding")
        return value

    @field_validator("reuse_window_seconds")
    @classmethod
    def _window_of_the_used(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("kind") in {"sliding", "static"}:
            raise ValueError("only for rotating tokens; the others may be used at any time")
        return value


class FatalError(BaseModel, frozen=True, extra="forbid"):
    """A token-endpoint error that means the grant is dead: its ``error``, and words its description must hold."""

    error: str
    description: str = ""


class KnownRefusal(BaseModel, frozen=True, extra="forbid"):
    """An API refusal worth a code of its own: the status, and words the body must hold."""

    status: int
    contains: str
    code: str


class Provider(BaseModel, frozen=True, extra="forbid"):
    """A provider as data; every fact in a built-in one names its source."""

    name: str
    authorize_url: Url
    token_url: Url
    revoke_url: Url | None = None
    #: The API's own base address; actions reach nothing else.
    api_url: Url
    #: Where to ask, with a fresh access token, whose account this is; and the path to the id in the JSON reply.
    account_path: str
    account_id: tuple[str, ...]
    #: RFC 6749 section 2.3.1: basic (HTTP Basic, both parts form-encoded first), post (in the body), none (public).
    client_auth: Literal["basic", "post", "none"] = "basic"
    #: Asked for besides the actions' own scopes, so that a refresh token is given and the account can be read.
    base_scopes: tuple[str, ...] = ()
    refresh: RefreshProfile
    #: When a token reply says no expires_in: guess low, and learn from a 401.
    default_expires_seconds: int = 3600
    fatal_errors: tuple[FatalError, ...] = (FatalError(error="invalid_grant"),)
    known_refusals: tuple[KnownRefusal, ...] = ()
    #: How long what was done may not be seen yet by whoever looks: not being there counts only after this.
    settle_seconds: float = Field(default=60, ge=0, le=86_400, allow_inf_nan=False)
    #: How a 429 tells when to come back: X's headers, or Retry-After (RFC 9110 section 10.2.3).
    rate_limit_headers: Literal["x", "retry-after"] = "retry-after"
