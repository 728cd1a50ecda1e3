"""A job that was signed elsewhere and came by the broker: checked as ``Client.schedule`` checks, and stored, once."""

from __future__ import annotations

import hashlib
import logging

from actas import blacklist, jws
from actas.blacklist import Fate
from actas.errors import (
    ActasError,
    InvalidRequest,
    JobRefused,
    MongoRefused,
    MongoUnavailable,
    NoGrant,
    Unavailable,
    VaultDenied,
)
from actas.files import files_in
from actas.jws import Claims
from actas.records import Job
from actas.requests import JobRequest, check_granted, check_payload, check_text, check_user, is_short_text, window
from actas.scheduling import USABLE
from actas.states import JobStatus
from actas.storing import check_stored
from worker.room import Room

log = logging.getLogger(__name__)

#: A payload of the greatest size that is allowed, the other claims at theirs, and base64.
MAX_BYTES = 128 * 1024

#: How much of a refusal's words is kept: a payload's field names may be in them, and those are the producer's.
MESSAGE_LENGTH = 300

#: Nothing is wrong with the job: it must come again.
NOT_NOW = (Unavailable, VaultDenied, MongoRefused)


class NotTaken(ActasError):
    """The job is refused, and will be however often it is sent."""

    code = "not_taken"

    def __init__(self, message: str | None = None, *, why: str = "not_taken") -> None:
        super().__init__(message)
        self.why = why


def submit(token: object, room: Room) -> str:
    """Store a signed job; return its id. The same job sent again changes nothing.

    Raises:
        NotTaken: it is refused; that is logged and, if its signature holds, written down for `actas jobs refused`.
        Unavailable, VaultDenied, MongoRefused: it was not stored, or nobody knows, and must come again.
    """
    claims: Claims | None = None
    try:
        claims = verified(token, room)
        store(claims, str(token), room)
    except NOT_NOW:
        raise
    except Exception as error:  # noqa: BLE001 - what nobody thought of would come again and again
        raise refused(error, claims, str(token), room) from None
    log.info("submit.taken job=%s app=%s action=%s", claims.id, claims.app, claims.action)
    return claims.id


def verified(token: object, room: Room) -> Claims:
    """What an app signed.

    Raises:
        JobRefused, VaultUnavailable, VaultDenied.
    """
    if not isinstance(token, str) or not token.isascii():
        raise JobRefused("not a signed job: one string, a JWS in compact form", code="bad_header")
    if len(token) > MAX_BYTES:
        raise JobRefused(f"the signed job has more than {MAX_BYTES} bytes", code="too_large")
    return jws.verify(token, room.key_versions.get, room.clock())


def store(claims: Claims, token: str, room: Room) -> None:
    """Check a job and store it, unless it is there.

    Raises:
        ActasError: as ``Client.schedule``, by the same rules; or the id is another job's.
    """
    # First: what was fine when it came the first time may not be any more, and is taken all the same.
    if is_there(claims.id, token, room):
        return
    check(claims, room)
    job = Job(
        jws=token,
        status=JobStatus.SCHEDULED,
        next_at=claims.run_at,
        created_at=room.clock(),
        **claims.copies(),
    )
    if room.jobs.insert([job]) and not is_there(claims.id, token, room):
        raise MongoUnavailable("the job was there and is gone")  # look again


def is_there(job_id: str, token: str, room: Room) -> bool:
    """Whether this very job is stored.

    Raises:
        JobRefused: another one is, under its id.
    """
    there = room.jobs.get(job_id)
    if there is not None and there.jws != token:
        raise JobRefused("there is another job of this id; a new job needs a new jti", code="id_taken")
    return there is not None


def check(claims: Claims, room: Room) -> None:
    """Make sure that this job may be asked for, now.

    Raises:
        InvalidRequest, NoGrant, JobRefused.
    """
    if claims.rev != 0:
        raise JobRefused("rev of a new job is 0", code="bad_claims")
    check_user(claims.user)
    check_text("action", claims.action, "the name of an action, such as x.post")
    check_text("grant", claims.grant, "the id of a grant")
    action = room.actions[claims.action]
    payload = check_payload(action, claims.payload)
    if claims.provider != (provider := action.provider_of(payload)):
        raise InvalidRequest(f"{action.name} is an action of the provider {provider}")
    window(JobRequest(claims.action, claims.user, claims.payload, claims.run_at, claims.deadline), room.clock())
    check_stored(claims.app, [(file, claims.deadline) for file in files_in(payload)], room.files)
    ids = blacklist.ids_for(claims.app, jti=claims.id, user=claims.user)
    grant, entries = room.grants.read_for_job(claims.grant, ids)
    owner = (claims.app, claims.user, claims.provider)
    if grant is None or grant.status not in USABLE or (grant.app, grant.user, grant.provider) != owner:
        raise NoGrant
    if grant.connection != claims.connection:
        raise JobRefused("its user has disconnected; connection must be that of the grant", code="disconnected")
    check_granted(action, grant)
    if blacklist.fate(entries, issued_at=claims.issued_at) is not Fate.KEEP:
        raise JobRefused("its id is on the blacklist, or its user was logged out since it was signed", code="revoked")


def refused(error: Exception, claims: Claims | None, token: str, room: Room) -> NotTaken:
    """Log a refusal, and write it down where it is known whose it is.

    Raises:
        MongoUnavailable, MongoRefused: it could not be written down.
    """
    ours = isinstance(error, ActasError)
    code = error.code if isinstance(error, ActasError) else "internal_error"
    message = str(error)[:MESSAGE_LENGTH] if ours else f"unexpected {type(error).__name__}"
    job = claims.id if claims is not None and is_short_text(claims.id) else None
    app = claims.app if claims is not None else None
    log.warning("submit.refused job=%r app=%s code=%s error=%s", job, app, code, type(error).__name__)
    if claims is not None:  # anybody can make up one that does not verify, and any number of them
        digest = hashlib.sha256(token.encode()).hexdigest()
        room.refusals.add(digest, app=claims.app, job=job or "", code=code, message=message, now=room.clock())
    return NotTaken(message, why=code)
