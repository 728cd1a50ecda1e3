"""A plan carried out: each strike when its time has come, and undone when it has lasted; what is gone is started again."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import hvac
import redis

from actas.embedded import EmbeddedError
from actas.embedded.child import Child
from actas.fault_points import FaultPoint
from actas.sandbox.remote import SandboxControl, SandboxError
from tests.chaos.plan import WORKERS, Strike
from tests.chaos.stack import ChaosStack
from tests.faults.injecting import Faults
from tests.ledger import Window

LOOK_SECONDS = 0.1

#: What "slow" is: some of it longer than a worker waits (tests/chaos/stack.py), all of it shorter than that and the
#: time for which the provider may hide what it has done.
SLOW_SECONDS = (0.5, 10.0)

ENDPOINTS = {"posting": "tweets", "exchanging": "token", "revoking": "revoke", "looking": "timeline"}

STEPS = tuple(FaultPoint)

#: How long after its pause a process is still about what it was at.
GETTING_GOING = timedelta(seconds=2)

#: So often somebody is started again, when nothing is broken any more.
RESTARTS = 3

#: Of a process that nobody here has killed.
UNASKED = "ended by itself"


@dataclass(slots=True)
class Strikes:
    stack: ChaosStack
    sandbox: SandboxControl
    faults: Faults
    say: Callable[[str], None]
    #: What took place, by "target: fault".
    counts: Counter[str] = field(default_factory=Counter)
    #: When a process stood still that may have been sending to the provider, or the provider itself.
    frozen: list[Window] = field(default_factory=list)
    _began: float = 0.0
    _undo: list[tuple[float, Strike, contextlib.ExitStack]] = field(default_factory=list)
    #: Who is to stay away for now.
    _away: set[str] = field(default_factory=set)

    def carry_out(self, plan: Sequence[Strike], until: float) -> None:
        """Everything that is planned, and the end of it; ``until`` on the monotonic clock."""
        self._began, left = time.monotonic(), list(plan)
        while time.monotonic() < until or left or self._undo:
            now = time.monotonic() - self._began
            for entry in [entry for entry in self._undo if entry[0] <= now]:
                self._undo.remove(entry)
                self._try(entry[1], "ends", entry[2].close)
            while left and left[0].at <= now:
                self._begin(left.pop(0))
            self.supervise()
            time.sleep(LOOK_SECONDS)
        self.recover()

    def recover(self) -> None:
        """Everything that was broken is whole again."""
        for _, _, undo in self._undo:
            undo.close()
        self._away.clear()
        self.stack.line.mend()
        self.faults.disarm()
        for child in self.stack.children:
            child.resume()
            if not child.alive:
                child.launch()
        for child in self.stack.children:
            self._wait_ready(child)
        self.sandbox.behave()
        self.sandbox.release()

    def _begin(self, strike: Strike) -> None:
        undo = contextlib.ExitStack()
        if self._try(strike, "", lambda: undo.enter_context(BY_NAME[strike.fault](self, strike))):
            self.counts[f"{strike.target.rstrip('0123456789')}: {strike.fault}"] += 1
        self._undo.append((strike.at + strike.seconds, strike, undo))

    def _try(self, strike: Strike, what: str, do: Callable[[], object]) -> bool:
        """Do it, and say so; what is meant to be broken may be broken already."""
        try:
            do()
        except (OSError, redis.RedisError, hvac.exceptions.VaultError, SandboxError) as error:
            self.say(f"{strike} {what}: did not take, {type(error).__name__}")
            return False
        self.say(f"{strike} {what}")
        return True

    def _wait_ready(self, child: Child) -> None:
        """A worker may end by itself still, moments after Redis was away (docs/reliability.md)."""
        for _ in range(RESTARTS):
            with contextlib.suppress(EmbeddedError):
                child.wait_ready()
                return
            self.supervise()
        child.wait_ready()

    def supervise(self) -> None:
        """Who is gone is started again, unless it is to stay away."""
        for child in self.stack.children:
            if child.name not in self._away and not child.alive:
                if child.died:
                    self.counts[f"{child.name.rstrip('0123456789')}: {UNASKED}"] += 1
                    self.say(f"{time.monotonic() - self._began:7.1f} s  {child.name} {child.state}; started again")
                child.launch()

    def _child(self, name: str) -> Child:
        name = {"redis": "valkey", "mongodb": "mongod", "vault": "bao", "provider": "sandbox"}.get(name, name)
        name = name.replace("mongodb", "mongod")
        return next(child for child in self.stack.children if child.name == name)

    # --- the faults; each lasts until its ``yield`` returns ---

    @contextlib.contextmanager
    def kill(self, strike: Strike) -> Iterator[None]:
        child = self._child(strike.target)
        self._away.add(child.name)
        child.kill()
        yield
        self._away.discard(child.name)  # and the supervisor starts it

    @contextlib.contextmanager
    def stopped(self, strike: Strike) -> Iterator[None]:
        """As its service manager stops it."""
        child = self._child(strike.target)
        self._away.add(child.name)
        child.terminate()
        yield
        child.wait(0)
        self._away.discard(child.name)

    @contextlib.contextmanager
    def stop(self, strike: Strike) -> Iterator[None]:
        """SIGSTOP."""
        begun = datetime.now(UTC)
        child = self._child(strike.target)
        child.pause()
        yield
        child.resume()
        if strike.target in {*WORKERS, "provider"}:
            self.frozen.append((begun, datetime.now(UTC) + GETTING_GOING))

    @contextlib.contextmanager
    def second_beat(self, strike: Strike) -> Iterator[None]:
        beat = self.stack.second_beat()
        beat.launch()
        try:
            yield
        finally:
            beat.kill()

    @contextlib.contextmanager
    def kill_at_step(self, strike: Strike) -> Iterator[None]:
        armed = self.faults.arm(_step(strike), "kill")
        yield
        (self.stack.faults / "armed" / armed.name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def hold_at_step(self, strike: Strike) -> Iterator[None]:
        begun = datetime.now(UTC)
        with self.faults.held(_step(strike)):
            yield
        self.frozen.append((begun, datetime.now(UTC) + GETTING_GOING))

    @contextlib.contextmanager
    def wiped(self, strike: Strike) -> Iterator[None]:
        with redis.Redis.from_url(self.stack.servers.valkey.url.get_secret_value(), socket_timeout=2) as admin:
            admin.flushall()
        yield

    @contextlib.contextmanager
    def sealed(self, strike: Strike) -> Iterator[None]:
        self._vault().sys.seal()
        yield
        bao = self.stack.servers.bao
        bao.kill()  # it unseals itself when it starts
        bao.launch()

    @contextlib.contextmanager
    def tokens_end(self, strike: Strike) -> Iterator[None]:
        self._vault().sys.revoke_prefix("auth/approle/login")
        yield

    @contextlib.contextmanager
    def down(self, strike: Strike) -> Iterator[None]:
        self.stack.line.cut()
        yield
        self.stack.line.mend()

    def _vault(self) -> hvac.Client:
        bao = self.stack.servers.bao
        return hvac.Client(url=bao.url, token=bao.token.get_secret_value(), timeout=3)

    @contextlib.contextmanager
    def misbehaves(self, strike: Strike) -> Iterator[None]:
        """For so many requests."""
        rule = RULES[strike.fault](strike)
        self.sandbox.misbehave(ENDPOINTS[strike.target], times=max(1, round(strike.seconds)), **rule)
        yield


def _step(strike: Strike) -> FaultPoint:
    return STEPS[int(strike.draw * len(STEPS))]


def _slow(strike: Strike) -> dict:
    shortest, longest = SLOW_SECONDS
    return {"how": "slow", "seconds": shortest + strike.draw * (longest - shortest)}


def _limited(strike: Strike) -> dict:
    """As X says it of a post, and as everybody says it of a token."""
    seconds = 1 + round(strike.draw * 6)
    if strike.target == "exchanging":
        return {"how": "status", "status": 429, "headers": {"retry-after": str(seconds)}}
    headers = {
        "x-rate-limit-limit": "100",
        "x-rate-limit-remaining": "0",
        "x-rate-limit-reset": str(int(time.time()) + seconds),
    }
    return {"how": "status", "status": 429, "headers": headers}


RULES: dict[str, Callable[[Strike], dict]] = {
    "503": lambda _: {"how": "status", "status": 503},
    "500": lambda _: {"how": "status", "status": 500},
    "429": _limited,
    "slow": _slow,
    "reset before": lambda _: {"how": "drop_before"},
    "reset after": lambda _: {"how": "drop_after"},
    "malformed": lambda _: {"how": "malformed"},
}

BY_NAME: dict[str, Callable[[Strikes, Strike], contextlib.AbstractContextManager[None]]] = {
    "kill": Strikes.kill,
    "stop": Strikes.stop,
    "stands still": Strikes.stop,
    "stopped": Strikes.stopped,
    "second beat": Strikes.second_beat,
    "kill at a step": Strikes.kill_at_step,
    "hold at a step": Strikes.hold_at_step,
    "wiped": Strikes.wiped,
    "sealed": Strikes.sealed,
    "its tokens end": Strikes.tokens_end,
    "down": Strikes.down,
    **dict.fromkeys(RULES, Strikes.misbehaves),
}
