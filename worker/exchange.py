"""The exchange: a refresh token becomes an access token, once per token lifetime over the whole fleet.

A rotating provider kills the grant when a refresh token is used twice, so the right to use one is leased: in this
process by sharing one attempt, in the fleet by a lease on the grant. The new tokens are written by compare-and-swap
*before* anybody uses them; a crash can then lose time, but not the account.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random, wait_random_exponential

from actas.clock import Clock
from actas.envelope import Purpose
from actas.errors import GrantDead, MongoRefused, MongoUnavailable
from actas.granting import encrypt_tokens
from actas.http import Http, NoReply, NotSent
from actas.ids import new_id
from actas.oauth import TokenEndpoint, Tokens
from actas.providers import Providers
from actas.records import Grant, GrantStatus
from actas.settings import LEASE_MARGIN_SECONDS, Settings
from actas.stores.grants import Grants, TokenWrite
from actas.vault.room import VaultRoom
from worker.errors import NeedsUser, Stopped, TokenPending
from worker.keys import DataKeys

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


class Exchange:
    def __init__(
        self,
        grants: Grants,
        keys: DataKeys,
        vault: VaultRoom,
        http: Http,
        providers: Providers,
        settings: Settings,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grants = grants
        self._keys = keys
        self._vault = vault
        self._http = http
        self._providers = providers
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._in_flight: dict[str, Future[Access]] = {}

    def access_token(self, grant: Grant) -> Access:
        """The grant's access token, exchanged for if need be.

        Raises:
            TokenPending: somebody else is at it; come back soon.
            NeedsUser, Stopped: the grant does not work any more.
            ClientRefused, TokenEndpointError, NotSent, NoReply, Unavailable, EnvelopeError: it did not work out.
        """
        if (token := self._live(grant)) is not None:
            return Access(token, grant, exchanged=False)
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
            access = self._exchange(grant)
            mine.set_result(access)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            return access
        finally:
            with self._lock:
                del self._in_flight[grant.id]

    def is_live(self, grant: Grant) -> bool:
        """Whether the grant's access token will outlast a request."""
        return grant.access_token is not None and grant.access_token.expires_at - SKEW > self._clock()

    def _live(self, grant: Grant) -> SecretStr | None:
        return self._keys.read(grant, Purpose.ACCESS) if self.is_live(grant) else None

    def _exchange(self, grant: Grant) -> Access:
        owner = new_id()
        leased, ends_at = self._lease(grant.id, owner)
        try:
            # Whoever held the lease before us may have brought what we want.
            if (token := self._live(leased)) is None:
                return self._send(leased, ends_at)
        except BaseException:
            self._let_go(leased, owner)
            raise
        self._let_go(leased, owner)
        return Access(token, leased, exchanged=True)

    def _send(self, leased: Grant, ends_at: float) -> Access:
        # All that could fail on our side comes before the request: after it, the old token may be dead, and the new one
        # must find its key at hand.
        endpoint = self._endpoint(leased)
        refresh_token, key, data_key = self._keys.read(leased, Purpose.REFRESH), self._keys.get(leased), leased.data_key
        assert data_key is not None  # or its token could not have been read
        tokens = self._ask(endpoint, leased, refresh_token, ends_at)
        write = encrypt_tokens(leased, key, data_key, tokens, tokens.refresh_token or refresh_token)
        return Access(tokens.access_token, self._store(leased, write), exchanged=True)

    def _let_go(self, grant: Grant, owner: str) -> None:
        with contextlib.suppress(MongoUnavailable):  # then the lease ends by itself
            self._grants.release_exchange_lease(grant.id, owner=owner)

    def _lease(self, grant_id: str, owner: str) -> tuple[Grant, float]:
        """The grant under our lease, and when that ends on the monotonic clock (counted from before we asked)."""
        gives_up_at = time.monotonic() + PATIENCE_SECONDS
        pause = 0.05
        while True:
            asked_at = time.monotonic()
            seconds = self._settings.exchange_lease_seconds
            leased = self._grants.take_exchange_lease(
                grant_id, owner=owner, seconds=seconds, statuses=[GrantStatus.ACTIVE]
            )
            if leased is not None:
                return leased, asked_at + seconds
            check_usable(self._grants.get(grant_id))
            if time.monotonic() + pause > gives_up_at:
                raise TokenPending
            self._sleep(pause)
            pause = min(0.5, pause * 1.5)

    def _endpoint(self, grant: Grant) -> TokenEndpoint:
        provider = self._providers[grant.provider]
        return TokenEndpoint(self._http, provider, self._vault.client_credentials(grant.app, grant.provider))

    def _ask(self, endpoint: TokenEndpoint, grant: Grant, refresh_token: SecretStr, lease_ends_at: float) -> Tokens:
        """Send the refresh token, under what is left of the lease."""
        seconds = self._settings.exchange_budget_seconds / TRIES
        lost_answer = False

        def send() -> Tokens:
            nonlocal lost_answer
            if lease_ends_at - time.monotonic() < seconds + LEASE_MARGIN_SECONDS:
                raise TokenPending  # we stood still too long: by the time of a reply the lease may be another's
            try:
                return endpoint.refresh(refresh_token, seconds=seconds, now=self._clock())
            except NoReply:
                lost_answer = True
                raise

        retrying = Retrying(
            retry=retry_if_exception_type((NotSent, NoReply)),
            stop=stop_after_attempt(TRIES),
            wait=wait_random(0.1, 0.5),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(send)
        except GrantDead as dead:
            self._call_dead(grant, "lost_rotation" if lost_answer else dead.provider_code)
            raise NeedsUser(f"{grant.provider} no longer accepts the grant ({dead.provider_code})") from None

    def _call_dead(self, grant: Grant, cause: str) -> None:
        """Believe a provider that calls the grant dead, unless the grant has moved on since we read it."""
        if not self._grants.require_reauthorization(grant, cause, self._clock()):
            raise TokenPending  # a newer generation is there, or somebody disconnected: look again

    def _store(self, grant: Grant, write: TokenWrite) -> Grant:
        """Write the tokens; they exist nowhere else, so an outage is waited out while this process lives."""
        waiting = Retrying(
            retry=retry_if_exception_type((MongoUnavailable, MongoRefused)),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            sleep=self._sleep,
            reraise=True,
        )
        swapped = waiting(self._grants.swap_tokens, grant, write, self._clock())
        if swapped is None:
            swapped = waiting(self._grants.get, grant.id)
            if swapped is None or swapped.exchange_id != write.exchange_id:
                # Somebody connected again meanwhile. Ours is not revoked: that could take the new one along.
                raise TokenPending
        check_usable(swapped)
        return swapped


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
