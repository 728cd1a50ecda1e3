"""What there is to know about a provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


def _tls_or_loopback(url: str) -> str:
    """Tokens travel over TLS (RFC 6749 section 1.6), or not further than this machine."""
    parts = urlsplit(url)
    _ = parts.port  # raises where that is no number of a port
    if not url.isprintable() or set(url) & set(" \\#") or parts.username is not None:
        raise ValueError("must be an address without spaces, backslashes, control characters, credentials and fragment")
    if parts.scheme == "https" and parts.hostname:
        return url
    if parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}:
        return url
    raise ValueError("must be an https:// address (http:// only to this machine)")


def _identifies(issuer: str) -> str:
    if "?" in issuer:
        raise ValueError("an issuer has no query (RFC 8414 section 2)")
    return issuer


def _takes_paths(url: str) -> str:
    if "?" in url or not {".", ".."}.isdisjoint(urlsplit(url).path.split("/")):
        raise ValueError("must have no query and no dots for a directory: paths are put behind it")
    return url


Url = Annotated[str, AfterValidator(_tls_or_loopback)]
BaseUrl = Annotated[Url, AfterValidator(_takes_paths)]
Issuer = Annotated[Url, AfterValidator(_identifies)]

#: RFC 6749 section 3.3: one scope, printable ASCII without space, quote and backslash.
Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")]

#: An HTTP status that is no success.
Status = Annotated[int, Field(ge=300, le=599)]

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

    error: str = Field(min_length=1)
    description: str = ""


class KnownRefusal(BaseModel, frozen=True, extra="forbid"):
    """An API refusal worth a code of its own: the status, and words the body must hold."""

    status: Status
    contains: str
    code: str = Field(pattern="^[a-z][a-z0-9_]{0,39}$")


class KnownLimit(BaseModel, frozen=True, extra="forbid"):
    """An API refusal that is a limit and passes, although its status is not 429: the status, and words in its body."""

    status: Status
    contains: str


#: Its place in Vault is kv/actas/<app>/<name>, where "webhook" is taken; and a transit key's name ends in a letter, a
#: digit or _ (``actas.vault.room.client_key_name``).
NAME = re.compile(r"(?!webhook$)[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9_])?")

#: What only the worker may say, or only the flow itself.
_FLOWS_OWN = frozenset(
    {
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
    }
)
_FORMS_OWN = frozenset(
    {
        "client_assertion",
        "client_assertion_type",
        "code",
        "code_verifier",
        "device_code",
        "grant_type",
        "refresh_token",
        "token",
        "token_type_hint",
    }
)
_APIS_OWN = frozenset({"authorization", "content-length", "content-type", "cookie", "host", "transfer-encoding"})
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Provider(BaseModel, frozen=True, extra="forbid"):
    """A provider as data; every fact in a built-in one names its source.

    With an ``issuer`` what is not given is asked there when first needed (RFC 8414, OpenID Connect Discovery 1.0).
    """

    name: str
    #: The authorization server's issuer identifier: where its metadata is, and what its answers must name (RFC 9207).
    issuer: Issuer | None = None
    authorize_url: Url | None = Field(default=None, validate_default=True)
    token_url: Url | None = Field(default=None, validate_default=True)
    revoke_url: Url | None = None
    #: The device authorization endpoint (RFC 8628), where there is one.
    device_url: Url | None = None
    #: The API's own base address, with an issuer its origin if nothing is said.
    api_url: BaseUrl | None = Field(default=None, validate_default=True)
    #: Further addresses of the API; actions reach nothing but these hosts and the one of ``api_url``.
    other_api_urls: tuple[Url, ...] = ()
    #: Said with each request to the API, such as the version of the API that is meant.
    api_headers: Mapping[str, str] = {}
    #: Where to ask, with a fresh access token, whose account this is: a path on the API, or a whole address.
    account_path: str | None = None
    account_url: Url | None = Field(default=None, validate_default=True)
    #: The path to the account's id in the JSON reply; with an issuer the userinfo's ``sub`` if nothing is said.
    account_id: tuple[str, ...] = Field(default=(), validate_default=True)
    #: RFC 6749 section 2.3.1: basic (HTTP Basic, both parts form-encoded first), post (in the body), none (public);
    #: private_key_jwt: a JWT signed in Vault (RFC 7523 section 2.2).
    client_auth: Literal["basic", "post", "none", "private_key_jwt"] = "basic"
    #: Whom such a JWT is for: RFC 7523 section 3 and OpenID Connect Core section 9 say the token endpoint's address;
    #: FAPI 2.0 and the update of RFC 7523 (draft-ietf-oauth-rfc7523bis) the issuer. Each server takes what it takes.
    assertion_audience: Literal["token_url", "issuer"] = "token_url"
    #: What it is signed with, where the key allows a choice; None: ES256, RS256 or EdDSA, as the key in Vault is.
    assertion_algorithm: Literal["ES256", "RS256", "PS256", "EdDSA", "Ed25519"] | None = None
    #: What the client's id is called in requests; RFC 6749 says client_id.
    client_id_parameter: str = Field(default="client_id", pattern="^[A-Za-z][A-Za-z0-9_.-]*$")
    #: RFC 7636; "none" only where the provider cannot.
    pkce: Literal["S256", "none"] = "S256"
    #: Whether its answer to the browser always names the issuer (RFC 9207 section 3): one that does not is refused.
    says_issuer: bool = False
    #: Said besides to the authorization endpoint, such as what it takes to be given a refresh token.
    authorize_parameters: Mapping[str, str] = {}
    #: Asked for besides the actions' own scopes, so that a refresh token is given and the account can be read; with an
    #: issuer ``openid`` and ``offline_access`` if nothing is said (OpenID Connect Core 1.0 sections 5.3 and 11).
    base_scopes: tuple[Scope, ...] = Field(default=None, validate_default=True)
    #: Asked for when an app does not say which; None: what all actions at this provider need.
    default_scopes: tuple[Scope, ...] | None = None
    #: Whether an exchange says for which scopes (RFC 6749 section 6 leaves it to the client); most want no word of it.
    scope_at_exchange: bool = False
    #: What token replies may put before a scope's name.
    scope_prefix: str = ""
    #: Whether token replies part scopes by commas, where RFC 6749 section 3.3 says spaces.
    scope_commas: bool = False
    refresh: RefreshProfile = Field(default=None, validate_default=True)
    #: When a token reply says no expires_in: guess low, and learn from a 401.
    default_expires_seconds: Seconds = 3600
    fatal_errors: tuple[FatalError, ...] = (FatalError(error="invalid_grant"),)
    known_refusals: tuple[KnownRefusal, ...] = ()
    known_limits: tuple[KnownLimit, ...] = ()
    #: How long what was done may not be seen yet by whoever looks: not being there counts only after this.
    settle_seconds: float = Field(default=60, ge=0, le=86_400, allow_inf_nan=False)
    #: How a limit tells when to come back: X's headers, GitHub's, or Retry-After (RFC 9110 section 10.2.3).
    rate_limit_headers: Literal["x", "github", "retry-after"] = "retry-after"

    @field_validator("name")
    @classmethod
    def _can_be_a_path(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("1 to 40 lower-case letters, digits, - and _, these not first and - not last; not webhook")
        return value

    @field_validator("authorize_url", "token_url", "api_url")
    @classmethod
    def _given_or_asked_for(cls, value: str | None, info: ValidationInfo) -> str | None:
        issuer = info.data.get("issuer")
        if value is None and issuer is None:
            raise PydanticCustomError("missing", "Field required (or issuer, where it can be asked for)")
        if value is None and info.field_name == "api_url":
            return "{0.scheme}://{0.netloc}".format(urlsplit(issuer or ""))
        return value

    @field_validator("account_path")
    @classmethod
    def _begins_at_the_api(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError("begins with /: it is a path on the API (or set account_url)")
        if value is not None and (not value.isprintable() or set(value) & set(" \\#")):
            raise ValueError("must be a path without spaces, backslashes, control characters and fragment")
        return value

    @field_validator("account_url")
    @classmethod
    def _one_way_to_ask(cls, value: str | None, info: ValidationInfo) -> str | None:
        path = info.data.get("account_path")
        if path is not None and value is not None:
            raise ValueError("either account_url or account_path, not both")
        if path is None and value is None and info.data.get("issuer") is None:
            raise PydanticCustomError("missing", "Field required (or account_path, on the API)")
        return value

    @field_validator("account_id")
    @classmethod
    def _a_path_to_it(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not value and info.data.get("issuer") is None:
            raise PydanticCustomError("missing", "Field required")
        return value or ("sub",)  # OpenID Connect Core 1.0 section 5.3.2

    @field_validator("base_scopes", mode="before")
    @classmethod
    def _with_an_issuer_openid_s(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            return () if info.data.get("issuer") is None else ("openid", "offline_access")
        return value

    @field_validator("refresh", mode="before")
    @classmethod
    def _with_an_issuer_for_one_use(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.data.get("issuer") is None:
            raise PydanticCustomError("missing", "Field required")
        # To take a token for one that can be used once is safe with all of them.
        return {"kind": "rotating"} if value is None else value

    @field_validator("client_id_parameter")
    @classmethod
    def _the_clients_own(cls, value: str) -> str:
        if value in (_FLOWS_OWN - {"client_id"}) | _FORMS_OWN:
            raise ValueError(f"{value} means something else in each request")
        return value

    @field_validator("assertion_audience")
    @classmethod
    def _somebody(cls, value: str, info: ValidationInfo) -> str:
        if value == "issuer" and info.data.get("issuer") is None:
            raise ValueError("there is no issuer; set that, too")
        return value

    @field_validator("authorize_parameters")
    @classmethod
    def _not_the_flows_own(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if taken := sorted(_FLOWS_OWN & value.keys()):
            raise ValueError(f"{', '.join(taken)}: not to be set here, it is part of each request")
        return value

    @field_validator("api_headers")
    @classmethod
    def _headers(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            if name.lower() in _APIS_OWN:
                raise ValueError(f"{name}: not to be set here, it is part of each request")
            if not _HEADER.fullmatch(name) or not (text.isascii() and text.isprintable()):
                raise ValueError(f"{name}: not a header that can be sent (RFC 9110 section 5)")
        return value

    @property
    def whose_url(self) -> str | None:
        """Where to ask whose account an access token is for; None: only its issuer's metadata knows."""
        return self.account_url or (self.api_base + self.account_path if self.account_path else None)

    @property
    def api_base(self) -> str:
        """The API's base address, without a slash at its end."""
        assert self.api_url is not None  # the validator has seen to it
        return self.api_url.rstrip("/")

    @property
    def surely_rotates(self) -> bool:
        """Whether a used refresh token is certainly worthless; of an issuer alone that is only assumed."""
        return "refresh" in self.model_fields_set and self.refresh.rotates

    @property
    def is_complete(self) -> bool:
        """Whether nothing has to be asked at the issuer any more."""
        return None not in {self.authorize_url, self.token_url, self.whose_url}
