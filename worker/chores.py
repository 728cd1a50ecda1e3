"""What must be done to grants by somebody who can decrypt: here, revoking a disconnected one at its provider."""

from __future__ import annotations

import logging

from actas.envelope import Purpose
from actas.errors import ActasError, ClientRefused, EnvelopeError, EnvelopeVersionError, TokenEndpointError
from actas.ids import new_id
from actas.oauth import TokenEndpoint
from actas.records import Grant, GrantStatus
from worker.room import Room

log = logging.getLogger(__name__)


def revoke_grant(grant_id: str, room: Room) -> bool:
    """Revoke a disconnected grant's newest token at the provider (RFC 7009), then shred it.

    Asked for again until it is done, so what may pass needs no retry here. False: not now, or nothing to do.

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
    try:
        said = _tell_provider(grant, room)
    except ActasError as error:
        # An outage, or something to be mended (the app's credentials, this release). Shredded now, the token would live
        # on at the provider for ever. The lease is kept: its end is the pause before somebody is asked again.
        log.warning("grant.revoke grant=%s provider=%s code=%s", grant_id, grant.provider, error.code)
        return False
    shredded = room.grants.shred(grant, room.clock())
    log.info("grant.revoked grant=%s provider=%s said=%s shredded=%s", grant_id, grant.provider, said, shredded)
    return shredded


def _tell_provider(grant: Grant, room: Room) -> str:
    """What the provider said; where asking again cannot help, that is an answer, too; all else is raised."""
    if grant.refresh_token is None:
        return "nothing_to_revoke"
    provider = room.providers[grant.provider]
    try:
        client = room.vault.client_credentials(grant.app, grant.provider)
        token = room.keys.read(grant, Purpose.REFRESH)
        endpoint = TokenEndpoint(room.http, provider, client)
        endpoint.revoke(token, hint="refresh_token", seconds=room.settings.exchange_budget_seconds / 2)
    except (ClientRefused, EnvelopeVersionError):
        raise
    except (TokenEndpointError, EnvelopeError) as error:
        return error.code
    return "revoked"
