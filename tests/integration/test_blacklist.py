"""The blacklist as an app uses it for its own JWTs, on a real MongoDB."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from actas import Client, JobStatus
from actas.embedded.stack import Stack
from tests.support import nothing_is_sent

HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def entries(stack: Stack) -> Iterator[Any]:
    """The collection, with an administrator's powers."""
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]["blacklist"]


def test_an_id_is_refused_from_the_moment_it_is_added(client, user):
    claims = {"jti": f"{user}-1", "sub": user, "iat": now().timestamp()}
    assert client.blacklist.refuses(claims) is None
    assert client.blacklist.add(f"{user}-1", expires_at=now() + HOUR, reason="stolen") is True
    assert client.blacklist.refuses(claims) == "stolen"
    assert client.blacklist.refuses(claims | {"jti": f"{user}-2"}) is None


def test_adding_an_id_again_says_so_and_changes_neither_reason_nor_shortens_its_life(client, user, entries):
    expires_at = now() + HOUR
    assert client.blacklist.add(user, expires_at=expires_at, reason="first") is True
    assert client.blacklist.add(user, expires_at=now(), reason="second") is False
    assert client.blacklist.refuses({"jti": user}) == "first"
    entry = entries.find_one({"_id": f"jti:demo/{user}"})
    assert abs(entry["expires_at"] - expires_at) < timedelta(milliseconds=1)
    assert entry.keys() == {"_id", "reason", "created_at", "expires_at"}
    assert client.blacklist.add(user, expires_at=(expires_at + HOUR).timestamp()) is False
    assert entries.find_one({"_id": f"jti:demo/{user}"})["expires_at"] > expires_at + HOUR / 2, "it may be lengthened"


def test_of_many_who_add_an_id_at_once_one_is_the_first(client, user):
    def add(n: int) -> bool:
        return client.blacklist.add(user, expires_at=now() + HOUR, reason=f"by {n}")

    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(add, range(40))) == [False] * 39 + [True]


def test_another_apps_ids_are_its_own(client: Client, user, app_settings):
    with Client(app_settings.model_copy(update={"app": "other"})) as other:
        other.blacklist.add(user, expires_at=now() + HOUR)
        other.revoke_user(user, jobs="keep")
        assert client.blacklist.refuses({"jti": user, "sub": user, "iat": 0}) is None
        assert other.blacklist.refuses({"jti": user}) == "revoked"


def test_a_blacklist_that_was_kept_works_after_the_client_was_closed(app_settings, user):
    client = Client(app_settings)
    blacklist = client.blacklist
    blacklist.add(user, expires_at=now() + HOUR)
    client.close()
    assert blacklist.refuses({"jti": user}) == "revoked"
    client.close()


def test_a_job_whose_id_is_added_is_not_done(client, connect, stack, user, posts):
    connect(user)
    with nothing_is_sent(stack):
        job = client.schedule("x.post", user=user, payload={"text": "never"})
        client.blacklist.add(job.id, expires_at=job.deadline, reason="a mistake")
    stopped = client.wait(job.id)
    assert (stopped.status, stopped.error.code) == (JobStatus.CANCELLED, "revoked")
    assert posts(user) == []
