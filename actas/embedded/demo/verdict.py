"""Does everything agree? The provider's ledger is compared with the jobs, and both with the plan. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from actas.embedded.demo.flower import Tasks
from actas.embedded.demo.plan import PLAN, Ending, Post
from actas.embedded.demo.search import Finding
from actas.records import Job
from actas.sandbox.records import Ledger, PostEntry
from actas.states import FINAL, JobStatus


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the verdict rests on."""

    #: The plan's posts, each with its job as it stands in the end.
    jobs: Mapping[Post, Job]
    #: The provider's own books.
    ledger: Ledger
    #: What Flower says.
    tasks: Tasks
    #: How many tokens were looked for, where, and what was found; by the name of the place.
    tokens: int
    places: Mapping[str, Sequence[Finding]]
    #: Ways of looking that did not find what is certainly there.
    blind: Sequence[str] = ()
    #: Where Flower shows what a job carries.
    shown: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The demo's last line, and everything that does not agree."""

    line: str
    wrong: tuple[str, ...] = field(default=())


def judge(evidence: Evidence) -> Verdict:
    """Compare and count."""
    endings = Counter(ending(job) for job in evidence.jobs.values())
    lost = [post for post in PLAN if not _is_accounted_for(evidence.jobs.get(post), evidence)]
    duplicated = _duplicated(evidence)
    # The provider refuses to say the same thing twice, so a post sent twice may show in its counts only.
    refused = evidence.ledger["counts"]["duplicates"]
    exchanges = evidence.ledger["counts"]["exchanges"]
    readable = {finding.secret for findings in evidence.places.values() for finding in findings}
    line = (
        f"demo: {len(PLAN)} scheduled, {endings[Ending.POSTED]} posted, {endings[Ending.EXPIRED]} expired,"
        f" {endings[Ending.CANCELLED]} cancelled, {endings[Ending.REFUSED]} refused,"
        f" {len(duplicated) + refused} duplicated, {len(lost)} lost, {exchanges} exchanges,"
        f" {len(readable)} readable tokens found in {len(evidence.places)} places"
    )
    wrong = [
        *(f"{post.name} is lost: its job is {_described(evidence.jobs.get(post))}" for post in lost),
        *(f"the provider has a post too many: {entry['text']!r} as {entry['account']}" for entry in duplicated),
        *_endings(evidence),
        *_posts(evidence),
        *_books(evidence),
        *_flower(evidence),
        *_secrets(evidence),
    ]
    return Verdict(line, tuple(wrong))


def ending(job: Job) -> Ending | None:
    """Which of the plan's endings a job has come to; None: another one, or none yet."""
    match job.status:
        case JobStatus.SUCCEEDED:
            return Ending.POSTED
        case JobStatus.EXPIRED:
            return Ending.EXPIRED
        case JobStatus.CANCELLED:
            disconnected = job.error is not None and job.error.code == "disconnected"
            return Ending.REFUSED if disconnected else Ending.CANCELLED
    return None


def _is_accounted_for(job: Job | None, evidence: Evidence) -> bool:
    """Is it there, has it ended, and if it says that it posted, has the provider a post of its own for it?"""
    if job is None:
        return False
    if job.status is not JobStatus.SUCCEEDED:
        return job.status in FINAL
    claims = sum(other.result == job.result for other in evidence.jobs.values())
    return claims == 1 and any(entry["id"] == job.result for entry in evidence.ledger["posts"])


def _duplicated(evidence: Evidence) -> list[PostEntry]:
    claimed = {job.result for job in evidence.jobs.values() if job.status is JobStatus.SUCCEEDED}
    return [entry for entry in evidence.ledger["posts"] if entry["id"] not in claimed]


def _endings(evidence: Evidence) -> Iterator[str]:
    for post, job in evidence.jobs.items():
        if ending(job) is not post.ending:
            yield f"{post.name} had to be {post.ending}, and its job is {_described(job)}"


def _posts(evidence: Evidence) -> Iterator[str]:
    """Is every post the one that was asked for, as who it was asked for, and at its time?"""
    entries = {entry["id"]: entry for entry in evidence.ledger["posts"]}
    for post, job in evidence.jobs.items():
        entry = entries.get(job.result or "")
        if entry is None:
            continue
        if (entry["account"], entry["text"]) != (post.user, post.text):
            yield f"{post.name} was posted as {entry['account']}, with the text {entry['text']!r}"
        if not job.run_at <= datetime.fromisoformat(entry["at"]) < job.deadline:
            yield f"{post.name} was posted at {entry['at']}, outside of its time"


def _books(evidence: Evidence) -> Iterator[str]:
    """Is every grant as it has to be: exchanged for once, never reused, and alive unless its user disconnected?"""
    counts = evidence.ledger["counts"]
    if counts["reuse"]:
        yield f"used refresh tokens were presented {counts['reuse']} times"
    if counts["duplicates"]:
        yield f"the provider refused {counts['duplicates']} posts that it had already"
    if counts["refused"]:
        yield f"the provider's token endpoint refused {counts['refused']} requests"
    users = {post.user for post in PLAN}
    gone = {post.user for post in PLAN if post.ending is Ending.REFUSED}
    families = {family["account"]: family for family in evidence.ledger["families"]}
    if len(families) != len(evidence.ledger["families"]) or families.keys() != users:
        yield f"the provider has grants of {', '.join(f['account'] for f in evidence.ledger['families']) or 'nobody'}"
    for user, family in families.items():
        if family["exchanges"] != 1:
            yield f"{user}'s grant was exchanged for {family['exchanges']} times, and once is enough"
        if family["alive"] == (user in gone):
            yield f"{user}'s grant is {'alive' if family['alive'] else 'dead'} at the provider"


#: What Flower has to say of a job that ran.
STATES = {JobStatus.SUCCEEDED: "SUCCESS", JobStatus.EXPIRED: "REVOKED", JobStatus.CANCELLED: "REVOKED"}


def ran(job: Job) -> bool:
    """Did a worker ever take it?"""
    return any(step["to"] == JobStatus.RUNNING for step in job.history)


def _flower(evidence: Evidence) -> Iterator[str]:
    jobs = {job.id: (post, job) for post, job in evidence.jobs.items()}
    for unknown in evidence.tasks.keys() - jobs.keys():
        yield f"Flower shows a job that nobody scheduled: {unknown}"
    for job_id, (post, job) in jobs.items():
        task = evidence.tasks.get(job_id)
        if task is None:
            if ran(job):
                yield f"{post.name} ran, and Flower does not show it"
            continue
        if task.get("state") != STATES.get(job.status):
            yield f"{post.name} is {task.get('state')} in Flower, and its job is {_described(job)}"
        for told in (repr(job.user), repr(job.action), f"{job.run_at:%Y-%m-%dT%H:%M:%SZ}"):
            if told not in (task.get("args") or ""):
                yield f"{post.name} is in Flower without {told}"
    yield from (f"Flower shows what a post says, at {where}" for where in evidence.shown)


def _secrets(evidence: Evidence) -> Iterator[str]:
    if not evidence.tokens:
        yield "no token was looked for"
    for place, findings in evidence.places.items():
        for finding in findings:
            yield f"a readable token in {place}, {finding.where}: number {finding.secret} of the list, {finding.form}"
    yield from (f"the search is blind: it did not find what is certainly there ({view})" for view in evidence.blind)


def _described(job: Job | None) -> str:
    if job is None:
        return "gone"
    return f"{job.status} ({job.error.code})" if job.error else str(job.status)
