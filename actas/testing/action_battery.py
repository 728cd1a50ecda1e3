"""The battery for an action: what it says of itself, against what its provider's API does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from actas import Job, JobStatus
from actas.actions import Action, Payload
from actas.errors import ActasError, InsufficientScope, InvalidPayload
from actas.fault_points import FaultPoint
from actas.ids import new_id
from actas.providers import Provider
from actas.providers.discovery import completed
from actas.testing.battery import Battery, only_if
from actas.testing.bench import Bench
from actas.testing.derived import metadata_of, persona_of
from actas.testing.documented import Endpoint, Lists, Made, Reply
from actas.testing.world import Person, World, failed, story

#: Successes that do not say what was made.
HOLLOW = (
    Reply(200, "<!doctype html><h1>Done</h1>", {"content-type": "text/html"}),
    Reply(200, []),
    Reply(200, {}),
)

#: Where a worker may be killed, and the how manieth time it comes there.
DEATHS = (
    FaultPoint.JOB_READY,
    FaultPoint.JOB_JOURNALED,
    FaultPoint.JOB_ANSWERED,
    FaultPoint.JOB_RECORDED,
)

#: Answers that say nothing of what there is.
UNTELLING = (Reply(403, {"error": "kit"}), Reply(500), Reply(200, "<!doctype html><h1>Sorry</h1>"))

#: After so long what has not come will not come; less than a day, after which jobs expire.
HOURS = timedelta(hours=2)

#: A job that has not ended after so many runs and looks never will.
TURNS = 14

#: How much older something is that cannot be what a job has made.
AN_HOUR = 3600.0


def finds(battery: type[ActionBattery]) -> bool:
    """Whether the action can look for what it may have made."""
    return type(battery.action).find is not Action.find and not battery.is_repeatable()


def has_steps(battery: type[ActionBattery]) -> bool:
    return battery.action.steps(battery.action.parse(battery.payload)) > 1


def _is_everybodys(endpoint: Endpoint) -> bool:
    return isinstance(endpoint, Lists) and endpoint.everybodys


class ActionBattery(Battery):
    """Inherit it, say what the provider's API does, and pytest puts the action through the whole battery.

    ::

        class TestCreateNote(ActionBattery):
            provider = NOTES
            action = CreateNote()
            payload = {"title": "A note", "text": "..."}
            bad_payloads = [("title", {"title": "", "text": "..."})]
            similar = {"title": "A note", "text": "another"}
            api = [
                Made("POST", "/notes", Reply(201, {"id": "{id}", "title": "{json.title}"})),
                Lists("GET", "/notes", Reply(200, {"notes": "{items}"}), {"id": "{id}", "created_at": "{at}"}),
            ]
    """

    needed = ("provider", "action", "payload", "api")
    cases: ClassVar[dict[str, str]] = {
        "bad_payload": "bad_payloads",
        "limit": "limits",
        "refusal": "refusals",
        "hollow": "hollow_replies",
        "death": "deaths",
    }

    #: The provider's profile; put through a ``ProviderBattery`` of its own.
    provider: ClassVar[Provider]
    #: The action under test.
    action: ClassVar[Action[Any]]
    #: What is to be done: an example that the API below takes.
    payload: ClassVar[Mapping[str, Any]]
    #: Payloads that the provider would refuse: the field that is wrong, and the payload.
    bad_payloads: ClassVar[Sequence[tuple[str, Mapping[str, Any]]]] = ()
    #: Something else that looks much the same, and must not be taken for it by ``find``.
    similar: ClassVar[Mapping[str, Any] | None] = None
    #: What its API does.
    api: ClassVar[Sequence[Endpoint]]
    #: How many things one job makes; None: as many as it has steps.
    makes: ClassVar[int | None] = None
    #: Scopes to ask for besides the action's own.
    scopes: ClassVar[Sequence[str]] = ()
    #: What says that too much was asked.
    limits: ClassVar[Sequence[Reply]] = (Reply(429, headers={"retry-after": "30"}),)
    #: Refusals, and the code that its job ends with; a duplicate, for one.
    refusals: ClassVar[Sequence[tuple[Reply, str]]] = ((Reply(400, {"error": "refused by the kit"}), "http_400"),)
    hollow_replies: ClassVar[Sequence[Reply]] = HOLLOW
    deaths: ClassVar[Sequence[FaultPoint]] = DEATHS
    #: The metadata of a provider that is known by its issuer only.
    metadata: ClassVar[Mapping[str, Any] | None] = None

    @classmethod
    def is_repeatable(cls) -> bool:
        """Whether the action says that doing this twice is doing it once."""
        return bool(cls.action.is_idempotent(cls.action.parse(cls.payload)))

    @classmethod
    def expected(cls) -> int:
        """How many things one job makes."""
        return cls.action.steps(cls.action.parse(cls.payload)) if cls.makes is None else cls.makes

    def make_world(self, at: Bench) -> World:
        if not any(isinstance(endpoint, Made) for endpoint in self.api):
            failed(f"{type(self).__name__}.api has no Made: which of these endpoints does what the action is for?")
        metadata = self.metadata or metadata_of(self.provider)
        whole = self.provider if metadata is None else completed(self.provider, metadata)
        return World(at, self.provider, [self.action], persona_of(whole, metadata), self.api, addresses_of=whole)

    def payload_for(self, world: World, who: Person) -> Mapping[str, Any]:  # noqa: ARG002 - for who needs them
        """The payload for one user's job; override it where something must be there first, such as a stored file."""
        return self.payload

    def begin(self, world: World, **options: Any) -> tuple[Person, Job]:
        """Somebody who has connected, and a job of theirs."""
        who, _ = world.connect(actions=[self.action.name], scopes=list(self.scopes))
        return who, world.schedule(self.action.name, who, self.payload_for(world, who), **options)

    def comes_to_one(self, world: World, who: Person, job: Job, after: str) -> None:
        """Run the job, and look for what became of it, until it has ended: it must be done, and done once."""
        job = self.ended(world, who, job)
        there, expected = world.made(who), self.expected()
        if len(there) > expected:
            world.failed(f"{after}, and the provider has {len(there)} things instead of {expected}: {self._too_many()}")
        if job.status is not JobStatus.SUCCEEDED or len(there) < expected:
            more = ""
            if job.status is JobStatus.SUCCEEDED:
                more = f", which names {job.result!r}; if find() took something else for it, it must be stricter"
            world.failed(
                f"{after}, and the provider has {len(there)} of {expected} things; the job is {story(job)}{more}"
            )
        self._names_what_was_made(world, job, [thing["reference"] for thing in there])

    def _too_many(self) -> str:
        name = type(self.action).__name__
        if self.is_repeatable():
            return (
                f"{name} says idempotent, so what may have been done is done again; let each job's request carry an id"
                " of its own that the provider knows again (job_id), or say idempotent = False"
            )
        if finds(type(self)):
            return f"{name}.find did not find what was made, and said that there is nothing"
        return f"{name} sends more than one request that makes something: give it steps"

    def _names_what_was_made(self, world: World, job: Job, references: Sequence[str]) -> None:
        named = list(job.made) or [job.result or ""]
        if (named if len(named) == len(references) else named[:1]) != references[: len(named)]:
            world.failed(
                f"the job names {named} as what was made, and that is {references}: see the Result of"
                f" {type(self.action).__name__}.perform, and of find"
            )

    def ended(self, world: World, who: Person, job: Job) -> Job:
        """The job when it has ended; where nobody can look, an operator says what the provider has."""
        for _ in range(TURNS):
            match job.status:
                case JobStatus.SCHEDULED:
                    job = world.run(job)
                case JobStatus.UNCERTAIN if finds(type(self)):
                    job = world.look(job)
                case JobStatus.UNCERTAIN:
                    job = self.resolved(world, who, job)
                case _:
                    return job
        if job.status is JobStatus.UNCERTAIN:
            world.failed(
                f"{type(self.action).__name__}.find cannot tell what became of the request, however often it looks; the"
                f" job is {story(job)}"
            )
        return job

    def resolved(self, world: World, who: Person, job: Job) -> Job:
        """What `actas jobs resolve` does, by somebody who has looked at the provider."""
        there = world.made(who)
        step = len(job.made)
        return world.resolve(job, reference=there[step]["reference"] if len(there) > step else None)

    # --- before anything is sent ---

    def test_says_what_it_is(self, world: World) -> None:
        """It has a name of its own, says whose API it is for, and its provider is that one."""
        try:
            payload = self.action.parse(self.payload)
        except InvalidPayload as error:
            failed(f"the example of a payload, {self.payload}, is refused by its own model: {error}")
        if not self.action.name or self.action.provider_of(payload) != world.provider.name:
            world.failed(
                f"{type(self.action).__name__} is {self.action.name!r}, an action of"
                f" {self.action.provider_of(payload)!r}, and the provider here is {world.provider.name!r}"
            )

    def test_a_bad_payload_is_refused_at_once(self, world: World, bad_payload: tuple[str, Mapping[str, Any]]) -> None:
        """What the provider would refuse is refused when it is scheduled, with the field's name."""
        field, payload = bad_payload
        who, _ = world.connect(actions=[self.action.name], scopes=list(self.scopes))
        try:
            world.schedule(self.action.name, who, payload)
        except InvalidPayload as error:
            if field not in str(error):
                world.failed(f"{payload} is refused, and the error does not name {field!r}: {error}")
            return
        world.failed(
            f"{payload} is accepted, and would be refused by the provider when nobody is there: let"
            f" {self.action.payload_type.__name__} refuse it, naming {field!r}"
        )

    def test_a_field_that_nobody_knows_is_refused(self, world: World) -> None:
        """A misspelt field would be silently not done."""
        who, _ = world.connect(actions=[self.action.name], scopes=list(self.scopes))
        with pytest.raises(InvalidPayload, match="nobody_knows_it"):
            world.schedule(self.action.name, who, {**self.payload_for(world, who), "nobody_knows_it": 1})

    @only_if(lambda battery: bool(battery.action.scopes - {*battery.provider.base_scopes}))
    def test_without_its_scopes_it_is_refused_at_once(self, world: World) -> None:
        """A grant that lacks a scope is found out when the job is scheduled."""
        who, _ = world.connect(scopes=[])
        with pytest.raises(InsufficientScope):
            world.schedule(self.action.name, who, self.payload_for(world, who))

    # --- done once ---

    def test_it_is_done_once(self, world: World) -> None:
        """Scheduled, run, succeeded: one thing was made, and the job names it."""
        who, job = self.begin(world)
        job = world.run(job)
        if job.status is not JobStatus.SUCCEEDED:
            world.failed(f"it is {story(job)}, and nothing was in its way")
        self.comes_to_one(world, who, job, "it was done")

    def test_fields_that_nobody_knows_do_not_matter(self, world: World) -> None:
        """A later version of the API says more."""
        who, job = self.begin(world)
        more = {"kit_something_new": {"of": ["a", "later", "version"]}}
        for endpoint in ("makes", "lists", "looks", "says"):
            world.persona.go_wrong(endpoint, "changed", times=None, account=who.account, body=more)
        self.comes_to_one(world, who, job, "the replies had a field that nobody knows")

    # --- refused for now ---

    def test_a_limit_is_waited_out(self, world: World, limit: Reply) -> None:
        """The job goes back to wait as long as the limit says, spends no attempt, and is then done once."""
        who, job = self.begin(world)
        world.answer("makes", who, limit)
        begun_at = world.now()
        job = world.run(job)
        if (job.status, job.attempts) != (JobStatus.SCHEDULED, 0):
            world.failed(f"{limit} is a limit, and the job is {story(job)} with {job.attempts} attempt(s) spent")
        self.comes_to_one(world, who, job, f"after {limit}")
        world.check_waited(begun_at, limit, "the profile's rate_limit_headers")

    def test_a_refused_access_token_is_replaced(self, world: World) -> None:
        """401: one exchange, and then it is done once."""
        who, job = self.begin(world)
        world.persona.expire_access(who.account)
        job = world.run(job)
        if job.status is not JobStatus.SCHEDULED:
            world.failed(f"the API answered 401, and the job is {story(job)}; let what http raises pass")
        self.comes_to_one(world, who, job, "after 401")
        if world.exchanges(who) != 1:
            world.failed(f"one new access token was needed, and the provider has seen {world.exchanges(who)} exchanges")

    def test_a_provider_in_trouble_is_waited_out(self, world: World) -> None:
        """503: nothing was done, no attempt is spent; 500: it may have been done."""
        who, job = self.begin(world)
        world.answer("makes", who, Reply(503))
        job = world.run(job)
        if (job.status, job.attempts) != (JobStatus.SCHEDULED, 0):
            world.failed(f"503 says that nothing was done, and the job is {story(job)}; let what http raises pass")
        world.answer("makes", who, Reply(500, {"error": "oops"}))
        self.comes_to_one(world, who, job, "after 503 and 500")

    def test_a_refusal_ends_it_and_says_why(self, world: World, refusal: tuple[Reply, str]) -> None:
        """What the provider will not do is not asked again; nothing was made."""
        reply, code = refusal
        who, job = self.begin(world)
        world.answer("makes", who, reply)
        job = world.run(job)
        if (job.status, job.error and job.error.code) != (JobStatus.FAILED, code):
            world.failed(f"{reply} refuses it as {code!r}, and the job is {story(job)} (the profile's known_refusals)")
        if there := world.made(who):
            world.failed(f"{reply} refused it, and the provider has {len(there)} thing(s)")

    # --- nobody knows whether it was done ---

    def test_a_lost_reply_does_not_make_it_twice(self, world: World) -> None:
        """Done, and the reply is lost: repeated if idempotent, else looked for, else left to an operator. One thing."""
        who, job = self.begin(world)
        world.persona.go_wrong("makes", "drop_after", account=who.account)
        job = world.run(job)
        self.is_uncertain_unless_repeatable(world, job)
        self.comes_to_one(world, who, job, "its reply was lost after it was done")

    def test_a_request_that_never_arrived_is_made_up_for(self, world: World) -> None:
        """Not done, and nobody said so: repeated if idempotent, else done once what is not there counts as absent."""
        who, job = self.begin(world)
        world.persona.go_wrong("makes", "drop_before", account=who.account)
        job = world.run(job)
        self.is_uncertain_unless_repeatable(world, job)
        self.comes_to_one(world, who, job, "its request never arrived")

    def is_uncertain_unless_repeatable(self, world: World, job: Job) -> None:
        expected = JobStatus.SCHEDULED if self.is_repeatable() else JobStatus.UNCERTAIN
        if job.status is not expected:
            world.failed(f"nobody knows whether it was done, and it is {story(job)} instead of {expected}")

    def test_a_success_that_says_nothing_does_not_make_it_twice(self, world: World, hollow: Reply) -> None:
        """Done, and the reply is HTML, empty, or lacks what is needed: as if it were lost."""
        who, job = self.begin(world)
        world.answer("makes", who, hollow, done=True)
        job = world.run(job)
        if job.status is JobStatus.FAILED:
            world.failed(
                f"it was done, the reply was {hollow}, and the job is {story(job)}: a 2xx without what is needed is"
                " NoReply, not Refused"
            )
        self.comes_to_one(world, who, job, f"it was done and the reply was {hollow}")

    def test_a_killed_worker_does_not_make_it_twice(self, world: World, death: FaultPoint) -> None:
        """The worker dies at a step of the way; the next one finds out, and it is done once."""
        who, job = self.begin(world)
        job = world.run(job, die_at=(death, 1))
        self.comes_to_one(world, who, job, f"its worker died at {death}")

    # --- looking ---

    @only_if(lambda battery: finds(battery) and battery.similar is not None)
    def test_what_is_similar_is_not_taken_for_it(self, world: World) -> None:
        """Something that looks much the same is there, made since; what was not done is done all the same."""
        who, job = self.begin(world)
        self.make_by_hand(world, who, self.similar or {})
        world.persona.go_wrong("makes", "drop_before", account=who.account)
        job = self.ended(world, who, job)
        other = world.made(who)[0]["reference"]
        if job.result == other:
            world.failed(
                f"it was not done, and {type(self.action).__name__}.find took something else for it, which has another"
                f" content: {self.similar}"
            )
        if len(world.made(who)) != 1 + self.expected():
            world.failed(f"something similar is there; the job is {story(job)}, and was not done once")

    @only_if(finds)
    def test_what_is_older_is_not_taken_for_it(self, world: World) -> None:
        """The same was made an hour before; that is not this job's."""
        who, job = self.begin(world)
        self.make_by_hand(world, who, self.payload_for(world, who))
        world.persona.backdate(who.account, AN_HOUR)
        world.persona.go_wrong("makes", "drop_before", account=who.account)
        job = world.run(job)
        for _ in range(4):
            if job.status is JobStatus.UNCERTAIN:
                job = world.look(job)
        if job.status is JobStatus.SUCCEEDED:
            world.failed(
                f"it was not done, and {type(self.action).__name__}.find took for it what was made an hour before it"
                " was tried: nothing older than search.since is"
            )

    @only_if(finds)
    def test_it_is_found_however_late_somebody_looks(self, world: World) -> None:
        """Done, and its reply lost; nobody could look for hours, in which the user made more."""
        who, job = self.begin(world)
        world.persona.go_wrong("makes", "drop_after", account=who.account)
        job = world.run(job)
        self.make_by_hand(world, who, self.similar or self.payload_for(world, who))
        world.bench.clock.go_on_to(world.now() + HOURS)
        for _ in range(TURNS):
            job = world.look(job) if job.status is JobStatus.UNCERTAIN else job
        if job.status is JobStatus.UNCERTAIN:  # it says that it cannot look so far back, which doubles nothing
            return
        job, there = self.ended(world, who, job), world.made(who)
        if (job.status, job.result) != (JobStatus.SUCCEEDED, there[0]["reference"]) or len(
            there
        ) != 1 + self.expected():
            world.failed(
                f"it was done, and looked for hours later, when there was something newer; the job is {story(job)},"
                f" which names {job.result!r}, and the provider has {[thing['reference'] for thing in there]}:"
                f" {type(self.action).__name__}.find must look as far back as search.since, page after page"
            )

    @only_if(finds)
    def test_what_cannot_be_looked_up_is_not_called_absent(self, world: World) -> None:
        """Done, and its reply lost; and whoever looks gets no answer that says anything, again and again."""
        who, job = self.begin(world)
        world.persona.go_wrong("makes", "drop_after", account=who.account)
        job = world.run(job)
        soon = timedelta(seconds=world.provider.settle_seconds + 60)
        world.bench.clock.go_on_to(world.now() + soon)  # by now absence counts
        kinds = {endpoint.as_data()["does"] for endpoint in self.api} & {"lists", "looks"}
        for reply in UNTELLING:
            for kind in kinds:
                world.answer(kind, who, reply, times=2)
            for _ in range(2):
                job = world.look(job)
                if job.status is not JobStatus.UNCERTAIN:
                    world.failed(
                        f"it was done, whoever looked for it was answered {reply}, and the job is {story(job)}:"
                        f" {type(self.action).__name__}.find must let what http raises pass, and say that there is"
                        " nothing only if the provider says so"
                    )
        self.comes_to_one(world, who, job, "looking was answered after a while")

    @only_if(lambda battery: finds(battery) and any(_is_everybodys(endpoint) for endpoint in battery.api))
    def test_what_somebody_else_made_is_not_taken_for_it(self, world: World) -> None:
        """Another account has made just the same; what was not done is done all the same."""
        who, job = self.begin(world)
        other, _ = world.connect(actions=[self.action.name], scopes=list(self.scopes))
        self.make_by_hand(world, other, self.payload_for(world, other))
        world.persona.go_wrong("makes", "drop_before", account=who.account)
        job = self.ended(world, who, job)
        if job.status is not JobStatus.SUCCEEDED or len(world.made(who)) != self.expected():
            world.failed(
                f"another account has made the same, and this one's job is {story(job)}, with {len(world.made(who))} of"
                f" {self.expected()} things: {type(self.action).__name__}.find takes what is anybody's for its own"
                " (search.account)"
            )

    def make_by_hand(self, world: World, who: Person, payload: Mapping[str, Any]) -> None:
        """Have it made outside of any job, as the user might."""
        made: Payload = self.action.parse(payload)
        try:
            self.action.perform_step(world.api(who), made, new_id(), ())
        except ActasError as error:
            world.failed(f"{payload} cannot be made by hand: {error.code}: {error}")

    # --- several steps ---

    @only_if(has_steps)
    def test_steps_that_are_done_are_not_repeated(self, world: World) -> None:
        """The worker dies between two steps: the next one goes on after the last that was done."""
        who, job = self.begin(world)
        job = world.run(job, die_at=(FaultPoint.JOB_READY, 2))
        done = len(world.made(who))
        self.comes_to_one(world, who, job, f"its worker died after {done} step(s)")

    @only_if(has_steps)
    def test_a_step_whose_reply_is_lost_is_not_repeated(self, world: World) -> None:
        """The worker dies with the second step's reply in hand."""
        who, job = self.begin(world)
        job = world.run(job, die_at=(FaultPoint.JOB_ANSWERED, 2))
        self.comes_to_one(world, who, job, "its worker died with the second step's reply in hand")
