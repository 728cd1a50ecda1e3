"""Client: everything an app does with actas."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Literal, Self

from actas.actions import ANY_PROVIDER, Actions
from actas.client_auth import Assertions
from actas.clock import Clock, utc_now
from actas.connecting import Connected, Connector, ConnectRequest
from actas.device import DeviceConnector, DeviceRequest
from actas.errors import (
    AmbiguousAccount,
    InvalidRequest,
    MongoUnavailable,
    NoGrant,
    NotFound,
    SettingsError,
    VaultUnavailable,
)
from actas.files import FileReference
from actas.granting import GrantWriter
from actas.importing.mapping import placeholder
from actas.oauth import TokenEndpoint, parse_tokens
from actas.providers import Provider, Providers
from actas.records import Grant, Job
from actas.refusing import AppBlacklist
from actas.requests import (
    JobRequest,
    check_account,
    check_actions,
    check_jobs,
    check_limit,
    check_redirect_uri,
    check_scopes,
    check_status,
    check_text,
    check_user,
    is_short_text,
)
from actas.room import Connections, Room
from actas.scheduling import USABLE, JobWriter
from actas.settings import Settings
from actas.states import FINAL, JobStatus
from actas.stopping import Cancellation, Disconnection, Stopper, UserRevocation
from actas.storing import DEFAULT_KEEP, FileWriter


class Client:
    """An app's door to actas. Thread-safe and fork-safe: each process opens its own connections, when first used.

    Raises (any method that needs them): ``MongoUnavailable``, ``VaultUnavailable``, saying which one is away.
    """

    def __init__(self, settings: Settings, *, clock: Clock = utc_now) -> None:
        if settings.app is None:
            raise SettingsError("ACTAS_APP is needed: the name this application was given by `actas apps add`")
        self.app = settings.app
        self._clock = clock
        self._providers = Providers.load(settings.providers_file)
        self._actions = Actions()
        self._connections = Connections(settings)
        #: For the app's own JWTs: what must be refused although it has not expired.
        self.blacklist = AppBlacklist(self.app, self._connections, clock)

    @classmethod
    def from_env(cls) -> Client:
        """A client configured from ``ACTAS_*``.

        Raises:
            SettingsError: a setting is missing, unknown or malformed.
        """
        return cls(Settings.from_env())

    def close(self) -> None:
        """Close the connections; the next call opens new ones. Long-lived apps need not."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- connecting ---

    def begin_connect(
        self,
        *,
        user: str,
        provider: str,
        redirect_uri: str,
        scopes: Sequence[str] | None = None,
        actions: Sequence[str] | None = None,
    ) -> ConnectRequest:
        """Begin to connect a user's account; send the browser to ``.url`` and finish within ten minutes.

        Ask for what you need only: ``actions`` by their names, for their scopes, or ``scopes``, or both. Without either
        it is the provider's default: for x what posting needs, for the others mostly just who the user is.

        Raises:
            UnknownProvider, UnknownAction, InvalidRequest, NotFound (no client credentials, or no client key).
            ProviderUnavailable: the provider's issuer does not say where its endpoints are.
        """
        known = self._complete(provider)
        check_user(user)
        check_redirect_uri(redirect_uri)
        scopes = self._scopes(known, scopes, actions)
        endpoint = self._endpoint(known)  # that there is no key is better known now
        return self._connector.begin(
            user=user,
            provider=known,
            client=endpoint.client,
            redirect_uri=redirect_uri,
            scopes={*scopes, *known.base_scopes},
        )

    def finish_connect(self, callback_url: str, *, user: str) -> Grant:
        """Finish what ``begin_connect`` began, with the whole URL the browser came back with.

        Raises:
            InvalidRequest: this is no callback's URL; it has used up nothing.
            InvalidState: the state is unknown, used, older than ten minutes, or another user's.
            AccessDenied: the user said no.
            ConnectError: the provider gave no tokens that work while the user is away, or it is not the provider that
                answered. The user must connect again; a connection that was there before stays.
            ProviderUnavailable: the provider's issuer does not say where its endpoints are; finish later.
        """
        check_user(user)
        # All that can fail on our side comes before the state is used up: then the same callback works later.
        endpoint = self._endpoint(self._complete(self._connector.provider_of(callback_url, user=user)))
        done = self._connector.finish(callback_url, user=user, endpoint=endpoint)
        return self._stored_or_again(user, done)

    def begin_device_connect(
        self,
        *,
        user: str,
        provider: str,
        scopes: Sequence[str] | None = None,
        actions: Sequence[str] | None = None,
    ) -> DeviceRequest:
        """Begin to connect a user's account by a code that they enter on another device (RFC 8628).

        Show them ``.user_code`` and ``.verification_uri``, and call ``finish_device_connect`` in this process.

        Raises:
            UnknownProvider, UnknownAction, InvalidRequest (also: the provider has no such thing), NotFound.
            ConnectError: the provider gave no code.
            ProviderUnavailable: the provider's issuer does not say where its endpoints are.
        """
        known = self._complete(provider)
        check_user(user)
        scopes = self._scopes(known, scopes, actions)
        endpoint = self._endpoint(known)
        return self._device_connector.begin(user=user, endpoint=endpoint, scopes={*scopes, *known.base_scopes})

    def finish_device_connect(self, request: DeviceRequest) -> Grant:
        """Wait until the user has entered the code, at most for ``request.expires_in``, and store the grant.

        Raises:
            AccessDenied: the user said no.
            ConnectError: the user said nothing in time, or the provider gave no tokens that work while they are away.
                The user must connect again; a connection that was there before stays.
        """
        endpoint = self._endpoint(self._complete(request.provider))
        return self._stored_or_again(request.user, self._device_connector.finish(request, endpoint))

    def store_grant(self, *, user: str, provider: str, account: str, tokens: Mapping[str, Any]) -> Grant:
        """Store the tokens of a connection the app made itself: a token endpoint's reply (RFC 6749 section 5.1).

        ``tokens`` needs ``refresh_token`` and ``scope`` besides ``access_token``.

        Raises:
            UnknownProvider, InvalidRequest, TokenEndpointError (a field is missing or impossible; it is named),
            ConnectError (no refresh token, or another user has connected the account).
        """
        known = self._provider(provider)
        check_user(user)
        check_account(account)
        if not isinstance(tokens, Mapping):
            raise InvalidRequest("tokens must be the token endpoint's reply, parsed: a dict")
        parsed = parse_tokens(tokens, self._clock(), known)
        if parsed.scopes is None and tokens.get("scope") != "":
            raise InvalidRequest("tokens has no scope: say which scopes were granted, separated by spaces")
        client = self._room.vault.client_credentials(self.app, provider)
        return self._stored(user, Connected(provider, account, client.client_id, parsed.scopes or frozenset(), parsed))

    def grant(self, *, user: str, provider: str, account: str | None = None) -> Grant:
        """The user's grant at a provider, without its tokens (an app cannot read those).

        Raises:
            NoGrant, AmbiguousAccount, UnknownProvider, InvalidRequest.
        """
        self._provider(provider)
        return _choose(self._find_grants(user, provider, account))

    def grants(self, *, user: str | None = None) -> list[Grant]:
        """The grants of a user, or of the whole app.

        Raises:
            InvalidRequest.
        """
        if user is not None:
            check_user(user)
        return self._room.grants.find(app=self.app, user=user)

    def disconnect(self, *, user: str, provider: str, account: str | None = None) -> Disconnection:
        """Disconnect: no job starts from here on; the worker revokes at the provider and shreds the tokens.

        Raises:
            NoGrant: there is nothing to disconnect, and no job left of what was connected.
            UnknownProvider, InvalidRequest.
        """
        grants = self._find_grants(user, provider, account)
        if not grants:
            self._provider(provider)  # the name is wrong, or else there is nothing
            raise NoGrant
        # This write is all that counts: a job signed before is not done from here on, also if the user connects again,
        # and whatever becomes of this process.
        count = self._room.grants.begin_revoking([grant.id for grant in grants], user=user, now=self._clock())
        # Jobs too, also of grants that are revoked already: an earlier call may have died at this point.
        # Not those of a connection that the user has made meanwhile.
        theirs = [{"grant": grant.id, "connection": {"$lte": grant.connection}} for grant in grants]
        mine = {"user": user, "$or": theirs}
        cancelled, stopping = self._stopper.stop(mine, code="disconnected", message="its user disconnected")
        if not (count or cancelled or stopping):
            raise NoGrant
        return Disconnection(count, cancelled, stopping)

    # --- files ---

    def store_file(self, data: bytes | BinaryIO, *, media_type: str, keep: timedelta = DEFAULT_KEEP) -> FileReference:
        """Store a file for jobs to come, of up to 512 MiB; the reference's ``model_dump()`` goes into their payloads.

        It is kept so long from now on, and must outlast the deadlines of the jobs that name it. Storing the same bytes
        again gives the same reference, and keeps them longer.

        Raises:
            InvalidRequest: no bytes, too many, or another argument is wrong.
        """
        return FileWriter(self.app, self._room.files, self._clock).store(data, media_type=media_type, keep=keep)

    # --- jobs ---

    def schedule(
        self,
        action: str,
        *,
        user: str,
        payload: Mapping[str, Any],
        at: datetime | None = None,
        deadline: datetime | None = None,
        account: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Hand over one job: do ``action`` as ``user`` at ``at`` (default: now), or not at all after ``deadline``.

        ``deadline`` defaults to 24 hours after ``at``; ``account`` is needed only if the user has several.

        Raises:
            UnknownAction, InvalidPayload, InvalidTime, NoGrant, AmbiguousAccount, InsufficientScope,
            IdempotencyConflict, JustRevoked, FileMissing.
        """
        request = JobRequest(action, user, payload, at, deadline, account, idempotency_key)
        return self.schedule_many([request])[0]

    def schedule_many(self, requests: Sequence[JobRequest]) -> list[Job]:
        """Hand over many jobs, with one signature call per hundred and one insert; all are checked before any is kept.

        Returns jobs in the order of the requests; a repeated idempotency key returns the job that is there.

        Raises:
            As ``schedule``.
        """
        return self._writer.write(requests)

    def job(self, job_id: str) -> Job:
        """One job of this app.

        Raises:
            NotFound.
        """
        found = self._room.jobs.get(job_id) if is_short_text(job_id) else None
        if found is None or found.app != self.app:
            raise NotFound(f"no job {job_id!r:.100}")
        return found

    def jobs(self, *, user: str | None = None, status: JobStatus | str | None = None, limit: int = 100) -> list[Job]:
        """Jobs of this app, newest first.

        Raises:
            InvalidRequest.
        """
        if user is not None:
            check_user(user)
        return self._room.jobs.find(app=self.app, user=user, status=check_status(status), limit=check_limit(limit))

    def wait(self, job_id: str, *, timeout: float = 30) -> Job:
        """Wait until a job has ended (or stands as uncertain), for at most ``timeout`` seconds.

        A parked one has not ended: it goes on when its user connects again.

        Raises:
            TimeoutError: it has not.
            NotFound.
        """
        ends_at = time.monotonic() + timeout
        pause = 0.05
        while True:
            job = self.job(job_id)
            if job.status in FINAL or job.status is JobStatus.UNCERTAIN:
                return job
            if time.monotonic() + pause > ends_at:
                raise TimeoutError(f"job {job_id} is still {job.status} after {timeout:g} s")
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)

    def cancel(self, job_id: str, *, timeout: float = 5) -> Cancellation:
        """Cancel a job, and say whether that came in time.

        A job that a worker holds is asked to stop, and this waits up to ``timeout`` seconds to see what became of it.

        Raises:
            NotFound.
        """
        job = self.job(job_id)
        _, stopping = self._stopper.stop({"_id": job.id}, code="cancelled", message="cancelled by the app")
        if stopping:
            with contextlib.suppress(TimeoutError):
                self.wait(job.id, timeout=timeout)
        job = self.job(job.id)
        return Cancellation("cancelled" if job.status is JobStatus.CANCELLED else "too_late", job)

    def reschedule(self, job_id: str, *, at: datetime, deadline: datetime | None = None) -> Job:
        """Move a job that no worker holds to another time; it is signed anew, and a held one goes on.

        ``deadline`` defaults to 24 hours after ``at``. Attempts count from none again.

        Raises:
            TooLateToReschedule: it has ended, or a worker holds it or died with it, or it is to be stopped.
            JustRevoked: its user was revoked less than 5 seconds ago.
            InvalidTime, NoGrant, InsufficientScope, FileMissing, NotFound.
            JobRefused: its document is not what this app signed.
        """
        return self._writer.rewrite(self.job(job_id), at=at, deadline=deadline)

    # --- logging out everywhere ---

    def revoke_user(
        self,
        user: str,
        *,
        keep: str | None = None,
        jobs: Literal["cancel", "hold", "keep"] = "cancel",
        reason: str = "revoked",
    ) -> UserRevocation:
        """Log a user out everywhere: ``blacklist.refuses`` every JWT issued to this ``sub`` up to now.

        Up to now means 5 seconds more, because clocks differ. ``keep`` is the ``jti`` of one session that stays; the
        latest call decides which, but none lets back in what an earlier one refused. ``jobs`` says what becomes of the
        user's jobs signed so far: ``cancel``, ``hold`` (parked until they are signed anew, see ``reschedule``) or
        ``keep``. Accounts stay connected.

        Raises:
            InvalidRequest.
        """
        check_user(user)
        if keep is not None:
            check_text("keep", keep, "the jti of the session that stays")
        check_text("reason", reason, "why the user is logged out")
        return self._stopper.revoke_user(user, jobs=check_jobs(jobs), keep=keep, reason=reason)

    # --- inside ---

    @property
    def _room(self) -> Room:
        return self._connections.room

    @property
    def _connector(self) -> Connector:
        return Connector(self.app, self._room.connects, self._clock)

    @property
    def _device_connector(self) -> DeviceConnector:
        return DeviceConnector(self._clock)

    @property
    def _writer(self) -> JobWriter:
        return JobWriter(self.app, self._room, self._actions, self.grant, self._stopper, self._clock)

    @property
    def _stopper(self) -> Stopper:
        return Stopper(self.app, self._room.jobs, self._room.blacklist, self._clock)

    def _provider(self, name: str) -> Provider:
        check_text("provider", name, "the name of a provider")
        return self._providers[name]

    def _endpoint(self, provider: Provider) -> TokenEndpoint:
        """The provider's token endpoint, and what this app proves itself with there."""
        vault = self._room.vault
        client = vault.client_credentials(self.app, provider.name)
        return TokenEndpoint(self._room.http, provider, client, Assertions.of(vault, self.app, provider, self._clock))

    def _complete(self, name: str) -> Provider:
        return self._providers.complete(self._provider(name).name, self._room.http)

    def _scopes(self, provider: Provider, scopes: object, actions: object) -> list[str]:
        """What to ask for besides the provider's base scopes."""
        if scopes is None and actions is None:
            return sorted(self._actions.default_scopes(provider))
        asked = set(check_scopes(() if scopes is None else scopes))
        for name in check_actions(() if actions is None else actions):
            action = self._actions[name]
            if action.provider not in {provider.name, ANY_PROVIDER}:
                raise InvalidRequest(f"actions has {name}, which is an action of {action.provider}")
            asked |= action.scopes
        return sorted(asked)

    def _find_grants(self, user: str, provider: str, account: str | None) -> list[Grant]:
        """One user's grants at one provider: a filter that is left out, or is no text, would find other users', too."""
        check_user(user)
        check_text("provider", provider, "the name of a provider")  # maybe one that was taken out of the providers file
        if account is not None:
            check_account(account)
        return self._room.grants.find(app=self.app, user=user, provider=provider, account=account)

    def _stored_or_again(self, user: str, done: Connected) -> Grant:
        """As ``_stored``, of tokens that nobody has but this call, and that no second call can have."""
        try:
            return self._stored(user, done)
        except (VaultUnavailable, MongoUnavailable) as error:
            said = f"{error}; what {done.provider} gave was not stored for certain, and the user must connect again"
            raise type(error)(said) from None

    def _stored(self, user: str, done: Connected) -> Grant:
        grant = GrantWriter(self.app, self._room.grants, self._room.vault, self._providers, self._clock).store(
            user, done
        )
        self._room.jobs.resume_parked(grant.id, self._clock())
        return grant


def _choose(grants: Sequence[Grant]) -> Grant:
    usable = [grant for grant in grants if grant.status in USABLE]
    # One that was imported without its account is taken for the account that the user has connected since.
    usable = [grant for grant in usable if grant.account != placeholder(grant.user)] or usable
    if not usable:
        raise NoGrant
    if len(usable) > 1:
        accounts = ", ".join(sorted(grant.account for grant in usable))
        raise AmbiguousAccount(f"the user has several accounts there; say which with account=: {accounts}")
    return usable[0]
