"""Celery for the worker: how messages travel, and nothing about jobs.

Importable with nothing but a broker's address, because Flower imports it too and is told nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.worker import consumer
from celery.worker.control import Panel
from kombu.transport import redis

from actas.celery_config import REMOTE_CONTROL, OutlivesBroker, celery_config
from actas.errors import SettingsError
from actas.settings import BrokerSettings

log = logging.getLogger(__name__)

app = Celery("actas-worker", include=["worker.tasks"])
try:
    app.conf.update(celery_config(BrokerSettings.from_env().broker))
except SettingsError as error:
    raise SystemExit(f"actas: {error}") from None  # this module is a process's front door: one line, no traceback

# Whoever may look may also send remote-control commands: Flower must. These are all that answer; what stops, steers or
# feeds a worker does not (`election` with a made-up body would even crash it).
for command in set(Panel.data) - set(REMOTE_CONTROL):
    del Panel.data[command]


# --- what is no message ---
#
# Producers put messages into a queue, and a mistake of theirs must not stop anybody. Celery and kombu take one that has
# another shape than theirs for a mistake of their own: the worker ends, and so does the next one, on redelivery.

#: What comes of another shape than expected; no connection's error is among these.
OUT_OF_SHAPE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


class Consumer(consumer.Consumer):
    """Celery's own, but what it cannot take is thrown away, and it may be told to take nothing."""

    #: Where nothing can be done with messages they stay in their queues, for whoever can.
    taking = True

    def take(self, taking: bool) -> None:  # noqa: FBT001 - a state, not an option
        """Take messages from now on, or none; may be called in any thread."""
        if taking is not self.taking:
            self.taking = taking
            self.call_soon(self._as_told)

    def on_ready(self) -> None:
        """After each connection to the broker: Celery takes messages from all queues then."""
        super().on_ready()
        self._as_told()

    def _as_told(self) -> None:
        if self.task_consumer is not None:  # there is none between two connections
            (self.task_consumer.consume if self.taking else self.task_consumer.cancel)()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        take = super().create_task_handler(*args, **kwargs)

        def take_or_throw_away(message: Any) -> Any:
            try:
                return take(message)
            except OUT_OF_SHAPE as error:
                log.warning("message.thrown_away error=%s", type(error).__name__)
                return message.reject_log_error(log, self.connection_errors)

        return take_or_throw_away


class Channel(OutlivesBroker, redis.Channel):
    """kombu's own, but what is no envelope is not put to anybody's account, and nothing is unpacked."""

    class Message(redis.Channel.Message):  # type: ignore[misc, valid-type]
        def __init__(self, payload: Any, **options: Any) -> None:
            if payload["headers"].get("compression"):
                raise ValueError("a few bytes could become all memory")
            super().__init__(payload, **options)

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except OUT_OF_SHAPE as error:
            log.warning("message.no_envelope error=%s", type(error).__name__)


app.conf.worker_consumer = "worker.app:Consumer"
redis.Transport.Channel = Channel
