"""The effects collection: the journal of what workers did, begun *before* each request, and the audit of it.

Only the worker's MongoDB role may write here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from actas.records import EffectState
from actas.stores.database import Documents, translated

#: The code of a refusal that nobody gave: whoever looked found that the provider had done nothing.
ABSENT = "absent"
#: The code of one that an operator gave.
RESOLVED = "resolved"

#: So says whoever began it, or nobody: what the provider did is not known.
OPEN = (EffectState.STARTED, EffectState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Effect:
    """A row of the journal: one step of one job."""

    state: EffectState
    owner: str | None
    #: Whose it is.
    grant: str | None = None
    started_at: datetime | None = None
    #: Nothing that it has made is older: when it was first started, since it was last known for sure to be undone.
    since: datetime | None = None
    #: Its owner's lease ends then, and with it the last moment to begin the request.
    until: datetime | None = None
    finished_at: datetime | None = None
    #: The provider's id of what was made.
    result: str | None = None
    code: str | None = None
    #: It was called refused without the provider's certain word: by whoever looked, by an operator, after a 503.
    doubted: bool = False

    @property
    def open(self) -> bool:
        """Nobody has said yet what came of it."""
        return self.state in OPEN


def row_id(job_id: str, step: int) -> str:
    """The journal's id of a job's step; steps count from 1."""
    return f"{job_id}:{step}"


class Effects:
    def __init__(self, database: Documents) -> None:
        self._effects = database["effects"]

    @translated
    def begin(
        self, effect_id: str, *, owner: str, now: datetime, grant: str, repeat: bool = False, **audit: Any
    ) -> Effect | None:
        """Write down that a request is about to be sent; None means: go ahead, you are the first.

        Anything else is what a worker before us left, and the request must not be sent. There are two exceptions: a
        recorded refusal, after which the row is begun anew; and our own row, when the answer to writing it was lost.
        With ``repeat`` there is a third: whatever was begun, and has not said that it is done, is ours from here on.
        """
        row = {"state": str(EffectState.STARTED), "owner": owner, "started_at": now, "grant": grant, **audit}
        try:
            self._effects.insert_one({"_id": effect_id, "since": now, **row})
        except DuplicateKeyError:
            refused = {"_id": effect_id, "state": str(EffectState.REFUSED), "grant": grant}
            gone = {"finished_at": "", "code": ""}
            # What may have come of an earlier request is what is to be looked for, should it come to that.
            anew_if: list[tuple[dict[str, Any], dict[str, Any]]] = [
                ({**refused, "doubted": {"$ne": True}}, {**row, "since": now}),
                ({**refused, "doubted": True}, row),
            ]
            if repeat:
                anew_if.append(({**refused, "state": {"$in": [str(state) for state in OPEN]}}, row))
            for query, anew in anew_if:
                if self._effects.update_one(query, {"$set": anew, "$unset": gone}).matched_count == 1:
                    return None
            found = self._effects.find_one({"_id": effect_id}) or {}
            ours = found.get("owner") == owner and found.get("state") == EffectState.STARTED
            return None if ours else _effect(found)
        return None

    @translated
    def of_job(self, job_id: str, grant: str) -> dict[int, Effect]:
        """What stands in the journal of a job, by its steps; empty if no worker ever was about to send anything.

        Rows of another grant are none of its: its document may have been another's for a while.
        """
        rows = self._effects.find({"_id": {"$gt": f"{job_id}:", "$lt": f"{job_id};"}, "grant": grant})  # ; is after :
        steps = {row["_id"].removeprefix(f"{job_id}:"): row for row in rows}
        return {int(step): _effect(row) for step, row in steps.items() if step.isdecimal()}

    @translated
    def finish(self, effect_id: str, state: EffectState, *, owner: str | None, now: datetime, **outcome: Any) -> None:
        """Write down what came of it; a row that is not open, or that another began, keeps what it says.

        But that nothing was found there, or that somebody said so, gives way to the word of whoever was in the midst
        of it.
        """
        says_nothing = [{"state": {"$in": [str(state) for state in OPEN]}}, {"code": {"$in": [ABSENT, RESOLVED]}}]
        row = {"_id": effect_id, "owner": owner, "$or": says_nothing}
        update = {"$set": {"state": str(state), "finished_at": now, **outcome}}
        if "code" not in outcome:
            update["$unset"] = {"code": ""}
        self._effects.update_one(row, update)

    @translated
    def jobs_that_made(self, grant: str, references: Sequence[str]) -> dict[str, str]:
        """Of these references those that are some job's results, and of which job."""
        rows = self._effects.find({"grant": grant, "result": {"$in": list(references)}})
        return {row["result"]: row.get("job", row["_id"].rpartition(":")[0]) for row in rows}

    @translated
    def others_are_at_it(self, grant: str, *, job_id: str, since: datetime, not_over_by: datetime) -> bool:
        """Whether a worker may be acting for this grant for another job, begun since, or have to say how that went."""
        rows = self._effects.find(
            {
                "grant": grant,
                "started_at": {"$gte": since},
                "kind": "act",
                "state": str(EffectState.STARTED),
                "until": {"$gt": not_over_by},
            },
            {"_id": 1},
        )
        return any(row["_id"].rpartition(":")[0] != job_id for row in rows)

    @translated
    def claim_found(self, grant: str, reference: str, *, job_id: str, now: datetime) -> bool:
        """Say that what was found at the provider is this job's; False if it is said of another."""
        row_id = f"found:{grant}:{reference}"
        row = {"kind": "found", "grant": grant, "job": job_id, "result": reference, "started_at": now}
        with suppress(DuplicateKeyError):
            self._effects.insert_one({"_id": row_id, "state": str(EffectState.DONE), "finished_at": now, **row})
        return self._effects.find_one({"_id": row_id, "job": job_id}, {"_id": 1}) is not None

    @translated
    def withdraw(
        self, effect_id: str, *, owner: str, grant: str, now: datetime, code: str, unknown: bool = False
    ) -> None:
        """Nothing was sent after all: make our row say so, whether ``begin`` has written it or would still do so.

        ``unknown``: it was another's before, and of what that one sent nobody knows.
        """
        ours = {"_id": effect_id, "owner": owner, "grant": grant, "state": str(EffectState.STARTED)}
        state = EffectState.UNKNOWN if unknown else EffectState.REFUSED
        refused = {"state": str(state), "finished_at": now, "code": code}
        with suppress(DuplicateKeyError):  # another's row is there, and ours is not
            self._effects.update_one(ours, {"$set": refused}, upsert=True)

    @translated
    def of_grant(self, grant_id: str, limit: int) -> list[dict[str, Any]]:
        """The latest uses of a grant, oldest first; nothing in them is secret."""
        latest = self._effects.find({"grant": grant_id}).sort("started_at", DESCENDING).limit(limit)
        return list(latest)[::-1]


def _effect(found: dict[str, Any]) -> Effect:
    names = ("owner", "grant", "started_at", "since", "until", "finished_at", "result", "code")
    return Effect(
        EffectState(found.get("state", EffectState.STARTED)),
        doubted=found.get("doubted", False),
        **{name: found.get(name) for name in names},
    )
