"""`actas import-tokens`: the refresh tokens an app has lying readable in MongoDB become grants."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from actas.actions import Actions
from actas.clock import utc_now
from actas.errors import SettingsError
from actas.importing.after import SAMPLE, Shredding, shred, verify
from actas.importing.mapping import BadImport, parse_map
from actas.importing.plan import Standing
from actas.importing.run import Advance, Importer, Survey
from actas.providers import Provider, Providers
from actas.requests import check_scopes
from actas.settings import Settings
from actas.stores import database
from actas.stores.import_source import Source
from actas.stores.importing import ImportedGrants
from actas.stores.verifications import Verifications
from actas.vault.room import VaultRoom

URL_ENV = "IMPORT_MONGODB_URL"


def import_tokens(
    *,
    collection: Annotated[str, typer.Option(help="The collection they are in.")],
    mapping: Annotated[
        str,
        typer.Option(
            "--map",
            help="Which field is what: user=PATH,refresh_token=PATH and, if there,"
            " account=, access_token=, expires_at=, scopes=. A path has dots.",
        ),
    ],
    provider: Annotated[str, typer.Option(help="The provider that gave the tokens.")],
    url: Annotated[
        SecretStr | None,
        typer.Option(
            "--from-mongodb",
            parser=SecretStr,
            metavar="URL",
            envvar=URL_ENV,
            help="mongodb://user:password@host/DATABASE. Better in the environment: everybody sees arguments (ps).",
        ),
    ] = None,
    scopes: Annotated[
        str | None,
        typer.Option(help="Scopes of tokens that say none; else what this provider's actions need is assumed."),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Do it. Without this nothing is written anywhere.")] = False,
    shred_source: Annotated[
        bool,
        typer.Option("--shred", help="Afterwards unset the readable tokens, once a worker has read a sample back."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Unset without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Take over refresh tokens that lie readable in MongoDB; run by the app, with its own settings.

    Switch off the old code that refreshes them first: from --run on actas does, and two that refresh end each other's
    grants.

    Without --run it only counts. It may be interrupted and run again: each token is stored once, and a grant that is
    there is never overwritten.
    """
    settings = Settings.from_env()
    if settings.app is None:
        raise SettingsError("ACTAS_APP is needed: the name this application was given by `actas apps add`")
    if url is None:
        raise BadImport(f"say where the tokens are: {URL_ENV}=mongodb://user:password@host/DATABASE")
    if run and shred_source and not yes and not sys.stdin.isatty():
        raise BadImport("--shred asks before it unsets anything; where nobody can answer, add --yes")
    paths = parse_map(mapping)
    known = Providers.load(settings.providers_file)[provider]
    granted = _scopes(scopes, known)
    documents = database.connect(settings.mongodb_url)
    with (
        closing(documents.client),
        closing(VaultRoom(settings)) as vault,
        closing(Source(url, collection, paths)) as source,
    ):
        importer = Importer(
            app=settings.app,
            provider=provider,
            refresh=known.refresh,
            client_id=vault.client_credentials(settings.app, provider).client_id,
            scopes=granted,
            source=source,
            grants=ImportedGrants(documents, settings.app, provider),
            vault=vault,
            clock=utc_now,
        )
        database.check(documents)
        source.check(write=shred_source)
        report = Report(as_json=as_json, paths=paths)
        report.survey(importer, assumed=scopes is None)
        if run:
            report.store(importer)
            report.verify(importer, Verifications(documents))
            if shred_source:
                report.shred(importer, ask=not yes)
        report.end(run=run, shred_source=shred_source)


def _scopes(given: str | None, provider: Provider) -> frozenset[str]:
    if given is None:
        return Actions().default_scopes(provider) | set(provider.base_scopes)
    scopes = given.replace(",", " ").split()
    check_scopes(scopes)
    if not scopes:
        raise BadImport("--scopes: name at least one")
    return frozenset(scopes)


class Report:
    """Runs the steps and says what came of each; never a token, never a user."""

    def __init__(self, *, as_json: bool, paths: Mapping[str, str]) -> None:
        self._as_json = as_json
        self._paths = paths
        self._facts: dict[str, Any] = {}
        self._survey = Survey()

    def survey(self, importer: Importer, *, assumed: bool) -> None:
        with bar("reading", importer.source.count()) as advance:
            self._survey = survey = importer.survey(advance)
        counts = survey.standings
        self._facts |= {
            "source": importer.source.name,
            "provider": importer.provider,
            "scopes": sorted(importer.scopes),
            "scopes_assumed": assumed,
            "found": survey.found,
            "importable": survey.to_do,
            "of_these_changed_since": counts[Standing.CHANGED],
            "already_stored": counts[Standing.SAME],
            "used_here_and_changed_there": counts[Standing.DIVERGED],
            "connected_here": counts[Standing.ELSEWHERE],
            "of_another_user": counts[Standing.OTHER_USER],
            "duplicates": {"count": survey.duplicates.count, "examples": survey.duplicates.examples},
            "unusable": {
                str(reason): {"count": tally.count, "examples": tally.examples}
                for reason, tally in survey.unusable.items()
            },
        }
        if not self._as_json:
            print("\n".join(_survey_lines(importer, survey, assumed=assumed)))
            if "account" not in self._paths:
                print("no account is mapped: each user may have one, known only once that user connects again")

    def store(self, importer: Importer) -> None:
        with bar("storing", self._survey.to_do) as advance:
            done = importer.store(self._survey, advance)
        self._facts["stored"] = {"new": done[Standing.NEW], "anew": done[Standing.CHANGED]}
        self._say(f"stored: {done[Standing.NEW]} new, {done[Standing.CHANGED]} anew")

    def verify(self, importer: Importer, verifications: Verifications) -> None:
        sample = importer.grants.sample(importer.source.origin, SAMPLE)
        with bar("reading back", len(sample)) as advance:
            verify(verifications, sample, advance, clock=importer.clock)
        self._facts["verified"] = len(sample)
        if not sample:
            self._say("nothing to read back")
            return
        self._say(f"verified: a worker has read back a sample of {len(sample)}, all well")

    def shred(self, importer: Importer, *, ask: bool) -> None:
        if ask:
            question = f"unset the readable tokens in {importer.source.name}, of which each is stored here now?"
            typer.confirm(question, abort=True, err=True)
        with bar("unsetting", self._survey.found) as advance:
            done = shred(importer, advance)
        self._facts["shredded"] = {
            "unset": done.unset,
            "changed_since": done.changed_since,
            "used_here_and_changed_there": done.diverged,
            "left": done.left,
        }
        if not self._as_json:
            print("\n".join(_shredding_lines(importer, done)))

    def end(self, *, run: bool, shred_source: bool) -> None:
        if self._as_json:
            print(json.dumps({"run": run} | self._facts))
        elif not run:
            print("nothing was written; --run does it" + (", and --shred unsets afterwards" if shred_source else ""))

    def _say(self, line: str) -> None:
        if not self._as_json:
            print(line)


def _survey_lines(importer: Importer, survey: Survey, *, assumed: bool) -> Iterator[str]:
    counts = survey.standings
    yield f"{importer.source.name} -> app {importer.app}, provider {importer.provider}"
    why = "assumed: what its actions need; say --scopes if it was less" if assumed else "as said"
    yield f"scopes of tokens that say none: {' '.join(sorted(importer.scopes))} ({why})"
    yield f"{survey.found:>9} documents found"
    yield f"{survey.to_do:>9} to be stored"
    lines = {
        Standing.CHANGED: "of these stored before and changed since in the source; not used here",
        Standing.SAME: "stored already",
        Standing.DIVERGED: "used here and changed in the source since: left alone, the old code still runs",
        Standing.ELSEWHERE: "connected here in another way, which wins: left alone",
        Standing.OTHER_USER: "of an account that another user has here: left alone",
    }
    for how, line in lines.items():
        if counts[how]:
            yield f"{counts[how]:>9} {line}"
    if survey.duplicates.count:
        examples = ", ".join(survey.duplicates.examples)
        yield f"{survey.duplicates.count:>9} of an account that a later document has, too: left out (_id {examples})"
    for reason, tally in survey.unusable.items():
        examples = f" (_id {', '.join(tally.examples)})" if tally.examples else ""
        yield f"{tally.count:>9} not usable: {reason}{examples}"


def _shredding_lines(importer: Importer, done: Shredding) -> Iterator[str]:
    yield f"unset in {importer.source.name}: {done.unset}"
    if done.changed_since:
        yield f"changed since they were stored: {done.changed_since}; stop the old code and run this again"
    if done.diverged:
        yield f"used here and changed there since: {done.diverged}; nobody knows which token is alive, look at them"
    if done.left:
        yield f"still readable, and not from here: {done.left} (see the counts above)"
    yield "the source's oplog and backups still hold the old values; they are as secret as the tokens were"


@contextmanager
def bar(what: str, total: int) -> Iterator[Advance]:
    """Show progress on standard error, so that what is printed can be piped."""
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)
