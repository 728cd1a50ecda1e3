"""An import from its first look to its last token stored. Killed at any point and run again, it goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from actas.clock import Clock
from actas.envelope import new_data_key
from actas.granting import encrypt_tokens
from actas.ids import new_id
from actas.importing.mapping import BadImport, Candidate, Reason, SourceDoc, fingerprint, judge
from actas.importing.plan import Standing, Stored, standing
from actas.providers.model import RefreshProfile
from actas.records import DataKey, Grant, GrantStatus
from actas.refresh_life import imported_life
from actas.stores.import_source import Source
from actas.stores.importing import Arrival, ImportedGrants
from actas.vault.room import BATCH, VaultRoom, key_version

#: Documents in one look at the source.
PAGE = 500

EXAMPLES = 3

#: Told of every so many documents done.
Advance = Callable[[int], None]


@dataclass(slots=True)
class Tally:
    """How many documents, and the ids of a few of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, source_id: Any, *, show: bool = True) -> None:
        self.count += 1
        if show and len(self.examples) < EXAMPLES:
            self.examples.append(f"{source_id!s:.64}")


@dataclass(slots=True)
class Survey:
    """What there is in a source, before anything is done."""

    found: int = 0
    #: Of each account the last document only, by _id.
    accounts: dict[str, tuple[Any, Standing]] = field(default_factory=dict)
    duplicates: Tally = field(default_factory=Tally)
    unusable: dict[Reason, Tally] = field(default_factory=dict)

    @property
    def standings(self) -> Counter[Standing]:
        return Counter(standing for _, standing in self.accounts.values())

    @property
    def to_do(self) -> int:
        counts = self.standings
        return counts[Standing.NEW] + counts[Standing.CHANGED]


@dataclass(frozen=True, slots=True)
class Importer:
    """One app's import from one collection."""

    app: str
    provider: str
    refresh: RefreshProfile
    client_id: str
    #: Of those documents that do not say any.
    scopes: frozenset[str]
    source: Source
    grants: ImportedGrants
    vault: VaultRoom
    clock: Clock

    def look(self, page: Iterable[SourceDoc]) -> Iterator[tuple[SourceDoc, Candidate | Reason]]:
        now = self.clock()
        for doc in page:
            yield doc, judge(doc, scopes=self.scopes, now=now)

    def stand(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, Standing, Stored | None]]:
        """How each of these stands to what is stored right now."""
        there = _by_owner(self.grants.there(candidates)) if candidates else {}
        found = []
        for each in candidates:
            concerned = {grant.id: grant for key in (each.account, ("user", each.user)) for grant in there.get(key, ())}
            found.append((each, *standing(each, concerned.values(), self.source.origin)))
        return found

    def survey(self, advance: Advance) -> Survey:
        """Read the whole source and write nothing.

        Raises:
            BadImport: nowhere is a refresh token where one was said to be, and none was ever imported.
            MongoUnavailable, MongoRefused.
        """
        survey = Survey()
        for page in self.source.pages(PAGE):
            candidates = []
            for doc, verdict in self.look(page):
                if isinstance(verdict, Reason):
                    shown = verdict is not Reason.TOKEN_ELSEWHERE
                    survey.unusable.setdefault(verdict, Tally()).add(doc.id, show=shown)
                else:
                    candidates.append(verdict)
            for each, how, _ in self.stand(candidates):
                if each.account in survey.accounts:
                    survey.duplicates.add(survey.accounts[each.account][0])
                survey.accounts[each.account] = (each.source_id, how)
            survey.found += len(page)
            advance(len(page))
        if not survey.accounts and not self.grants.sample(self.source.origin, 1):
            why = "; ".join(f"{reason}: {tally.count}" for reason, tally in survey.unusable.items())
            raise BadImport(f"none of the {survey.found} documents of {self.source.name} can be imported ({why})")
        return survey

    def store(self, survey: Survey, advance: Advance) -> Counter[Standing]:
        """Store what a survey found to be done; returns how many, NEW and CHANGED.

        What somebody stored meanwhile, or was stored before this was interrupted, is left as it is.

        Raises:
            VaultUnavailable, VaultDenied, MongoUnavailable, MongoRefused.
        """
        done: Counter[Standing] = Counter()
        for batch in _batches(self._to_do(survey), BATCH):
            done.update(self._store(batch))
            advance(len(batch))
        return done

    def _to_do(self, survey: Survey) -> Iterator[Candidate]:
        wanted = {account: at for account, (at, how) in survey.accounts.items() if how in _STORABLE}
        if not wanted:
            return
        for page in self.source.pages(PAGE):
            for _, each in self.look(page):
                if isinstance(each, Candidate) and each.account in wanted and wanted[each.account] == each.source_id:
                    yield each

    def _store(self, batch: Sequence[Candidate]) -> Counter[Standing]:
        now = self.clock()
        rows = [(each, old) for each, how, old in self.stand(batch) if how in _STORABLE]
        grants = [self._grant(each, old, now) for each, old in rows]
        keys = [new_data_key() for _ in grants]
        wrapped = self.vault.wrap(self.app, [(grant.id, key) for grant, key in zip(grants, keys, strict=True)])
        new, changed = [], []
        for (each, old), grant, key, sealed in zip(rows, grants, keys, wrapped, strict=True):
            data_key = DataKey(new_id(), sealed, key_version(sealed), now)
            write = encrypt_tokens(
                grant,
                key,
                data_key.id,
                refresh_token=each.refresh_token,
                access=(each.access_token, each.expires_at) if each.access_token and each.expires_at else None,
                life=imported_life(self.refresh, grant.id, now),
                exchange_id=new_id(),
            )
            write = replace(write, data_key=data_key, scopes=grant.scopes)
            digest = fingerprint(grant.id, each.refresh_token)
            arrival = Arrival(grant, write, self.source.origin, each.source_id, digest)
            if old is None:
                new.append(arrival)
            else:
                changed.append((arrival, old))
        counts: Counter[Standing] = Counter()
        if new:
            counts[Standing.NEW] = self.grants.insert(new, now)
        if changed:
            counts[Standing.CHANGED] = self.grants.replace(changed, now)
        return counts

    def _grant(self, each: Candidate, old: Stored | None, now: datetime) -> Grant:
        return Grant(
            id=old.id if old else new_id(),
            app=self.app,
            user=each.user,
            provider=self.provider,
            account=old.account if old else each.account,
            client_id=self.client_id,
            scopes=each.scopes,
            status=GrantStatus.ACTIVE,
            generation=old.generation if old else 0,
            created_at=now,
            updated_at=now,
        )


_STORABLE = {Standing.NEW, Standing.CHANGED}


def _by_owner(grants: Iterable[Stored]) -> dict[str | tuple[str, str], list[Stored]]:
    """Each under its account, and under its user: a page is long, and each document concerns one or two grants."""
    found: dict[str | tuple[str, str], list[Stored]] = {}
    for grant in grants:
        for key in (grant.account, ("user", grant.user)):
            found.setdefault(key, []).append(grant)
    return found


def _batches(candidates: Iterator[Candidate], size: int) -> Iterator[list[Candidate]]:
    batch: list[Candidate] = []
    for each in candidates:
        batch.append(each)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
