"""Reading back: whether what an app has stored can be read by those who will need it. No token leaves this place."""

from __future__ import annotations

import logging

from actas.envelope import Purpose
from actas.errors import ActasError, EnvelopeError, Unavailable
from actas.ids import new_id
from worker.room import Room

log = logging.getLogger(__name__)


def verify(grant_id: str, room: Room) -> bool:
    """Decrypt a grant's tokens if somebody wants to know whether that works, and write down whether it did.

    Asked for again until there is a verdict, so an outage needs no retry here. False: not now, or nobody asked.

    Raises:
        MongoUnavailable, MongoRefused.
    """
    if not room.verifications.is_to_verify(grant_id):
        return False
    try:
        code = _read(grant_id, room)
    except Unavailable as error:
        log.warning("grant.verify grant=%s code=%s", grant_id, error.code)
        return False
    room.verifications.note_verified(grant_id, code=code, now=room.clock())
    log.info("grant.verified grant=%s code=%s", grant_id, code)
    return True


def _read(grant_id: str, room: Room) -> str | None:
    """None if all is well, else the code of the error."""
    try:
        grant = room.grants.get(grant_id)
        if grant is None:
            raise EnvelopeError
        with room.audit.use("verification", grant, new_id(), asked_by="import"):
            room.keys.read(grant, Purpose.REFRESH)
            if grant.access_token is not None:
                room.keys.read(grant, Purpose.ACCESS)
    except Unavailable:
        raise
    except ActasError as error:
        return error.code
    return None
