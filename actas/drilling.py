"""The leak drill: after a suspected leak, make what a thief may hold worthless, as far as that can be done from here.

The operator begins and ends it; in between the scheduler asks workers to renew grant after grant (scheduler/drill.py),
so it goes on whether anybody watches or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from actas.clock import Clock
from actas.errors import UnknownProvider
from actas.ids import new_id
from actas.jws import CLOCK_SKEW
from actas.providers import Providers
from actas.stores.drills import Drill, Drills
from actas.stores.renewals import Renewals
from actas.vault.keys import VaultKeys


@dataclass(frozen=True, slots=True)
class Progress:
    left: int
    #: Of those, the grants that a worker has tried and could not renew, by code.
    failed: Mapping[str, list[str]]

    @property
    def untried(self) -> int:
        return max(0, self.left - sum(len(grants) for grants in self.failed.values()))


@dataclass(frozen=True, slots=True)
class Report:
    """What a thief's copy is worth now."""

    #: Data keys replaced, by provider: at rotating ones the refresh token went with its key.
    rotated: Mapping[str, int]
    kept_refresh_token: Mapping[str, int]
    access_tokens_until: datetime | None
    #: Grants that could not be renewed, by code.
    failed: Mapping[str, list[str]]
    untried: int
    #: Grants that were not active and so not renewed, by status.
    passed_over: Mapping[str, int]
    old_kek_retired: bool

    @property
    def replaced(self) -> int:
        return sum(self.rotated.values()) + sum(self.kept_refresh_token.values())

    def to_doc(self) -> dict[str, Any]:
        return {
            "replaced": self.replaced,
            "rotated": dict(self.rotated),
            "kept_refresh_token": dict(self.kept_refresh_token),
            "access_tokens_until": self.access_tokens_until,
            "failed": {code: len(grants) for code, grants in self.failed.items()},
            "untried": self.untried,
            "passed_over": dict(self.passed_over),
            "old_kek_retired": self.old_kek_retired,
        }


@dataclass(frozen=True, slots=True)
class Drilling:
    drills: Drills
    renewals: Renewals
    vault: VaultKeys
    providers: Providers
    clock: Clock

    def begin(self, app: str) -> Drill:
        """Open a drill and rotate the KEK, or take up the open one where it stands; the KEK is rotated once.

        Raises:
            NotFound: the app has no KEK.
            VaultUnavailable, VaultDenied, MongoUnavailable, MongoRefused: run again, it goes on.
        """
        drill = self.drills.open(app)
        while drill is None:
            version = self.vault.kek(app).latest
            self.drills.insert(Drill(new_id(), app, began_at=self.clock(), from_version=version))
            drill = self.drills.open(app)  # ours, or that of somebody who was faster
        if drill.key_version is not None:
            return drill
        key = self.vault.kek(app)
        if key.latest == drill.from_version:  # else it was rotated already, and the one who did could not note it
            self.vault.rotate(key.name)
            key = self.vault.kek(app)
        # From after the rotation: a data key that is younger was never under the old version, whatever a worker's or an
        # app's clock says. Until then nothing is renewed.
        began_at = self.clock() + CLOCK_SKEW
        return self.drills.rotated(
            drill,
            key.latest,
            began_at=began_at,
            to_renew=self.renewals.left(app, began_at),
            until=self.renewals.last_access_token_ends_at(app),
        )

    def progress(self, drill: Drill) -> Progress:
        return Progress(self.renewals.left(drill.app, drill.began_at), self.renewals.failed(drill.app, drill.began_at))

    def report(self, drill: Drill) -> Report:
        progress = self.progress(drill)
        renewed = self.renewals.renewed(drill.app, drill.began_at)
        rotating = {name for name in renewed if self._rotates(name)}
        key = self.vault.kek(drill.app)
        return Report(
            rotated={name: count for name, count in renewed.items() if name in rotating},
            kept_refresh_token={name: count for name, count in renewed.items() if name not in rotating},
            access_tokens_until=drill.access_tokens_until,
            failed=progress.failed,
            untried=progress.untried,
            passed_over=self.renewals.passed_over(drill.app, drill.began_at),
            old_kek_retired=key.min_decryption_version >= (drill.key_version or key.latest),
        )

    def finish(self, drill: Drill) -> Report:
        """Close the drill and keep its report with it."""
        report = self.report(drill)
        self.drills.finish(drill, report.to_doc(), self.clock())
        return report

    def _rotates(self, provider: str) -> bool:
        try:
            return self.providers[provider].surely_rotates
        except UnknownProvider:  # the workers know it, this process does not: nothing is promised
            return False
