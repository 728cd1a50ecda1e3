"""The exchange: a refresh token becomes an access token, once per token lifetime over the whole fleet.

A rotating provider kills the grant when a refresh token is used twice, so the right to use one is leased: in this
process by sharing one attempt, in the fleet by a lease on the grant. The new tokens are written by compare-and-swap
*before* anybody uses them; a crash can then lose time, but not the account.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from pydantic import SecretBytes, SecretStr
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random, wait_random_exponential

from actas.client_auth import Assertions
from actas.clock import Clock
from actas.envelope import Purpose
from actas.errors import (
    ActasError,
    GrantDead,
    MongoRefused,
    MongoUnavailable,
    ProviderBusy,
    ProviderUnavailable,
    TokenEndpointError,
)
from actas.fault_points import FaultPoint, reached
from actas.gates import exchange_gate, token_gate
from actas.granting import encrypt_tokens, wrapped_key
from actas.http import Http, NoReply, NotSent
from actas.ids import new_id
from actas.oauth import MALFORMED, TokenEndpoint, Tokens
from actas.providers import Provider, Providers
from actas.records import LOST_ROTATION, DataKey, Grant, GrantStatus
from actas.refresh_life import refresh_life
from actas.settings import LEASE_MARGIN_SECONDS, ClientCredentials, Settings
from actas.stores.grants import Grants, TokenWrite
from actas.vault.room import VaultRoom
from worker.audit import Audit, error_code
from worker.closing import Whose, busy
from worker.errors import NeedsUser, Outrun, Stopped, TokenPending, WrongClient
from worker.gates import Gates
from worker.keys import DataKeys
from worker.rescue_slots import Answer, RescueSlots, SlotsUnavailable

log = logging.getLogger(__name__)

#: A token this close to its end would not survive the request it is for.
SKEW = timedelta(seconds=30)

#: How long a job waits for somebody else's exchange before it makes room for another job.
PATIENCE_SECONDS = 2.0

#: Connect errors are tried again, and so is a lost answer: if the provider rotated, the old token is dead either way.
TRIES = 2


@dataclass(frozen=True, slots=True)
class Access:
    """An access token, and the grant as it was when the token was current."""

    token: SecretStr = field(repr=False)
    grant: Grant
    #: Time has passed since the job was looked at: look again.
    exchanged: bool


@dataclass(slots=True)
class Held:
    """A grant under our exchange lease."""

    grant: Grant
    owner: str
    #: On the monotonic clock, counted from before we asked for it.
    ends_at: float
    #: Whom the journal names: a job's id, or a chore.
    asked_by: str
    #: The provider may have rotated the token, and nobody has the new one.
    unanswered: bool = False
    #: Tokens were written, and the lease ended with that.
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    grants: Grants
    audit: Audit
    slots: RescueSlots
    keys: DataKeys
    vault: VaultRoom
    http: Http
    gates: Gates
    providers: Providers
    settings: Settings
    clock: Clock
    sleep: Callable[[float], None] = time.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _in_flight: dict[str, Future[Access]] = field(default_factory=dict)

    # --- who asks ---

    def access_token(self, grant: Grant, *, asked_by: str = "") -> Access:
        """The grant's access token, exchanged for if need be; callers in this process share one attempt.

        Raises:
            TokenPending: somebody else is at it; come back soon.
            AtGate: the token endpoint is in trouble, or refuses or limits the app.
            NeedsUser, Stopped: the grant does not work any more.
            WrongClient, ClientRefused, TokenEndpointError, NotSent, NoReply, Unavailable, EnvelopeError: it failed.
        """
        if self.is_live(grant):
            return Access(self.keys.read(grant, Purpose.ACCESS), grant, exchanged=False)
        with self._lock:
            shared = self._in_flight.get(grant.id)
            if shared is None:
                mine = self._in_flight[grant.id] = Future()
        if shared is not None:
            try:
                return shared.result(PATIENCE_SECONDS)
            except TimeoutError:
                raise TokenPending from None
        try:
            with self.passing(grant):
                after, token = self.exchange(
                    grant.id, needed=lambda leased: not self.is_live(leased), asked_by=asked_by
                )
            access = Access(token or self.keys.read(after, Purpose.ACCESS), after, exchanged=True)
            mine.set_result(access)
        except BaseException as error:
            mine.set_exception(error)
            if isinstance(error, ProviderBusy):
                self.gates.fail(busy(error, Whose(grant.app, grant.provider, grant.id)))
            raise
        else:
            return access
        finally:
            with self._lock:
                del self._in_flight[grant.id]

    def is_live(self, grant: Grant) -> bool:
        """Whether the grant's access token will outlast a request."""
        return grant.access_token is not None and grant.access_token.expires_at - SKEW > self.clock()

    def passing(self, grant: Grant, *more: str) -> AbstractContextManager[object]:
        """Pass the gates before a grant's token endpoint, and ``more``.

        Raises:
            AtGate.
        """
        gates = [token_gate(grant.provider), exchange_gate(grant.app, grant.provider), *more]
        return self.gates.passing(gates, seconds=self.settings.exchange_lease_seconds)

    # --- the exchange, top to bottom ---

    def exchange(
        self,
        grant_id: str,
        *,
        needed: Callable[[Grant], bool],
        asked_by: str,
        new_key: bool = False,
    ) -> tuple[Grant, SecretStr | None]:
        """Exchange a grant's refresh token, under the fleet's lease; the grant afterwards, and its new access token.

        Args:
            grant_id: whose.
            needed: asked of the grant as it is once the lease is ours; if it is no more, there is no new token.
            asked_by: a job's id, or the name of a chore; for the journal.
            new_key: write what comes under a new data key.

        Raises:
            As ``access_token``.
        """
        with self.under_lease(grant_id, asked_by) as held:
            reached(FaultPoint.EXCHANGE_LEASED)
            # Whoever held the lease before us may have brought what we want, or have died with it in a rescue slot.
            if not needed(held.grant):
                return held.grant, None
            if self.rescue(held.grant):
                raise TokenPending  # look again: most likely there is a live token now
            return self._send(held, new_key=new_key)

    @contextlib.contextmanager
    def under_lease(self, grant_id: str, asked_by: str) -> Iterator[Held]:
        """Hold the right to use a grant's refresh token; nobody else uses it meanwhile.

        Raises:
            TokenPending: somebody else holds it.
            NeedsUser, Stopped: the grant does not work any more.
        """
        held, failure = self._lease(grant_id, asked_by), None
        try:
            yield held
        except (NotSent, NoReply, ProviderUnavailable, TokenEndpointError, WrongClient) as error:
            held.unanswered |= perhaps_done(error)
            failure = error_code(error)
            raise
        finally:
            if not held.over:
                self._let_go(held, failure)

    def rescue(self, leased: Grant) -> bool:
        """Write into the grant what somebody else received for it and could not write; False if there is nothing.

        Raises:
            SlotsUnavailable: there may be something, and the old token must not be used before that is known.
            NeedsUser, Stopped: there was, and the grant does not work any more all the same.
        """
        key = self.keys.get(leased)
        try:
            answer = self.slots.find(leased, key)
        except SlotsUnavailable:
            if leased.unanswered_at is not None:
                raise
            return False  # everybody who was at it came back, and had nothing to leave
        if answer is None:
            return False
        log.warning("exchange.rescued grant=%s generation=%d", leased.id, leased.generation)
        check_usable(
            self._store(leased, self._write(leased, answer, self.keys.read(leased, Purpose.REFRESH), key), answer)
        )
        return True

    def _send(self, held: Held, *, new_key: bool) -> tuple[Grant, SecretStr]:
        # All that could fail on our side comes before the request: after it, the old token may be dead, and the new one
        # must find its key at hand.
        leased = held.grant
        whose = Whose(leased.app, leased.provider, leased.id, asked_by=held.asked_by)
        client = self.vault.client_credentials(leased.app, leased.provider)
        check_client(client, leased)
        provider = self._complete(leased.provider, whose)
        endpoint = TokenEndpoint(
            self.http, provider, client, Assertions.of(self.vault, leased.app, provider, self.clock)
        )
        refresh_token, key = self.keys.read(leased, Purpose.REFRESH), self.keys.get(leased)
        fresh = wrapped_key(self.vault, leased.app, leased.id, self.clock()) if new_key else (key, None)
        exchange_id = new_id()
        unknown = lambda error: held.unanswered or perhaps_done(error)  # noqa: E731 - also of a try before
        with self.audit.use("exchange", leased, exchange_id, asked_by=held.asked_by, unknown=unknown):
            reached(FaultPoint.EXCHANGE_JOURNALED)
            try:
                tokens = self._ask(endpoint, held, refresh_token)
            except ActasError as error:
                self.gates.seen(error, whose)
                raise
            answer = Answer(tokens, exchange_id, self.clock())
            reached(FaultPoint.EXCHANGE_ANSWERED)
            self.slots.keep(leased, key, answer)
            reached(FaultPoint.EXCHANGE_RESCUED)
            overtook = held.unanswered or leased.unanswered_at is not None
            write = self._write(leased, answer, refresh_token, *fresh)
            stored = self._store(leased, write, answer, overtook=overtook)
            held.over = True
        self.gates.seen(None, whose)  # now that the new token is safe
        reached(FaultPoint.EXCHANGE_DONE)
        check_usable(stored)
        return stored, tokens.access_token

    def _complete(self, name: str, whose: Whose) -> Provider:
        try:
            return self.providers.complete(name, self.http)
        except ProviderUnavailable as error:  # its issuer's trouble is the token endpoint's, for whoever needs it now
            self.gates.seen(error, whose)
            raise NotSent(str(error)) from None

    def _lease(self, grant_id: str, asked_by: str) -> Held:
        owner = new_id()
        gives_up_at = time.monotonic() + PATIENCE_SECONDS
        pause = 0.05
        while True:
            asked_at = time.monotonic()
            seconds = self.settings.exchange_lease_seconds
            leased = self.grants.take_exchange_lease(
                grant_id, owner=owner, seconds=seconds, statuses=[GrantStatus.ACTIVE]
            )
            if leased is not None:
                return Held(leased, owner, asked_at + seconds, asked_by)
            check_usable(self.grants.get(grant_id))
            if time.monotonic() + pause > gives_up_at:
                raise TokenPending
            self.sleep(pause)
            pause = min(0.5, pause * 1.5)

    def _let_go(self, held: Held, failure: str | None) -> None:
        with contextlib.suppress(MongoUnavailable):  # then the lease ends by itself
            self.grants.release_exchange_lease(
                held.grant.id, owner=held.owner, now=self.clock(), failure=failure, unanswered=held.unanswered
            )

    def _ask(self, endpoint: TokenEndpoint, held: Held, refresh_token: SecretStr) -> Tokens:
        """Send the refresh token, under what is left of the lease."""
        grant = held.grant
        seconds = self.settings.exchange_budget_seconds / TRIES
        rotates = self.providers[grant.provider].refresh.rotates

        def send() -> Tokens:
            if held.ends_at - time.monotonic() < seconds + LEASE_MARGIN_SECONDS:
                raise TokenPending  # we stood still too long: by the time of a reply the lease may be another's
            try:
                return endpoint.refresh(refresh_token, scopes=grant.scopes, seconds=seconds, now=self.clock())
            except NoReply:
                held.unanswered = True
                raise

        retrying = Retrying(
            retry=retry_if_exception_type((NotSent, NoReply)),
            stop=stop_after_attempt(TRIES),
            wait=wait_random(0.1, 0.5),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return retrying(send)
        except GrantDead as dead:
            # Believed, unless the grant has moved on since we read it.
            unanswered = held.unanswered or grant.unanswered_at is not None or grant.overtook_at is not None
            lost = rotates and unanswered
            cause = LOST_ROTATION if lost else dead.provider_code
            if not self.grants.require_reauthorization(grant, cause, self.clock(), owner=held.owner):
                raise TokenPending from None  # it has moved on, or the lease is another's: look again
            raise NeedsUser(f"{grant.provider} no longer accepts the grant ({dead.provider_code})") from None

    def _write(
        self, leased: Grant, answer: Answer, old: SecretStr, key: SecretBytes, new_key: DataKey | None = None
    ) -> TokenWrite:
        """The grant's next generation; ``key`` belongs to ``new_key``, or to the data key that the grant has."""
        tokens = answer.tokens
        life = refresh_life(
            self.providers[leased.provider].refresh,
            leased.id,
            answer.came_at,
            renewed=tokens.refresh_token not in {None, old},  # some say the same one again in each reply
            said_seconds=tokens.refresh_expires_in,
            previous_absolute_at=leased.refresh_absolute_at,
        )
        write = encrypt_tokens(
            leased,
            key,
            (new_key or data_key_of(leased)).id,
            refresh_token=tokens.refresh_token or old,
            access=(tokens.access_token, tokens.access_expires_at),
            life=life,
            exchange_id=answer.exchange_id,
        )
        # A reply that names scopes names all there are now (RFC 6749 section 5.1): a user may have taken some back.
        return replace(write, data_key=new_key, scopes=tokens.scopes)

    def _store(self, grant: Grant, write: TokenWrite, answer: Answer, *, overtook: bool = False) -> Grant:
        """Write the tokens; an outage is waited out while this process lives."""
        waiting = Retrying(
            retry=retry_if_exception_type((MongoUnavailable, MongoRefused)),
            before_sleep=lambda state: log.warning("exchange.retry grant=%s n=%d", grant.id, state.attempt_number),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            sleep=self.sleep,
            reraise=True,
        )
        swapped = waiting(self.grants.swap_tokens, grant, write, self.clock(), overtook=overtook)
        if swapped is None:
            swapped = waiting(self.grants.get, grant.id)
            if swapped is None or swapped.exchange_id != answer.exchange_id:
                # Somebody connected again meanwhile. Ours is not revoked: that could take the new one along.
                self.slots.drop(grant)
                raise Outrun
        reached(FaultPoint.EXCHANGE_STORED)
        self.slots.drop(grant)
        return swapped


def perhaps_done(error: Exception) -> bool:
    """Whether the provider may have rotated the token, although we have got none. Pure.

    It may have after anything but a refusal in its own words: also a 5xx can come after the fact, and so can a reply
    that nobody can read.
    """
    match error:
        case NotSent() | ProviderBusy():
            return False
        case TokenEndpointError():
            return error.provider_code == MALFORMED
    return isinstance(error, NoReply | ProviderUnavailable)


def data_key_of(grant: Grant) -> DataKey:
    assert grant.data_key is not None  # or its token could not have been read
    return grant.data_key


def check_client(client: ClientCredentials, grant: Grant) -> None:
    """Refuse credentials of another client than the one that a grant was issued to (RFC 6749 section 6). Pure.

    Raises:
        WrongClient.
    """
    if client.client_id != grant.client_id:
        raise WrongClient(
            f"the grant was issued to {grant.provider}'s client {grant.client_id}, and the credentials stored for app"
            f" {grant.app} are those of {client.client_id}; store the former's again, or let the user connect again"
        )


def check_usable(grant: Grant | None) -> None:
    """Refuse a grant that nothing may be done with. Pure.

    Raises:
        Stopped: there is none, or it is disconnected.
        NeedsUser: its user must connect again.
    """
    if grant is None:
        raise Stopped("the grant is gone", code="no_grant")
    if grant.status in {GrantStatus.REVOKING, GrantStatus.REVOKED}:
        raise Stopped("its user disconnected", code="disconnected")
    if grant.status is GrantStatus.REAUTHORIZATION_REQUIRED:
        cause = grant.failure.code if grant.failure else "unknown"
        raise NeedsUser(f"the user must connect {grant.provider} again ({cause})")
