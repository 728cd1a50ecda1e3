"""One user for each named step, each with a task that is held exactly there, and all of them in one process.

So that what strikes this process strikes every step at once, and the leases of all its victims end while a test waits
once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from celery import Celery

from actas import Client
from actas.celery_config import RENEW_KEY_TASK, celery_config
from actas.embedded.stack import Stack
from actas.fault_points import FaultPoint
from actas.sandbox.remote import SandboxControl
from actas.stores.database import Documents
from tests.faults.injecting import Faults, Strike
from tests.support import connected, made_stale, nothing_is_sent


@dataclass(frozen=True, slots=True)
class Victim:
    user: str
    grant: str
    #: The job that is held, or needs the token, or is looked for; where there is one.
    job: str | None
    strike: Strike


@dataclass(frozen=True, slots=True)
class World:
    client: Client
    sandbox: SandboxControl
    stack: Stack
    documents: Documents
    faults: Faults

    def hold_in(self, worker: str, points: Mapping[str, FaultPoint]) -> Mapping[str, Victim]:
        """Hold one user's task at each of these points, in this worker; the others are stopped.

        The points have names, so that there can be several users at one.
        """
        for name, process in self.stack.processes.items():
            if name.startswith("worker") and name != worker:
                process.stop()
        with nothing_is_sent(self.stack):  # or a job could be there before its fault is armed
            victims = {name: self._hold(point) for name, point in points.items()}
        for victim in victims.values():
            victim.strike.happened(seconds=90)  # lost replies, of which there are some, close the provider's gate
        return victims

    def _hold(self, point: FaultPoint) -> Victim:
        user = f"u{uuid4().hex[:12]}"
        grant = connected(self.client, self.sandbox, user).id
        kind = point.partition(".")[0]
        if kind in {"exchange", "job", "reconcile"}:
            if kind == "exchange":
                made_stale(self.documents, user)
            if kind == "reconcile":  # there is something to look for
                self.sandbox.misbehave("tweets", "drop_after", times=1, account=user)
            job = self.client.schedule("x.post", user=user, payload={"text": f"held at {point}"}).id
            return Victim(user, grant, job, self.faults.arm(point, "hold", job))
        strike = self.faults.arm(point, "hold", grant)
        if kind == "renewal":
            long_ago = {"data_key.made_at": datetime(2020, 1, 1, tzinfo=UTC)}
            self.documents["grants"].update_one({"_id": grant}, {"$set": long_ago})
            self.ask(RENEW_KEY_TASK, grant)
        else:
            self.client.disconnect(user=user, provider="x")
        return Victim(user, grant, None, strike)

    def ask(self, task: str, grant: str) -> None:
        """Ask the workers for a chore, as the scheduler or the console does."""
        with Celery("asking", set_as_current=False) as asking:
            asking.conf.update(celery_config(self.stack.servers.valkey.url))
            asking.send_task(task, args=(grant,))
