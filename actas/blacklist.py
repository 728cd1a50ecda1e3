"""What is refused: one pure rule for jobs and for an app's own JWTs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from actas.jws import CLOCK_SKEW

#: An entry stays this much longer than what it refuses, so that no clock of ours can let a refused id back in.
LEEWAY = timedelta(hours=1)


def ids_for(app: str, *, jti: str | None, user: str | None) -> list[str]:
    """The entries that could refuse a token of this app with this id and subject."""
    ids = [f"jti:{app}/{jti}"] if jti is not None else []
    return ids + ([f"user:{app}/{user}"] if user is not None else [])


def refusal(entries: Iterable[Mapping[str, Any]], *, jti: str | None, issued_at: datetime | None) -> str | None:
    """Why a token is refused, or None.

    A ``jti`` entry refuses that id. A ``user`` entry is a watermark: it refuses everything issued up to 5 seconds after
    ``not_before`` but for the one ``keep`` id, and everything that does not say when it was issued.
    """
    for entry in entries:
        kind = entry["_id"].partition(":")[0]
        if kind == "jti":
            return str(entry.get("reason") or "revoked")
        kept = entry.get("keep") is not None and entry["keep"] == jti
        if not kept and (issued_at is None or issued_at <= entry["not_before"] + CLOCK_SKEW):
            return str(entry.get("reason") or "revoked")
    return None
