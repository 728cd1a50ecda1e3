"""After an import: a worker reads a sample back, and only then are the readable tokens unset in the source."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actas.clock import Clock
from actas.errors import ActasError
from actas.importing.mapping import Reason
from actas.importing.plan import Standing
from actas.importing.run import PAGE, Advance, Importer
from actas.stores.verifications import Verifications

SAMPLE = 200

#: Give up when no verdict has come for so long. The scheduler asks each two seconds.
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.3


class NotVerified(ActasError):
    """The tokens are stored, but no worker has read them back."""

    code = "not_verified"


def verify(
    verifications: Verifications,
    ids: Sequence[str],
    advance: Advance,
    *,
    clock: Clock,
    patience: float = PATIENCE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Have a worker decrypt these grants, and wait until it has.

    Raises:
        NotVerified: no worker does, or it cannot read one of them; with the reasons, and a few ids.
        MongoUnavailable, MongoRefused.
    """
    verifications.ask_to_verify(ids, clock())
    seen: dict[str, str | None] = {}
    gives_up_at = time.monotonic() + patience
    while True:
        before, seen = len(seen), seen | verifications.verdicts(ids)  # one goes when its user connects again
        if len(seen) > before:
            gives_up_at = time.monotonic() + patience
            advance(len(seen) - before)
        if len(seen) == len(ids):
            break
        if time.monotonic() > gives_up_at:
            raise NotVerified(
                f"the tokens are stored; but of {len(ids)} that a worker was to read back, it has read {len(seen)}:"
                " are a worker, a scheduler and beat running? Then run this again"
            )
        sleep(PAUSE_SECONDS)
    if bad := {grant: code for grant, code in seen.items() if code is not None}:
        codes = ", ".join(f"{code}: {count}" for code, count in Counter(bad.values()).most_common())
        shown = ", ".join(sorted(bad)[:3])
        raise NotVerified(
            f"a worker cannot read {len(bad)} of {len(ids)} stored grants ({codes}), such as {shown};"
            " nothing was unset in the source. Look at the worker's log"
        )


@dataclass(slots=True)
class Shredding:
    """What became of the readable tokens."""

    unset: int = 0
    #: Another token stands there than the one that was imported.
    changed_since: int = 0
    #: The same, and the grant has been used: storing that other token could lose the account.
    diverged: int = 0
    #: Not from this import: connected by its user, a duplicate, or not usable.
    left: int = 0


def shred(importer: Importer, advance: Advance) -> Shredding:
    """Unset the readable tokens of documents whose token is stored here; interrupted and run again, it goes on.

    Raises:
        MongoUnavailable, MongoRefused, BadImport.
    """
    total = Shredding()
    for page in importer.source.pages(PAGE):
        candidates = []
        for _, verdict in importer.look(page):
            if not isinstance(verdict, Reason):
                candidates.append(verdict)
            elif verdict is not Reason.NO_TOKEN:
                total.left += 1
        standings = importer.stand(candidates)
        ours = [(each.source_id, each.refresh_token) for each, how, _ in standings if how is Standing.SAME]
        unset = importer.source.unset(ours) if ours else 0
        counts = Counter(how for _, how, _ in standings)
        total.unset += unset
        # What changed between our reading and our writing was not unset, either.
        total.changed_since += counts[Standing.CHANGED] + len(ours) - unset
        total.diverged += counts[Standing.DIVERGED]
        total.left += counts[Standing.NEW] + counts[Standing.ELSEWHERE] + counts[Standing.OTHER_USER]
        advance(len(page))
    _forget_fingerprints(importer)
    return total


def _forget_fingerprints(importer: Importer) -> None:
    last = ""
    while page := importer.grants.comparable(importer.source.origin, after=last, limit=PAGE):
        readable = importer.source.still_readable(list(page.values()))
        if gone := [grant for grant, source_id in page.items() if source_id not in readable]:
            importer.grants.note_shredded(gone, importer.clock())
        last = max(page)
