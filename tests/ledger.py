"""The books must balance: what apps were told, the jobs, the journal and the provider's own list are compared. Pure.

Whoever calls has let everything come to rest first. What is compared is all there is, so nothing may be missing, and
nothing may be there that nobody can account for.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from actas import Job, JobStatus
from actas.records import EffectState

Window = tuple[datetime, datetime]

#: Times are cut to milliseconds on their way.
CUT = timedelta(milliseconds=1)

#: An exchange whose reply was lost may reach a slow provider when others have been made since; so many at most.
LATE_GENERATIONS = 3

#: A job whose next try would come after its deadline is expired at once; no pause is longer than this.
LONGEST_PAUSE = timedelta(minutes=2)


class Told(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"  # the call failed midway: the job may be there or not


class Kind(StrEnum):
    DUPLICATED = "duplicated"
    LOST = "lost"
    UNEXPLAINED = "unexplained"
    RESIDUAL = "residual"  # the design says that it can happen, and what must have happened for it; it has


@dataclass(frozen=True, slots=True)
class Discrepancy:
    kind: Kind
    what: str
    job: str | None = None


@dataclass(slots=True, kw_only=True)
class Asked:
    """One job, as an app asked for it, and what the app was told; kept up to date by whoever plays the app."""

    app: str
    user: str
    #: As the provider's books call the user.
    account: str
    payload: Mapping[str, Any]
    #: What the provider has of it once it is done, in order; nobody else ever posts one of these texts.
    texts: tuple[str, ...]
    #: When it may run: the time that the app was told, or all that it may be where a call failed midway.
    windows: list[Window]
    #: When it might run before it was moved: until then, or until the app was told that nothing is sent, or asked for
    #: another time.
    earlier: list[Window] = field(default_factory=list)
    told: Told = Told.UNKNOWN
    #: When the app was told that it is accepted, or moved.
    told_at: datetime | None = None
    #: The job's id, if the app was told.
    job: str | None = None
    #: The code of a refusal for which the app had given no cause.
    refusal: str | None = None
    #: The app was told that it is cancelled.
    cancelled: bool = False
    #: Somebody asked for its end: the app, or its user who disconnected or was logged out.
    stoppable: bool = False
    #: Its user was logged out, with the wish that jobs be held.
    holdable: bool = False
    #: When the app was told that nothing is sent from here on.
    stopped_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """A grant that was found to need its user."""

    grant: str
    generation: int
    code: str | None
    #: The user has withdrawn it at the provider.
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One user, as the app knows: whether it has connected; None if the app cannot know."""

    app: str
    user: str
    account: str
    connected: bool | None
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    now: datetime
    asked: Sequence[Asked] = ()
    jobs: Sequence[Job] = ()
    #: The journal, as MongoDB has it.
    effects: Sequence[Mapping[str, Any]] = ()
    #: The provider's: posts and families of tokens.
    posts: Sequence[Mapping[str, Any]] = ()
    families: Sequence[Mapping[str, Any]] = ()
    #: As MongoDB has them.
    grants: Sequence[Mapping[str, Any]] = ()
    owners: Sequence[Owner] = ()
    deaths: Sequence[Death] = ()
    #: How long a request may be on its way.
    grace: timedelta = timedelta()
    #: When a process stood still that may have been sending.
    frozen: Sequence[Window] = ()
    #: Whether somebody looks at the provider for what uncertain jobs have done.
    strict: bool = True
    #: Since when nothing is broken any more.
    whole_since: datetime | None = None
    #: Since when nothing moved any more, either, and no gate was closed: but for what was asked for after that.
    quiet_since: datetime | None = None
    #: How long after ``whole_since`` something may still be waiting for what had happened before.
    patience: timedelta = timedelta()


def check(books: Books) -> list[Discrepancy]:
    """Everything that does not fit, by the job or else by the account."""
    found: list[Discrepancy] = []
    jobs = _JobCheck(books, found)
    jobs.check_requests()
    jobs.check_strangers()
    for job in books.jobs:
        asked = jobs.asked_for(job)
        if asked is not None:
            jobs.check_job(asked, job)
    _GrantCheck(books, found).check()
    return found


def can_be_looked_for(connection: int, grant: Mapping[str, Any] | None) -> bool:
    """Whether a worker may ask the provider what an uncertain job has done: only as the user, while connected."""
    return grant is not None and grant["status"] == "active" and grant.get("connection", 0) == connection


def may_be_half_done(asked: Asked, job: Job) -> bool:
    """Whether it may have been begun before its app moved it: only if it was held then, which nobody else can be."""
    return asked.holdable and job.rev > 0


def job_key(one: Asked | Job) -> tuple[str, str, str]:
    return one.app, one.user, json.dumps(dict(one.payload), sort_keys=True)


def text_key(account: str, text: str) -> tuple[str, str]:
    return account, text


@dataclass(slots=True)
class _JobCheck:
    books: Books
    found: list[Discrepancy]
    _asked: dict[tuple[str, str, str], Asked] = field(default_factory=dict)
    _jobs: dict[tuple[str, str, str], list[Job]] = field(default_factory=lambda: defaultdict(list))
    _posts: dict[tuple[str, str], list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    _effects: dict[str, dict[int, Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    _grants: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for asked in self.books.asked:
            self._asked[job_key(asked)] = asked
        for job in self.books.jobs:
            self._jobs[job_key(job)].append(job)
        for post in self.books.posts:
            self._posts[text_key(post["account"], post["text"])].append(post)
        for effect in self.books.effects:
            if effect.get("kind") == "act":
                job, _, step = str(effect["_id"]).rpartition(":")
                self._effects[job][int(step)] = effect
        self._grants = {grant["_id"]: grant for grant in self.books.grants}

    def say(self, kind: Kind, what: str, job: Job | None = None) -> None:
        self.found.append(Discrepancy(kind, what, job.id if job else None))

    def asked_for(self, job: Job) -> Asked | None:
        return self._asked.get(job_key(job))

    # --- what was asked for, and what nobody asked for ---

    def check_requests(self) -> None:
        for asked in self.books.asked:
            there = self._jobs[job_key(asked)]
            name = f"{asked.app}/{asked.user} {asked.texts[0]!r}"
            if asked.told is Told.ACCEPTED and asked.job not in {job.id for job in there}:
                self.say(Kind.LOST, f"{name} was accepted as {asked.job}, and is not there")
            if asked.told is Told.REFUSED and there:
                self.say(Kind.UNEXPLAINED, f"{name} was refused, and is there", there[0])
            if asked.refusal is not None:
                self.say(Kind.UNEXPLAINED, f"{name} was refused without a cause: {asked.refusal}")
            if len(there) > 1:
                self.say(Kind.DUPLICATED, f"{name} was asked for once, and there are {len(there)} jobs", there[1])

    def check_strangers(self) -> None:
        for job in self.books.jobs:
            if self.asked_for(job) is None:
                self.say(Kind.UNEXPLAINED, f"nobody asked for {job.action} of {job.app}/{job.user}", job)
        known = {text_key(asked.account, text) for asked in self.books.asked for text in asked.texts}
        done = {
            text_key(asked.account, text) for asked in self.books.asked for text in asked.texts if self._there(asked)
        }
        for key, posts in self._posts.items():
            if key not in known:
                self.say(Kind.UNEXPLAINED, f"nobody asked for post {posts[0]['id']} of {key[0]}: {key[1]!r}")
            elif key not in done:
                self.say(Kind.UNEXPLAINED, f"post {posts[0]['id']} of {key[0]} belongs to no job: {key[1]!r}")
        ids = {job.id for job in self.books.jobs}
        for job_id in self._effects.keys() - ids:
            self.say(Kind.UNEXPLAINED, f"the journal has an act of job {job_id}, which is not there")

    def _there(self, asked: Asked) -> bool:
        return bool(self._jobs.get(job_key(asked)))

    # --- one job ---

    def check_job(self, asked: Asked, job: Job) -> None:
        posts = [self._posts.get(text_key(asked.account, text), []) for text in asked.texts]
        self._check_posts(job, posts)
        self._check_journal(job, posts)
        self._check_times(asked, job, posts)
        _ENDS[job.status](self, asked, job, sum(1 for step in posts if step))
        if asked.cancelled and job.status is not JobStatus.CANCELLED:
            self.say(Kind.UNEXPLAINED, f"the app was told that it is cancelled, and it is {job.status}", job)

    def _check_posts(self, job: Job, posts: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        for number, step in enumerate(posts, 1):
            if len(step) > 1:
                ids = ", ".join(f"{post['id']} at {post['at']}" for post in step)
                self.say(Kind.DUPLICATED, f"step {number} was posted {len(step)} times: {ids}", job)
        made = [bool(step) for step in posts]
        if made != sorted(made, reverse=True):
            self.say(
                Kind.LOST, f"there is a hole: steps {[number for number, done in enumerate(made, 1) if done]}", job
            )
        before: set[str | None] = {None}
        for number, step in enumerate(posts, 1):
            for post in step:
                if post.get("reply_to") not in before:
                    self.say(Kind.UNEXPLAINED, f"step {number} replies to {post.get('reply_to')}, not to {before}", job)
            before = {post["id"] for post in step} or before

    def _check_journal(self, job: Job, posts: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        rows = self._effects.get(job.id, {})
        for number, step in enumerate(posts, 1):
            row, ids = rows.get(number), {post["id"] for post in step}
            state = row["state"] if row else None
            if ids and state in {None, EffectState.REFUSED}:
                self.say(Kind.UNEXPLAINED, f"step {number} was posted ({', '.join(ids)}); the journal: {state}", job)
            if state == EffectState.DONE and row is not None and row.get("result") not in ids:
                self.say(
                    Kind.LOST, f"step {number} is done as {row.get('result')}; the provider has {ids or 'none'}", job
                )
        for number in rows.keys() - set(range(1, len(posts) + 1)):
            self.say(Kind.UNEXPLAINED, f"the journal has a step {number}, and there are {len(posts)}", job)

    def _check_times(self, asked: Asked, job: Job, posts: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        if not any(_same(window, (job.run_at, job.deadline)) for window in asked.windows):
            self.say(Kind.UNEXPLAINED, f"nobody asked for {job.run_at} to {job.deadline}: {asked.windows}", job)
        for number, step in enumerate(posts, 1):
            for post in step:
                at = datetime.fromisoformat(post["at"])
                half_done = may_be_half_done(asked, job) and number < len(posts)
                if at < job.run_at - CUT and not (half_done and self._was_its_time(asked, at)):
                    self.say(Kind.UNEXPLAINED, f"step {number} posted at {at}, before its time, {job.run_at}", job)
                self._check_not_after(at, job.deadline, "its deadline", job)
                if asked.stopped_at is not None:
                    self._check_not_after(at, asked.stopped_at, "the app was told that it is stopped", job)

    def _was_its_time(self, asked: Asked, at: datetime) -> bool:
        return any(begin - CUT <= at <= end + self.books.grace for begin, end in asked.earlier)

    def _check_not_after(self, at: datetime, end: datetime, what: str, job: Job) -> None:
        if at <= end + self.books.grace:
            return
        stood_still = any(begun <= at and end <= ended for begun, ended in self.books.frozen)
        self.say(Kind.RESIDUAL if stood_still else Kind.UNEXPLAINED, f"posted at {at}, after {what}, {end}", job)

    # --- how it ended, by its status ---

    def succeeded(self, asked: Asked, job: Job, made: int) -> None:
        if made < len(asked.texts):
            self.say(Kind.LOST, f"succeeded, and the provider has {made} of {len(asked.texts)}", job)
        self._says_what_it_made(asked, job, Kind.LOST)
        open_rows = [number for number, row in self._effects[job.id].items() if row["state"] != EffectState.DONE]
        if open_rows:
            self.say(Kind.UNEXPLAINED, f"succeeded, and steps {open_rows} are not done, by the journal", job)

    def _says_what_it_made(self, asked: Asked, job: Job, kind: Kind) -> None:
        said = job.made or ((job.result,) if job.result else ())
        posted = [self._posts[text_key(asked.account, text)] for text in asked.texts]
        ids = [{post["id"] for post in step} for step in posted if step]
        if len(said) != len(ids) or any(one not in step for one, step in zip(said, ids, strict=True)):
            self.say(kind, f"{job.status} as {said}; the provider has {ids}", job)

    def cancelled(self, asked: Asked, job: Job, made: int) -> None:
        self._undone(asked, job, made)
        if not (asked.cancelled or asked.stoppable):
            self.say(Kind.UNEXPLAINED, f"cancelled ({_code(job)}), and nobody asked for that", job)

    def expired(self, asked: Asked, job: Job, made: int) -> None:
        self._undone(asked, job, made)
        if job.finished_at is None or job.finished_at < job.deadline - LONGEST_PAUSE:
            self.say(Kind.UNEXPLAINED, f"expired at {job.finished_at}; its deadline is {job.deadline}", job)

    def failed(self, asked: Asked, job: Job, made: int) -> None:
        self._undone(asked, job, made)
        self.say(Kind.UNEXPLAINED, f"failed: {_code(job)}", job)

    def _undone(self, asked: Asked, job: Job, made: int) -> None:
        """What is called undone has left nothing; of several steps, the first may be there."""
        if made == len(asked.texts):
            self.say(Kind.UNEXPLAINED, f"{job.status} ({_code(job)}), and it was posted", job)
        self._says_what_it_made(asked, job, Kind.UNEXPLAINED)
        ended = {EffectState.DONE, EffectState.REFUSED}
        open_rows = [number for number, row in self._effects[job.id].items() if row["state"] not in ended]
        if open_rows:
            self.say(
                Kind.UNEXPLAINED, f"{job.status}, and nobody knows how steps {open_rows} ended, by the journal", job
            )

    def uncertain(self, asked: Asked, job: Job, made: int) -> None:
        if self.books.strict and can_be_looked_for(job.connection, self._grants.get(job.grant)):
            self.say(Kind.UNEXPLAINED, f"still uncertain, and the provider can be asked; {_code(job)}", job)

    def scheduled(self, asked: Asked, job: Job, made: int) -> None:
        if job.run_at <= self.books.now:
            self.say(Kind.UNEXPLAINED, f"still scheduled, for {job.next_at}; held up by {_code(job)}", job)
        elif made and not (may_be_half_done(asked, job) and made < len(asked.texts)):
            self.say(Kind.UNEXPLAINED, "its time has not come, and it was posted", job)
        else:
            self._says_what_it_made(asked, job, Kind.UNEXPLAINED)
        self._not_stopped(asked, job)

    def parked(self, asked: Asked, job: Job, made: int) -> None:
        self._undone(asked, job, made)
        status = self._grants.get(job.grant, {}).get("status")
        if job.held and not asked.holdable:
            self.say(Kind.UNEXPLAINED, "held, and nobody asked for that", job)
        if not job.held and status != "reauthorization_required":
            self.say(Kind.UNEXPLAINED, f"parked ({_code(job)}), and its grant is {status}", job)

    def stuck(self, asked: Asked, job: Job, made: int) -> None:
        self.say(Kind.UNEXPLAINED, f"{job.status} for ever", job)

    def _not_stopped(self, asked: Asked, job: Job) -> None:
        if asked.stopped_at is not None:
            self.say(Kind.UNEXPLAINED, f"the app was told at {asked.stopped_at} that it is stopped; it waits", job)


_ENDS: Mapping[JobStatus, Callable[[_JobCheck, Asked, Job, int], None]] = {
    JobStatus.SUCCEEDED: _JobCheck.succeeded,
    JobStatus.CANCELLED: _JobCheck.cancelled,
    JobStatus.EXPIRED: _JobCheck.expired,
    JobStatus.FAILED: _JobCheck.failed,
    JobStatus.UNCERTAIN: _JobCheck.uncertain,
    JobStatus.SCHEDULED: _JobCheck.scheduled,
    JobStatus.PARKED: _JobCheck.parked,
    JobStatus.QUEUED: _JobCheck.stuck,
    JobStatus.RUNNING: _JobCheck.stuck,
}


@dataclass(slots=True)
class _GrantCheck:
    """No grant dies but of its user, or of a reply that was lost; and the journal must know of that one."""

    books: Books
    found: list[Discrepancy]
    #: The generations of each grant at which an exchange was begun that nobody knows the end of.
    _unanswered: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    #: And at which another one was begun while the first one's process stood still, maybe with the reply in hand.
    _overtaken: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        begun: dict[tuple[str, int], list[Window]] = defaultdict(list)
        for effect in self.books.effects:
            if effect.get("kind") != "exchange":
                continue
            if effect["state"] in {EffectState.STARTED, EffectState.UNKNOWN}:
                self._unanswered[effect["grant"]].add(effect["generation"])
            else:
                window = effect["started_at"], effect["finished_at"]
                begun[effect["grant"], effect["generation"]].append(window)
        for (grant, generation), windows in begun.items():
            if any(
                first < second <= ended and self._stood_still(second)
                for first, ended in windows
                for second, _ in windows
            ):
                self._overtaken[grant].add(generation)

    def _stood_still(self, at: datetime) -> bool:
        return any(begun <= at <= ended for begun, ended in self.books.frozen)

    def say(self, what: str, *, kind: Kind = Kind.UNEXPLAINED) -> None:
        self.found.append(Discrepancy(kind, what))

    def check(self) -> None:
        for death in dict.fromkeys(self.books.deaths):
            since = range(death.generation - LATE_GENERATIONS, death.generation + 1)
            if not (death.withdrawn or self._unanswered[death.grant].intersection(since)):
                overtaken = self._overtaken[death.grant].intersection(since)
                kind = Kind.RESIDUAL if overtaken else Kind.LOST
                self.say(f"grant {death.grant} died: {death.code}", kind=kind)
        grants = {(grant["app"], grant["user"]): grant for grant in self.books.grants}
        families = defaultdict(list)
        for family in self.books.families:
            families[family["account"]].append(family)
        for owner in self.books.owners:
            self._check_owner(owner, grants.get((owner.app, owner.user)), families[owner.account])

    def _check_owner(
        self, owner: Owner, grant: Mapping[str, Any] | None, families: Iterable[Mapping[str, Any]]
    ) -> None:
        name = f"{owner.app}/{owner.user}"
        status = grant["status"] if grant else None
        unanswered = grant is not None and bool(self._unanswered[grant["_id"]] or self._overtaken[grant["_id"]])
        alive = any(family["alive"] for family in families)
        if any(family["reuse"] for family in families) and not unanswered:
            self.say(f"{name}: a used refresh token was sent again, and no reply had been lost")
        if owner.connected and status not in {"active", "reauthorization_required"}:
            self.say(f"{name} has connected, and the grant is {status}", kind=Kind.LOST)
        if owner.connected is False and status not in {None, "revoked"}:
            self.say(f"{name} has disconnected, and the grant is {status}")
        if status == "revoking":
            self.say(f"{name}: still revoking")
        if status == "active" and not alive and not owner.withdrawn:
            self.say(f"{name}: the grant is active, and the provider has let it die", kind=Kind.LOST)
        if status == "revoked" and grant is not None and {"refresh_token", "access_token", "data_key"} & grant.keys():
            self.say(f"{name}: revoked, and not shredded")


def _same(one: Window, other: Window) -> bool:
    return all(abs(a - b) <= CUT for a, b in zip(one, other, strict=True))


def _code(job: Job) -> str:
    return f"{job.error.code}: {job.error.message}" if job.error else "no error"
