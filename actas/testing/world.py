"""What a battery's test has in its hands: an app, a worker, a clock, and the provider as the sandbox plays it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest
from pydantic import SecretStr

from actas import Client, Grant, GrantStatus, Job, JobStatus
from actas.actions import Action, Actions
from actas.clock import utc_now
from actas.envelope import Purpose
from actas.errors import ActasError, ConnectError
from actas.fault_points import FaultPoint, listen
from actas.ids import new_id
from actas.providers import Provider, Providers
from actas.room import Room as AppRoom
from actas.sandbox.directing import PersonaControl
from actas.sandbox.playing import PersonaLedger
from actas.sandbox.scripted import ThingEntry
from actas.settings import ClientCredentials
from actas.stores.jobs import Jobs
from actas.stores.resolutions import Resolution, Resolutions
from actas.testing.bench import Bench
from actas.testing.detour import Detour
from actas.testing.documented import Endpoint as Documented
from actas.testing.documented import Made, Reply
from worker.chores import revoke_grant
from worker.exchange import Access
from worker.provider_api import ProviderApi
from worker.reconcile import reconcile
from worker.run import run

#: Nobody listens there: the "browser" only reads where it was sent.
REDIRECT = "http://127.0.0.1:9/callback"

#: Everything that RFC 6749 section 2.3.1 has form-encoded.
SECRET = "s3cr3t: +%/&=ü"  # noqa: S105 - of the sandbox's client


class Died(BaseException):
    """The worker ends here, as far as it is concerned."""


def failed(message: str) -> NoReturn:
    """End a test with what is wrong and what to change; without a traceback, for its own code is not what is wrong."""
    pytest.fail(message, pytrace=False)


@dataclass(frozen=True, slots=True)
class Person:
    """A user, and the account of theirs at the provider."""

    user: str
    account: str


class _App(Client):
    """An app that knows just this provider and these actions, and reaches it on the detour."""

    def __init__(self, bench: Bench, providers: Providers, actions: Actions, detour: Detour) -> None:
        super().__init__(bench.app_settings, clock=bench.clock)
        self._connections = bench.connections
        self._providers = providers
        self._actions = actions
        self._detour = detour

    @property
    def _room(self) -> AppRoom:
        return replace(super()._room, http=self._detour)


class World:
    """One provider at the sandbox, with an app and a worker; made once for each battery."""

    def __init__(
        self,
        bench: Bench,
        provider: Provider,
        actions: Sequence[Action[Any]],
        persona: Mapping[str, Any],
        api: Sequence[Documented],
        *,
        addresses_of: Provider | None = None,
    ) -> None:
        """Make everything; nothing is asked yet.

        Args:
            bench: the session's.
            provider: the profile under test.
            actions: all that there are.
            persona: as the sandbox wants it (``actas.sandbox.personas.Persona``), without its client and its API.
            api: the endpoints of its API.
            addresses_of: the profile with what its issuer names, if that is more.
        """
        self.bench = bench
        self.provider = provider
        number = bench.number()
        self.persona = PersonaControl(bench.sandbox_url, f"kit-{number}")
        self.detour = Detour(addresses_of or provider, self.persona.url)
        bench.at_the_end.append(self.detour.close)
        #: What the app is there; with all that has to be encoded.
        self.client_id = f"kit: {number} +%"
        self.client_secret = SecretStr(SECRET)
        self._persona = {**persona, "client_id": self.client_id, "client_secrets": [SECRET], "api": self._api(api)}
        if provider.client_auth == "private_key_jwt":
            self._persona["client_jwks"] = bench.client_jwks(provider)
        providers = Providers({provider.name: provider})
        self.actions = Actions({action.name: action for action in actions})
        self.app = _App(bench, providers, self.actions, self.detour)
        exchange = replace(
            bench.room.exchange, _lock=threading.Lock(), _in_flight={}, providers=providers, http=self.detour
        )
        self.worker = replace(
            bench.room, exchange=exchange, actions=self.actions, providers=providers, http=self.detour
        )

    def _api(self, endpoints: Sequence[Documented]) -> list[dict[str, Any]]:
        api = []
        for endpoint in endpoints:
            where: Any = endpoint  # one of the four, which all say where they are
            api.append({**endpoint.as_data(), "method": where.method, "path": self.detour.path_of(where.path)})
        return api

    def begin(self) -> None:
        """Begin a test: the provider is new, and nothing is left of the one before."""
        self.be_known_by(self.client_secret)
        self.persona.play(self._persona)
        self.detour.astray.clear()

    def be_known_by(self, secret: SecretStr, *others: SecretStr) -> None:
        """Let the app prove itself with this secret from now on, or else with one of the others; if it has any."""
        known: dict[str, Any] = {"client_secret": secret, "other_client_secrets": others}
        if self.provider.client_auth in {"none", "private_key_jwt"}:
            known = {}
        self.bench.know(self.provider.name, ClientCredentials(client_id=self.client_id, **known))

    def end(self) -> None:
        """End it: nothing was sent anywhere else meanwhile."""
        if self.detour.astray:
            failed(
                f"requests went to {', '.join(sorted(set(self.detour.astray)))}, and that is none of"
                f" {self.provider.name}'s addresses: name it in the profile (other_api_urls), or do not ask there"
            )

    # --- the app's side ----------------------------------------------------------------------------------------------

    def person(self) -> Person:
        return Person(f"user-{secrets.token_hex(6)}", f"9{secrets.randbelow(10**14):014}")

    def authorization_url(self, who: Person, **asked: Any) -> str:
        """Where the app would send this user's browser."""
        return self.app.begin_connect(user=who.user, provider=self.provider.name, redirect_uri=REDIRECT, **asked).url

    def browse(self, url: str, who: Person, *, allow: bool = True) -> str:
        """Do there what the user and the browser do; where they come back to."""
        here = self.detour.to(url)
        if here is None:
            failed(f"{self.provider.name}: the browser is sent to {url.partition('?')[0]}, not to authorize_url")
        try:
            return self.persona.authorize(here, who.account, allow=allow)
        except ActasError as error:
            self.failed(f"the authorization request is refused: {error}")

    def connect(self, who: Person | None = None, **asked: Any) -> tuple[Person, Grant]:
        """Connect somebody's account, as the app and the user's browser do together."""
        who = who or self.person()
        callback = self.browse(self.authorization_url(who, **asked), who)
        try:
            self.app.finish_connect(callback, user=who.user)
        except ConnectError as error:
            self.failed(f"connecting does not work: {error}")
        return who, self.grant(who)

    def grant(self, who: Person) -> Grant:
        """The grant as it is stored now."""
        (known,) = self.worker.grants.find(app=self.bench.app, user=who.user)
        found = self.worker.grants.get(known.id)  # with its tokens
        assert found is not None
        return found

    def schedule(self, action: str, who: Person, payload: Mapping[str, Any], **options: Any) -> Job:
        return self.app.schedule(action, user=who.user, payload=payload, **options)

    # --- the worker's side -------------------------------------------------------------------------------------------

    def make_stale(self, who: Person) -> Grant:
        """Let the access token in the grant come to its end: whoever needs one must exchange."""
        past = {"access_token.expires_at": utc_now() - timedelta(minutes=1)}
        self.bench.documents["grants"].update_one({"user": who.user}, {"$set": past})
        return self.grant(who)

    def exchange(self, who: Person) -> Access:
        """Have the refresh token exchanged, now, as a job would.

        Raises:
            As ``Exchange.access_token``.
        """
        return self.worker.exchange.access_token(self.make_stale(who))

    def access_token(self, who: Person) -> SecretStr:
        """What the grant holds."""
        return self.worker.keys.read(self.grant(who), Purpose.ACCESS)

    def account_seen_with(self, token: SecretStr) -> int:
        """Ask whose account it is with a token; the status of the answer."""
        url = self.worker.providers.complete(self.provider.name, self.detour).whose_url
        assert url is not None
        bearer = {"Authorization": SecretStr(f"Bearer {token.get_secret_value()}")}
        return self.detour.send("GET", url, headers=bearer | dict(self.provider.api_headers), seconds=20).status

    def run(self, job: Job, *, die_at: tuple[FaultPoint, int] | None = None) -> Job:
        """Send a job that is scheduled to the worker, when its time has come, and let it run; the job afterwards.

        ``die_at``: a step, and the how manieth time it is come to; there the worker dies, and the job is rescued.
        """
        job = self.app.job(job.id)
        if job.status is not JobStatus.SCHEDULED:
            failed(f"{job.action} is {_story(job)}, and should be scheduled")
        self.bench.clock.go_on_to(job.next_at + timedelta(milliseconds=1))
        admin = Jobs(self.bench.documents)
        admin.enqueue([job.id], batch=new_id(), now=self.bench.clock())
        if die_at is None:
            run(job.id, self.worker)
        else:
            self._die_at(die_at, lambda: run(job.id, self.worker))
            past = {"claim.until": utc_now() - timedelta(seconds=1)}
            held = {"_id": job.id, "claim": {"$exists": True}}  # not if it had ended before
            self.bench.documents["jobs"].update_one(held, {"$set": past})
            admin.rescue_running(self.bench.clock())
        return self.app.job(job.id)

    def _die_at(self, point: tuple[FaultPoint, int], what: Callable[[], Any]) -> None:
        left = point[1]

        def die(at: FaultPoint) -> None:
            nonlocal left
            left -= at is point[0]
            if left == 0:
                left = -1
                raise Died

        listen(die)
        try:
            what()
        except Died:
            return
        finally:
            listen(None)

    def look(self, job: Job) -> Job:
        """Look for an uncertain job's effect, when it is time to; the job afterwards."""
        job = self.app.job(job.id)
        self.bench.clock.go_on_to(job.next_at + timedelta(milliseconds=1))
        reconcile(job.id, self.worker)
        return self.app.job(job.id)

    def resolve(self, job: Job, *, reference: str | None) -> Job:
        """Say what became of an uncertain job, as an operator does: it made this, or (None) nothing."""
        journal = self.worker.effects.of_job(job.id, job.grant)
        step = next(number for number, effect in journal.items() if effect.open)
        said = Resolution(reference is not None, reference, self.bench.clock())
        Resolutions(self.bench.documents).say(job.id, step, journal[step].started_at, said)
        Jobs(self.bench.documents).resolved(job.id, happened=said.happened, now=said.at)
        return self.look(job)

    def api(self, who: Person) -> ProviderApi:
        """The provider's API as an action sees it, outside of any job."""
        access = self.worker.exchange.access_token(self.grant(who))
        return ProviderApi(
            self.detour,
            self.worker.providers.complete(self.provider.name, self.detour),
            access.token,
            20,
            self.bench.clock,
            account=who.account,
        )

    def disconnect(self, who: Person) -> Grant:
        """Disconnect, as the app and then the worker do."""
        self.app.disconnect(user=who.user, provider=self.provider.name)
        revoke_grant(self.grant(who).id, self.worker)
        return self.grant(who)

    # --- the provider's side -----------------------------------------------------------------------------------------

    def seen(self, who: Person | None = None) -> PersonaLedger:
        return self.persona.seen(who.account if who else None)

    def made(self, who: Person) -> list[ThingEntry]:
        """What the provider has of this account, oldest first."""
        return self.seen(who)["things"]

    def exchanges(self, who: Person) -> int:
        """How many exchanges the provider has granted."""
        return sum(family["exchanges"] for family in self.seen(who)["families"])

    def reuse(self, who: Person) -> int:
        """How often the provider saw a refresh token that it had replaced."""
        return sum(family["reuse"] for family in self.seen(who)["families"])

    def answer(self, endpoint: str, who: Person, reply: Reply, *, times: int | None = 1, done: bool = False) -> None:
        """Let the next request of this account be answered so; ``done``: having done what was asked."""
        reset = str(int(self.bench.clock().timestamp() + (reply.seconds or 0)) + 1)
        headers = {name: value.replace("{reset}", reset) for name, value in reply.headers.items()}
        how: Any = "status_after" if done else "status"
        self.persona.go_wrong(
            endpoint, how, times=times, account=who.account, status=reply.status, headers=headers, body=reply.body
        )

    # --- telling -----------------------------------------------------------------------------------------------------

    def failed(self, message: str) -> NoReturn:
        """End the test with this, and with what the provider had to say."""
        complaints = self.seen()["complaints"]
        said = f"\nthe provider says: {'; '.join(dict.fromkeys(complaints))}" if complaints else ""
        failed(f"{self.provider.name}: {message}{said}")

    def check_intact(self, who: Person, after: str) -> None:
        """Make sure that a grant works, and that no token was used twice."""
        grant = self.grant(who)
        if grant.status is not GrantStatus.ACTIVE:
            cause = grant.failure.code if grant.failure else "no reason given"
            self.failed(f"after {after} the grant is {grant.status} ({cause}), and it is not dead")
        if (reuse := self.reuse(who)) > 0:
            self.failed(f"after {after} a refresh token was used {reuse} time(s) more than once")

    def check_waited(self, begun_at: datetime, limit: Reply, where: str) -> None:
        """Make sure that a job was done after a limit's time, and not long after it."""
        said, waited = limit.seconds, (self.now() - begun_at).total_seconds()
        if said is not None and not said - 1 <= waited <= said * 1.5 + 120:
            headers = ", ".join(f"{name}: {value}" for name, value in limit.headers.items())
            self.failed(
                f"{limit} ({headers}) asks to wait {said:g} s, and it was asked again after {waited:.0f} s: {where}"
            )

    def now(self) -> datetime:
        return self.bench.clock()


def story(job: Job) -> str:
    """What became of a job, in a few words."""
    return _story(job)


def _story(job: Job) -> str:
    why = f" ({job.error.code}: {job.error.message})" if job.error else ""
    return f"{job.status}{why}"


def is_made(endpoint: Documented) -> bool:
    """Whether an endpoint makes something."""
    return isinstance(endpoint, Made)
