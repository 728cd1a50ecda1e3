"""Deliver: what jobs and grants have to tell goes into the outbox, and from there to the webhooks of apps.

The tick copies and asks; the sending is done by threads of its own share (``scheduler.shares``), at most so many for
each app. A crash anywhere in between has something copied, or sent, once more, under the same id.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from actas.celery_config import EVENTS_QUEUE, SEND_EVENTS_TASK
from actas.errors import VaultDenied
from actas.fault_points import FaultPoint, reached
from actas.http import NoReply, NotSent
from actas.stores.outbox import Row
from actas.webhooks import BadWebhook, Webhook, next_try, not_asked_before
from scheduler.room import Room
from scheduler.shares import SHARE

log = logging.getLogger(__name__)

#: Of jobs and of grants, at once; and how often in one tick.
BATCH, BATCHES = 500, 4

#: So many messages may wait already.
FEW = 16

#: One request, from connect to the last byte.
REQUEST_SECONDS = 10

#: A try that nobody says the end of is over by then, whatever became of it.
TRY_LASTS = timedelta(seconds=60)

#: One message sends for so long; the next tick asks again.
SECONDS = 20

#: An event of an app that has no webhook any more is kept so long.
KEPT_UNWANTED = timedelta(days=1)


def deliver(room: Room) -> dict[str, int]:
    """Copy what is untold into the outbox, and have what is due sent; returns counts."""
    try:
        told = tell(room)
    except VaultDenied:
        log.warning("deliver.refused code=vault_denied: the scheduler may not read webhooks; run `actas init` again")
        return {"told": 0, "asked": 0}
    if room.queue.waiting(EVENTS_QUEUE) > FEW:
        return {"told": told, "asked": 0}
    now = room.clock()
    due = room.outbox.due(now, most=SHARE)
    asked = [app for app, count in due.items() for _ in range(count) if not room.shares.rests(app, now)]
    room.shuffle(asked)  # or the apps of the first names had every thread that becomes free
    room.queue.ask(SEND_EVENTS_TASK, asked)
    return {"told": told, "asked": len(asked)}


def tell(room: Room) -> int:
    """Copy untold events into the outbox, then take them from where they were; returns how many were new there.

    Those of apps without a webhook are only taken away.
    """
    new = 0
    for _ in range(BATCHES):
        tellers = room.untold.find(BATCH)
        if not tellers:
            break
        events = [event for teller in tellers for event in teller.events if room.webhooks.wanted(event.app)]
        new += room.outbox.insert(events, room.clock())
        reached(FaultPoint.EVENTS_COPIED)
        room.untold.clear(tellers)
        if len(tellers) < BATCH:
            break
    return new


def send_events(app: str, room: Room) -> dict[str, int]:
    """Send what is due for an app, one after the other, for a while, and as long as it answers; returns counts.

    Where to is asked first: while Vault is away no try begins, so none is counted.

    Raises:
        VaultUnavailable, VaultDenied, MongoUnavailable, MongoRefused.
    """
    sent = failed = 0
    with room.shares.taken(app) as free:
        ends_at = room.monotonic() + SECONDS
        while free and room.monotonic() < ends_at:
            webhook = _webhook(app, room)
            now = room.clock()
            row = None if room.shares.rests(app, now) else room.outbox.claim(app, now, until=now + TRY_LASTS)
            if row is None:
                break
            if send(row, webhook, room):
                sent += 1
                continue
            failed += 1
            if room.shares.is_slow(app):
                break  # others may have the thread; the next tick asks again
    if sent or failed:
        log.info("events.sent app=%s sent=%d failed=%d", app, sent, failed)
    return {"sent": sent, "failed": failed}


def _webhook(app: str, room: Room) -> Webhook | BadWebhook | None:
    try:
        return room.webhooks.of(app)
    except BadWebhook as error:
        return error


def send(row: Row, webhook: Webhook | BadWebhook | None, room: Room) -> bool:
    """Send one event, once, and write down how that went; False if it did not arrive."""
    app, event = row.event.app, row.event
    if webhook is None:
        room.outbox.bury(row, "no_webhook", room.clock(), kept=KEPT_UNWANTED)
        return False
    if isinstance(webhook, BadWebhook):
        return _not_arrived(row, webhook.code, room)
    try:
        status, not_before = _posted(row, webhook, room)
    except (NotSent, NoReply) as error:
        room.shares.answered(app, answers=False)
        return _not_arrived(row, error.code, room)
    except Exception as error:  # noqa: BLE001 - it would be no better the next time, and would hold up the others
        log.error("event.unsendable event=%s type=%s app=%s error=%s", event.id, event.type, app, type(error).__name__)  # noqa: TRY400 - its text may show what apps wrote
        return _not_arrived(row, "unsendable", room, over=True)
    room.shares.answered(app, answers=True)
    if not 200 <= status < 300:
        if not_before is not None:
            room.shares.rest(app, not_before)
        return _not_arrived(row, f"http_{status}", room, over=status == 410, not_before=not_before)
    room.outbox.delivered(row, f"http_{status}", room.clock())
    log.debug("event.delivered event=%s type=%s app=%s", event.id, event.type, app)
    return True


def _posted(row: Row, webhook: Webhook, room: Room) -> tuple[int, datetime | None]:
    """The answer's status, and before when it wants nothing more, if it says so."""
    body = row.event.body()
    headers = webhook.headers(row.event.id, body, room.clock())
    reply = room.http.send(
        "POST", webhook.url.get_secret_value(), json_body=body, headers=headers, seconds=REQUEST_SECONDS
    )
    return reply.status, not_asked_before(reply.status, reply.headers, room.clock())


def _not_arrived(row: Row, last: str, room: Room, *, over: bool = False, not_before: datetime | None = None) -> bool:
    """It comes again after a pause, or not any more: 410 says that nobody wants it."""
    now, event = room.clock(), row.event
    again = None if over else next_try(row.tries, now, jitter=room.jitter())
    if again is not None and not_before is not None:
        again = max(again, not_before)
    if again is None:
        room.outbox.bury(row, last, now)
        log.error("event.dead event=%s type=%s app=%s last=%s", event.id, event.type, event.app, last)
    else:
        room.outbox.failed(row, last, next_at=again)
        log.warning("event.failed event=%s type=%s app=%s last=%s", event.id, event.type, event.app, last)
    return False
