"""The blacklist as an app uses it for its own JWTs (RFC 7519): sessions, API tokens, whatever it issues."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from actas.blacklist import ids_for, refusal
from actas.clock import Clock, from_numeric_date
from actas.errors import InvalidRequest
from actas.requests import check_text
from actas.room import Connections

JTI = "the jti of a JWT (RFC 7519 section 4.1.7)"


@dataclass(frozen=True, slots=True)
class AppBlacklist:
    """Ids refused until they would have expired anyway; what ``Client.revoke_user`` refuses is on it, too."""

    app: str
    connections: Connections
    clock: Clock

    def add(self, jti: str, *, expires_at: datetime | float, reason: str = "revoked") -> bool:
        """Refuse one JWT from here on; False if it was refused already.

        ``expires_at`` is when it expires by itself: an aware datetime, or its ``exp`` as it stands. The entry outlives
        that by an hour; adding the id again can only lengthen its life. A job's id is its ``jti``, too.

        Raises:
            InvalidRequest.
        """
        check_text("jti", jti, JTI)
        check_text("reason", reason, "why it is refused")
        return self.connections.room.blacklist.add_jti(
            self.app, jti, expires_at=_moment("expires_at", expires_at), reason=reason, now=self.clock()
        )

    def refuses(self, claims: Mapping[str, Any]) -> str | None:
        """Why a JWT is refused, or None: one query by its ``jti`` and ``sub``; check its signature and ``exp`` first.

        ``claims`` are what its decoder gave. Without ``iat`` it counts as issued before any revocation of its user;
        without ``sub`` no such revocation is looked at, and without ``jti`` no entry of its own.

        Raises:
            InvalidRequest: neither ``jti`` nor ``sub`` is there, or one of the three is not what RFC 7519 says.
        """
        if not isinstance(claims, Mapping):
            raise InvalidRequest("claims must be a JWT's decoded claims: a dict")
        jti, user, issued_at = claims.get("jti"), claims.get("sub"), claims.get("iat")
        if "jti" in claims:
            check_text("jti", jti, JTI)
        if "sub" in claims:
            check_text("sub", user, "the user, as revoke_user is told (RFC 7519 section 4.1.2)")
        if jti is None and user is None:
            raise InvalidRequest("claims has neither jti nor sub, so nothing could ever refuse it")
        issued_at = _moment("iat", issued_at) if "iat" in claims else None
        entries = self.connections.room.blacklist.find(ids_for(self.app, jti=jti, user=user))
        return refusal(entries, jti=jti, issued_at=issued_at)


def _moment(name: str, value: object) -> datetime:
    """A moment in UTC, of a datetime or of a NumericDate (RFC 7519 section 2).

    Raises:
        InvalidRequest: it is neither, or has no time zone, or is no time that UTC has.
    """
    try:
        match value:
            case datetime(tzinfo=None):
                raise InvalidRequest(f"{name} has no time zone: use an aware datetime, such as datetime.now(UTC)")
            case datetime():
                return value.astimezone(UTC)
            case int() | float() if not isinstance(value, bool) and math.isfinite(value):
                return from_numeric_date(value)
    except (OverflowError, ValueError, OSError):
        raise InvalidRequest(f"{name} is no time that UTC has") from None
    raise InvalidRequest(f"{name} must be an aware datetime, or seconds since 1970 (a NumericDate)")
