"""Which field of a document is what, and what a document is worth to us. Pure.

A document's values come in by name, its tokens as secrets; where they stand in the document is the source's business.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import permutations
from typing import Any

from pydantic import SecretStr

from actas.clock import from_numeric_date, to_milliseconds
from actas.errors import ActasError
from actas.requests import SCOPE, is_short_text

REQUIRED = ("user", "refresh_token")
OPTIONAL = ("account", "access_token", "expires_at", "scopes")
NAMES = (*REQUIRED, *OPTIONAL)

#: The tokens: read as secrets, and unset when the source is shredded.
SECRETS = ("refresh_token", "access_token")

#: More seconds than this since 1970 are milliseconds: it is the year 5138, or 1973.
MILLISECONDS_FROM = 1e11

#: What is shorter may stand in an id by chance.
SHORTEST_TOKEN = 8


class BadImport(ActasError):
    """The import cannot be done as it was asked for."""

    code = "bad_import"


class Reason(StrEnum):
    """Why a document cannot be imported; an operator reads it."""

    NO_TOKEN = "no refresh token"  # noqa: S105 - a reason, not a token
    BAD_TOKEN = "the refresh token is no text of printable ASCII"  # noqa: S105
    TOKEN_ELSEWHERE = "a token stands in _id, user or account, too (ids not shown)"  # noqa: S105
    NO_USER = "no user"
    BAD_USER = "the user is no short text or whole number"
    NO_ACCOUNT = "no account"
    BAD_ACCOUNT = "the account is no short text or whole number"
    BAD_SCOPES = "scopes is neither a text nor a list of texts"


@dataclass(frozen=True, slots=True)
class SourceDoc:
    """A document of the source: its ``_id`` as it is there, and what stands at each mapped field, by name."""

    id: Any
    fields: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a document says of one account. ``access_token`` and ``expires_at`` are both there, or neither."""

    source_id: Any
    user: str
    account: str
    refresh_token: SecretStr = field(repr=False)
    scopes: frozenset[str]
    access_token: SecretStr | None = field(default=None, repr=False)
    expires_at: datetime | None = None


def parse_map(text: str) -> dict[str, str]:
    """Read ``user=path,refresh_token=path,...``: dotted paths of fields, by name.

    Raises:
        BadImport: a name is unknown, repeated or missing, or a path is none.
    """
    paths: dict[str, str] = {}
    for part in text.split(","):
        name, equals, path = (piece.strip() for piece in part.partition("="))
        if name not in NAMES:
            raise BadImport(f"--map: {name[:40]!r} is unknown; what can be mapped: {', '.join(NAMES)}")
        if name in paths:
            raise BadImport(f"--map: {name} is there twice")
        if not equals or any(not step or step.startswith("$") or "\0" in step for step in path.split(".")):
            raise BadImport(f"--map: {name} needs the path of a field, such as {name}=x.{name}")
        paths[name] = path
    if missing := [name for name in REQUIRED if name not in paths]:
        raise BadImport(f"--map: {' and '.join(missing)} must be there, as in user=_id,refresh_token=x.refresh_token")
    for (one, path), (other, longer) in permutations(paths.items(), 2):
        same_id = path == longer and not {one, other} & set(SECRETS)
        if f"{longer}.".startswith(f"{path}.") and not same_id:
            raise BadImport(f"--map: {other} is the field of {one}, or inside it")
    for name in SECRETS:
        if paths.get(name, "").partition(".")[0] == "_id":
            raise BadImport(f"--map: {name} is part of _id, which MongoDB never unsets; copy these documents first")
    return paths


def value_at(doc: Any, path: str) -> Any:
    """What stands at a dotted path; None if nothing does. A number is an index where there is a list."""
    for step in path.split("."):
        match doc:
            case Mapping():
                doc = doc.get(step)
            case list() if step.isdigit() and int(step) < len(doc):
                doc = doc[int(step)]
            case _:
                return None
    return doc


def placeholder(user: str) -> str:
    """The account of a grant whose true account nobody has said; replaced when that user next connects."""
    return f"imported:{user}"


def fingerprint(grant: str, token: SecretStr) -> bytes:
    """Tells later whether a readable token is still the one that was imported, and says nothing of an unknown one.

    A digest is enough: refresh tokens cannot be guessed (RFC 6749 section 10.10). Bound to the grant, so that equal
    tokens do not look equal; forgotten once the readable token is gone.
    """
    return hashlib.sha256(f"{grant}\0{token.get_secret_value()}".encode()).digest()


def judge(doc: SourceDoc, *, scopes: frozenset[str], now: datetime) -> Candidate | Reason:
    """What to import of a document, or why it cannot be; ``scopes`` where it has none of its own."""
    token = doc.fields.get("refresh_token")
    if token is None or (isinstance(token, SecretStr) and not token):
        return Reason.NO_TOKEN
    if _shows_a_token(doc):  # first: of all others the id is shown
        return Reason.TOKEN_ELSEWHERE
    user, account = _text(doc.fields.get("user")), _text(doc.fields.get("account"))
    has_account, granted = "account" in doc.fields, _scopes(doc.fields.get("scopes"))
    checks = {
        Reason.BAD_TOKEN: is_token(token),
        Reason.NO_USER: user is not None,
        Reason.NO_ACCOUNT: account is not None or not has_account,
        # Its placeholder must be an account that can be asked for, too.
        Reason.BAD_USER: bool(user) and is_short_text(user if has_account else placeholder(str(user))),
        Reason.BAD_ACCOUNT: account is None or is_short_text(account),
        Reason.BAD_SCOPES: granted is not None,
    }
    for reason, well in checks.items():
        if not well:
            return reason
    assert user is not None
    access, expires_at = doc.fields.get("access_token"), _time(doc.fields.get("expires_at"))
    # Without an end that is still to come an access token is of no use: the first job exchanges.
    lives = is_token(access) and expires_at is not None and expires_at > now
    return Candidate(
        source_id=doc.id,
        user=user,
        account=account if account is not None else placeholder(user),
        refresh_token=token,
        scopes=granted or scopes,
        access_token=access if lives else None,
        expires_at=expires_at if lives else None,
    )


def _shows_a_token(doc: SourceDoc) -> bool:
    secrets = [each for name in SECRETS if isinstance(each := doc.fields.get(name), SecretStr)]
    shown = [str(each) for each in (doc.id, doc.fields.get("user"), doc.fields.get("account"))]
    return any(
        secret.get_secret_value() in each for secret in secrets if len(secret) >= SHORTEST_TOKEN for each in shown
    )


def is_token(value: object) -> bool:
    """Whether this is a token by the letter of RFC 6749 (appendix A.12 and A.17): printable ASCII."""
    return isinstance(value, SecretStr) and bool(value) and all(" " <= each <= "~" for each in value.get_secret_value())


def _text(value: Any) -> str | None:
    """Ids are texts or whole numbers; None for nothing, and "" for what is neither."""
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _scopes(value: Any) -> frozenset[str] | None:
    """Scopes as a list, or in one text with spaces or commas between, as providers write them; None if neither."""
    if value is None:
        return frozenset()
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, list) or not all(isinstance(each, str) and SCOPE.fullmatch(each) for each in value):
        return None
    return frozenset(value)


def _time(value: Any) -> datetime | None:
    """A time as documents have it: a date, seconds or milliseconds since 1970, ISO 8601; None if it is none."""
    try:
        match value:
            case datetime():
                moment = value
            case bool():
                return None
            case int() | float() if math.isfinite(value):
                return from_numeric_date(value / 1000 if value > MILLISECONDS_FROM else value)
            case str():
                moment = datetime.fromisoformat(value)
            case _:
                return None
        return to_milliseconds(moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError, OSError):
        return None
