"""Everything a scheduler process works with. It has no Vault: nothing it does needs a token or a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actas.clock import Clock, utc_now
from actas.records import Job
from actas.settings import Settings
from actas.stores import database
from actas.stores.blacklist import Blacklist
from actas.stores.grants import Grants
from actas.stores.jobs import Jobs


@dataclass(frozen=True, slots=True)
class Queue:
    """The way to the workers, as the scheduler needs it; Celery is behind it, in ``scheduler.tasks``."""

    #: Send these jobs' ids to the workers, over one connection.
    send_jobs: Callable[[Sequence[Job]], None]
    #: Ask workers to do a chore (a task's name) for each of these grants.
    ask: Callable[[str, Sequence[str]], None]
    #: How many messages wait in a queue of this name.
    waiting: Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Room:
    jobs: Jobs
    grants: Grants
    blacklist: Blacklist
    queue: Queue
    clock: Clock

    @classmethod
    def open(cls, settings: Settings, queue: Queue, *, clock: Clock = utc_now) -> Room:
        """Open the connection to MongoDB.

        Raises:
            SettingsError: MongoDB is of a kind we cannot keep promises on.
            MongoUnavailable.
        """
        documents = database.connect(settings.mongodb_url)
        database.check(documents)
        return cls(Jobs(documents), Grants(documents), Blacklist(documents), queue, clock)
