"""A run that takes each path that a token takes, also those on which something fails; for whoever reads what is left."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from actas import Client, Grant, GrantStatus, JobStatus
from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.envelope import Purpose
from actas.fault_points import FaultPoint
from actas.sandbox.remote import SandboxControl
from tests.attacks.tampering import connect_user
from tests.dying import dies_at
from tests.support import dance, eventually, made_stale, nothing_is_sent
from worker.renewal import renew_data_key
from worker.room import Room


@dataclass
class Run:
    """Does one thing after the other that a token goes through; says what came of it."""

    stack: Stack
    client: Client
    sandbox: SandboxControl
    room: Room
    documents: Any
    #: The ids of all its jobs, and its users.
    jobs: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)

    def all_of_it(self) -> tuple[str, str]:
        """Every path but one, which is :meth:`rescued`; a job that was done, and what it has posted."""
        user, grant = self.connected()
        done = self.post(user, text := f"readable by design {uuid4()}")
        self.post(user, text, JobStatus.FAILED)  # a duplicate
        self.sandbox.expire_access(user)
        self.post(user, "after a 401 and an exchange")
        self.limited(user)
        made_stale(self.documents, user)
        self.post(user, "after another exchange")
        self.refused_with_an_echo(user, self.stored(grant))
        self.looked_for(user)
        self.renewed(grant)
        self.post(user, "under a new data key")
        self.dead_with_an_echo()
        self.disconnected()
        return done, text

    def connected(self) -> tuple[str, Grant]:
        grant = connect_user(self.client, self.sandbox)
        self.users.append(grant.user)
        return grant.user, grant

    def post(self, user: str, text: str, status: JobStatus = JobStatus.SUCCEEDED) -> str:
        job = self.client.schedule("x.post", user=user, payload={"text": text})
        self.jobs.append(job.id)
        eventually(lambda: self.client.job(job.id).status is status, what=f"the job is {status}")
        return job.id

    def looked_for(self, user: str) -> None:
        self.sandbox.misbehave("tweets", "drop_after", times=1, account=user)
        job = self.post(user, "perhaps")
        assert "uncertain" in [step["to"] for step in self.client.job(job).history]

    def refused_with_an_echo(self, user: str, grant: Grant) -> None:
        """A provider that says in its refusal what it was sent."""
        access = self.room.keys.read(grant, Purpose.ACCESS).get_secret_value()
        body = {"detail": f"no good: Bearer {access}"}
        self.sandbox.misbehave("tweets", "status", status=400, body=body, times=1, account=user)
        self.post(user, "echo", JobStatus.FAILED)

    def limited(self, user: str) -> None:
        headers = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(int(time.time()) + 2)}
        self.sandbox.misbehave("tweets", "status", status=429, headers=headers, body={}, times=1, account=user)
        self.post(user, "limited")

    def dead_with_an_echo(self) -> None:
        user, grant = self.connected()
        token = self.room.keys.read(self.stored(grant), Purpose.REFRESH).get_secret_value()
        body = {"error": "invalid_grant", "error_description": f"unknown token {token}"}
        self.sandbox.misbehave("token", "status", status=400, body=body, account=user)
        self.sandbox.expire_access(user)
        self.post(user, "never", JobStatus.PARKED)

    def renewed(self, grant: Grant) -> None:
        long_ago = utc_now() - timedelta(days=1000)
        with nothing_is_sent(self.stack):  # or a tick may have one of the stack's own workers do it first
            self.documents["grants"].update_one({"_id": grant.id}, {"$set": {"data_key.made_at": long_ago}})
            assert renew_data_key(grant.id, self.room)

    def disconnected(self) -> None:
        user, _ = self.connected()
        self.post(user, "the last one")
        self.client.disconnect(user=user, provider="x")
        eventually(lambda: self.client.grants(user=user)[0].status is GrantStatus.REVOKED, what="the grant is revoked")

    def rescued(self) -> Grant:
        """A worker dies with the answer in a rescue slot, and nobody comes for it."""
        user = f"u{uuid4().hex[:12]}"
        self.users.append(user)
        tokens = dance(self.client, self.sandbox, user) | {"expires_in": 0}
        grant = self.client.store_grant(user=user, provider="x", account=user, tokens=tokens)
        dies_at(FaultPoint.EXCHANGE_RESCUED, lambda: self.room.exchange.access_token(self.stored(grant)))
        return grant

    def grants(self) -> list[Grant]:
        return [grant for user in self.users for grant in self.client.grants(user=user)]

    def stored(self, grant: Grant) -> Grant:
        found = self.room.grants.get(grant.id)
        assert found is not None
        return found
