"""The jobs collection: every write names the state it moves from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError

from actas.events import OF_JOBS, note
from actas.jws import Claims
from actas.records import Job, JobError
from actas.states import FINAL, OPERATOR_MOVES, WAITING, JobStatus, check_move
from actas.stores.database import Documents, translated
from actas.stores.dispatching import Due

#: How much of a job's story is kept in it.
HISTORY_LENGTH = 50

DUPLICATE_KEY = 11000

#: No worker holds such a job. An orphan's died, perhaps after sending, or it knows of no reply: only a look into the
#: journal tells.
FREE: dict[str, Any] = {"status": {"$in": [str(status) for status in WAITING]}, "orphaned": {"$ne": True}}

#: ``parked`` is one state for two reasons; these go on when their grant works again.
NOT_HELD: dict[str, Any] = {"held": {"$ne": True}}

#: What is kept of looking for an uncertain job's effect, while that goes on.
LOOKING = {"looks": ""}


class Jobs:
    def __init__(self, database: Documents) -> None:
        self._jobs = database["jobs"]

    # --- apps ---

    @translated
    def insert(self, jobs: Sequence[Job]) -> set[str]:
        """Insert new jobs; return the ids of those whose idempotency key (or id) was already there."""
        try:
            self._jobs.insert_many([job.to_doc() for job in jobs], ordered=False)
        except BulkWriteError as error:
            failures = (error.details or {}).get("writeErrors", [])
            if (error.details or {}).get("writeConcernErrors") or any(f["code"] != DUPLICATE_KEY for f in failures):
                raise
            return {jobs[failure["index"]].id for failure in failures}
        return set()

    @translated
    def get(self, job_id: str) -> Job | None:
        doc = self._jobs.find_one({"_id": job_id})
        return Job.from_doc(doc) if doc else None

    @translated
    def by_idempotency_keys(self, app: str, keys: Iterable[str]) -> dict[str, Job]:
        found = self._jobs.find({"app": app, "idempotency_key": {"$in": list(keys)}})
        return {doc["idempotency_key"]: Job.from_doc(doc) for doc in found}

    @translated
    def find(
        self, *, app: str | None = None, user: str | None = None, status: JobStatus | None = None, limit: int = 100
    ) -> list[Job]:
        """The newest jobs first (ids are in order of time)."""
        asked = {"app": app, "user": user, "status": status and str(status)}
        query = {name: value for name, value in asked.items() if value is not None}
        return [Job.from_doc(doc) for doc in self._jobs.find(query).sort("_id", DESCENDING).limit(limit)]

    @translated
    def count(self, status: JobStatus, *, app: str | None = None, user: str | None = None, limit: int) -> int:
        """How many jobs are in a state, counted up to a limit."""
        asked = {"status": str(status), "app": app, "user": user}
        query = {name: value for name, value in asked.items() if value is not None}
        return self._jobs.count_documents(query, limit=limit)

    @translated
    def cancel_waiting(
        self, query: dict[str, Any], *, code: str, message: str, now: datetime, free_keys: bool = False
    ) -> int:
        """Cancel every job that fits and that no worker holds; return how many.

        After ``ask_to_stop``: what a worker puts back between the two would otherwise be missed by both. With
        ``free_keys`` their idempotency keys are as if never used.
        """
        gone = {"held": ""} | ({"idempotency_key": ""} if free_keys else {})
        update = _moved(JobStatus.CANCELLED, now, error=JobError(code, message, now)) | {"$unset": gone}
        return self._jobs.update_many({**query, **FREE}, update).modified_count

    @translated
    def ask_to_stop(self, query: dict[str, Any]) -> int:
        """Mark every unfinished job that fits, so that whoever holds or takes it stops; return how many.

        The waiting ones, too: a worker may take one at any moment. An uncertain one is marked as well, so that it is
        not repeated once it turns out that nothing was done; it is not counted, for it may be too late.
        """
        self._jobs.update_many({**query, "status": str(JobStatus.UNCERTAIN)}, {"$set": {"stop": True}})
        unfinished = {"status": {"$in": [str(status) for status in (JobStatus.RUNNING, *WAITING)]}}
        return self._jobs.update_many({**query, **unfinished}, {"$set": {"stop": True}}).matched_count

    @translated
    def hold(self, query: dict[str, Any], *, message: str, now: datetime) -> int:
        """Park every job that fits and that no worker holds, until it is signed anew; return how many."""
        held = _moved(JobStatus.PARKED, now, error=JobError("held", message, now), held=True)
        waiting = {**query, **FREE, "status": {"$in": [str(JobStatus.SCHEDULED), str(JobStatus.QUEUED)]}}
        parked = {**query, **FREE, "status": str(JobStatus.PARKED), **NOT_HELD}
        stays = _stayed(held)
        return (
            self._jobs.update_many(waiting, held).modified_count + self._jobs.update_many(parked, stays).modified_count
        )

    @translated
    def count_going_on(self, query: dict[str, Any]) -> int:
        """How many unfinished jobs fit that are neither held nor asked to stop."""
        unfinished = {"status": {"$in": [str(status) for status in (JobStatus.RUNNING, *WAITING)]}}
        return self._jobs.count_documents({**query, **unfinished, **NOT_HELD, "stop": {"$ne": True}})

    @translated
    def sign_anew(self, job: Job, claims: Claims, *, jws: str, now: datetime) -> Job | None:
        """Put a new signature in the place of a job's old one; None if the job has moved on, or is to be stopped."""
        query = {**FREE, "_id": job.id, "rev": job.rev, "status": str(job.status), "stop": {"$ne": True}}
        query["result"] = job.result  # a thread may have begun meanwhile
        signed = {"jws": jws, "rev": claims.rev, "run_at": claims.run_at, "deadline": claims.deadline}
        # An older signature is good until its own deadline: until then, the job must be there for it to be refused.
        signed_until = max(job.signed_until or job.deadline, claims.deadline)
        update = _moved(JobStatus.SCHEDULED, now, code="rescheduled", next_at=claims.run_at, attempts=0)
        update["$set"] |= signed | {"signed_until": signed_until}
        if job.status is JobStatus.SCHEDULED:
            update = _stayed(update)
        update |= {"$unset": {"held": "", "error": ""}}
        doc = self._jobs.find_one_and_update(query, update, return_document=ReturnDocument.AFTER)
        return Job.from_doc(doc) if doc else None

    # --- an operator ---

    @translated
    def resolved(self, job_id: str, *, happened: bool, now: datetime) -> bool:
        """Have a worker settle an uncertain job of which it is known now what became; False if it is uncertain no more.

        A look that goes on meanwhile finds its ``next_at`` changed, and its verdict does not count.
        """
        said = {"at": now, "to": str(JobStatus.UNCERTAIN), "code": "resolved: " + ("it happened" if happened else "no")}
        update = {
            "$set": {"next_at": now},
            "$push": {"history": {"$each": [said], "$slice": -HISTORY_LENGTH}},
        }
        query = {"_id": job_id, "status": str(JobStatus.UNCERTAIN)}
        return self._jobs.update_one(query, update).matched_count == 1

    @translated
    def retry(self, job: Job, now: datetime) -> bool:
        """Let a job that has failed or expired run again, under the signature it has; False if it has moved on."""
        query = {
            "_id": job.id,
            "rev": job.rev,
            "status": {"$in": [str(status) for status in OPERATOR_MOVES]},
            "deadline": {"$gt": now},
            "stop": {"$ne": True},
        }
        update = _moved(JobStatus.SCHEDULED, now, code="retried", next_at=now, attempts=0)
        update["$unset"] = {"error": "", "finished_at": "", **LOOKING}
        return self._jobs.update_one(query, update).matched_count == 1

    # --- the scheduler ---

    @translated
    def enqueue(self, ids: Sequence[str], *, batch: str, now: datetime) -> list[Job]:
        """Move jobs from scheduled to queued under a batch id; return those this call got hold of.

        Two dispatchers may try the same ids: each job carries the batch of the one that moved it.
        """
        query = {"_id": {"$in": list(ids)}, "status": str(JobStatus.SCHEDULED)}
        update = _moved(JobStatus.QUEUED, now, batch=batch, queued_at=now)
        self._jobs.update_many(query, update)
        return [Job.from_doc(doc) for doc in self._jobs.find({"batch": batch, "status": str(JobStatus.QUEUED)})]

    @translated
    def put_back(self, due: Mapping[Due, tuple[datetime, JobError]]) -> None:
        """Let scheduled jobs wait, each until a time and for a reason; not those that were moved later meanwhile.

        Nor those that are to be stopped since they were read: a worker ends these, whatever the gates say.
        """
        self._jobs.bulk_write(
            [
                UpdateOne(
                    {
                        "_id": job.id,
                        "status": str(JobStatus.SCHEDULED),
                        # Not just what was read: what no datetime can hold is read as the next one that can.
                        "next_at": {"$lte": job.next_at},
                        "stop": {"$ne": True},
                    },
                    {"$set": {"next_at": at, "error": {"code": error.code, "message": error.message, "at": error.at}}},
                )
                for job, (at, error) in due.items()
            ],
            ordered=False,
        )

    @translated
    def rescue_running(self, now: datetime) -> int:
        """Put back the jobs whose worker's lease is over, as orphans: the next worker looks into the journal first."""
        query = {
            "status": str(JobStatus.RUNNING),
            "$expr": {"$lt": ["$claim.until", "$$NOW"]},  # the server's clock wrote it, the server's clock judges it
        }
        update = _moved(JobStatus.SCHEDULED, now, code="rescued", next_at=now, orphaned=True)
        return self._jobs.update_many(query, update | {"$unset": {"claim": ""}}).modified_count

    @translated
    def rescue_queued(self, now: datetime, *, before: datetime) -> int:
        """Put back the jobs whose message is gone: queued before a time, by a broker that has nothing left."""
        query = {"status": str(JobStatus.QUEUED), "queued_at": {"$lt": before}}
        update = _moved(JobStatus.SCHEDULED, now, code="rescued", next_at=now)
        return self._jobs.update_many(query, update).modified_count

    @translated
    def expire_scheduled(self, now: datetime, *, before: datetime, limit: int) -> int:
        """Expire jobs that nobody could send until a deadline before this time, with what held them up last.

        Not an orphan: what became of its request must be looked up first.
        """
        query = {"status": str(JobStatus.SCHEDULED), "deadline": {"$lte": before}, "orphaned": {"$ne": True}}
        causes: dict[str | None, list[str]] = {}
        for doc in self._jobs.find(query, {"error.code": 1}, hint={"deadline": 1}).limit(limit):
            causes.setdefault(doc.get("error", {}).get("code"), []).append(doc["_id"])
        expired = 0
        for cause, ids in causes.items():
            why = f"it was held up by: {cause}" if cause else "it could not be sent before"
            update = _moved(JobStatus.EXPIRED, now, error=JobError("expired", f"the deadline has passed; {why}", now))
            expired += self._jobs.update_many({**query, "_id": {"$in": ids}}, update).modified_count
        return expired

    @translated
    def expire_queued(self, now: datetime, *, before: datetime) -> int:
        """Expire jobs that no worker took up until a deadline before this time; not an orphan.

        There are no more of them than the queue may hold: all are looked at.
        """
        query = {"status": str(JobStatus.QUEUED), "deadline": {"$lte": before}, "orphaned": {"$ne": True}}
        error = JobError("expired", "the deadline has passed; no worker took it up before", now)
        update = _moved(JobStatus.EXPIRED, now, error=error)
        return self._jobs.update_many(query, update, hint={"status": 1, "claim.until": 1}).modified_count

    @translated
    def uncertain(self, now: datetime, limit: int) -> list[str]:
        """The jobs that it is time to look for at their provider."""
        query = {"status": str(JobStatus.UNCERTAIN), "next_at": {"$lte": now}}
        return [doc["_id"] for doc in self._jobs.find(query, {"_id": 1}).sort("next_at", ASCENDING).limit(limit)]

    @translated
    def purge(self, status: JobStatus, *, finished_before: datetime, ended_before: datetime, limit: int) -> int:
        """Remove up to ``limit`` jobs that ended so before a time, and whose deadline was before another; how many."""
        if status not in FINAL:
            raise ValueError(f"{status} is not final")  # a mistake in actas itself
        old = {
            "status": str(status),
            "finished_at": {"$lt": finished_before},
            "deadline": {"$lt": ended_before},
            "signed_until": {"$not": {"$gte": ended_before}},
            "untold": {"$exists": False},  # an event of it may still have to be sent
        }
        ids = [doc["_id"] for doc in self._jobs.find(old, {"_id": 1}).sort("finished_at", ASCENDING).limit(limit)]
        # Asked again with the condition: an operator may have had one retried meanwhile.
        return self._jobs.delete_many({"_id": {"$in": ids}, **old}).deleted_count if ids else 0

    @translated
    def parked_grants(self) -> list[str]:
        """The grants that parked jobs wait for, from the index alone: no job is read for it."""
        each_once = [{"$match": {"status": str(JobStatus.PARKED), **NOT_HELD}}, {"$group": {"_id": "$grant"}}]
        return [doc["_id"] for doc in self._jobs.aggregate(each_once, hint={"status": 1, "held": 1, "grant": 1})]

    @translated
    def expire_parked(self, now: datetime) -> int:
        expired = 0
        for held, message in (
            (NOT_HELD, "its user did not connect again before the deadline"),
            ({"held": True}, "it was held, and not signed anew before the deadline"),
        ):
            query = {"status": str(JobStatus.PARKED), "deadline": {"$lte": now}, **held}
            update = _moved(JobStatus.EXPIRED, now, error=JobError("expired", message, now)) | {"$unset": {"held": ""}}
            expired += self._jobs.update_many(query, update).modified_count
        return expired

    @translated
    def resume_parked(self, grant: str, now: datetime) -> int:
        """The grant works again: its parked jobs go on, but for those that are held."""
        query = {"status": str(JobStatus.PARKED), "grant": grant, **NOT_HELD}
        return self._jobs.update_many(query, _moved(JobStatus.SCHEDULED, now, next_at=now)).modified_count

    # --- the worker ---

    @translated
    def claim(self, job_id: str, *, owner: str, lease_seconds: float, now: datetime) -> Job | None:
        """Take a queued job for a bounded time; None if it is not there to be taken."""
        until = {"$add": ["$$NOW", round(lease_seconds * 1000)]}
        moved = {"at": now, "to": str(JobStatus.RUNNING), "owner": owner}
        history = {"$concatArrays": [{"$ifNull": ["$history", []]}, [{"$literal": moved}]]}
        doc = self._jobs.find_one_and_update(
            {"_id": job_id, "status": str(JobStatus.QUEUED)},
            [
                {
                    "$set": {
                        "status": str(JobStatus.RUNNING),
                        "claim": {"owner": {"$literal": owner}, "until": until},
                        "history": {"$slice": [history, -HISTORY_LENGTH]},
                    }
                }
            ],
            return_document=ReturnDocument.AFTER,
        )
        return Job.from_doc(doc) if doc else None

    @translated
    def settle(
        self,
        job: Job,
        owner: str,
        to: JobStatus,
        now: datetime,
        *,
        error: JobError | None = None,
        **fields: Any,
    ) -> bool:
        """Move a job this worker holds to where it goes next; False if it is no longer ours.

        A job that was asked to stop goes nowhere but to its end: put back or parked, it would run again.
        """
        check_move(JobStatus.RUNNING, to)
        held = {"_id": job.id, "status": str(JobStatus.RUNNING), "claim.owner": owner}
        query = held if to in FINAL or to is JobStatus.UNCERTAIN else {**held, "stop": {"$ne": True}}
        gone = {"claim": ""} if "orphaned" in fields else {"claim": "", "orphaned": ""}
        update = _moved(to, now, error=error, **fields) | {"$unset": gone}
        return self._jobs.update_one(query, update).matched_count == 1

    @translated
    def settle_late(self, job_id: str, now: datetime, **fields: Any) -> bool:
        """Settle a job that was called uncertain while its worker, which had succeeded, could not say so."""
        query = {"_id": job_id, "status": str(JobStatus.UNCERTAIN)}
        update = _moved(JobStatus.SUCCEEDED, now, code="late", **fields) | {"$unset": {"error": "", **LOOKING}}
        return self._jobs.update_one(query, update).matched_count == 1

    @translated
    def begin_look(self, job_id: str, *, now: datetime, until: datetime) -> Job | None:
        """Take an uncertain job that is due for a look; nobody else looks before ``until``. None if it is not due.

        What comes back has ``until`` as its ``next_at``: who still finds it there afterwards was not outrun.
        """
        query = {"_id": job_id, "status": str(JobStatus.UNCERTAIN), "next_at": {"$lte": now}}
        doc = self._jobs.find_one_and_update(query, {"$set": {"next_at": until}}, return_document=ReturnDocument.AFTER)
        return Job.from_doc(doc) if doc else None

    @translated
    def look_later(self, job: Job, at: datetime, *, looks: int, message: str) -> bool:
        """It stays uncertain; False if it was taken out of our hands meanwhile."""
        fields = {"next_at": at, "looks": looks, "error.message": message}
        return self._jobs.update_one(_looked_at(job), {"$set": fields}).matched_count == 1

    @translated
    def settle_looked(
        self, job: Job, to: JobStatus, now: datetime, *, error: JobError | None = None, **fields: Any
    ) -> bool:
        """Move a job that is not uncertain any more; False if it was taken out of our hands meanwhile."""
        check_move(JobStatus.UNCERTAIN, to)
        update = _moved(to, now, code="reconciled", error=error, **fields)
        update["$unset"] = LOOKING if error else {"error": "", **LOOKING}
        return self._jobs.update_one(_looked_at(job), update).matched_count == 1

    @translated
    def stop_requested(self, job_id: str) -> bool:
        return self._jobs.find_one({"_id": job_id, "stop": True}, {"_id": 1}) is not None


def _looked_at(job: Job) -> dict[str, Any]:
    return {"_id": job.id, "status": str(JobStatus.UNCERTAIN), "next_at": job.next_at}


def _stayed(moved: Any) -> Any:
    """The same update for a job that is in that state already."""
    fields = {name: value for name, value in moved["$set"].items() if name != "status"}
    return {**moved, "$set": fields}


def _moved(
    to: JobStatus, now: datetime, *, error: JobError | None = None, code: str | None = None, **fields: Any
) -> Any:
    """The update that moves a job and writes the step into its history."""
    step: dict[str, Any] = {"at": now, "to": str(to)}
    if error is not None:
        fields["error"] = {"code": error.code, "message": error.message, "at": error.at}
    if code or error:
        step["code"] = code or (error and error.code)
    if to in FINAL:
        fields["finished_at"] = now
    pushed: dict[str, Any] = {"history": {"$each": [step], "$slice": -HISTORY_LENGTH}}
    if to in OF_JOBS:  # in the same write, so that no crash can part the move from its event
        pushed["untold"] = note(OF_JOBS[to], now, code=error.code if error else code, result=fields.get("result"))
    return {"$set": {"status": str(to), **fields}, "$push": pushed}
