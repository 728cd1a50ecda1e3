"""What must be done to grants by somebody who can decrypt, and no job waits for.

Each is asked for again until it is done, so what may pass needs no retry here: False says "not now, or nothing to do".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from pydantic import SecretStr

from actas.client_auth import Assertions
from actas.envelope import Purpose
from actas.errors import (
    ActasError,
    EnvelopeError,
    EnvelopeVersionError,
    GrantDead,
    MongoUnavailable,
    ProviderBusy,
    TokenEndpointError,
    VaultUnavailable,
)
from actas.fault_points import FaultPoint, reached
from actas.gates import chore_gate
from actas.ids import new_id
from actas.oauth import TokenEndpoint
from actas.records import Grant, GrantStatus
from worker.audit import error_code
from worker.errors import NeedsUser, Stopped
from worker.exchange import check_client, perhaps_done
from worker.rescue_slots import SlotsUnavailable
from worker.room import Room

log = logging.getLogger(__name__)

#: How soon care that did not work out is tried again.
CARE_PAUSE = timedelta(minutes=10)

#: How long nothing but jobs asks a token endpoint that answered 429.
BUSY_PAUSE = timedelta(minutes=1)

#: With these a revocation endpoint says that asking again cannot help (RFC 7009 section 2.2.1; Google's for a token
#: that is revoked or has ended).
POINTLESS = frozenset({"unsupported_token_type", "invalid_token"})


def exchange_grant(grant_id: str, room: Room) -> bool:
    """Exchange a grant's token although nobody needs an access token: so that it lives on.

    Raises:
        MongoUnavailable, MongoRefused.
    """

    def needed(grant: Grant) -> bool:
        return grant.care_at is not None and grant.care_at <= room.clock()

    grant = room.grants.get(grant_id)
    if grant is None or grant.status is not GrantStatus.ACTIVE or not needed(grant):
        return False
    try:
        exchanged = exchange_without_job(grant, room, needed=needed, asked_by="care")
    except (NeedsUser, Stopped):
        return False
    except ActasError as error:
        log.warning("grant.care grant=%s code=%s", grant_id, error.code)
        room.grants.put_off_care(grant_id, until=room.clock() + CARE_PAUSE)
        return False
    if exchanged:
        log.info("grant.cared_for grant=%s provider=%s", grant_id, grant.provider)
    return exchanged


def exchange_without_job(
    grant: Grant, room: Room, *, needed: Callable[[Grant], bool], asked_by: str, new_key: bool = False
) -> bool:
    """Exchange a token that no job waits for; not while the provider refuses the app's client, or says it is busy.

    False: it is not needed any more.

    Raises:
        AtGate, and as ``Exchange.exchange``.
    """
    room.outage.check()
    chores = chore_gate(grant.app, grant.provider)
    with room.exchange.passing(grant, chores):
        try:
            _, token = room.exchange.exchange(grant.id, needed=needed, asked_by=asked_by, new_key=new_key)
        except ProviderBusy:
            room.gates.close(chores, room.clock() + BUSY_PAUSE)
            raise
    return token is not None


def revoke_grant(grant_id: str, room: Room) -> bool:
    """Revoke a disconnected grant's newest token at the provider (RFC 7009), then shred it.

    Raises:
        MongoUnavailable, MongoRefused.
    """
    owner = new_id()
    # The exchange's own lease: an exchange in flight must end first, or its new token would stay alive unknown.
    grant = room.grants.take_exchange_lease(
        grant_id, owner=owner, seconds=room.settings.exchange_lease_seconds, statuses=[GrantStatus.REVOKING]
    )
    if grant is None:
        return False
    reached(FaultPoint.REVOCATION_LEASED)
    try:
        said = _revoked(grant, owner, room)
    except (VaultUnavailable, SlotsUnavailable, MongoUnavailable) as error:
        # An outage of ours is no failure of this grant: the lease's end is the pause.
        log.warning("grant.revoke grant=%s held_up_by=%s", grant_id, error_code(error))
        return False
    except ActasError as error:
        code, now = error_code(error), room.clock()
        log.warning("grant.revoke grant=%s provider=%s code=%s", grant_id, grant.provider, code)
        if not ended(grant, now):
            # An outage there, or something to be mended (the app's credentials, this release). Shredded now, the token
            # would live on at the provider.
            pause = room.settings.exchange_lease_seconds
            room.grants.put_off_revoking(grant, owner=owner, code=code, now=now, pause=pause)
            return False
        said = "expired"
    if said is None:
        return False
    reached(FaultPoint.REVOCATION_TOLD)
    shredded = room.grants.shred(grant, room.clock(), said=said)
    reached(FaultPoint.REVOCATION_SHREDDED)
    log.info("grant.revoked grant=%s provider=%s said=%s shredded=%s", grant_id, grant.provider, said, shredded)
    return shredded


def ended(grant: Grant, now: datetime) -> bool:
    """Whether a grant's refresh token has certainly ended by itself; not where it may have a successor. Pure."""
    return grant.refresh_expires_at is not None and grant.refresh_expires_at <= now and grant.unanswered_at is None


def _revoked(grant: Grant, owner: str, room: Room) -> str | None:
    """What the provider said; where asking again cannot help, that is an answer, too; all else is raised.

    None: what was read is not the newest, or not to be revoked, any more.
    """
    if grant.refresh_token is None:
        return "nothing_to_revoke"
    provider = room.providers.complete(grant.provider, room.http)
    if provider.revoke_url is None:
        return "no_revocation_endpoint"  # it lives until it ends by itself, or its user takes it back at the provider
    client = room.vault.client_credentials(grant.app, grant.provider)
    assertions = Assertions.of(room.vault, grant.app, provider, room.clock)
    try:
        if _rescued(grant, room):
            return None  # a newer token has come to light: that one is to be revoked, in a moment
        token = room.keys.read(grant, Purpose.REFRESH)
    except EnvelopeVersionError:
        raise
    except EnvelopeError as error:
        return error.code
    check_client(client, grant)
    # Right before the request, because it may take along what somebody who connects again is just being given.
    if not room.grants.still_revoking(grant):
        return None
    return _said(TokenEndpoint(room.http, provider, client, assertions), grant, token, owner, room)


def _said(endpoint: TokenEndpoint, grant: Grant, token: SecretStr, owner: str, room: Room) -> str:
    try:
        with room.audit.use("revocation", grant, owner, asked_by="disconnection", unknown=perhaps_done):
            endpoint.revoke(token, hint="refresh_token", seconds=room.settings.exchange_budget_seconds / 2)
    except GrantDead as dead:
        return dead.provider_code
    except TokenEndpointError as error:
        if error.provider_code not in POINTLESS:
            raise
        return error.provider_code
    return "revoked"


def _rescued(grant: Grant, room: Room) -> bool:
    try:
        return room.exchange.rescue(grant)
    except (NeedsUser, Stopped):
        return True  # there was something; and the grant is as unusable as it should be
