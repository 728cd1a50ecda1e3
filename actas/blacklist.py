"""What is refused: pure rules for jobs and for an app's own JWTs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from actas.jws import CLOCK_SKEW

#: An entry stays this much longer than what it refuses, so that no clock of ours can let a refused id back in.
LEEWAY = timedelta(hours=1)

Entry = Mapping[str, Any]


class Fate(StrEnum):
    """What becomes of a job: of those signed before their user was logged out everywhere, the app decides."""

    CANCEL = "cancel"
    HOLD = "hold"  # parked until its app signs it anew
    KEEP = "keep"  # it goes on


def ids_for(app: str, *, jti: str | None, user: str | None) -> list[str]:
    """The entries that could refuse a token of this app with this id and subject."""
    ids = [f"jti:{app}/{jti}"] if jti is not None else []
    return ids + ([f"user:{app}/{user}"] if user is not None else [])


def refusal(entries: Iterable[Entry], *, jti: str | None, issued_at: datetime | None) -> str | None:
    """Why an app's own JWT is refused, or None.

    A ``jti`` entry refuses that id. A ``user`` entry is a watermark: it refuses everything issued up to 5 seconds after
    ``not_before`` but for the one ``keep`` id, and everything that does not say when it was issued. What an earlier
    watermark refused (``keep_after``) stays refused, whatever a later one keeps.
    """
    for entry in entries:
        if _is_jti(entry) or (not _kept(entry, jti, issued_at) and _before(issued_at, entry["not_before"])):
            return str(entry.get("reason") or "revoked")
    return None


def fate(entries: Iterable[Entry], *, issued_at: datetime) -> Fate:
    """What becomes of a job that was signed then.

    A ``jti`` entry cancels it. Watermarks of jobs are their own, because a log-out may leave jobs alone: up to 5
    seconds after ``jobs_not_before`` they are cancelled, up to 5 seconds after ``jobs_held_before`` held.
    """
    entries = list(entries)
    if any(_is_jti(entry) or _before(issued_at, entry.get("jobs_not_before")) for entry in entries):
        return Fate.CANCEL
    return Fate.HOLD if any(_before(issued_at, entry.get("jobs_held_before")) for entry in entries) else Fate.KEEP


def _is_jti(entry: Entry) -> bool:
    return str(entry["_id"]).startswith("jti:")


def _kept(watermark: Entry, jti: str | None, issued_at: datetime | None) -> bool:
    return jti is not None and watermark.get("keep") == jti and not _before(issued_at, watermark.get("keep_after"))


def _before(issued_at: datetime | None, watermark: datetime | None) -> bool:
    return watermark is not None and (issued_at is None or issued_at <= watermark + CLOCK_SKEW)
