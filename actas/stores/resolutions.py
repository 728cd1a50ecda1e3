"""The resolutions collection: what operators say became of steps that nobody knows of.

Only the operator's MongoDB role may write here: whoever may write jobs can have nothing repeated by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from actas.stores.database import Documents, translated
from actas.stores.effects import row_id


@dataclass(frozen=True, slots=True)
class Resolution:
    """An operator's word on one begun request."""

    happened: bool
    #: The provider's id of what was made, where the operator knows it.
    reference: str | None
    at: datetime


class Resolutions:
    def __init__(self, database: Documents) -> None:
        self._resolutions = database["resolutions"]

    @translated
    def say(self, job_id: str, step: int, begun_at: datetime | None, resolution: Resolution) -> None:
        """Say what became of a step's request, the one that was begun then; the latest word counts."""
        says = {"happened": resolution.happened, "reference": resolution.reference, "at": resolution.at}
        row = row_id(job_id, step)
        self._resolutions.replace_one({"_id": row}, {"_id": row, "begun_at": begun_at, **says}, upsert=True)

    @translated
    def find(self, job_id: str, step: int, begun_at: datetime | None) -> Resolution | None:
        """What was said of this very request; None: nothing, or of another attempt."""
        found = self._resolutions.find_one({"_id": row_id(job_id, step), "begun_at": begun_at})
        return Resolution(found["happened"], found["reference"], found["at"]) if found else None
