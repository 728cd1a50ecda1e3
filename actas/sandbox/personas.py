"""Personas: what the sandbox is told to stand in for any provider, as data, and how it fills in documented replies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, PositiveInt, SecretStr, StringConstraints, model_validator

from actas.providers.model import RefreshProfile

PersonaName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]

#: A token is accepted again for so long where each exchange gives a new one and kills none.
FOR_EVER = 100 * 365 * 86400


#: OpenID Connect Core 1.0 sections 3.1.2.1, 5.4 and 11.
OPENID = frozenset({"openid", "profile", "email", "address", "phone", "offline_access"})


class Says(BaseModel, frozen=True, extra="forbid"):
    """A reply, word for word, but for its placeholders (``filled``)."""

    status: int = Field(default=200, ge=200, le=599)
    headers: dict[str, str] = {}
    #: A string goes out as it is, anything else as JSON; None: no body.
    body: Any = None


class Endpoint(BaseModel, frozen=True, extra="forbid"):
    """One endpoint of a persona's API."""

    method: str
    #: From the persona's own address on: ``/api/v1/notes/{id}``; what is in braces is one part, ``{path.id}``.
    path: str
    #: makes: a thing of the account's; lists: all its things, or those that fit ``where``; looks: for one by its id;
    #: says: nothing but its reply.
    does: Literal["makes", "lists", "looks", "says"] = "says"
    reply: Says = Says()
    #: What a grant needs for it.
    scopes: tuple[str, ...] = ()
    #: makes: its id.
    id: str = "{number}"
    #: makes: what actas is to call it.
    reference: str = "{id}"
    #: makes: things with the same key are the same; None: each is another.
    key: str | None = None
    #: makes: the answer where there is the same already; None: that of the first time, once more.
    again: Says | None = None
    #: lists: each of the things, in the place of ``{items}`` in the reply.
    item: Any = None
    #: lists: the answer where there is none, if it is another.
    empty: Says | None = None
    newest_first: bool = True
    #: lists: all things, whosever they are.
    everybodys: bool = False
    #: lists: parameters of the query that a thing must fit, and what of it; one that is not given fits.
    where: dict[str, str] = {}
    #: looks: the answer where there is none.
    missing: Says = Says(status=404, body={"error": "not_found"})

    @model_validator(mode="after")
    def _can_be_matched(self) -> Self:
        if not self.path.startswith("/api"):
            raise ValueError("an endpoint's path begins with /api")
        return self

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The parts of the path that are named, if this is the endpoint that is asked."""
        pattern = re.sub(r"\\\{([a-z_]+)\\\}", r"(?P<\1>[^/]+)", re.escape(self.path))
        found = re.fullmatch(pattern, path) if method == self.method else None
        return found.groupdict() if found else None


class Persona(BaseModel, frozen=True, extra="forbid"):
    """A provider as its documentation describes it."""

    # --- its client ---
    client_id: str
    #: All that are accepted, as while one is being changed.
    client_secrets: tuple[SecretStr, ...] = ()
    client_auth: Literal["basic", "post", "none", "private_key_jwt"] = "basic"
    client_id_parameter: str = "client_id"
    #: The keys of a client that signs its assertions (RFC 7523), as a JWK set.
    client_jwks: dict[str, Any] | None = None
    #: For whom an assertion must be; None: whoever it says.
    audience: str | None = None
    #: What is said of a client that does not prove itself.
    wrong_client: Says = Says(status=401, body={"error": "invalid_client"})

    # --- its authorization endpoint ---
    #: Demanded, or else refused.
    pkce: bool = True
    #: Without these parameters no refresh token is given.
    authorize_parameters: dict[str, str] = {}
    #: Without this scope no refresh token is given.
    refresh_scope: str | None = None
    #: All there are; None: any.
    scopes: frozenset[str] | None = None
    #: What its answers name as their issuer (RFC 9207).
    iss: str | None = None

    # --- its token endpoint ---
    token_reply: dict[str, Any] = {"token_type": "Bearer", "access_token": "", "refresh_token": "", "scope": ""}
    #: To an exchange, where it differs.
    refresh_reply: dict[str, Any] | None = None
    #: Whether an exchange kills the refresh token that it was made with; who uses that again loses all.
    rotates: bool = True
    #: Whether an exchange brings another refresh token.
    renews: bool = True
    scope_separator: str = " "
    #: Of all but those of OpenID Connect.
    scope_prefix: str = ""
    #: Which its replies do not name.
    unsaid_scopes: frozenset[str] = frozenset()
    #: Of errors; some say them with 200.
    error_status: int = 400
    dead: Says = Says(status=400, body={"error": "invalid_grant"})
    access_seconds: PositiveInt = 7200

    # --- the rest ---
    revokes: bool = True
    #: Where its example's ``account`` stands, the account's own id is put.
    account_reply: dict[str, Any] = {"sub": "account"}
    account: str = "account"
    #: Word for word; None: its own, at the persona's address.
    metadata: dict[str, Any] | None = None
    #: Demanded with each request to the API.
    api_headers: dict[str, str] = {}
    api: tuple[Endpoint, ...] = ()

    @property
    def refresh(self) -> RefreshProfile:
        """What becomes of its refresh tokens, in the words of the sandbox's books."""
        if self.rotates:
            return RefreshProfile(kind="rotating")
        if self.renews:
            return RefreshProfile(kind="rotating", reuse_window_seconds=FOR_EVER)
        return RefreshProfile(kind="static")

    def named(self, scopes: Iterable[str]) -> str:
        """Scopes as its token replies name them."""
        said = sorted({*scopes} - self.unsaid_scopes)
        return self.scope_separator.join(scope if scope in OPENID else self.scope_prefix + scope for scope in said)


_PLACEHOLDER = re.compile(
    r"\{((?:id|number|reference|account|account_number|at|at_seconds|at_ms|count|items|text|json|path|query|headers)(?:\.[\w-]+)*)\}"
)


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """A documented reply with its placeholders filled in. Pure.

    A text that is nothing but a placeholder becomes the value itself, whatever that is; ``{json.a.b}`` is what the
    request had there, None if it had nothing.
    """
    match template:
        case dict():
            return {name: filled(value, values) for name, value in template.items()}
        case list():
            return [filled(value, values) for value in template]
        case str():
            if whole := _PLACEHOLDER.fullmatch(template):
                return value_at(values, whole[1])
            return _PLACEHOLDER.sub(lambda place: _text(value_at(values, place[1])), template)
    return template


def value_at(values: Any, path: str) -> Any:
    """What a path through objects and lists leads to; None if it leads nowhere."""
    for name in path.split("."):
        match values:
            case Mapping():
                values = values.get(name)
            case list() if name.isdecimal() and int(name) < len(values):
                values = values[int(name)]
            case _:
                return None
    return values


def in_place_of(example: Any, old: str, new: str) -> Any:
    """A documented reply with each value that reads like ``old`` made ``new``, a number if it was one. Pure."""
    match example:
        case dict():
            return {name: in_place_of(value, old, new) for name, value in example.items()}
        case list():
            return [in_place_of(value, old, new) for value in example]
        case bool():
            return example
        case int() if str(example) == old:
            return int(new)
    return new if example == old else example


def _text(value: Any) -> str:
    return "" if value is None else str(value)
