"""`actas jobs resolve`, `retry`: what only an operator can say of a job, and only knowing what may have happened."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from actas.cli.job_story import is_last_step, open_step, why_not_retried
from actas.cli.looking import Stores
from actas.clock import utc_now
from actas.records import Job
from actas.requests import check_text
from actas.states import JobStatus
from actas.stores.resolutions import Resolution

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def resolve_job(
    job_id: str,
    happened: Annotated[
        bool | None, typer.Option("--happened/--did-not", help="What became of it, as the provider shows.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="With --happened: the id of what was made there.")] = None,
    yes: Yes = False,
) -> None:
    """Say what became of an uncertain job, having looked at the provider."""
    if happened is None:
        raise typer.BadParameter("say which: --happened or --did-not")
    if reference is not None:
        if not happened:
            raise typer.BadParameter("what did not happen has made nothing: --reference goes with --happened")
        check_text("reference", reference, "the id of what was made, at the provider")
    with Stores.open() as stores:
        job = stores.job(job_id)
        if job.status is not JobStatus.UNCERTAIN:
            _stop(f"the job is {job.status}, not uncertain")
        journal = stores.effects.of_job(job.id, job.grant)
        step = open_step(journal)
        if step is None:
            _stop("the journal knows what became of it; a worker settles it by itself")
        if happened and reference is None and not is_last_step(job, step):
            _stop("the next step builds on what this one made; give its id: --reference")
        _sure(_what_resolving_does(job, step, happened=happened), yes=yes)
        # Of the request that was shown: another may have been begun while the question stood open.
        said = Resolution(happened, reference, utc_now())
        stores.resolutions.say(job.id, step, journal[step].started_at, said)
        if not stores.jobs.resolved(job.id, happened=happened, now=said.at):
            _stop(f"the job is {stores.job(job.id).status} now")
    print("written down; a worker settles the job within seconds. See: actas jobs show", job.id)


def retry_job(job_id: str, yes: Yes = False) -> None:
    """Let a failed or expired job run again under the signature it has, if certainly nothing would be done twice."""
    with Stores.open() as stores:
        job, now = stores.job(job_id), utc_now()
        journal = stores.effects.of_job(job.id, job.grant)
        if (why_not := why_not_retried(job, journal, now)) is not None:
            _stop(why_not)
        done = sum(not effect.open and effect.result is not None for effect in journal.values())
        why = f"{job.error.code}: {job.error.message}" if job.error else "no reason given"
        kept = f" The journal has {done} of its steps done; they are not repeated." if done else ""
        _sure(
            f"It is {job.status} ({why}).{kept}\n{job.action} as {job.user} is tried again, now and until its deadline,"
            f" {job.deadline:%Y-%m-%d %H:%M:%S}.",
            yes=yes,
        )
        if not stores.jobs.retry(job, now):
            _stop(f"the job is {stores.job(job.id).status} now, or its time is over")
    print("scheduled again; see: actas jobs show", job.id)


def _what_resolving_does(job: Job, step: int, *, happened: bool) -> str:
    what = f"Step {step} of {job.action} as {job.user}"
    if happened:
        return f"{what} happened: it will not be done again. If it did not, nobody will ever do it."
    stopped = "it is to be stopped, and will not be done" if job.stop else "it will be done now"
    again = stopped if utc_now() < job.deadline else "it is too late to do it now"
    return f"{what} did not happen: {again}. If it did, it will have been done twice."


def _sure(what: str, *, yes: bool) -> None:
    if not yes:
        typer.confirm(f"{what}\nSure?", abort=True)


def _stop(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    raise typer.Exit(1)
