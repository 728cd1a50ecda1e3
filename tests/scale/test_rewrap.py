"""A rotation of the KEK over very many grants, while jobs run: none fails, and the old version goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from actas import Client, JobStatus
from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.envelope import new_data_key
from actas.errors import EnvelopeError
from actas.ids import new_id
from actas.retiring import SETTLING, retire_kek
from actas.rewrapping import rewrap
from actas.stores.database import connect as open_database
from actas.stores.wrapped_keys import WrappedKeys
from actas.vault.keys import VaultKeys
from actas.vault.room import VaultRoom, kek_name, key_version
from tests.support import family, settings_from

GRANTS = 100_000
USERS, ROUNDS = 3, 5

#: An administrator's inserts and the app's own wrapping, a thousand at a time.
CHUNK = 1_000


@pytest.fixture
def documents(stack: Stack) -> Iterator[Any]:
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True) as admin:
        yield admin["actas"]
        admin["actas"]["grants"].delete_many({"user": "made"})


def make_grants(count: int, client: Client, documents: Any) -> None:
    now = utc_now()
    for start in range(0, count, CHUNK):
        ids = [new_id() for _ in range(min(CHUNK, count - start))]
        wrapped = client._room.vault.wrap("demo", [(id_, new_data_key()) for id_ in ids])
        keys = [{"id": new_id(), "wrapped": text, "key_version": key_version(text), "made_at": now} for text in wrapped]
        grant = {"app": "demo", "user": "made", "provider": "x", "status": "active", "created_at": now}
        documents["grants"].insert_many(
            {"_id": id_, "account": id_, "data_key": key, **grant} for id_, key in zip(ids, keys, strict=True)
        )


@pytest.mark.timeout(900)
def test_all_data_keys_move_while_jobs_run_and_none_of_them_fails(
    stack: Stack, client: Client, connect, sandbox, documents, scale, user
):
    users: list[str] = []
    count = round(GRANTS * scale)
    make_grants(count, client, documents)
    copied = documents["grants"].find_one({"user": "made"})
    jobs: list[str] = []
    enough = threading.Event()

    def post() -> None:
        while not enough.is_set() or len(jobs) < ROUNDS * USERS:
            for _ in range(USERS):  # new ones each time: their data keys are in no worker's memory yet
                users.append(f"{user}-{len(users)}")
                connect(users[-1])
            for name in users[-2 * USERS :]:
                sandbox.expire_access(name)
                jobs.append(client.schedule("x.post", user=name, payload={"text": new_id()}).id)
            for job in jobs[-2 * USERS :]:
                client.wait(job, timeout=60)

    poster = threading.Thread(target=post)
    operator, scheduler = (settings_from(stack.role_env(role)) for role in ("operator", "scheduler"))
    worker = VaultRoom(settings_from(stack.role_env("worker")))
    with closing(worker), closing(VaultKeys(operator)) as rotating, closing(VaultKeys(scheduler)) as rewrapping:
        database = open_database(scheduler.mongodb_url)
        keys = WrappedKeys(database)
        poster.start()
        try:
            rotating.rotate(kek_name("demo"))
            began = time.monotonic()
            done = rewrap("demo", keys, rewrapping, thorough=True)
            seconds = time.monotonic() - began
        finally:
            enough.set()
            poster.join()
        latest = rotating.kek("demo").latest
        old = documents["grants"].find_one({"user": "made"})["data_key"]
        assert (done.failed, old["key_version"]) == ({}, latest)
        print(f"\n{done.rewrapped} data keys rewrapped in {seconds:.1f} s: {done.rewrapped / seconds:.0f} keys/s")  # noqa: T201
        counts = keys.counts("demo")
        assert counts.keys() == {latest}
        assert counts[latest] >= count + len(users)
        retired = retire_kek("demo", keys, rotating, utc_now() + SETTLING + timedelta(seconds=1))
        assert retired is not None
        assert retired.min_decryption_version == latest
        with pytest.raises(EnvelopeError):
            worker.unwrap("demo", [(copied["_id"], copied["data_key"]["wrapped"])])
        database.client.close()
    assert {client.job(job).status for job in jobs} == {JobStatus.SUCCEEDED}
    print(f"{len(jobs)} jobs ran meanwhile")  # noqa: T201
    assert {family(sandbox, name)["reuse"] for name in users} == {0}
    for name in users:  # and after it
        sandbox.expire_access(name)
        job = client.wait(client.schedule("x.post", user=name, payload={"text": "after"}).id, timeout=60)
        assert job.status is JobStatus.SUCCEEDED
