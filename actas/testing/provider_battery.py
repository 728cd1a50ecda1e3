"""The battery for a provider: its profile, against what its documentation says."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from actas import GrantStatus, JobStatus
from actas.actions import Action, ActionHttp, Payload, Result
from actas.errors import AccessDenied, ActasError
from actas.providers import Provider
from actas.providers.discovery import ENDPOINTS, completed
from actas.records import LOST_ROTATION, Grant
from actas.sandbox.misbehaviour import How
from actas.testing.battery import Battery, only_if
from actas.testing.bench import Bench
from actas.testing.documented import Reply, Says
from actas.testing.world import Person, World, story
from worker.errors import NeedsUser
from worker.exchange import Exchange

#: Replies of a token endpoint that are none.
NO_REPLIES = (
    Reply(200, "<!doctype html><h1>Sorry</h1>", {"content-type": "text/html"}),
    Reply(200, ""),
    Reply(200, '{"access_token": "cut o'),
    Reply(200, []),
    Reply(200, {"message": "try again"}),
    Reply(302, None, {"location": "https://elsewhere.example/token"}),
    Reply(200, "x" * 1_100_000),
    Reply(418, {"message": "no error that OAuth knows"}),
)

#: What may stand in the place of an ``expires_in`` that is a number of seconds ahead.
LIFETIMES: tuple[Mapping[str, Any], ...] = (
    {"expires_in": None},
    {"expires_in": "3600"},
    {"expires_in": -1},
    {"expires_in": 3599.5},
    {"expires_in": "soon"},
    {"expires_in": 10**12},
)

#: What else a reply to an exchange may have that is no reason to lose it.
ODDITIES: tuple[Mapping[str, Any], ...] = (
    {"access_token": "a" * 16_384},
    {"scope": None},
    {"token_type": "bEaReR"},
    {"token_type": None},
    {"something_new": {"of": ["a", "later", "version"]}},
)

ASK = "kit.ask"


def has_secret(battery: type[ProviderBattery]) -> bool:
    """Whether its clients have secrets."""
    return battery.client_auth in {"basic", "post"}


class _Ask(Action[Payload]):
    """A request that has no effect: so that there is a job which needs a token."""

    name = ASK
    scopes = frozenset()
    idempotent = True
    payload_type = Payload

    def perform(self, http: ActionHttp, payload: Payload, job_id: str) -> Result:  # noqa: ARG002
        http.request("GET", "/actas-kit")
        return Result("asked")


class ProviderBattery(Battery):
    """Inherit it, say what the provider's documentation says, and pytest puts the profile through the whole battery.

    What stands here is taken from the documentation and *not* from the profile: so a mistake there is found.

    ::

        class TestNotes(ProviderBattery):
            provider = NOTES
            token_reply = {"access_token": "ex", "token_type": "bearer", "expires_in": 3600, "refresh_token": "ex"}
            account_reply = {"user": {"id": 12345, "login": "alice"}}
            account = "12345"
            dead = [Reply(400, {"error": "invalid_grant"})]
            rotates = True
    """

    needed = ("provider", "token_reply", "account_reply", "account", "dead", "rotates")
    cases: ClassVar[dict[str, str]] = {
        "dead_reply": "dead",
        "limit": "limits",
        "trouble": "troubles",
    }

    #: The profile under test.
    provider: ClassVar[Provider]

    # --- what its documentation says ---

    #: The example of a token reply. The sandbox puts tokens and scopes of its own in; where there is no
    #: ``refresh_token`` or no ``scope`` in it, there will be none.
    token_reply: ClassVar[Mapping[str, Any]]
    #: The example of the reply to a refresh, if it differs.
    refresh_reply: ClassVar[Mapping[str, Any] | None] = None
    #: The example of what is said of whose account it is, and the account's id in it.
    account_reply: ClassVar[Mapping[str, Any]]
    account: ClassVar[str]
    #: Where that is asked: ``https://api.notes.example/me``.
    account_at: ClassVar[str | None] = None
    #: All replies which mean that the refresh token is dead, and the user must connect again.
    dead: ClassVar[Sequence[Reply]]
    #: What is said of a wrong client secret.
    wrong_client: ClassVar[Reply] = Reply(401, {"error": "invalid_client"})
    #: What is said where too much was asked of the token endpoint.
    limits: ClassVar[Sequence[Reply]] = (Reply(429, headers={"retry-after": "7"}), Reply(429))
    #: Whether an exchange kills the refresh token that it was made with.
    rotates: ClassVar[bool]
    #: Whether an exchange brings a new refresh token; None: if it kills the old one.
    renews: ClassVar[bool | None] = None
    #: How a client authenticates itself: basic, post, none or private_key_jwt.
    client_auth: ClassVar[str] = "basic"
    #: Of private_key_jwt: what an assertion must have as its ``aud``; None: whatever it has.
    audience: ClassVar[str | None] = None
    client_id_parameter: ClassVar[str] = "client_id"
    #: Whether PKCE (S256) is understood; then it is demanded here, and else refused.
    pkce: ClassVar[bool] = True
    #: What an authorization request must have for a refresh token to be given: parameters, and a scope.
    authorize_parameters: ClassVar[Mapping[str, str]] = {}
    refresh_scope: ClassVar[str | None] = None
    #: Scopes to ask for besides those that the profile asks for.
    scopes: ClassVar[Sequence[str]] = ()
    #: How a token reply writes the scopes.
    scope_separator: ClassVar[str] = " "
    scope_prefix: ClassVar[str] = ""
    #: Which it does not name although they were granted.
    unsaid_scopes: ClassVar[Sequence[str]] = ()
    #: The status of errors.
    error_status: ClassVar[int] = 400
    #: Whether tokens can be revoked (RFC 7009).
    revokes: ClassVar[bool] = True
    #: Headers that each request to its API needs.
    api_headers: ClassVar[Mapping[str, str]] = {}
    #: What it names as the issuer of its answers (RFC 9207), if it does.
    iss: ClassVar[str | None] = None
    #: Its metadata (RFC 8414 or OpenID Connect Discovery), where the profile has an issuer.
    metadata: ClassVar[Mapping[str, Any] | None] = None

    # --- what is the same with all of them ---

    no_replies: ClassVar[Sequence[Reply]] = NO_REPLIES
    lifetimes: ClassVar[Sequence[Mapping[str, Any]]] = LIFETIMES
    oddities: ClassVar[Sequence[Mapping[str, Any]]] = ODDITIES
    troubles: ClassVar[Sequence[Reply]] = (Reply(500, {}), Reply(502, "<h1>Bad gateway</h1>"), Reply(503))

    def make_world(self, at: Bench) -> World:
        whole = completed(self.provider, self.metadata) if self.metadata and self.provider.issuer else self.provider
        ask: Action[Any] = type("Ask", (_Ask,), {"provider": self.provider.name})()
        persona = {
            "client_auth": self.client_auth,
            "audience": self.audience,
            "client_id_parameter": self.client_id_parameter,
            "wrong_client": self.wrong_client.as_data(),
            "pkce": self.pkce,
            "authorize_parameters": dict(self.authorize_parameters),
            "refresh_scope": self.refresh_scope,
            "iss": self.iss,
            "token_reply": dict(self.token_reply),
            "refresh_reply": None if self.refresh_reply is None else dict(self.refresh_reply),
            "rotates": self.rotates,
            "renews": self.rotates if self.renews is None else self.renews,
            "scope_separator": self.scope_separator,
            "scope_prefix": self.scope_prefix,
            "unsaid_scopes": list(self.unsaid_scopes),
            "error_status": self.error_status,
            "dead": self.dead[0].as_data(),
            "revokes": self.revokes,
            "account_reply": dict(self.account_reply),
            "account": self.account,
            "metadata": None if self.metadata is None else dict(self.metadata),
            "api_headers": dict(self.api_headers),
        }
        endpoint = Says("GET", "/actas-kit", Reply(200, {"ok": True}))
        return World(at, self.provider, [ask], persona, [endpoint], addresses_of=whole)

    def connect(self, world: World) -> tuple[Person, Grant]:
        """Somebody's account, connected."""
        return world.connect(scopes=list(self.scopes))

    # --- connecting ---

    def test_the_authorization_request_is_as_documented(self, world: World) -> None:
        """It names the client, where to come back to, a state, PKCE where it is understood, and what it asks for."""
        url = world.authorization_url(world.person(), scopes=list(self.scopes))
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        expected = {"response_type": "code", self.client_id_parameter: world.client_id, **self.authorize_parameters}
        wrong = [f"{name}={value}" for name, value in expected.items() if query.get(name) != value]
        if wrong:
            world.failed(
                f"the authorization request lacks {', '.join(wrong)} (client_id_parameter, authorize_parameters)"
            )
        scopes = {*self.provider.base_scopes, *self.scopes}
        if set(query.get("scope", "").split()) != scopes:
            world.failed(f"the authorization request asks for {query.get('scope')!r}, and should for {sorted(scopes)}")

    def test_connects_and_knows_whose_account_it_is(self, world: World) -> None:
        """The callback's code becomes a stored grant: of the right account, with the scopes that were granted."""
        who, grant = self.connect(world)
        if grant.account != who.account:
            world.failed(
                f"account_id {self.provider.account_id} leads to {grant.account!r} in the documented reply, and the"
                f" account's id there is {who.account!r} (account_reply with {self.account!r} in its place)"
            )
        asked = {*self.provider.base_scopes, *self.scopes}
        if "scope" in self.token_reply:
            asked -= {*self.unsaid_scopes}
        if grant.scopes != asked:
            world.failed(
                f"granted were the scopes {sorted(asked)}, and the grant has {sorted(grant.scopes)}; token replies part"
                f" them by {self.scope_separator!r} and put {self.scope_prefix!r} before each (scope_commas,"
                " scope_prefix)"
            )
        if self.account_at is not None and self.provider.whose_url not in {None, self.account_at}:
            world.failed(f"asks at {self.provider.whose_url} whose account it is; documented is {self.account_at}")

    def test_a_user_who_says_no_is_told_so(self, world: World) -> None:
        """The app is told in a way of its own, for it is nobody's mistake."""
        who = world.person()
        callback = world.browse(world.authorization_url(who, scopes=list(self.scopes)), who, allow=False)
        with pytest.raises(AccessDenied):
            world.app.finish_connect(callback, user=who.user)

    @only_if(lambda battery: battery.metadata is not None and battery.provider.issuer is not None)
    def test_its_issuer_says_the_same(self, world: World) -> None:
        """What the profile names and its issuer's metadata names are the same addresses."""
        said = self.metadata or {}
        for ours, theirs in ENDPOINTS.items():
            here = getattr(self.provider, ours)
            if here is not None and said.get(theirs, here) != here:
                world.failed(f"{ours} is {here}, and its issuer's {theirs} is {said[theirs]}")

    # --- exchanging ---

    def test_exchanges_and_stores_what_comes(self, world: World) -> None:
        """A stale access token is exchanged for, what comes is stored, and works; so does what was stored, again."""
        who, _ = self.connect(world)
        for generation in (2, 3):
            access = world.exchange(who)
            if (status := world.account_seen_with(access.token)) != 200:
                world.failed(f"the access token of an exchange is not accepted: {status}")
            if world.grant(who).generation != generation:
                world.failed(
                    f"after {generation - 1} exchanges the grant is of generation {world.grant(who).generation}"
                )
        if world.exchanges(who) != 2:
            world.failed(f"2 exchanges were needed, and the provider has seen {world.exchanges(who)}")
        world.check_intact(who, "two exchanges")

    def test_the_refresh_token_is_of_the_kind_that_the_profile_says(self, world: World) -> None:
        """Rotating: each exchange kills the token that it was made with. Sliding or static: it lives on."""
        kind = self.provider.refresh.kind
        if self.rotates and kind != "rotating":
            world.failed(
                f"refresh.kind is {kind!r}, and an exchange kills the refresh token that it was made with: say"
                " 'rotating', or a lost reply will be told to the user as if they had withdrawn their consent"
            )
        if not self.rotates and kind == "rotating":
            world.failed(
                "refresh.kind is 'rotating', and a refresh token lives on after an exchange: say 'sliding' (its idle"
                " time starts anew) or 'static' (it does not), or it is not kept alive as it needs"
            )

    def test_two_exchanges_at_once_are_one_request(self, world: World) -> None:
        """Eight jobs in two workers want a token at once: one of them exchanges, all get the token."""
        who, _ = self.connect(world)
        grant = world.make_stale(who)
        other = replace(world.worker.exchange, _lock=threading.Lock(), _in_flight={})
        begin = threading.Barrier(8)

        def ask(exchange: Exchange) -> object:
            begin.wait()
            return exchange.access_token(grant)

        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(ask, each) for each in (world.worker.exchange, other) * 4]:
                future.result()
        if world.exchanges(who) != 1:
            world.failed(f"8 jobs wanted a token at once, and the provider has seen {world.exchanges(who)} exchanges")
        world.check_intact(who, "8 jobs that wanted a token at once")

    # --- lost replies ---

    def test_a_request_that_never_arrived_is_repeated(self, world: World) -> None:
        """The connection breaks before the provider has read anything: asked again, and nobody notices."""
        who, _ = self.connect(world)
        world.persona.go_wrong("token", "drop_before", account=who.account)
        world.exchange(who)
        if world.exchanges(who) != 1:
            world.failed(f"one exchange was needed, and the provider has seen {world.exchanges(who)}")
        world.check_intact(who, "a request that never arrived")

    def test_a_reply_that_is_lost_ends_in_an_explicit_state(self, world: World) -> None:
        """A rotating provider's new token is gone: the grant says lost_rotation. Any other's old one works still."""
        who, _ = self.connect(world)
        world.persona.go_wrong("token", "drop_after", account=who.account)
        if not self.rotates:
            world.exchange(who)
            world.check_intact(who, "a lost reply of an exchange, whose token lives on,")
            return
        with suppress(NeedsUser):
            world.exchange(who)
        grant = world.grant(who)
        cause = grant.failure.code if grant.failure else None
        if (grant.status, cause) != (GrantStatus.REAUTHORIZATION_REQUIRED, LOST_ROTATION):
            world.failed(
                f"the reply of an exchange was lost, and with it the only token that works; the grant is {grant.status}"
                f" ({cause}) and should be reauthorization_required ({LOST_ROTATION}): see refresh.kind, fatal_errors"
            )

    # --- what the token endpoint says ---

    def test_a_dead_grant_needs_its_user(self, world: World, dead_reply: Reply) -> None:
        """Each documented way to say that the refresh token is dead: the grant says so, its job waits for the user."""
        who, _ = self.connect(world)
        job = world.schedule(ASK, who, {})
        world.make_stale(who)
        world.answer("token", who, dead_reply, times=None)
        job = world.run(job)
        grant = world.grant(who)
        if grant.status is not GrantStatus.REAUTHORIZATION_REQUIRED:
            world.failed(
                f"{dead_reply} means that the user must connect again, and the grant is {grant.status} instead, its job"
                f" {story(job)}: fatal_errors must know it"
            )
        code = dead_reply.body.get("error") if isinstance(dead_reply.body, dict) else None
        if grant.failure is None or (code is not None and grant.failure.code != code):
            world.failed(f"the grant's failure is {grant.failure}, and the provider said {code}")
        if job.status is not JobStatus.PARKED:
            world.failed(f"the grant is dead, and its job is {story(job)} instead of parked until the user connects")
        self.connects_again(world, who)

    def connects_again(self, world: World, who: Person) -> None:
        """The user connects again: the grant keeps its id, and the job goes on."""
        before = world.grant(who)
        world.persona.behave()
        world.connect(who, scopes=list(self.scopes))
        (job,) = world.app.jobs(user=who.user)
        if (world.grant(who).id, world.run(job).status) != (before.id, JobStatus.SUCCEEDED):
            world.failed("the user has connected again, and the job that waited for that was not done")

    @only_if(has_secret)
    def test_a_wrong_client_secret_blames_no_user(self, world: World) -> None:
        """The app's credentials are wrong: grants stay as they are, jobs wait, and spend no attempt."""
        who, _ = self.connect(world)
        job = world.schedule(ASK, who, {})
        world.make_stale(who)
        world.persona.accept_secrets(["another"])
        job = world.run(job)
        world.check_intact(who, f"{self.wrong_client}, which is about the app's credentials,")
        if (job.status, job.attempts, job.error and job.error.code) != (JobStatus.SCHEDULED, 0, "client_refused"):
            world.failed(
                f"{self.wrong_client} is about the app's credentials, and a job that met it is {story(job)} with"
                f" {job.attempts} attempt(s) spent; it should wait for whoever mends them, as client_refused"
            )
        world.persona.accept_secrets([world.client_secret.get_secret_value()])
        self.comes_to_its_end(world, who, "the client secret was mended")

    @only_if(has_secret)
    def test_a_client_secret_can_be_changed(self, world: World) -> None:
        """While it is being changed at the provider, either is stored and one of them is taken: nobody notices."""
        who, _ = self.connect(world)
        world.persona.accept_secrets(["the next one"])
        world.be_known_by(world.client_secret, SecretStr("the next one"))
        self.works(world, who, "the client secret was changed, and both are stored")
        if world.exchanges(who) != 1:
            world.failed(f"one exchange was needed, and the provider has seen {world.exchanges(who)}")

    def test_a_limit_is_waited_out(self, world: World, limit: Reply) -> None:
        """The token endpoint was asked too much: the job waits as long as it says, and spends no attempt."""
        who, _ = self.connect(world)
        job = world.schedule(ASK, who, {})
        world.make_stale(who)
        world.answer("token", who, limit)
        begun_at = world.now()
        job = world.run(job)
        world.check_intact(who, f"{limit}, which is a limit,")
        if (job.status, job.attempts) != (JobStatus.SCHEDULED, 0):
            world.failed(f"{limit} is a limit, and a job that met it is {story(job)}, {job.attempts} attempt(s) spent")
        self.comes_to_its_end(world, who, "the limit was over")
        world.check_waited(begun_at, limit, "rate_limit_headers")

    def test_trouble_is_waited_out(self, world: World, trouble: Reply) -> None:
        """A token endpoint in trouble (5xx): the job waits, and the grant is as it was."""
        who, _ = self.connect(world)
        job = world.schedule(ASK, who, {})
        world.make_stale(who)
        world.answer("token", who, trouble)
        job = world.run(job)
        world.check_intact(who, f"{trouble}")
        if (job.status, job.attempts) != (JobStatus.SCHEDULED, 0):
            world.failed(
                f"{trouble} passes, and a job that met it is {story(job)} with {job.attempts} attempt(s) spent"
            )
        self.comes_to_its_end(world, who, "the trouble was over")

    def comes_to_its_end(self, world: World, who: Person, after: str) -> None:
        """The user's job is done once what held it up is over, with one exchange."""
        (job,) = world.app.jobs(user=who.user)
        for _ in range(3):  # at first it may find the gate closed that its own trouble has closed
            if job.status is JobStatus.SCHEDULED:
                job = world.run(job)
        if job.status is not JobStatus.SUCCEEDED:
            world.failed(f"{after}, and the job is {story(job)}")
        if world.exchanges(who) != 1:
            world.failed(f"one exchange was needed, and the provider has seen {world.exchanges(who)}")
        world.check_intact(who, after)

    def test_a_reply_that_is_none_costs_no_grant(self, world: World) -> None:
        """HTML, nothing, half of it, a redirect, a megabyte: an error; the grant stays, and works the next time."""
        who, _ = self.connect(world)
        for reply in self.no_replies:
            said = str(reply)[:60]
            world.answer("token", who, reply, times=2)
            try:
                world.exchange(who)
            except NeedsUser:
                world.failed(f"{said} says nothing of the grant, and it was taken for dead")
            except ActasError:
                world.check_intact(who, said)
            else:
                world.failed(f"{said} has no tokens in it, and was taken for a success")
            world.persona.behave()
            world.bench.open_all_gates()
            self.works(world, who, f"the provider is well again after {said}")

    def test_any_lifetime_is_understood(self, world: World) -> None:
        """``expires_in`` missing, as text, negative or nonsense: what came is stored, never thrown away."""
        who, _ = self.connect(world)
        for lifetime in self.lifetimes:
            self.is_stored_with(world, who, lifetime)

    def test_an_odd_reply_is_stored(self, world: World) -> None:
        """A token of 16 KB, no scope, fields that nobody knows: what came is stored, never thrown away."""
        who, before = self.connect(world)
        for oddity in self.oddities:
            self.is_stored_with(world, who, oddity)
            if (scopes := world.grant(who).scopes) != before.scopes:
                world.failed(f"a reply with {', '.join(oddity)} has changed the scopes to {sorted(scopes)}")

    def is_stored_with(self, world: World, who: Person, fields: Mapping[str, Any]) -> None:
        """A reply to an exchange that has these fields (None: has none of that name) is stored as it came."""
        what = f"a reply to an exchange with {str(fields)[:60]}"
        generation = world.grant(who).generation
        world.persona.go_wrong("token", "changed", account=who.account, body=dict(fields))
        given = self.works(world, who, what)
        if (world.grant(who).generation, world.access_token(who)) != (generation + 1, given):
            world.failed(f"{what} was not stored")
        self.works(world, who, f"after {what}")

    def works(self, world: World, who: Person, when: str) -> SecretStr:
        """The grant can be exchanged; the access token that comes of it."""
        try:
            token = world.exchange(who).token
        except ActasError as error:
            world.failed(f"{when}, and the exchange did not work ({error.code}: {error})")
        world.check_intact(who, when)
        return token

    # --- all of it, one after the other ---

    def test_no_used_token_is_ever_sent_again(self, world: World) -> None:
        """Through everything that passes, the provider never sees a refresh token that it has replaced."""
        who, _ = self.connect(world)
        hows: tuple[How, ...] = ("drop_before", "empty", "malformed")
        for how in hows:
            world.exchange(who)
            world.persona.go_wrong("token", how, account=who.account)
            with suppress(ActasError):
                world.exchange(who)
            world.bench.open_all_gates()
        for reply in (*self.limits, *self.troubles, self.wrong_client):
            world.answer("token", who, reply)
            with suppress(ActasError):
                world.exchange(who)
            world.bench.open_all_gates()
            world.exchange(who)
        world.check_intact(who, "all of this")

    # --- the end ---

    def test_disconnecting_revokes_or_says_that_it_cannot(self, world: World) -> None:
        """The tokens are shredded, and revoked where that can be done (RFC 7009)."""
        who, _ = self.connect(world)
        if not self.revokes and self.provider.revoke_url is not None:
            world.failed("revoke_url is given, and by its documentation nothing can be revoked: set it to None")
        grant = world.disconnect(who)
        if grant.status is not GrantStatus.REVOKED or grant.refresh_token is not None:
            world.failed(f"the user has disconnected, and the grant is {grant.status} ({grant.revocation})")
        alive = any(family["alive"] for family in world.seen(who)["families"])
        if self.revokes and alive:
            said = (grant.revocation or {}).get("code") or (grant.revocation or {}).get("said")
            world.failed(f"the user has disconnected, and at the provider everything lives on ({said}): see revoke_url")
