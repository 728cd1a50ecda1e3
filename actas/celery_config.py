"""How messages travel: one configuration for worker and scheduler, as plain data (Celery itself is not imported here).

Each value was run as it stands; why these and not the defaults is in docs/adr, 2 and 3.
"""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

#: Task names and queues are part of the interface: operators and other producers know them.
ACT_TASK, ACT_QUEUE = "actas.act_as_user", "actas.act"
#: Chores that need somebody who can decrypt; each takes a grant's id.
GRANTS_QUEUE = "actas.grants"
REVOKE_TASK, EXCHANGE_TASK = "actas.revoke_grant", "actas.exchange_grant"
RENEW_KEY_TASK, VERIFY_TASK = "actas.renew_data_key", "actas.verify_grant"
#: This one takes a job's id: whoever looks at the provider must decrypt, too.
RECONCILE_TASK = "actas.reconcile_job"
GRANT_TASKS = (REVOKE_TASK, EXCHANGE_TASK, RENEW_KEY_TASK, VERIFY_TASK, RECONCILE_TASK)
#: For producers with only the broker; takes one signed job (docs/submitting.md).
SUBMIT_TASK, SUBMIT_QUEUE = "actas.submit", "actas.submit"
SCHEDULER_QUEUE = "actas.scheduler"
#: Sends the events that are due for an app; takes the app's name.
EVENTS_QUEUE, SEND_EVENTS_TASK = "actas.events", "actas.send_events"

QUEUES = (ACT_QUEUE, GRANTS_QUEUE, SUBMIT_QUEUE, SCHEDULER_QUEUE, EVENTS_QUEUE)

#: The remote-control commands that answer: those that look. The rest are taken out of both workers.
REMOTE_CONTROL = (
    "active",
    "active_queues",
    "clock",
    "conf",
    "enable_events",
    "heartbeat",
    "hello",
    "ping",
    "registered",
    "reserved",
    "revoked",
    "scheduled",
    "stats",
)

#: Redis gives an unacknowledged message to another worker after this many seconds. A job is rescued much earlier, and a
#: second delivery loses the claim, so this is only a net for the small tasks.
VISIBILITY_TIMEOUT = 900


class OutlivesBroker:
    """For kombu's Redis channels: a process does not end because its broker does.

    kombu 5.7 acknowledges and puts back messages over the connection they came by; once that is lost and given up, it
    fails with an error that is none of a connection, and Celery calls it unrecoverable. With one, both let it be.
    """

    connection: Any

    def _connparams(self, *args: Any, **options: Any) -> Any:
        if self.connection.client is None:
            raise ConnectionError("the connection is gone; what is not acknowledged comes again")
        return super()._connparams(*args, **options)  # type: ignore[misc]


def celery_config(broker_url: SecretStr) -> dict[str, Any]:
    url = broker_url.get_secret_value()
    return {
        "broker_url": url,
        "broker_transport_options": _redis_options() if url.startswith(("redis", "sentinel", "unix")) else {},
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_limit": 50,
        "broker_pool_acquire_timeout": 10,
        # Delivery is at least once, whatever is set here; the claim in MongoDB makes it once. Late: a message whose
        # worker dies comes back.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_pool": "threads",
        "worker_prefetch_multiplier": 1,
        # Results and errors live in MongoDB; a result backend would be a second, worse copy of the truth.
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "result_extended": False,  # would store raw arguments
        # JSON only: a pickle is code, and whoever can write to the broker would run it.
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_create_missing_queues": False,
        "task_queues": {name: {"exchange": name, "routing_key": name} for name in QUEUES},
        "task_default_queue": ACT_QUEUE,
        "task_routes": {ACT_TASK: {"queue": ACT_QUEUE}, SUBMIT_TASK: {"queue": SUBMIT_QUEUE}}
        | {name: {"queue": GRANTS_QUEUE} for name in GRANT_TASKS}
        | {SEND_EVENTS_TASK: {"queue": EVENTS_QUEUE}},
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "enable_utc": True,
        "timezone": "UTC",
        "beat_max_loop_interval": 1,
        "beat_enable_remote_control": True,
    }


def _redis_options() -> dict[str, Any]:
    return {
        "visibility_timeout": VISIBILITY_TIMEOUT,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "max_connections": 200,
        "global_keyprefix": "actas:",  # Redis ACLs are narrowed to it
    }
