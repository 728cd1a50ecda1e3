"""Celery for the scheduler, and the beat table: a few static entries, each safe to run twice at once.

Stock beat keeps no lock. Two beats are a spare: a tick that runs twice finds nothing left to do the second time. Ticks
expire, so that an outage does not leave a long backlog of them.
"""

from __future__ import annotations

from celery import Celery
from celery.signals import beat_init
from celery.worker.control import Panel
from kombu.transport import redis

from actas.celery_config import REMOTE_CONTROL, SCHEDULER_QUEUE, OutlivesBroker, celery_config
from actas.errors import SettingsError
from actas.settings import BrokerSettings

app = Celery("actas-scheduler", include=["scheduler.tasks"])
try:
    app.conf.update(celery_config(BrokerSettings.from_env().broker))
except SettingsError as error:
    raise SystemExit(f"actas: {error}") from None  # this module is a process's front door: one line, no traceback

# As in the worker: what may be asked from afar, and nothing that steers.
for command in set(Panel.data) - set(REMOTE_CONTROL):
    del Panel.data[command]


class Channel(OutlivesBroker, redis.Channel):
    """kombu's own, but that."""


redis.Transport.Channel = Channel


@beat_init.connect
def quiet(**_: object) -> None:
    """Beat's own process announces no message: its ticks would bury the jobs in Flower."""
    app.conf.task_send_sent_event = False


#: A tick's end is judged by the clock of whoever takes it; this much may that be ahead of beat's.
CLOCK_SKEW_SECONDS = 10


def every(seconds: float, task: str) -> dict[str, object]:
    options = {"queue": SCHEDULER_QUEUE, "expires": max(seconds, CLOCK_SKEW_SECONDS)}
    return {"task": task, "schedule": seconds, "options": options}


app.conf.beat_schedule = {
    "dispatch": every(1, "actas.dispatch"),
    "rescue": every(5, "actas.rescue"),
    "reconcile": every(2, "actas.reconcile"),
    "revoke": every(1, "actas.revoke"),
    "verify": every(2, "actas.verify"),
    "resume": every(30, "actas.resume"),
    "purge-blacklist": every(60, "actas.purge_blacklist"),
    "purge-jobs": every(60, "actas.purge_jobs"),
    "purge-files": every(60, "actas.purge_files"),
    "drill": every(2, "actas.drill"),
    "rewrap": every(60, "actas.rewrap"),
    "renew-keys": every(60, "actas.renew_keys"),
    "rotate": every(30, "actas.rotate"),
    "deliver": every(1, "actas.deliver"),
    "preflight": every(60, "actas.preflight"),
}
