"""Everything a worker process works with: opened once per process, after any fork."""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from actas.actions import Actions
from actas.clock import Clock, utc_now
from actas.errors import SettingsError
from actas.http import Http
from actas.providers import Providers
from actas.settings import Settings
from actas.signing import KeyVersions
from actas.stores import database
from actas.stores.drills import Drills
from actas.stores.effects import Effects
from actas.stores.files import Files
from actas.stores.grants import Grants
from actas.stores.jobs import Jobs
from actas.stores.outbox import Outbox
from actas.stores.refusals import Refusals
from actas.stores.resolutions import Resolutions
from actas.stores.verifications import Verifications
from actas.vault.room import VaultRoom
from worker.audit import Audit
from worker.exchange import Exchange
from worker.gates import Gates
from worker.keys import DataKeys
from worker.outage import Outage
from worker.rescue_slots import RescueSlots


def process_name() -> str:
    """Where we run, for operators, and something of our own: a container that starts again has the same host and pid.

    Else the jobs of the one that died would count as running.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Room:
    settings: Settings
    documents: database.Documents
    jobs: Jobs
    resolutions: Resolutions
    refusals: Refusals
    grants: Grants
    effects: Effects
    audit: Audit
    drills: Drills
    files: Files
    outbox: Outbox
    verifications: Verifications
    vault: VaultRoom
    key_versions: KeyVersions
    keys: DataKeys
    http: Http
    gates: Gates
    outage: Outage
    slots: RescueSlots
    exchange: Exchange
    providers: Providers
    actions: Actions
    clock: Clock
    #: Who we are in job claims, for operators; each claim adds something of its own.
    name: str
    jitter: Callable[[], float] = random.random

    @classmethod
    def open(cls, settings: Settings, *, clock: Clock = utc_now) -> Room:
        """Open all connections, and refuse to start where actas could not keep its promises.

        Raises:
            SettingsError: a setting, a credential or the kind of MongoDB is wrong.
            VaultUnavailable, MongoUnavailable: not there, or sealed.
        """
        if settings.redis_url is None:
            raise SettingsError("ACTAS_REDIS_URL is needed by workers: gates are kept there")
        documents = database.connect(settings.mongodb_url)
        database.check(documents)
        vault = VaultRoom(settings)
        vault.check()
        name = process_name()
        grants, effects, slots = Grants(documents), Effects(documents), RescueSlots(settings.redis_url)
        audit = Audit(effects, clock, name)
        keys = DataKeys(vault, seconds=settings.data_key_cache_seconds)
        http, outbox = Http(), Outbox(documents)

        def capped(app: str, provider: str, until: datetime | None, code: str) -> None:
            outbox.capped(app, provider, until=until, code=code, now=clock())

        gates = Gates(settings.redis_url, clock, capped=capped)
        providers = Providers.load(settings.providers_file)
        return cls(
            settings=settings,
            documents=documents,
            jobs=Jobs(documents),
            resolutions=Resolutions(documents),
            refusals=Refusals(documents),
            grants=grants,
            effects=effects,
            audit=audit,
            drills=Drills(documents),
            files=Files(documents),
            outbox=outbox,
            verifications=Verifications(documents),
            vault=vault,
            key_versions=KeyVersions(vault),
            keys=keys,
            http=http,
            gates=gates,
            outage=Outage(
                gates,
                name,
                [vault.check, lambda: database.check(documents)],
                seems_to_begin=lambda: not database.is_within_reach(documents),
            ),
            slots=slots,
            exchange=Exchange(
                grants=grants,
                audit=audit,
                slots=slots,
                keys=keys,
                vault=vault,
                http=http,
                gates=gates,
                providers=providers,
                settings=settings,
                clock=clock,
            ),
            providers=providers,
            actions=Actions(),
            clock=clock,
            name=name,
        )

    def close(self) -> None:
        """Close the connections; a worker process need not, its end does."""
        self.documents.client.close()
        self.vault.close()
        self.http.close()
        self.gates.close_connections()
        self.slots.close()
