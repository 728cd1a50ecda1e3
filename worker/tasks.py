"""The worker's doors: tasks that hand over to ``run`` and ``chores``, and tell Celery (and so Flower) the truth."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from celery import Task
from celery.exceptions import Ignore, InvalidTaskError, Retry
from celery.signals import worker_init, worker_ready, worker_shutting_down
from celery.worker.consumer import consumer as celery_consumer
from celery.worker.request import Request
from celery.worker.strategy import default as default_strategy

from actas.celery_config import (
    ACT_QUEUE,
    ACT_TASK,
    EXCHANGE_TASK,
    RECONCILE_TASK,
    RENEW_KEY_TASK,
    REVOKE_TASK,
    SUBMIT_TASK,
    VERIFY_TASK,
)
from actas.errors import ActasError
from actas.settings import Settings
from actas.slots import Slots
from actas.states import JobStatus
from worker import chores, renewal
from worker.announcing import Announcer
from worker.app import app
from worker.reconcile import reconcile
from worker.room import Room
from worker.run import Outcome, run
from worker.submit import NOT_NOW, NotTaken, submit
from worker.verifying import verify

log = logging.getLogger(__name__)


#: A message that this process can do nothing with now is held for so long before it is back in the queue, for whoever
#: takes it: nothing of ours is to be stormed, and a sick worker is not to take more of them than a well one until it
#: knows that it is sick. It costs a thread, and is over long before the broker would give the message to somebody else.
PAUSE_SECONDS = 3


class JobNotDone(Exception):
    """What Flower shows of a job that did not succeed, or not yet: a code and our own words, never content."""


class ComesAgain(Retry):
    """The message itself is for somebody else, or for later: nothing has become of it."""


@cache
def room() -> Room:
    """This process's connections; the thread pool does not fork, so one set serves all its threads."""
    return Room.open(Settings.from_env())


@worker_init.connect
def open_room(sender: Any, **_: Any) -> None:
    """Fail at the start, with one line, rather than at the first job."""
    pool = str(sender.pool_cls)  # a name, or a class whose text has its module's name
    if "thread" not in pool and "solo" not in pool:
        raise SystemExit("actas: use --pool=threads (gevent and eventlet lose messages, prefork breaks connections)")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its INFO lines are noise, one per request
    try:
        room()
    except ActasError as error:
        raise SystemExit(f"actas: {error}") from None
    except Exception as error:  # noqa: BLE001 - Celery would log it, text and all, and go on without a room
        raise SystemExit(f"actas: unexpected {type(error).__name__} while starting") from None


@worker_ready.connect
def announce(sender: Any, **_: Any) -> None:
    """Say how many jobs run here at once, and take no messages while ours are away, until we are told to stop."""
    here, redis_url = room(), room().settings.redis_url
    acts = ACT_QUEUE in app.amqp.queues.consume_from
    announcer = Announcer(
        worker=here.name,
        count=sender.controller.concurrency,
        slots=Slots(redis_url) if acts and redis_url is not None else None,
        outage=here.outage,
        take=sender.take,
        clock=here.clock,
    )
    worker_shutting_down.connect(lambda **_: announcer.end(), weak=False)
    announcer.start()


def strict(*args: Any, **kwargs: Any) -> Callable[..., Any]:
    """Celery's own way of taking a message, but one whose body has the wrong shape is thrown away.

    Celery 5.7 takes it for a mistake of its own and stops the whole worker, and the next one on redelivery.
    """
    take = default_strategy(*args, **kwargs)

    def take_or_throw_away(*args: Any, **kwargs: Any) -> Any:
        try:
            return take(*args, **kwargs)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise InvalidTaskError(f"not a task message ({type(error).__name__})") from None

    return take_or_throw_away


class Returning(Request):
    """A message that is back in the queue at once if it must come again.

    Celery's own retry would publish a second message and throw this one away, and lose it where publishing fails.
    """

    def on_retry(self, exc_info: Any) -> None:
        if not isinstance(exc_info.exception.exc, ComesAgain):  # Celery wraps it
            super().on_retry(exc_info)
            return
        self.reject(requeue=True)
        self.send_event("task-retried", exception=str(exc_info.exception.exc), traceback=None)


@app.task(
    name=ACT_TASK, bind=True, Request="worker.tasks:Returning", Strategy="worker.tasks:strict", throws=(JobNotDone,)
)
def act_as_user(self: Task, job_id: str) -> str | None:
    """Do one job. The id is all there is in the message; everything else stands in MongoDB, signed."""
    job_id = str(job_id)  # it comes from the broker: anything but a text could be a query of its own
    try:
        outcome = run(job_id, room(), watch=lambda state: show(self, f"task-{state}"))
    except ActasError as error:
        # If the job was taken, its lease brings it back, and whoever gets the message finds nothing to do.
        room().outage.seen(error)
        time.sleep(PAUSE_SECONDS)
        raise ComesAgain(f"{error.code}: {error}", exc=JobNotDone(error.code)) from None
    return tell_celery(self, job_id, outcome)


@app.task(name=REVOKE_TASK, Strategy="worker.tasks:strict")
def revoke_grant(grant_id: str) -> bool:
    return chores.revoke_grant(str(grant_id), room())


@app.task(name=EXCHANGE_TASK, Strategy="worker.tasks:strict")
def exchange_grant(grant_id: str) -> bool:
    return chores.exchange_grant(str(grant_id), room())


@app.task(name=RENEW_KEY_TASK, Strategy="worker.tasks:strict")
def renew_data_key(grant_id: str) -> bool:
    return renewal.renew_data_key(str(grant_id), room())


@app.task(name=VERIFY_TASK, Strategy="worker.tasks:strict")
def verify_grant(grant_id: str) -> bool:
    return verify(str(grant_id), room())


@app.task(name=RECONCILE_TASK, Strategy="worker.tasks:strict")
def reconcile_job(job_id: str) -> bool:
    return reconcile(str(job_id), room())


class Unshown(Returning):
    """A message that carries a signed job: nobody sees it."""

    def __init__(self, message: Any, *, headers: dict[str, Any] | None = None, **options: Any) -> None:
        _, _, links = message.payload  # protocol 2: protocol 1's is a dict
        if any(links.values()):
            raise InvalidTaskError("callbacks, errbacks, chains and chords are not for producers")
        shown = {"argsrepr": "(a signed job)", "kwargsrepr": "{}"}
        super().__init__(message, headers=(message.headers if headers is None else headers) | shown, **options)

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002, FBT001, FBT002 - Celery's signature
        """What `celery inspect`, and so Flower, shows of a task at work: by default all of its arguments."""
        shown: dict[str, Any] = super().info(safe=True)
        return shown


#: Celery logs a message that it cannot read, up to 1024 characters of it. Its size will do.
celery_consumer.dump_body = lambda message, _: f"({len(message.body)} bytes, not shown)"


@app.task(name=SUBMIT_TASK, Request="worker.tasks:Unshown", Strategy="worker.tasks:strict", throws=(JobNotDone,))
def submit_job(job: str) -> str:
    """Take one signed job (docs/submitting.md); its id is the result."""
    try:
        return submit(job, room())
    except NotTaken as refusal:
        raise JobNotDone(f"{refusal.why}: {refusal}") from None
    except NOT_NOW as error:
        time.sleep(PAUSE_SECONDS)
        raise ComesAgain(error.code, exc=JobNotDone(error.code)) from None


def tell_celery(task: Task, job_id: str, outcome: Outcome | None) -> str | None:
    """End the task as the job's state says; the job itself is settled already, and nothing here can change it."""
    if outcome is None:
        # Taken by another, settled, or cancelled while it was queued: this delivery has no verdict of its own.
        job = room().jobs.get(job_id)
        if job is not None and job.status is JobStatus.CANCELLED:
            revoked(task, "cancelled", expired=False)
        raise Ignore
    if outcome.decision is None:
        return outcome.result
    why = f"{outcome.decision.code}: {outcome.decision.message}"
    match outcome.status:
        case JobStatus.SCHEDULED | JobStatus.PARKED:
            # Nothing is published: the job waits in MongoDB, and the scheduler sends it again.
            raise Retry(why, exc=JobNotDone(why), when=outcome.decision.at)
        case JobStatus.EXPIRED | JobStatus.CANCELLED:
            revoked(task, why, expired=outcome.status is JobStatus.EXPIRED)
            raise Ignore
    raise JobNotDone(why)


def revoked(task: Task, why: str, *, expired: bool) -> None:
    """Show the job as REVOKED. Celery ranks that below a state of our own; only from RETRY may any state follow."""
    show(task, "task-retried", exception=why)
    show(task, "task-revoked", terminated=False, signum=None, expired=expired)


def show(task: Task, event: str, **fields: Any) -> None:
    """Tell Flower, if that is possible: what it shows must never decide what becomes of a job."""
    try:
        task.send_event(event, **fields)
    except Exception as error:  # noqa: BLE001 - whatever the way to the broker can raise
        log.warning("event.lost event=%s error=%s", event, type(error).__name__)
