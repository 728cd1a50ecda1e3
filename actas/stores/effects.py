"""The effects collection: the journal of what workers did, begun *before* each request, and the audit of it.

Only the worker's MongoDB role may write here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from actas.records import EffectState
from actas.stores.database import Documents, translated


@dataclass(frozen=True, slots=True)
class Effect:
    state: EffectState
    result: str | None


class Effects:
    def __init__(self, database: Documents) -> None:
        self._effects = database["effects"]

    @translated
    def begin(self, effect_id: str, *, owner: str, now: datetime, **audit: Any) -> Effect | None:
        """Write down that a request is about to be sent; None means: go ahead, you are the first.

        Anything else is what a worker before us left, and the request must not be sent. There are two exceptions: a
        recorded refusal, after which the row is begun anew; and our own row, when the answer to writing it was lost.
        """
        row = {"state": str(EffectState.STARTED), "owner": owner, "started_at": now, **audit}
        try:
            self._effects.insert_one({"_id": effect_id, **row})
        except DuplicateKeyError:
            refused = {"_id": effect_id, "state": str(EffectState.REFUSED)}
            anew = {"$set": row, "$unset": {"finished_at": "", "code": ""}}
            if self._effects.update_one(refused, anew).matched_count == 1:
                return None
            found = self._effects.find_one({"_id": effect_id}) or {}
            ours = found.get("owner") == owner and found.get("state") == EffectState.STARTED
            return None if ours else _effect(found)
        return None

    @translated
    def look(self, effect_id: str) -> Effect | None:
        """What stands in the journal; None if no worker has ever been about to send this."""
        found = self._effects.find_one({"_id": effect_id})
        return _effect(found) if found else None

    @translated
    def finish(self, effect_id: str, state: EffectState, *, owner: str, now: datetime, **outcome: Any) -> None:
        """Write down what came of it; a row that is not open, or that another began, keeps what it says."""
        open_row = {"_id": effect_id, "owner": owner, "state": str(EffectState.STARTED)}
        self._effects.update_one(open_row, {"$set": {"state": str(state), "finished_at": now, **outcome}})

    @translated
    def withdraw(self, effect_id: str, *, owner: str, now: datetime, code: str) -> None:
        """Nothing was sent after all: make our row say so, whether ``begin`` has written it or would still do so."""
        ours = {"_id": effect_id, "owner": owner, "state": str(EffectState.STARTED)}
        refused = {"state": str(EffectState.REFUSED), "finished_at": now, "code": code}
        with suppress(DuplicateKeyError):  # another's row is there, and ours is not
            self._effects.update_one(ours, {"$set": refused}, upsert=True)

    @translated
    def of_grant(self, grant_id: str, limit: int) -> list[dict[str, Any]]:
        """The latest uses of a grant, oldest first; nothing in them is secret."""
        latest = self._effects.find({"grant": grant_id}).sort("started_at", DESCENDING).limit(limit)
        return list(latest)[::-1]


def _effect(found: dict[str, Any]) -> Effect:
    return Effect(EffectState(found.get("state", EffectState.STARTED)), found.get("result"))
