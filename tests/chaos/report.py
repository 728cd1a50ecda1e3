"""What a run has come to, for people and for machines."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.run import Found
from tests.lateness import Lateness, lateness
from tests.ledger import Discrepancy, Kind


@dataclass(frozen=True, slots=True)
class Report:
    seed: int
    minutes: float
    found: Found

    @property
    def balanced(self) -> bool:
        return not any(self._kinds[kind] for kind in (Kind.DUPLICATED, Kind.LOST, Kind.UNEXPLAINED))

    @property
    def _kinds(self) -> Counter[Kind]:
        return Counter(discrepancy.kind for discrepancy in self.found.discrepancies)

    @property
    def _jobs(self) -> Counter[str]:
        return Counter(str(job.status) for job in self.found.books.jobs)

    def _lateness(self, *, at_rest: bool = False) -> Lateness:
        return lateness(self.found.books, at_rest=at_rest)

    def summary(self) -> str:
        """One line."""
        kinds = " ".join(f"{kind} {self._kinds[kind]}" for kind in Kind)
        return (
            f"seed {self.seed}, {self.minutes:g} minutes: {self._jobs.total()} jobs ({_listed(self._jobs)}); "
            f"{self.found.faults.total()} faults ({_listed(self.found.faults)}); {len(self.found.books.posts)} posts, "
            f"{self.found.exchanges} exchanges; late {self._lateness()}, at rest {self._lateness(at_rest=True)}; {kinds}"
        )

    def details(self) -> Iterator[str]:
        """What the apps did, and each discrepancy with its job's whole story."""
        yield f"apps: {_listed(self.found.deeds)}"
        for discrepancy in self.found.discrepancies:
            yield f"{discrepancy.kind.upper()}: {discrepancy.what}"
            yield from self._story(discrepancy)

    def _story(self, discrepancy: Discrepancy) -> Iterator[str]:
        books = self.found.books
        for job in books.jobs:
            if job.id != discrepancy.job:
                continue
            yield f"    job {job.id} of {job.app}/{job.user}, {job.status}, grant {job.grant}, payload {job.payload}"
            yield f"    runs {job.run_at} to {job.deadline}, rev {job.rev}, attempts {job.attempts}, error {job.error}"
            for step in job.history:
                yield f"    history {step['at']:%H:%M:%S.%f} {dict(step)}"
            for effect in books.effects:
                if str(effect["_id"]).startswith(f"{job.id}:") or effect.get("asked_by") == job.id:
                    yield f"    effect {effect}"
            for asked in books.asked:
                if asked.payload == job.payload:
                    yield f"    {asked}"
                    for post in books.posts:
                        if post["text"] in asked.texts:
                            yield f"    post {post}"

    def books(self) -> str:
        """All that was compared, for whoever looks into it."""
        return json.dumps(dataclasses.asdict(self.found.books), default=str, indent=1)

    def as_json(self) -> str:
        return json.dumps(
            {
                "seed": self.seed,
                "minutes": self.minutes,
                "jobs": self._jobs,
                "faults": self.found.faults,
                "apps": self.found.deeds,
                "posts": len(self.found.books.posts),
                "exchanges": self.found.exchanges,
                "strict": self.found.books.strict,
                "late": self._lateness().as_dict(),
                "late_at_rest": self._lateness(at_rest=True).as_dict(),
                **{str(kind): self._kinds[kind] for kind in Kind},
            },
            sort_keys=True,
        )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items())) or "none"
