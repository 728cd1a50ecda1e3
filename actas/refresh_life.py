"""How long a refresh token lives on, and when it needs an exchange for no other reason than to live on. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from actas.clock import to_milliseconds
from actas.providers.model import RefreshProfile

#: Care is due between these shares of what is left to live: late enough that a grant in use hardly ever needs it, early
#: enough that an outage of days costs a token of months nothing.
CARE_FROM, CARE_TO = 0.7, 0.9

#: The first care of an imported token comes within this time: long enough that those of one import are spread, short
#: enough for most tokens that have lain idle elsewhere.
FIRST_CARE_WITHIN = timedelta(days=3)

#: An end that is said anew wavers by seconds: they are whole ones, and counted from a moment that is only ours.
WAVERING = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class RefreshLife:
    """What is known of a refresh token's future right after an exchange; None: no such moment is known."""

    #: Its end however much it is used; the next computation wants it as ``previous_absolute_at``.
    absolute_at: datetime | None
    #: Its end if it is not used from now on.
    expires_at: datetime | None
    #: When to exchange it although nobody needs an access token.
    care_at: datetime | None

    def to_doc(self) -> dict[str, datetime | None]:
        """As it stands in a grant."""
        return {
            "refresh_absolute_at": self.absolute_at,
            "refresh_expires_at": self.expires_at,
            "care_at": self.care_at,
        }


def refresh_life(
    profile: RefreshProfile,
    grant_id: str,
    now: datetime,
    *,
    renewed: bool,
    said_seconds: float | None,
    previous_absolute_at: datetime | None,
) -> RefreshLife:
    """A refresh token's life after it was issued or used at ``now``.

    Args:
        profile: its provider's.
        grant_id: its grant, which gives care its place in time, so that grants of one day are not cared for at once.
        now: when the token reply came.
        renewed: whether the reply brought a refresh token other than the one sent (or there was none to send).
        said_seconds: ``Tokens.refresh_expires_in``.
        previous_absolute_at: ``absolute_at`` of the time before; None for a new authorization.
    """
    if said_seconds is not None and _is_idle_time(profile, said_seconds):
        said_seconds = None
    if said_seconds is not None:
        absolute_at = _after(now, said_seconds)
    elif renewed:
        absolute_at = _after(now, profile.lifetime_seconds)
    else:
        absolute_at = previous_absolute_at
    idle_at = _after(now, profile.idle_seconds)
    expires_at = min((end for end in (absolute_at, idle_at) if end is not None), default=None)
    if expires_at is None:
        return RefreshLife(None, None, None)
    if profile.rotates and renewed and not _stands_still(said_seconds, absolute_at, previous_absolute_at):
        gains = True  # the next exchange brings a token whose whole life is new
    else:
        gains = idle_at is not None and (absolute_at is None or absolute_at > idle_at)
    return RefreshLife(absolute_at, expires_at, _care_at(grant_id, now, expires_at) if gains else None)


def imported_life(profile: RefreshProfile, grant_id: str, now: datetime) -> RefreshLife:
    """The life of a refresh token that somebody else has kept up to ``now``, nobody knows how long.

    Its ends are those of a new one, the latest that can be; so what care can help is cared for soon, and its true life
    is known from then on. With such a guess no end that is said later must be compared.
    """
    life = refresh_life(profile, grant_id, now, renewed=True, said_seconds=None, previous_absolute_at=None)
    if life.care_at is None:
        return life
    soon = to_milliseconds(now + FIRST_CARE_WITHIN * _place(grant_id))
    return replace(life, absolute_at=None if profile.rotates else life.absolute_at, care_at=min(soon, life.care_at))


def _stands_still(said_seconds: float | None, absolute_at: datetime | None, previous: datetime | None) -> bool:
    """Whether the provider counts down to one end through all its tokens, such as a session's."""
    return (
        said_seconds is not None
        and absolute_at is not None
        and previous is not None
        and absolute_at - previous <= WAVERING
    )


def _is_idle_time(profile: RefreshProfile, said_seconds: float) -> bool:
    """Whether what is said is only the idle time, begun anew (Keycloak's way): of another end it says nothing."""
    return profile.idle_seconds is not None and abs(said_seconds - profile.idle_seconds) <= WAVERING.total_seconds()


def _care_at(grant_id: str, now: datetime, expires_at: datetime) -> datetime | None:
    if expires_at <= now:
        return None
    share = CARE_FROM + (CARE_TO - CARE_FROM) * _place(grant_id)
    return to_milliseconds(now + (expires_at - now) * share)


def _place(grant_id: str) -> float:
    """A number in [0, 1), always the same for one grant, and spread evenly over many."""
    return int.from_bytes(hashlib.sha256(grant_id.encode()).digest()[:6]) / 2**48


def _after(now: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else to_milliseconds(now + timedelta(seconds=seconds))
