"""The scheduler's doors: one small Celery task per tick, and the queue as Celery has it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from celery.signals import worker_init

from actas.celery_config import ACT_TASK, SEND_EVENTS_TASK
from actas.errors import ActasError, Unavailable
from actas.records import Job
from actas.settings import Settings
from scheduler.app import app
from scheduler.deliver import deliver, send_events
from scheduler.dispatch import dispatch
from scheduler.drill import drill
from scheduler.preflight import preflight
from scheduler.purge import purge_blacklist, purge_files, purge_jobs
from scheduler.reconcile import reconcile
from scheduler.renew_keys import renew_keys
from scheduler.rescue import rescue
from scheduler.resume import resume
from scheduler.revoke import revoke
from scheduler.rewrap import rewrap
from scheduler.room import Queue, Room
from scheduler.rotate import rotate
from scheduler.verify import verify

log = logging.getLogger(__name__)

Counts = dict[str, int]


@cache
def room() -> Room:
    return Room.open(Settings.from_env(), Queue(send_jobs, ask, waiting))


@worker_init.connect
def open_room(**_: Any) -> None:
    """Fail at the start, with one line, rather than at the first tick."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its INFO lines hold addresses, queries and all
    try:
        room()
    except ActasError as error:
        raise SystemExit(f"actas: {error}") from None
    except Exception as error:  # noqa: BLE001 - Celery would log it, text and all, and go on without a room
        raise SystemExit(f"actas: unexpected {type(error).__name__} while starting") from None


# Flower is for jobs: ticks several times a second would bury them. One tick a minute is shown, as a sign of life; what
# all of them do stands in the log.


@app.task(name="actas.dispatch", send_events=False)
def dispatch_task() -> Counts:
    return tick(dispatch)


@app.task(name="actas.rescue", send_events=False)
def rescue_task() -> Counts:
    return tick(rescue)


@app.task(name="actas.reconcile", send_events=False)
def reconcile_task() -> Counts:
    return tick(reconcile)


@app.task(name="actas.resume", send_events=False)
def resume_task() -> Counts:
    return tick(resume)


@app.task(name="actas.revoke", send_events=False)
def revoke_task() -> Counts:
    return tick(revoke)


@app.task(name="actas.drill", send_events=False)
def drill_task() -> Counts:
    return tick(drill)


@app.task(name="actas.rewrap", send_events=False)
def rewrap_task() -> Counts:
    return tick(rewrap)


@app.task(name="actas.renew_keys", send_events=False)
def renew_keys_task() -> Counts:
    return tick(renew_keys)


@app.task(name="actas.verify", send_events=False)
def verify_task() -> Counts:
    return tick(verify)


@app.task(name="actas.rotate", send_events=False)
def rotate_task() -> Counts:
    return tick(rotate)


@app.task(name="actas.purge_jobs", send_events=False)
def purge_jobs_task() -> Counts:
    return tick(purge_jobs)


@app.task(name="actas.purge_files", send_events=False)
def purge_files_task() -> Counts:
    return tick(purge_files)


@app.task(name="actas.deliver", send_events=False)
def deliver_task() -> Counts:
    return tick(deliver)


@app.task(name="actas.preflight", send_events=False)
def preflight_task() -> Counts:
    return tick(preflight)


@app.task(name=SEND_EVENTS_TASK, send_events=False)
def send_events_task(of_app: str) -> Counts:
    try:
        return send_events(str(of_app), room())
    except Unavailable as error:
        log.warning("send_events.skipped %s", error.code)
        return {}


@app.task(name="actas.purge_blacklist")
def purge_blacklist_task() -> Counts:
    return tick(purge_blacklist)


#: By the name of a tick: held while one runs.
_running: dict[str, threading.Lock] = {}


def tick(service: Callable[[Room], Counts]) -> Counts:
    """Run one tick, unless the same one still runs here: slow ones would pile up and hold every thread.

    An outage skips it, too: the next one finds the same work.
    """
    name = service.__name__
    running = _running.setdefault(name, threading.Lock())
    if not running.acquire(blocking=False):
        log.info("%s busy=1", name)
        return {"busy": 1}
    try:
        counts = service(room())
    except Unavailable as error:
        log.warning("%s.skipped %s", name, error.code)
        return {}
    finally:
        running.release()
    if any(counts.values()):
        log.info("%s %s", name, " ".join(f"{what}={count}" for what, count in counts.items()))
    return counts


# --- the queue ---


def send_jobs(jobs: Sequence[Job]) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for job in jobs:
            app.send_task(
                ACT_TASK,
                args=(job.id,),
                task_id=job.id,  # so Flower and everybody else find a job under its own id
                argsrepr=f"(user={job.user!r}, action={job.action!r}, at={job.run_at:%Y-%m-%dT%H:%M:%SZ})",
                kwargsrepr="{}",
                producer=producer,
            )


def ask(task: str, ids: Sequence[str]) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for each in ids:
            app.send_task(task, args=(each,), producer=producer)


def waiting(queue: str) -> int:
    """Messages in a queue that nobody has taken yet.

    Declared, not passively: kombu's passive declare looks for the key without its global prefix and never finds it.
    """
    with app.pool.acquire(block=True) as connection:
        declared = connection.default_channel.queue_declare(queue=queue, durable=True, auto_delete=False)
        return int(declared.message_count)
