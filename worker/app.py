"""Celery for the worker: how messages travel, and nothing about jobs.

Importable with nothing but a broker's address, because Flower imports it too and is told nothing else.
"""

from __future__ import annotations

from celery import Celery
from celery.worker.control import Panel

from actas.celery_config import REMOTE_CONTROL, celery_config
from actas.errors import SettingsError
from actas.settings import BrokerSettings

app = Celery("actas-worker", include=["worker.tasks"])
try:
    app.conf.update(celery_config(BrokerSettings.from_env().broker))
except SettingsError as error:
    raise SystemExit(f"actas: {error}") from None  # this module is a process's front door: one line, no traceback

# Whoever may look may also send remote-control commands: Flower must. These are all that answer; what stops, steers or
# feeds a worker does not (`election` with a made-up body would even crash it).
for command in set(Panel.data) - set(REMOTE_CONTROL):
    del Panel.data[command]
