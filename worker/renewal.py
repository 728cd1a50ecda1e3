"""Making a grant's data key anew: because it is old, or because an operator fears that it is known to somebody."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from actas.envelope import Purpose
from actas.errors import ActasError
from actas.fault_points import FaultPoint, reached
from actas.granting import encrypt_tokens, wrapped_key
from actas.ids import new_id
from actas.records import Grant, GrantStatus
from actas.refresh_life import RefreshLife
from actas.stores.grants import TokenWrite
from worker.chores import exchange_without_job
from worker.errors import NeedsUser, Stopped, TokenPending, Unanswered
from worker.exchange import Held
from worker.room import Room

log = logging.getLogger(__name__)


def renew_data_key(grant_id: str, room: Room) -> bool:
    """Put a grant's tokens under a new data key if its own is too old, or older than an open leak drill of its app.

    In a drill, a provider that rotates is asked for new tokens, too: the old ones are then worth nothing to anybody.
    Nothing else is renewed then, so that what is younger than the drill is its work, or a new connection's. False: not
    now, or nothing to do.

    Raises:
        MongoUnavailable, MongoRefused.
    """
    grant = room.grants.get(grant_id)
    if grant is None or grant.status is not GrantStatus.ACTIVE:
        return False
    now = room.clock()  # before the drill is looked for: what is made without it must not pass for its work
    drill = room.drills.open(grant.app)
    if drill is not None and (drill.key_version is None or now < drill.began_at):
        return False  # a new data key would be no better than the old one
    too_old = now - timedelta(days=room.settings.data_key_max_age_days)
    before = max(too_old, drill.began_at) if drill is not None else too_old

    def old(grant: Grant) -> bool:
        return grant.data_key is not None and grant.data_key.made_at < before

    if not old(grant):
        return False
    try:
        rotates = room.providers[grant.provider].refresh.rotates
        if drill is not None and rotates:
            renewed = exchange_without_job(grant, room, needed=old, asked_by="leak-drill", new_key=True)
        else:
            with room.exchange.under_lease(grant_id, "renewal") as held:
                reached(FaultPoint.RENEWAL_LEASED)
                if rotates and held.grant.unanswered_at:
                    # The token may be dead, and its successor on the way here: that one must find the generation it
                    # belongs to.
                    raise Unanswered
                renewed = old(held.grant) and reencrypt(held, room, now)
    except (NeedsUser, Stopped, TokenPending):
        return False
    except ActasError as error:
        log.warning("grant.renewal grant=%s code=%s", grant_id, error.code)
        room.grants.note_renewal(grant_id, code=error.code, now=room.clock())
        return False
    log.info("grant.renewed grant=%s renewed=%s", grant_id, renewed)
    return renewed


def reencrypt(held: Held, room: Room, now: datetime) -> bool:
    """The same tokens under a new key, as a generation of their own; False if there are other tokens now.

    Raises:
        TokenPending: somebody else is at it, or has connected again.
    """
    grant = held.grant
    if room.exchange.rescue(grant):
        return False  # it has other tokens now
    with room.audit.use("renewal", grant, held.owner, asked_by=held.asked_by):
        write = under_new_key(grant, room, now)
        if not room.grants.swap_data_key(grant, write, room.clock(), owner=held.owner):
            raise TokenPending  # the lease is another's by now
        held.over = True
    reached(FaultPoint.RENEWAL_STORED)
    return True


def under_new_key(grant: Grant, room: Room, now: datetime) -> TokenWrite:
    key, data_key = wrapped_key(room.vault, grant.app, grant.id, now)
    reached(FaultPoint.RENEWAL_WRAPPED)
    write = encrypt_tokens(
        grant,
        key,
        data_key.id,
        refresh_token=room.keys.read(grant, Purpose.REFRESH),
        access=(room.keys.read(grant, Purpose.ACCESS), grant.access_token.expires_at) if grant.access_token else None,
        life=RefreshLife(grant.refresh_absolute_at, grant.refresh_expires_at, grant.care_at),
        exchange_id=new_id(),
    )
    return replace(write, data_key=data_key)
