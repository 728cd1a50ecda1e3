"""One run: the stack comes up, apps work while things break, everything comes to rest, and the books are read."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from pydantic import SecretStr

from actas import Client, Job, JobStatus
from actas.actions import BUILT_IN, Action
from actas.celery_config import SUBMIT_TASK, celery_config
from actas.clock import utc_now
from actas.gates import GateReader
from actas.sandbox.remote import SandboxControl
from actas.states import FINAL
from actas.stores.database import Documents, connect
from tests.chaos.load import Desk, User
from tests.chaos.plan import Strike
from tests.chaos.stack import APPS, HTTP_SECONDS, SETTLE_SECONDS, ChaosStack
from tests.chaos.strikes import SLOW_SECONDS, Strikes
from tests.faults.injecting import Faults
from tests.lateness import check_lateness
from tests.ledger import Books, Discrepancy, Kind, can_be_looked_for, check
from tests.support import settings_from

DESKS_PER_APP, USERS_PER_DESK = 2, 5

#: The longest chain of waits that the last fault may leave behind: a provider's gate was closed for five minutes, who
#: waits there comes back up to a tenth of that later; and then whatever ends within a job's lease, three times.
REST_SECONDS = 420.0

#: What is due within this time moves, too.
SOON = timedelta(seconds=5)

#: From the answer of a lookup to the socket, and from there to the provider's books.
GRACE = timedelta(seconds=HTTP_SECONDS + SLOW_SECONDS[1])

#: How long a post is not on its account's timeline: with all the plan lets the provider be late, less than its profile says.
HIDDEN_SECONDS = SETTLE_SECONDS / 2

#: Whether somebody looks for what uncertain jobs have done.
RECONCILED = type(BUILT_IN["x.post"]).find is not Action.find


@dataclass(frozen=True, slots=True)
class Found:
    """What a run has come to."""

    books: Books
    discrepancies: Sequence[Discrepancy]
    faults: Counter[str]
    deeds: Counter[str]
    exchanges: int


@dataclass(frozen=True, slots=True)
class Chaos:
    draw: random.Random
    plan: Sequence[Strike]
    seconds: float
    pace: float

    def run(self, directory: Path, say: Callable[[str], None]) -> Found:
        with ExitStack() as closing:
            # Refused, a double would be told to us; taken, it is there for everybody to see. Both must not happen.
            refuses = self.draw.random() < 0.5
            stack = closing.enter_context(ChaosStack(directory, sandbox={} if refuses else {"duplicate_window": 0}))
            stack.start()
            say(f"the stack is up; the provider {'refuses' if refuses else 'takes'} duplicates")
            sandbox = SandboxControl(stack.sandbox_url)
            sandbox.settle(HIDDEN_SECONDS)
            strikes = Strikes(stack, sandbox, Faults(stack.faults), say)
            clients = [closing.enter_context(Client(settings_from(stack.role_env(f"app-{app}")))) for app in APPS]
            documents = closing.enter_context(connect(SecretStr(stack.admin_url)).client)["actas"]
            submit = closing.enter_context(submitting(stack))
            ends_at = datetime.now(UTC) + timedelta(seconds=self.seconds)
            desks = [
                self._desk(client, sandbox, number, ends_at, submit)
                for client in clients
                for number in range(DESKS_PER_APP)
            ]
            gates = GateReader(stack.servers.valkey.url, utc_now)
            closing.callback(gates.close_connections)
            troubles = self._work(desks, strikes)
            whole_since = datetime.now(UTC)
            say(f"{self.seconds:7.1f} s  nothing is broken any more")
            troubles += rest(desks, strikes, documents, gates)
            quiet_since = datetime.now(UTC)
            for desk in desks:  # no grant is dead in silence: each is used once more, and nothing excuses lateness now
                desk.ask_everybody()
            troubles += rest(desks, strikes, documents, gates)
            return found(desks, strikes, documents, (whole_since, quiet_since), troubles)

    def _desk(
        self, client: Client, sandbox: SandboxControl, number: int, ends_at: datetime, submit: Callable[[str], None]
    ) -> Desk:
        users = [User(f"{client.app}-{number}-{n}") for n in range(USERS_PER_DESK)]
        pace = self.pace / (DESKS_PER_APP * len(APPS))
        return Desk(client, sandbox, random.Random(self.draw.getrandbits(64)), users, ends_at, pace, submit)

    def _work(self, desks: Sequence[Desk], strikes: Strikes) -> list[str]:
        """Load and faults, at once; what a desk has died of."""
        stop = threading.Event()
        with ThreadPoolExecutor(len(desks)) as pool:
            working = [pool.submit(desk.work, stop) for desk in desks]
            try:
                strikes.carry_out(self.plan, time.monotonic() + self.seconds)
            finally:
                stop.set()
        return [f"an app got {error!r}" for one in working if (error := one.exception())]


@contextmanager
def submitting(stack: ChaosStack) -> Iterator[Callable[[str], None]]:
    """The broker's side of an app that has nothing else; what it cannot send is not sent."""
    with Celery("submitting", set_as_current=False) as celery:
        celery.conf.update(celery_config(stack.servers.valkey.url))

        def submit(token: str) -> None:
            with suppress(OperationalError, redis.RedisError):
                celery.send_task(SUBMIT_TASK, args=(token,), retry=False)

        yield submit


def rest(desks: Sequence[Desk], strikes: Strikes, documents: Documents, gates: GateReader) -> list[str]:
    """Wait until every job has come to its end, or to something that only time or a user will end, and gates are open.

    Returns what is wrong with the gates: with nothing broken, none may stay closed. The jobs are the ledger's matter.
    """
    began, moving, closed = time.monotonic(), ["?"], dict[str, datetime]()
    while (moving or closed) and time.monotonic() < began + REST_SECONDS:
        for desk in desks:
            desk.care()
        strikes.supervise()
        time.sleep(1)
        moving = unfinished(documents, datetime.now(UTC) + SOON)
        closed = gates.closed(gates.names())
    strikes.say(
        f"at rest after {time.monotonic() - began:.0f} s; unfinished: {Counter(moving) or 'nothing'}; "
        f"closed: {', '.join(closed) or 'nothing'}"
    )
    return [f"gate {gate} is closed until {until}, and nothing is broken" for gate, until in closed.items()]


def unfinished(documents: Documents, before: datetime) -> list[str]:
    """What moves still, or will before a time, by its status."""
    grants = {grant["_id"]: grant for grant in documents["grants"].find()}
    ended = [str(status) for status in FINAL]
    due = documents["jobs"].find({"status": {"$nin": ended}, "held": {"$ne": True}, "run_at": {"$lte": before}})
    moving = [
        job["status"]
        for job in due
        if job["status"] != JobStatus.UNCERTAIN
        or (RECONCILED and can_be_looked_for(job["connection"], grants.get(job["grant"])))
    ]
    return moving + [grant["status"] for grant in grants.values() if grant["status"] == "revoking"]


def found(
    desks: Sequence[Desk], strikes: Strikes, documents: Documents, since: tuple[datetime, datetime], troubles: list[str]
) -> Found:
    """What the books say; ``since`` when nothing was broken, and since when nothing moved, either."""
    ledger = strikes.sandbox.ledger()
    effects: list[dict[str, Any]] = list(documents["effects"].find())
    books = Books(
        now=datetime.now(UTC),
        asked=[asked for desk in desks for asked in desk.asked],
        jobs=[Job.from_doc(doc) for doc in documents["jobs"].find()],
        effects=effects,
        posts=ledger["posts"],
        families=ledger["families"],
        grants=list(documents["grants"].find()),
        owners=[owner for desk in desks for owner in desk.owners()],
        deaths=[death for desk in desks for death in desk.deaths],
        grace=GRACE,
        frozen=strikes.frozen,
        strict=RECONCILED,
        whole_since=since[0],
        quiet_since=since[1],
        patience=timedelta(seconds=REST_SECONDS),
    )
    complaints = [*troubles, *(complaint for desk in desks for complaint in desk.complaints)]
    unexplained = [Discrepancy(Kind.UNEXPLAINED, complaint) for complaint in complaints]
    return Found(
        books=books,
        discrepancies=[*check(books), *check_lateness(books), *unexplained],
        faults=strikes.counts,
        deeds=sum((desk.counts for desk in desks), Counter()),
        exchanges=ledger["counts"]["exchanges"],
    )
