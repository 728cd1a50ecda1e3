"""Everything a scheduler process works with. It never sees a token or a key: Vault lets it rewrap, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from actas.clock import Clock, utc_now
from actas.errors import SettingsError
from actas.gates import GateReader
from actas.records import Job
from actas.settings import Settings
from actas.slots import Slots
from actas.stores import database
from actas.stores.blacklist import Blacklist
from actas.stores.care import Care
from actas.stores.dispatching import Dispatching
from actas.stores.drills import Drills
from actas.stores.grants import Grants
from actas.stores.jobs import Jobs
from actas.stores.renewals import Renewals
from actas.stores.verifications import Verifications
from actas.stores.wrapped_keys import Wrapped, WrappedKeys
from actas.vault.keys import VaultKeys


@dataclass(frozen=True, slots=True)
class Queue:
    """The way to the workers, as the scheduler needs it; Celery is behind it, in ``scheduler.tasks``."""

    #: Send these jobs' ids to the workers, over one connection.
    send_jobs: Callable[[Sequence[Job]], None]
    #: Ask workers to do a chore (a task's name) for each of these grants, or jobs.
    ask: Callable[[str, Sequence[str]], None]
    #: How many messages wait in a queue of this name.
    waiting: Callable[[str], int]


@dataclass(slots=True)
class Rewrapping:
    """Where the last tick of rewrapping left off; in memory only, for what is done is known by its version."""

    app: str = ""
    after: Wrapped | None = None


@dataclass(frozen=True, slots=True)
class Room:
    documents: database.Documents
    jobs: Jobs
    dispatching: Dispatching
    grants: Grants
    blacklist: Blacklist
    queue: Queue
    clock: Clock
    wrapped_keys: WrappedKeys
    renewals: Renewals
    drills: Drills
    verifications: Verifications
    care: Care
    vault: VaultKeys
    #: A data key older than this is made anew.
    data_key_max_age: timedelta
    gates: GateReader
    #: By worker process: how many jobs it runs at once. Empty if nobody has said so.
    living_workers: Callable[[], Mapping[str, int]]
    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    rewrapping: Rewrapping = field(default_factory=Rewrapping)

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
        return cls(
            documents=documents,
            jobs=Jobs(documents),
            dispatching=Dispatching(documents),
            grants=Grants(documents),
            blacklist=Blacklist(documents),
            queue=queue,
            clock=clock,
            wrapped_keys=WrappedKeys(documents),
            renewals=Renewals(documents),
            drills=Drills(documents),
            verifications=Verifications(documents),
            care=Care(documents),
            vault=VaultKeys(settings),
            data_key_max_age=timedelta(days=settings.data_key_max_age_days),
            gates=GateReader(settings.redis_url, clock),
            living_workers=Slots(settings.redis_url).living,
        )

    def close(self) -> None:
        """Close the connections; a scheduler process need not, its end does."""
        self.documents.client.close()
        self.vault.close()
        self.gates.close_connections()
