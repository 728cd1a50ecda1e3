"""A signed job: a JWT (RFC 7519) that carries a job's identity, authority, window and content. Pure.

The app's process asks Vault to sign what ``signing_input`` returns; the worker checks what comes back with ``verify``.
Nothing here holds a private key.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from joserfc import jws as jose
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import BaseModel, Field

from actas.clock import from_numeric_date, to_numeric_date
from actas.errors import JobRefused

ALGORITHM = "Ed25519"  # RFC 9864: fully specified, unlike "EdDSA"
TYPE = "job+jwt"  # explicit typing (RFC 8725 section 3.11): no other JWT of the app can pass for a job
AUDIENCE = "actas"
KEY_PREFIX = "actas-app-"

#: A clock may run this much ahead of ours before we call a signature one from the future.
CLOCK_SKEW = timedelta(seconds=5)

#: (key name, version) -> raw public key, or None if there is no such key.
PublicKeys = Callable[[str, int], bytes | None]


@dataclass(frozen=True, slots=True)
class Claims:
    """What the app signed; the only thing a worker acts on."""

    id: str
    app: str
    user: str
    grant: str
    provider: str
    action: str
    payload: Mapping[str, Any]
    run_at: datetime
    deadline: datetime
    issued_at: datetime
    rev: int = 0
    #: The connection of the grant that it was asked for under (``Grant.connection``).
    connection: int = 0

    def copies(self) -> dict[str, Any]:
        """The fields that stand beside the signature in the job's document, for looking up."""
        names = ("id", "app", "user", "grant", "connection", "provider", "action", "payload")
        return {name: getattr(self, name) for name in (*names, "run_at", "deadline", "rev")}


def signing_input(claims: Claims, *, key_version: int) -> bytes:
    """The bytes to sign (RFC 7515 section 5.1, step 5): encoded header and claims, joined by a dot."""
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": f"{KEY_PREFIX}{claims.app}:v{key_version}"}
    body = {
        "iss": claims.app,
        "sub": claims.user,
        "aud": AUDIENCE,
        "jti": claims.id,
        "iat": to_numeric_date(claims.issued_at),
        "nbf": to_numeric_date(claims.run_at),
        "exp": to_numeric_date(claims.deadline),
        "rev": claims.rev,
        "grant": claims.grant,
        "connection": claims.connection,
        "provider": claims.provider,
        "action": claims.action,
        "payload": claims.payload,
    }
    return b".".join(base64.urlsafe_b64encode(_compact(part)).rstrip(b"=") for part in (header, body))


def verify(token: str, public_keys: PublicKeys, now: datetime) -> Claims:
    """Check a signed job and return what it says.

    The window is *not* judged here: too early puts a job back and too late expires it, and neither is a refusal.

    Raises:
        JobRefused: with code ``bad_signature``, ``bad_header``, ``bad_claims``, ``bad_id`` or ``from_the_future``.
    """
    key_name, version = signed_with(token)
    public_key = public_keys(key_name, version)
    if public_key is None:
        raise JobRefused(f"no such signing key: {key_name} version {version}", code="bad_signature")
    x = base64.urlsafe_b64encode(public_key).rstrip(b"=").decode()
    key = OKPKey.import_key({"kty": "OKP", "crv": ALGORITHM, "x": x})
    try:
        verified = jose.deserialize_compact(token, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError):
        raise JobRefused("the job's signature does not hold", code="bad_signature") from None
    claims = _claims(verified.payload)
    if key_name != KEY_PREFIX + claims.app:
        raise JobRefused(f"signed with {key_name}, which is not the key of app {claims.app}", code="bad_signature")
    if claims.issued_at > now + CLOCK_SKEW:
        raise JobRefused("issued in the future; compare the clocks", code="from_the_future")
    return claims


#: The names a signing key can have. Whoever writes the header must not choose what else a worker reads from Vault.
_KID = re.compile(KEY_PREFIX + r"[a-z0-9-]{1,40}:v[1-9][0-9]{0,8}", re.ASCII)


def signed_with(token: str) -> tuple[str, int]:
    """Return name and version of the key that a token says it was signed with; its header, up to the dot, is enough.

    Raises:
        JobRefused: with code ``bad_header``.
    """
    try:
        encoded = token.split(".", 1)[0]
        header = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        # Exactly these three: no crit, jwk, jku or x5u can bring a key or a rule of its own (RFC 8725 section 3.1).
        if set(header) != {"alg", "typ", "kid"} or (header["alg"], header["typ"]) != (ALGORITHM, TYPE):
            raise ValueError("not our header")
        if not _KID.fullmatch(header["kid"]):
            raise ValueError("not a key of ours")
        name, _, version = header["kid"].rpartition(":v")
        return name, int(version)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise JobRefused(f"not a signed job: its header must be {ALGORITHM}, {TYPE}, kid", code="bad_header") from None


#: Seconds since the epoch, to the end of the year 9999.
_NumericDate = Annotated[float, Field(ge=0, le=253_402_300_799, allow_inf_nan=False)]


class _Body(BaseModel, strict=True):
    """The claims as they stand in the token; further ones are ignored (RFC 7519 section 4)."""

    iss: str
    sub: str
    aud: Literal["actas"]
    jti: str
    iat: _NumericDate
    nbf: _NumericDate
    exp: _NumericDate
    rev: int
    grant: str
    connection: int = 0
    provider: str
    action: str
    payload: dict[str, Any]


def _claims(payload: bytes) -> Claims:
    try:
        body = _Body.model_validate(json.loads(payload))
    except (ValueError, RecursionError):  # pydantic's and json's errors are ValueErrors
        raise JobRefused("the signed claims are incomplete", code="bad_claims") from None
    if not _is_uuid(body.jti):
        raise JobRefused("jti must be a UUID, in lower case (version 7 keeps listings in order)", code="bad_id")
    return Claims(
        id=body.jti,
        app=body.iss,
        user=body.sub,
        grant=body.grant,
        provider=body.provider,
        action=body.action,
        payload=body.payload,
        run_at=from_numeric_date(body.nbf),
        deadline=from_numeric_date(body.exp),
        issued_at=from_numeric_date(body.iat),
        rev=body.rev,
        connection=body.connection,
    )


def _is_uuid(text: str) -> bool:
    """Whether it is one as RFC 9562 writes it. A job's id is its key everywhere, and is part of its journal's keys."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
