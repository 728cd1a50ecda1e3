"""Whose request it is: the ways in which clients prove that at the token endpoint (RFC 6749 section 2.3, RFC 7523)."""

from __future__ import annotations

import base64
import json
import secrets
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from actas.clock import Clock
    from actas.sandbox.config import Client

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ["ES256", "RS256", "PS256", "EdDSA", "Ed25519"]
TOKEN_PATH = "2/oauth2/token"  # noqa: S105 - a path

#: X's own words.
NO_HEADER = "Missing valid authorization header"

#: An assertion good for longer is refused, as careful servers do.
LONGEST = timedelta(minutes=5)
CLOCK_SKEW = timedelta(seconds=5)


class OAuthError(Exception):
    """An error reply of RFC 6749 section 5.2: status, ``error`` and ``error_description``."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status, self.error, self.description = status, error, description


class ClientAuthentication:
    """Strict: each client proves itself in the one way it is registered for, and uses each assertion once."""

    def __init__(self, clients: Mapping[str, Client], clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._seen: set[tuple[str, str]] = set()  # for as long as the sandbox lives

    def client_id(self, request: Request, form: Mapping[str, str]) -> str:
        """The client's id, proven, or merely said by a public client.

        Raises:
            OAuthError.
        """
        header = request.headers.get("authorization")
        ways = [name in form for name in ("client_secret", "client_assertion")] + [header is not None]
        if sum(ways) > 1:
            # RFC 6749 section 2.3: one way of authenticating in each request.
            raise OAuthError(400, "invalid_request", "The client is named in two ways.")
        if header is not None:
            client_id, secret = _basic(header)
            if form.get("client_id", client_id) != client_id:
                raise OAuthError(400, "invalid_request", "The client is named in two ways.")
            self._check_secret(client_id, "basic", secret)
        elif "client_assertion" in form:
            client_id = self._check_assertion(request, form)
        elif "client_secret" in form:
            client_id = form.get("client_id", "")
            self._check_secret(client_id, "post", form["client_secret"])
        else:
            client_id = form.get("client_id", "")
            if self._client(client_id).authenticates_by != "none":
                raise OAuthError(401, "unauthorized_client", NO_HEADER)
        return client_id

    def _client(self, client_id: str) -> Client:
        client = self._clients.get(client_id)
        if client is None:
            raise OAuthError(401, "invalid_client", "No client has this id.")
        return client

    def _registered(self, client_id: str, way: str) -> Client:
        client = self._client(client_id)
        if client.authenticates_by == "none":
            raise OAuthError(401, "invalid_client", "This client has no secret.")
        if client.authenticates_by == "basic" != way:
            raise OAuthError(401, "unauthorized_client", NO_HEADER)
        if client.authenticates_by != way:
            raise OAuthError(401, "invalid_client", f"This client is registered for {client.authenticates_by}.")
        return client

    def _check_secret(self, client_id: str, way: str, given: str) -> None:
        client = self._registered(client_id, way)
        known = client.secret.get_secret_value() if client.secret else ""
        if not known or not secrets.compare_digest(given.encode(), known.encode()):
            raise OAuthError(401, "invalid_client", "The client secret is wrong.")

    # --- RFC 7523 section 3 ---

    def _check_assertion(self, request: Request, form: Mapping[str, str]) -> str:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise OAuthError(400, "invalid_request", "The client_assertion_type is not RFC 7523's.")
        claims, client_id = read_assertion(form["client_assertion"])
        client = self._registered(client_id, "private_key_jwt")
        if form.get("client_id", client_id) != client_id:
            raise _wrong("names another client")
        check_signature(form["client_assertion"], client.jwks or {})
        self._check_claims(claims, client_id, audiences=_audiences(request))
        return client_id

    def _check_claims(self, claims: Mapping[str, Any], client_id: str, *, audiences: set[str]) -> None:
        now = self._clock()
        expires_at, issued_at = (_moment(claims, name) for name in ("exp", "iat"))
        if (claims.get("iss"), claims.get("sub")) != (client_id, client_id):
            raise _wrong("is not issued by and for the client")
        if claims.get("aud") not in list(audiences):
            raise _wrong("is for somebody else")
        if expires_at <= now - CLOCK_SKEW or expires_at > now + LONGEST:
            raise _wrong("has ended, or is good for too long")
        if issued_at > now + CLOCK_SKEW:
            raise _wrong("is from the future")
        use = (client_id, str(claims.get("jti") or ""))
        if not use[1] or use in self._seen:
            raise _wrong("was used before, or has no jti")
        self._seen.add(use)


def _audiences(request: Request) -> set[str]:
    """The issuer, and the token endpoint's address: also where something is revoked."""
    here = str(request.base_url)
    return {here.rstrip("/"), here + TOKEN_PATH}


def read_assertion(assertion: str) -> tuple[dict[str, Any], str]:
    """What it says, unverified, and whose it says it is.

    Raises:
        OAuthError: it is none.
    """
    try:
        encoded = assertion.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        return claims, str(claims["sub"])
    except (ValueError, LookupError, TypeError):
        raise _wrong("is no JWT with a sub") from None


def check_signature(assertion: str, jwks: Mapping[str, Any]) -> None:
    """Make sure that it is signed with one of a client's keys.

    Raises:
        OAuthError.
    """
    try:
        keys = KeySet.import_key_set({"keys": list(jwks.get("keys", []))})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EdDSA, which RFC 9864 calls Ed25519, is what most clients still say
            jws.deserialize_compact(assertion, keys, algorithms=ALGORITHMS)
    except (JoseError, ValueError):
        raise _wrong("is not signed with a key of the client's") from None


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise _wrong(f"has no {name}")
    return datetime.fromtimestamp(value, UTC)


def _wrong(what: str) -> OAuthError:
    return OAuthError(401, "invalid_client", f"The client assertion {what}.")


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        if not colon:
            raise ValueError
    except ValueError:
        raise OAuthError(401, "unauthorized_client", NO_HEADER) from None
    return unquote_plus(client_id), unquote_plus(secret)
