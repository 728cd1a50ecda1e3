"""A day in the life of many grants of four kinds: they are exchanged as often as their kind needs, and not once more.

The provider, MongoDB, Vault and Redis are real, and so are the worker's and the scheduler's parts; only time is not: the
worker, the scheduler and the provider are put ahead together, half an hour at a time. What is needed is computed here,
from the profiles alone, and not with the code under test.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr

from actas import Client
from actas.celery_config import EXCHANGE_TASK
from actas.clock import utc_now
from actas.embedded import processes
from actas.embedded.stack import APP, Stack
from actas.installing import installer
from actas.sandbox.remote import SandboxControl
from scheduler.room import Queue
from scheduler.room import Room as SchedulerRoom
from scheduler.rotate import rotate
from tests.conftest import TIMES
from tests.support import settings_from
from worker import chores
from worker.errors import TokenPending
from worker.room import Room

GRANTS = 10_000
THREADS = 8

STEP = timedelta(minutes=30)
STEPS = 48
#: Beat ticks so often in a step.
TICKS = 60

#: An access token is good for the step it was got in, and for the next one.
ACCESS = timedelta(minutes=55)


@dataclass(frozen=True)
class Kind:
    #: The sandbox's own profile.
    true: dict[str, object]
    #: What actas is told of it, where that is less.
    told: dict[str, object] | None = None
    #: Without an exchange a refresh token lives so long; None: exchanges do not matter to it.
    life: timedelta | None = None
    say_refresh_expiry: bool = False


# Lives are chosen so that a grant's own moment of care, anywhere from 70 to 90 % of its life, falls between two steps. The
# fixed ends lie behind the day, so near that care for them, which would be of no use, would come within it.
KINDS = {
    "rotating": Kind({"kind": "rotating", "lifetime_seconds": 132 * 60}, life=timedelta(minutes=132)),
    "windowed": Kind(
        {"kind": "rotating", "lifetime_seconds": 96 * 60, "reuse_window_seconds": 60},
        told={"kind": "rotating", "reuse_window_seconds": 60},  # the rest is said in each reply
        life=timedelta(minutes=96),
        say_refresh_expiry=True,
    ),
    "sliding": Kind(
        {"kind": "sliding", "idle_seconds": 66 * 60, "lifetime_seconds": 25 * 3600}, life=timedelta(minutes=66)
    ),
    "static": Kind({"kind": "static", "lifetime_seconds": 25 * 3600}),
}

#: How often a job needs a grant, in steps; 0: never. Each grant has one of these, and a phase of its own.
PERIODS = (0, 1, 2, 3, 5, 8, 13)

TABLE = """
[providers.{name}]
authorize_url = "{url}/i/oauth2/authorize"
token_url = "{url}/2/oauth2/token"
api_url = "{url}"
account_path = "/2/users/me"
account_id = ["data", "id"]
fatal_errors = [{{ error = "invalid_request", description = "Value passed for the token was invalid" }}]
refresh = {{ {profile} }}
"""


def is_needed(n: int, step: int) -> bool:
    """Whether a job is due that needs the n-th grant of a kind."""
    period = PERIODS[n % len(PERIODS)]
    return period > 0 and (step + n) % period == 0


def exchanges_needed(kind: Kind, n: int) -> int:
    """What a day takes: an exchange where a job finds no living access token, or where the refresh token would end."""
    exchanges, since = 0, timedelta()  # the connection brought tokens at the very beginning
    for step in range(1, STEPS + 1):
        since += STEP
        due = False
        if kind.life is not None:
            assert since < kind.life, "it died"
            assert not 0.7 * kind.life <= since < 0.9 * kind.life, "the moment of care is not for this test to know"
            due = since >= 0.9 * kind.life
        if due or (is_needed(n, step) and since >= ACCESS):
            exchanges, since = exchanges + 1, timedelta()
    return exchanges


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    """Servers, roles and the sandbox, with a client for each kind; no worker and no scheduler but those of the test."""
    secret = secrets.token_urlsafe(24)
    clients = {
        name: {"secret": secret, "refresh": kind.true, "say_refresh_expiry": kind.say_refresh_expiry}
        for name, kind in KINDS.items()
    }
    sandbox = {"clients": clients, "access_seconds": int(ACCESS.total_seconds())}
    with Stack(tmp_path_factory.mktemp("day"), sandbox=sandbox) as stack:
        stack.start_servers()
        stack.install()
        bao = stack.servers.bao
        tables = (stack.directory / "providers.toml").read_text()
        for name, kind in KINDS.items():
            fields = (kind.told or kind.true).items()
            profile = ", ".join(f"{field} = {json.dumps(value)}" for field, value in fields)  # as TOML writes them, too
            tables += TABLE.format(name=name, url=stack.sandbox_url, profile=profile)
            installer.set_client_credentials(
                app=APP,
                provider=name,
                client_id=name,
                client_secret=SecretStr(secret),
                vault_addr=bao.url,
                vault_token=bao.token,
            )
        (stack.directory / "providers.toml").write_text(tables)
        process = processes.sandbox(
            stack._place, stack._write_sandbox_config(), stack._address("sandbox"), stack._common
        )
        stack.processes = {"sandbox": process}
        process.launch()
        process.wait_ready()
        yield stack


class Day:
    """The fleet of one day, in this process: grants by name, a worker, a scheduler, and the queue between them cut short."""

    def __init__(self, stack: Stack, per_kind: int, pool: ThreadPoolExecutor) -> None:
        self.now = utc_now()
        self.sandbox = SandboxControl(stack.sandbox_url)
        self.pool = pool
        self.worker = Room.open(settings_from(stack.role_env("worker") | TIMES), clock=lambda: self.now)
        self.scheduler = SchedulerRoom.open(
            settings_from(stack.role_env("scheduler")),
            Queue(send_jobs=lambda _: None, ask=self._ask, waiting=lambda _: 0),
            clock=lambda: self.now,
        )
        self.names = {(kind, n): f"{kind}-{n}" for kind in KINDS for n in range(per_kind)}
        with Client(settings_from(stack.role_env("app-demo")), clock=lambda: self.now) as client:
            self.grants = {name: id_ for kind in KINDS for name, id_ in self._connected(client, kind)}

    def close(self) -> None:
        self.worker.close()
        self.scheduler.vault.close()
        self.scheduler.jobs._jobs.database.client.close()

    def _connected(self, client: Client, kind: str) -> Iterator[tuple[str, str]]:
        names = [name for (of_kind, _), name in self.names.items() if of_kind == kind]
        replies = self.sandbox.make_grants(kind, names)

        def store(name: str, tokens: dict[str, object]) -> str:
            return client.store_grant(user=name, provider=kind, account=name, tokens=tokens).id

        return zip(names, self.pool.map(store, names, replies), strict=True)

    def _ask(self, task: str, grants: Sequence[str]) -> None:
        assert task == EXCHANGE_TASK
        assert all(self.pool.map(lambda grant: chores.exchange_grant(grant, self.worker), grants))

    def pass_(self, time: timedelta) -> None:
        self.now += time
        self.sandbox.put_ahead((self.now - utc_now()).total_seconds())

    def act(self, name: str) -> SecretStr:
        """A job's part: look at the grant, and get an access token."""
        while True:
            try:
                return self.worker.exchange.access_token(
                    self.worker.grants.get(self.grants[name]), asked_by="job"
                ).token
            except TokenPending:
                continue

    def run_jobs(self, step: int) -> None:
        # Two at once want the same grant: together they need one exchange at most.
        for token in self.pool.map(
            self.act, [name for (_, n), name in self.names.items() if is_needed(n, step) for _ in range(2)]
        ):
            assert token

    def care(self) -> None:
        for _ in range(TICKS):
            if rotate(self.scheduler)["asked"] == 0:
                return
        assert rotate(self.scheduler)["asked"] == 0, "beat does not get round in half an hour"


@pytest.mark.timeout(7200)
def test_a_day_takes_the_exchanges_that_each_kind_needs_and_not_one_more(stack, scale):
    with ThreadPoolExecutor(THREADS) as pool, closing(Day(stack, round(GRANTS * scale / len(KINDS)), pool)) as day:
        for step in range(1, STEPS + 1):
            day.pass_(STEP)
            if step % 2:  # whoever of them comes first, the other finds its work done
                day.run_jobs(step)
                day.care()
            else:
                day.care()
                day.run_jobs(step)
        ledger = day.sandbox.ledger()
        found = {family["account"]: family["exchanges"] for family in ledger["families"]}
        needed = {name: exchanges_needed(KINDS[kind], n) for (kind, n), name in day.names.items()}
        assert found == needed
        assert (ledger["counts"]["reuse"], ledger["counts"]["refused"]) == (0, 0)
        assert all(family["living"] for family in ledger["families"])
        # Worth little if one of the reasons for an exchange did not come up.
        reasons = Counter(row["asked_by"] for row in day.worker.documents["effects"].find({"kind": "exchange"}))
        assert reasons.keys() == {"job", "care"}
        assert reasons.total() == sum(needed.values())
        print(f"\n{len(needed)} grants: {reasons['job']} exchanges for jobs, {reasons['care']} for care")  # noqa: T201
        for kind in KINDS:  # never used in all that day, and as good as ever
            token = day.act(f"{kind}-0").get_secret_value()
            me = httpx.get(f"{stack.sandbox_url}/2/users/me", headers={"authorization": f"Bearer {token}"})
            assert me.json()["data"]["username"] == f"{kind}-0"
