"""Everything a scheduler process works with. Vault lets it rewrap and read webhooks: it sees no token, no data key."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from actas.clock import Clock, utc_now
from actas.errors import SettingsError
from actas.gates import GateReader
from actas.http import Http
from actas.records import Job
from actas.settings import Settings
from actas.slots import Slots
from actas.states import JobStatus
from actas.stores import database
from actas.stores.blacklist import Blacklist
from actas.stores.care import Care
from actas.stores.dispatching import Dispatching, Pair
from actas.stores.drills import Drills
from actas.stores.files import Files
from actas.stores.grants import Grants
from actas.stores.jobs import Jobs
from actas.stores.outbox import Outbox
from actas.stores.preflight import Preflight
from actas.stores.renewals import Renewals
from actas.stores.untold import Untold
from actas.stores.verifications import Verifications
from actas.stores.wrapped_keys import Wrapped, WrappedKeys
from actas.vault.keys import VaultKeys
from scheduler.shares import THREADS, Shares
from scheduler.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Queue:
    """The way to the workers, as the scheduler needs it; Celery is behind it, in ``scheduler.tasks``."""

    #: Send these jobs' ids to the workers, over one connection.
    send_jobs: Callable[[Sequence[Job]], None]
    #: Ask somebody to do something (a task's name) for each of these grants, jobs or apps.
    ask: Callable[[str, Sequence[str]], None]
    #: How many messages wait in a queue of this name.
    waiting: Callable[[str], int]


@dataclass(slots=True)
class Rewrapping:
    """Where the last tick of rewrapping left off; in memory only, for what is done is known by its version."""

    app: str = ""
    after: Wrapped | None = None


@dataclass(slots=True)
class Round:
    """Where the last tick of dispatch left off, if there were more than it could look at."""

    after: Pair | None = None


@dataclass(frozen=True, slots=True)
class Room:
    documents: database.Documents
    jobs: Jobs
    dispatching: Dispatching
    grants: Grants
    blacklist: Blacklist
    files: Files
    queue: Queue
    clock: Clock
    wrapped_keys: WrappedKeys
    renewals: Renewals
    drills: Drills
    verifications: Verifications
    care: Care
    vault: VaultKeys
    untold: Untold
    outbox: Outbox
    preflight: Preflight
    webhooks: Webhooks
    http: Http
    #: A data key older than this is made anew.
    data_key_max_age: timedelta
    gates: GateReader
    #: By worker process: how many jobs it runs at once. Empty if nobody has said so.
    living_workers: Callable[[], Mapping[str, int]]
    #: How long jobs are kept after they ended in a state; those of other states for ever.
    keep: Mapping[JobStatus, timedelta]
    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    rewrapping: Rewrapping = field(default_factory=Rewrapping)
    round: Round = field(default_factory=Round)
    shares: Shares = field(default_factory=Shares)
    jitter: Callable[[], float] = random.random
    shuffle: Callable[[list[str]], None] = random.shuffle

    @staticmethod
    def kept(settings: Settings) -> Mapping[JobStatus, timedelta]:
        """How long jobs are kept after they ended in a state, as far as anything is said of it."""
        days = {
            JobStatus.SUCCEEDED: settings.keep_succeeded_days,
            JobStatus.CANCELLED: settings.keep_cancelled_days,
            JobStatus.EXPIRED: settings.keep_expired_days,
            JobStatus.FAILED: settings.keep_failed_days,
        }
        return {status: timedelta(days=count) for status, count in days.items() if count is not None}

    @classmethod
    def open(cls, settings: Settings, queue: Queue, *, clock: Clock = utc_now) -> Room:
        """Open the connection to MongoDB. Vault is not asked before something must be rewrapped: nothing else needs it.

        Raises:
            SettingsError: a setting is missing, or MongoDB is of a kind we cannot keep promises on.
            MongoUnavailable.
        """
        if settings.redis_url is None:
            raise SettingsError("ACTAS_REDIS_URL is needed by schedulers: gates are kept there")
        documents = database.connect(settings.mongodb_url)
        database.check(documents)
        vault = VaultKeys(settings)
        return cls(
            documents=documents,
            jobs=Jobs(documents),
            dispatching=Dispatching(documents),
            grants=Grants(documents),
            blacklist=Blacklist(documents),
            files=Files(documents),
            queue=queue,
            clock=clock,
            wrapped_keys=WrappedKeys(documents),
            renewals=Renewals(documents),
            drills=Drills(documents),
            verifications=Verifications(documents),
            care=Care(documents),
            vault=vault,
            untold=Untold(documents),
            outbox=Outbox(documents),
            preflight=Preflight(documents),
            webhooks=Webhooks(vault, plain_allowed=settings.env == "development"),
            http=Http(connections=THREADS),
            data_key_max_age=timedelta(days=settings.data_key_max_age_days),
            gates=GateReader(settings.redis_url, clock),
            living_workers=Slots(settings.redis_url).living,
            keep=cls.kept(settings),
        )

    def close(self) -> None:
        """Close the connections; a scheduler process need not, its end does."""
        self.documents.client.close()
        self.vault.close()
        self.gates.close_connections()
        self.http.close()
