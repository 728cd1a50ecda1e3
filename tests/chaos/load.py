"""Apps at work: users connect, jobs are asked for, cancelled, moved; users disconnect, are logged out, come back.

Each ``Desk`` is one thread of one app, and the only one that deals with its users: what these were told last is then
what holds. Everything that an app can know is written down for the ledger.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from actas import Client, GrantStatus, JobRequest, JobStatus
from actas.clock import utc_now
from actas.errors import (
    ActasError,
    ConnectError,
    JustRevoked,
    NoGrant,
    NotFound,
    TooLateToReschedule,
    Unavailable,
)
from actas.sandbox.remote import SandboxControl, SandboxError
from actas.signing import sign
from tests.chaos.kinds import KINDS
from tests.ledger import Asked, Death, Owner, Told
from tests.support import connected

PROVIDER = "x"

#: A user who was just logged out gets no new jobs for a moment (``JustRevoked``).
JUST_REVOKED_SECONDS = 7.0

#: How long an app asks again with an idempotency key before it gives up for good.
PATIENCE_SECONDS = 90.0

#: In time for the app to be told before.
IN_A_MOMENT = timedelta(seconds=3)


@dataclass(slots=True)
class User:
    name: str
    #: None: the app cannot know.
    connected: bool | None = False
    withdrawn: bool = False
    #: On the monotonic clock.
    revoked_until: float = 0.0


@dataclass(slots=True)
class Desk:
    client: Client
    sandbox: SandboxControl
    draw: random.Random
    users: Sequence[User]
    #: When the last job is due; later ones are far away.
    ends_at: datetime
    #: How often something is done, a second.
    pace: float
    #: Hand over a signed job by the broker alone.
    submit: Callable[[str], None] = lambda _: None
    asked: list[Asked] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    #: What an app should never have been told.
    complaints: list[str] = field(default_factory=list)
    #: What was done, and what came of it.
    counts: Counter[str] = field(default_factory=Counter)
    _made: int = 0

    def work(self, stop: threading.Event) -> None:
        """Do one thing after another until it is time to stop."""
        for user in self.users:
            self.connect(user)
        while not stop.wait(self.draw.expovariate(self.pace)):
            deed = self.draw.choices(list(DEEDS), list(DEEDS.values()))[0]
            self.counts[deed.__name__] += 1
            deed(self)

    # --- jobs ---

    def ask_now(self) -> None:
        self._ask([self._drawn(datetime.now(UTC))])

    def ask_soon(self) -> None:
        self._ask([self._drawn(self._in_seconds(self.draw.uniform(1, 20)))])

    def ask_with_little_time(self) -> None:
        """With a deadline that an outage may outlast."""
        at = self._in_seconds(self.draw.uniform(0, 5))
        self._ask([self._drawn(at, deadline=at + timedelta(seconds=self.draw.uniform(4, 25)))], keyed=False)

    def ask_far(self) -> None:
        self._ask([self._drawn(self._far())])

    def ask_many(self) -> None:
        """A burst: all due in the same second."""
        at = self._in_seconds(3)
        self._ask([self._drawn(at) for _ in range(self.draw.randint(15, 40))])

    def ask_by_broker(self) -> None:
        """Nobody says whether it came to anything; so it may be sent again."""
        request, asked = self._drawn(self._in_seconds(self.draw.uniform(0, 10)))
        room, writer = self.client._room, self.client._writer
        with self._outage("submit"), contextlib.suppress(NoGrant):
            claims = writer._claims(request, {}, [], utc_now())
            (token,) = sign(room.vault, room.key_versions, [claims])
            self.asked.append(asked)
            for _ in range(self.draw.choice((1, 1, 2))):
                self.submit(token)

    def ask_everybody(self) -> None:
        """One job for each user who is connected, due in a moment."""
        for user in self.users:
            if user.connected:
                self._ask([self._drawn(datetime.now(UTC) + IN_A_MOMENT, user=user)])

    def cancel(self) -> None:
        asked = self._one_asked()
        if asked is None or asked.job is None:
            return
        asked.stoppable = True
        with self._outage("cancel"):
            cancellation = self.client.cancel(asked.job, timeout=3)
            asked.cancelled |= cancellation.outcome == "cancelled"
            self.counts[f"cancel: {cancellation.outcome}"] += 1

    def reschedule(self) -> None:
        asked = self._one_asked(held=self.draw.random() < 0.5)
        if asked is None or asked.job is None:
            return
        at = self._far() if self.draw.random() < 0.2 else self._in_seconds(self.draw.uniform(1, 15))
        new = (at, at + timedelta(hours=24))
        windows, earlier, stopped_at, told_at = asked.windows, asked.earlier, asked.stopped_at, asked.told_at
        until = stopped_at or datetime.now(UTC)
        # Whatever the answer:
        asked.windows = [*windows, new]
        asked.earlier = [*earlier, *((begin, min(end, until)) for begin, end in windows)]
        asked.stopped_at = asked.told_at = None
        with self._outage("reschedule"):
            try:
                moved = self.client.reschedule(asked.job, at=at)
            except (TooLateToReschedule, NoGrant, JustRevoked) as error:
                asked.windows, asked.earlier, asked.stopped_at, asked.told_at = windows, earlier, stopped_at, told_at
                self.counts[f"reschedule: {error.code}"] += 1
            else:
                asked.windows, asked.told_at = [new], datetime.now(UTC)
                self.counts["reschedule: half done" if moved.result else "reschedule: moved"] += 1

    def _drawn(
        self, at: datetime, *, deadline: datetime | None = None, user: User | None = None
    ) -> tuple[JobRequest, Asked]:
        user = user or self.draw.choice(self.users)
        kind = self.draw.choices(KINDS, [kind.weight for kind in KINDS])[0]
        self._made += 1
        marker = f"{self.client.app} {user.name} #{self._made}"
        payload = kind.payload(self.draw, marker)
        request = JobRequest(kind.action, user.name, payload, at, deadline, idempotency_key=marker)
        window = (at, deadline or at + timedelta(hours=24))
        asked = Asked(
            app=self.client.app,
            user=user.name,
            account=user.name,
            payload=payload,
            texts=kind.texts(payload),
            windows=[window],
        )
        return request, asked

    def _ask(self, drawn: Sequence[tuple[JobRequest, Asked]], *, keyed: bool | None = None) -> None:
        """Ask for jobs; with idempotency keys, ask again until there is an answer."""
        keyed = self.draw.random() < 0.6 if keyed is None else keyed
        requests = [request if keyed else _without_key(request) for request, _ in drawn]
        asked = [one for _, one in drawn]
        self.asked += asked
        gives_up_at, unknown = time.monotonic() + PATIENCE_SECONDS, False
        while True:
            users = {request.user for request in requests}
            causes = self._causes(users)
            try:
                jobs = self.client.schedule_many(requests)
            except Unavailable as error:
                self.counts[f"schedule: {error.code}"] += 1
                unknown = True
                if keyed and time.monotonic() < gives_up_at:
                    time.sleep(0.5)
                    continue
            except ActasError as error:
                self.counts[f"schedule: {error.code}"] += 1
                for one in asked:
                    one.told = Told.UNKNOWN if unknown else Told.REFUSED
                if not isinstance(error, tuple(causes)):
                    asked[0].refusal = f"{error.code}: {error}"
            else:
                now = datetime.now(UTC)
                for one, job in zip(asked, jobs, strict=True):
                    one.told, one.told_at, one.job = Told.ACCEPTED, now, job.id
            return

    def _causes(self, names: set[str]) -> list[type[ActasError]]:
        """What the app must expect to be told about these users."""
        users = [user for user in self.users if user.name in names]
        causes: list[type[ActasError]] = []
        if any(not user.connected for user in users):
            causes.append(NoGrant)
        if any(time.monotonic() < user.revoked_until for user in users):
            causes.append(JustRevoked)
        return causes

    def _one_asked(self, *, held: bool = False) -> Asked | None:
        """One of those that may not have ended yet; or one that is held, if there is any."""
        recent = (self._held() if held else []) or self.asked[-60:]
        return self.draw.choice(recent) if recent else None

    def _held(self) -> list[Asked]:
        """What waits for its app's signature; only what is half done, if there is any."""
        held = []
        with self._outage("jobs"):
            held = [job for job in self.client.jobs(status=JobStatus.PARKED, limit=1000) if job.held]
        ids = {job.id for job in held if job.result} or {job.id for job in held}
        return [asked for asked in self.asked if asked.job in ids and not asked.stoppable]

    def _in_seconds(self, seconds: float) -> datetime:
        return min(datetime.now(UTC) + timedelta(seconds=seconds), max(self.ends_at, datetime.now(UTC)))

    def _far(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.draw.uniform(1, 360))

    # --- users ---

    def connect(self, user: User) -> bool:
        try:
            connected(self.client, self.sandbox, user.name)
        except (Unavailable, ConnectError, SandboxError) as error:
            self.counts[f"connect: {error.code}"] += 1
            user.connected = user.connected or None
            return False
        user.connected, user.withdrawn = True, False
        return True

    def care(self) -> None:
        """Whoever is not connected, or needs to do so again, comes back."""
        for user in self.users:
            if not user.connected or self.needs_user(user):
                self.connect(user)

    def connect_anew(self) -> None:
        self.connect(self.draw.choice(self.users))

    def needs_user(self, user: User) -> bool:
        """Whether the user must connect again; what has died is written down, once."""
        with self._outage("grants"):
            for grant in self.client.grants(user=user.name):
                if grant.status is GrantStatus.REAUTHORIZATION_REQUIRED:
                    code = grant.failure.code if grant.failure else None
                    self.deaths.append(Death(grant.id, grant.generation, code, user.withdrawn))
                    return True
        return False

    def disconnect(self) -> None:
        user = self.draw.choice(self.users)
        theirs = self._unfinished(user)
        was, user.connected = user.connected, None
        for asked in theirs:
            asked.stoppable = True
        with self._outage("disconnect"):
            try:
                self.client.disconnect(user=user.name, provider=PROVIDER)
            except NoGrant:
                if was:
                    self.complaints.append(f"{user.name} was connected, and there was nothing to disconnect")
            user.connected = False
            self._stopped(theirs)

    def revoke_user(self) -> None:
        user = self.draw.choice(self.users)
        fate: Literal["cancel", "hold", "keep"] = self.draw.choice(("cancel", "hold", "keep"))
        if fate == "hold":
            user = self._in_the_midst() or user
        theirs = self._unfinished(user)
        for asked in theirs:
            asked.stoppable |= fate == "cancel"
            asked.holdable |= fate == "hold"
        user.revoked_until = float("inf")
        with self._outage("revoke_user"):
            self.client.revoke_user(user.name, jobs=fate)
            if fate != "keep":
                self._stopped(theirs)
        user.revoked_until = time.monotonic() + JUST_REVOKED_SECONDS

    def _in_the_midst(self) -> User | None:
        """Whose job waits, or is about to, with a part of it done: held, it may be moved in spite of that."""
        names: set[str] = set()
        with self._outage("jobs"):
            for status in (JobStatus.SCHEDULED, JobStatus.QUEUED):
                names |= {job.user for job in self.client.jobs(status=status, limit=1000) if job.result}
        return next((user for user in self.users if user.name in names), None)

    def withdraw(self) -> None:
        """The user takes back at the provider what was allowed to the app."""
        user = self.draw.choice(self.users)
        with contextlib.suppress(SandboxError):
            user.withdrawn = True
            self.sandbox.kill(user.name)

    def _unfinished(self, user: User) -> list[Asked]:
        return [asked for asked in self.asked if asked.user == user.name and asked.told is not Told.REFUSED]

    def _stopped(self, theirs: Sequence[Asked]) -> None:
        now = datetime.now(UTC)
        for asked in theirs:
            asked.stopped_at = asked.stopped_at or now

    def owners(self) -> Iterator[Owner]:
        for user in self.users:
            yield Owner(
                app=self.client.app,
                user=user.name,
                account=user.name,
                connected=user.connected,
                withdrawn=user.withdrawn,
            )

    @contextlib.contextmanager
    def _outage(self, what: str) -> Iterator[None]:
        """Whatever is in here may fail midway, and nobody knows how far it came."""
        try:
            yield
        except Unavailable as error:
            self.counts[f"{what}: {error.code}"] += 1
        except NotFound as error:
            self.complaints.append(f"{what}: {error}")


def _without_key(request: JobRequest) -> JobRequest:
    return JobRequest(request.action, request.user, request.payload, request.at, request.deadline)


DEEDS: dict[Callable[[Desk], None], float] = {
    Desk.ask_now: 24,
    Desk.ask_soon: 24,
    Desk.ask_with_little_time: 8,
    Desk.ask_far: 4,
    Desk.ask_many: 2.5,
    Desk.ask_by_broker: 8,
    Desk.cancel: 8,
    Desk.reschedule: 7,
    Desk.care: 6,
    Desk.connect_anew: 1,
    Desk.disconnect: 1.5,
    Desk.revoke_user: 1.5,
    Desk.withdraw: 0.5,
}
