"""A random mix of faults, drawn from a seed: what is to happen to whom, and what that may cost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import hvac
import redis
from pymongo.errors import AutoReconnect

from actas import JobStatus
from actas.fault_points import FaultPoint
from actas.states import FINAL
from tests.faults.every_step import World
from tests.faults.injecting import Struck, heal
from tests.support import connected, eventually, family, made_stale, nothing_is_sent

USERS = 6

#: Until the first job is due, the others are there.
IN_A_MOMENT = timedelta(seconds=3)

STEPS = [point for point in FaultPoint if point.startswith("exchange.")]

#: Whose process is killed, or stands still past the lease, at one of these may have had the only copy of a reply.
REPLY_AT_RISK = {FaultPoint.EXCHANGE_JOURNALED, FaultPoint.EXCHANGE_ANSWERED}

#: Last seen here, a job may be posting; a moment may have passed since.
PERHAPS_POSTING = {
    "",
    str(FaultPoint.EXCHANGE_LEASED),
    str(FaultPoint.EXCHANGE_DONE),
    *(str(point) for point in FaultPoint if point.startswith("job.")),
}

#: What a token endpoint does once to one user; True where the reply is lost for good.
MISBEHAVIOURS: dict[str, tuple[dict, bool]] = {
    "drops its reply": ({"how": "drop_after"}, True),
    "answers 500 after rotating": ({"how": "status_after", "status": 500}, True),
    "answers 503": ({"how": "status", "status": 503}, False),
    "answers 429": ({"how": "status", "status": 429, "headers": {"retry-after": "1"}}, False),
    "drops the connection": ({"how": "drop_before"}, False),
    "is slow": ({"how": "slow", "seconds": 1}, False),
}

#: The leases of the stack (tests/faults/conftest.py) are over by then.
PAST_THE_LEASE_SECONDS = 24

SETTLED = {*FINAL, JobStatus.PARKED}


@dataclass(slots=True)
class Fate:
    """What is to happen to one user, and what has."""

    user: str
    what: str
    step: FaultPoint
    misbehaviour: str | None
    job: str = ""
    text: str = ""
    disconnected: bool = False
    #: A reply was lost, or its receiver killed or stopped: the grant may be dead of that.
    may_be_lost: bool = False
    #: Its request to the API may have been under way in a struck process.
    may_be_uncertain: bool = False


@dataclass(slots=True)
class Mix:
    seed: int
    world: World
    fates: list[Fate] = field(default_factory=list)
    #: What was done, in order; printed where the books do not balance.
    script: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _stopped: dict[int, float] = field(default_factory=dict)
    _wiped: bool = False

    def run(self) -> None:
        draw = random.Random(self.seed)
        whats = ["kill", "stop", "flush", "seal", "mongod", "step down", "vault tokens", "disconnect", "nothing"]
        weights = [4, 1, 1, 1, 1, 1, 1, 2, 2]
        for n in range(USERS):
            misbehaviour = draw.choice(sorted(MISBEHAVIOURS)) if draw.random() < 0.4 else None
            what = draw.choices(whats, weights)[0]
            self.fates.append(Fate(f"seed{self.seed}-{n}", what, draw.choice(STEPS), misbehaviour))
        for fate in self.fates:
            self._begin(fate)
        eventually(self._looked_after, seconds=240, what=f"all jobs have settled; so far {self.script}")
        self.world.faults.disarm()
        heal(self.world.stack)

    def _begin(self, fate: Fate) -> None:
        world = self.world
        connected(world.client, world.sandbox, fate.user)
        made_stale(world.documents, fate.user)
        if fate.misbehaviour is not None:
            rule, loses = MISBEHAVIOURS[fate.misbehaviour]
            world.sandbox.misbehave("token", account=fate.user, times=1, **rule)
            fate.may_be_lost |= loses
        fate.text = f"posted by {fate.user}"
        at = datetime.now(UTC) + IN_A_MOMENT
        with nothing_is_sent(world.stack):  # or the job could be there before its fault is armed
            fate.job = world.client.schedule("x.post", user=fate.user, payload={"text": fate.text}, at=at).id
            if fate.what != "nothing":
                strike = fate.what if fate.what in {"kill", "stop"} else "hold"
                world.faults.arm(fate.step, strike, fate.job)
        self.script.append(f"{fate.user}: {fate.what} at {fate.step}; the endpoint {fate.misbehaviour or 'is well'}")

    def _looked_after(self) -> bool:
        """What a supervisor does, and what the script wants; True once every job has settled."""
        for struck in self.world.faults.struck():
            if struck.number not in self._seen and struck.argument in {fate.job for fate in self.fates}:
                self._seen.add(struck.number)
                self._suffered(struck)
        now = time.monotonic()
        for pid in [pid for pid, until in self._stopped.items() if until < now]:
            del self._stopped[pid]
            for process in self.world.stack.processes.values():
                if process.pid == pid:
                    process.resume()
        for process in self.world.stack.processes.values():
            if process.died:
                process.start()
        return not self._stopped and all(self._settled(fate) for fate in self.fates)

    def _settled(self, fate: Fate) -> bool:
        """Nothing more happens; what is uncertain is looked for, unless there is nothing to look with."""
        status = self.world.client.job(fate.job).status
        return status in SETTLED or (status is JobStatus.UNCERTAIN and (fate.disconnected or fate.may_be_lost))

    def _suffered(self, struck: Struck) -> None:
        (fate,) = [fate for fate in self.fates if fate.job == struck.argument]
        self.script.append(f"{fate.user}: {fate.what} happened at {struck.point}, others at {list(struck.threads)}")
        if struck.what == "hold":
            _MEANWHILE[fate.what](self, fate)
            self.world.faults.release(struck.number)
            return
        if struck.what == "stop":
            self._stopped[struck.pid] = time.monotonic() + PAST_THE_LEASE_SECONDS
        for argument, point in struck.threads:
            for other in self.fates:
                if other.job == argument:
                    other.may_be_lost |= point in REPLY_AT_RISK or (
                        self._wiped and point == FaultPoint.EXCHANGE_RESCUED
                    )
                    other.may_be_uncertain |= point in PERHAPS_POSTING

    # --- what happens while somebody is held ---

    def flush(self, _: Fate) -> None:
        self._wiped = True
        with redis.Redis.from_url(self.world.stack.servers.valkey.url.get_secret_value()) as admin:
            admin.flushall()
        # A reply that had been rescued before, and whose receiver was killed, is gone now.
        for struck in self.world.faults.struck():
            for argument, point in struck.threads if struck.what in {"kill", "stop"} else []:
                for fate in self.fates:
                    fate.may_be_lost |= fate.job == argument and point == FaultPoint.EXCHANGE_RESCUED

    def seal(self, _: Fate) -> None:
        self._vault().sys.seal()
        self.world.stack.servers.bao.restart()

    def vault_tokens(self, _: Fate) -> None:
        self._vault().sys.revoke_prefix("auth/approle/login")

    def mongod(self, _: Fate) -> None:
        self.world.stack.servers.mongod.kill()
        self.world.stack.servers.mongod.start()

    def step_down(self, _: Fate) -> None:
        step_down(self.world)

    def disconnect(self, fate: Fate) -> None:
        fate.disconnected = True
        self.world.client.disconnect(user=fate.user, provider="x")

    def _vault(self) -> hvac.Client:
        bao = self.world.stack.servers.bao
        return hvac.Client(url=bao.url, token=bao.token.get_secret_value())

    # --- the books ---

    def check(self, posts: Callable[[str], list[str]]) -> None:
        for fate in self.fates:
            self._check_job(fate, posts(fate.user))
            if fate.disconnected:
                self._check_disconnected(fate)
            else:
                self._check_grant(fate)
            reuse = family(self.world.sandbox, fate.user)["reuse"]
            assert reuse == 0 or fate.may_be_lost, f"{fate}: reuse"

    def _check_job(self, fate: Fate, posted: list[str]) -> None:
        job = self.world.client.job(fate.job)
        match job.status:
            case JobStatus.SUCCEEDED:
                assert posted == [fate.text], f"{fate}: {posted}"
            case JobStatus.UNCERTAIN:
                assert fate.may_be_uncertain, f"{fate}: {job.history}"
                assert len(posted) <= 1, f"{fate}: {posted}"
            case JobStatus.PARKED:
                assert fate.may_be_lost, f"{fate}: {job.error}"
                assert posted == [], f"{fate}: {posted}"
            case JobStatus.CANCELLED:
                assert fate.disconnected, f"{fate}: {job.error}"
                assert posted == [], f"{fate}: {posted}"
            case other:
                raise AssertionError(f"{fate}: {other} {job.error}")

    def _check_disconnected(self, fate: Fate) -> None:
        stored = lambda: self.world.documents["grants"].find_one({"user": fate.user})  # noqa: E731
        eventually(lambda: stored()["status"] == "revoked", seconds=90, what=f"{fate} is revoked")
        assert not {"refresh_token", "access_token", "data_key"} & set(stored()), fate
        assert not family(self.world.sandbox, fate.user)["alive"], fate

    def _check_grant(self, fate: Fate) -> None:
        """It works, and is exchanged; or it says why not."""
        client = self.world.client
        grant = client.grant(user=fate.user, provider="x")
        if grant.status == "active":
            made_stale(self.world.documents, fate.user)
            job = client.schedule("x.post", user=fate.user, payload={"text": f"again by {fate.user}"})
            done = eventually(
                lambda: (now := client.job(job.id)).status in SETTLED and now, seconds=90, what=f"{fate} goes on"
            )
            if done.status is JobStatus.SUCCEEDED:
                return
            grant = client.grant(user=fate.user, provider="x")  # a late reply had healed it, and reuse had killed it
        assert (grant.status, grant.failure and grant.failure.code) == ("reauthorization_required", "lost_rotation"), (
            fate
        )
        assert fate.may_be_lost, f"{fate}: {grant.failure}"


def step_down(world: World) -> None:
    """As in a failover: the primary gives up, all connections are closed, and after an election there is one again."""
    admin = world.documents.client.admin
    admin.command("replSetStepDown", 3, secondaryCatchUpPeriodSecs=0, force=True)

    def there_is_one() -> bool:
        with suppress(AutoReconnect):  # not yet, or just over a connection that is closed
            return bool(admin.command("hello")["isWritablePrimary"])
        return False

    eventually(there_is_one, seconds=60, what="there is a primary again")


_MEANWHILE: dict[str, Callable[[Mix, Fate], None]] = {
    "flush": Mix.flush,
    "seal": Mix.seal,
    "vault tokens": Mix.vault_tokens,
    "mongod": Mix.mongod,
    "step down": Mix.step_down,
    "disconnect": Mix.disconnect,
}
