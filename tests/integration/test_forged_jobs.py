"""Jobs, messages and ciphertexts that somebody has tampered with. The tamperer may write to MongoDB and to the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Producer
from pymongo import MongoClient

from actas import Client, Job, JobStatus, jws, signing
from actas.celery_config import celery_config
from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.errors import VaultDenied
from actas.ids import new_id
from actas.installing import installer
from actas.vault.room import VaultRoom
from tests.support import eventually, settings_from


@pytest.fixture(scope="module")
def documents(stack: Stack) -> Iterator[Any]:
    """MongoDB with an administrator's powers."""
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]


@pytest.fixture(scope="module")
def mallory(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Another app, added by the installer like any other, with its own key."""
    file = installer.add_app(
        "mallory",
        vault_addr=stack.servers.bao.url,
        vault_token=stack.servers.bao.token,
        mongodb_url=stack.servers.mongod.url,
        out=tmp_path_factory.mktemp("mallory"),
    )
    with Client(settings_from(env_of(file))) as client:
        yield client


def env_of(file: Path) -> dict[str, str]:
    lines = [line.removeprefix("export ") for line in file.read_text().splitlines() if line.startswith("export ")]
    return {name: value.strip("'") for name, value in (line.split("=", 1) for line in lines)}


def waiting_job(client: Client, user: str, text: str = "as signed") -> Job:
    at = datetime.now(UTC) + timedelta(hours=1)
    return client.schedule("x.post", user=user, payload={"text": text}, at=at)


def make_due(documents, job_id: str, **changes: Any) -> None:
    documents["jobs"].update_one({"_id": job_id}, {"$set": {"next_at": utc_now(), **changes}})


def refused(client: Client, job_id: str, code: str) -> None:
    job = client.wait(job_id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, code)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("payload", {"text": "something else"}),
        ("user", "somebody-else"),
        ("action", "x.other"),
        ("run_at", datetime(2026, 1, 1, tzinfo=UTC)),
        ("deadline", datetime(2037, 1, 1, tzinfo=UTC)),
        ("rev", 7),
    ],
)
def test_an_edited_job_document_is_refused(client, connect, documents, user, posts, field, value):
    connect(user)
    job = waiting_job(client, user)
    make_due(documents, job.id, **{field: value})
    refused(client, job.id, "altered")
    assert posts(user) == []


def test_a_job_moved_forward_in_the_database_still_waits_for_its_signed_time(client, connect, documents, user, posts):
    connect(user)
    job = waiting_job(client, user)
    make_due(documents, job.id)
    eventually(lambda: "not_yet" in [step.get("code") for step in client.job(job.id).history], what="put back")
    again = client.job(job.id)
    assert (again.status, again.next_at) == (JobStatus.SCHEDULED, job.run_at)
    assert posts(user) == []


def test_another_jobs_signature_is_refused(client, connect, documents, user):
    connect(user)
    one, other = waiting_job(client, user, "one"), waiting_job(client, user, "other")
    make_due(documents, one.id, jws=other.jws)
    refused(client, one.id, "altered")


@pytest.mark.parametrize("jws", ["", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "💥", "." * 50])
def test_rubbish_in_place_of_a_signature_is_refused(client, connect, documents, user, jws):
    connect(user)
    job = waiting_job(client, user)
    make_due(documents, job.id, jws=jws)
    refused(client, job.id, "bad_header")


def forged(
    documents, room: VaultRoom, keys: signing.KeyVersions, claims: jws.Claims, *, kid_app: str, key_app: str
) -> None:
    """Sign claims with one app's key, name another's in the header, and put the job where a worker finds it."""
    version = keys.newest(key_app)
    signed = jws.signing_input(jws.Claims(**{**fields(claims), "app": kid_app}), key_version=version)
    header, body = signed.split(b".")[0], jws.signing_input(claims, key_version=version).split(b".")[1]
    data = header + b"." + body
    token = f"{data.decode()}.{room.sign(key_app, [data], version=version)[0]}"
    now = utc_now()
    job = Job(jws=token, status=JobStatus.SCHEDULED, next_at=now, created_at=now, **claims.copies())
    documents["jobs"].insert_one(job.to_doc())


def fields(claims: jws.Claims) -> dict[str, Any]:
    return {name: getattr(claims, name) for name in jws.Claims.__slots__}


@pytest.mark.parametrize("kid_app", ["mallory", "demo"], ids=["its own key named", "the victim's key named"])
def test_a_job_for_one_app_signed_by_another_is_refused(client, mallory, connect, documents, user, posts, kid_app):
    grant = connect(user)
    now = utc_now()
    claims = jws.Claims(
        id=new_id(),
        app="demo",
        user=user,
        grant=grant.id,
        provider="x",
        action="x.post",
        payload={"text": "forged"},
        run_at=now,
        deadline=now + timedelta(hours=1),
        issued_at=now,
    )
    room, keys = mallory._room.vault, mallory._room.key_versions
    with pytest.raises(VaultDenied):
        room.sign("demo", [b"x"], version=1)  # Vault itself will not let it use the victim's key
    forged(documents, room, keys, claims, kid_app=kid_app, key_app="mallory")
    refused(client, claims.id, "bad_signature")
    assert posts(user) == []


def test_a_job_rightly_signed_by_one_app_for_anothers_grant_is_refused(
    client, mallory, connect, documents, user, posts
):
    grant = connect(user)
    now = utc_now()
    claims = jws.Claims(
        new_id(), "mallory", user, grant.id, "x", "x.post", {"text": "forged"}, now, now + timedelta(hours=1), now
    )
    forged(documents, mallory._room.vault, mallory._room.key_versions, claims, kid_app="mallory", key_app="mallory")
    job = mallory.wait(claims.id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "foreign_grant")
    assert posts(user) == []


def test_a_blacklisted_job_is_not_done(client, connect, documents, user, posts, monkeypatch):
    connect(user)
    # Known beforehand, so that the entry is there before the job, which is due at once.
    job_id = new_id()
    monkeypatch.setattr("actas.scheduling.new_id", lambda: job_id)
    in_two_days = utc_now() + timedelta(days=2)
    documents["blacklist"].insert_one(
        {"_id": f"jti:demo/{job_id}", "reason": "test", "created_at": utc_now(), "expires_at": in_two_days}
    )
    client.schedule("x.post", user=user, payload={"text": "never"})
    stopped = client.wait(job_id)
    assert (stopped.status, stopped.error.code) == (JobStatus.CANCELLED, "revoked")
    assert posts(user) == []


# --- messages ---


@pytest.fixture(scope="module")
def publish(stack: Stack) -> Iterator[Any]:
    """Put anything into the workers' queue, as somebody who has a worker's Redis password."""
    config = celery_config(settings_from(stack.role_env("worker")).broker)
    with Connection(config["broker_url"], transport_options=config["broker_transport_options"]) as connection:
        producer = Producer(connection, exchange=Exchange("actas.act", "direct"), routing_key="actas.act")

        def publish(body: Any, **options: Any) -> None:
            headers = {"task": "actas.act_as_user", "id": new_id(), "lang": "py"} | options.pop("headers", {})
            producer.publish(body, headers=headers, correlation_id=headers["id"], **options)

        yield publish


def still_works(client: Client, user: str, posts: Any) -> None:
    job = client.schedule("x.post", user=user, payload={"text": "still works"})
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["still works"]


def test_messages_with_made_up_ids_do_nothing(client, connect, user, publish, posts, sandbox):
    connect(user)
    before = len(sandbox.ledger()["posts"])
    for made_up in (new_id(), "", "no-such-job", {"$ne": None}, ["a"], None, 7):
        publish([[made_up], {}, {}], serializer="json")
    still_works(client, user, posts)
    assert len(sandbox.ledger()["posts"]) == before + 1


def test_a_finished_jobs_message_replayed_does_nothing(client, connect, user, publish, posts):
    connect(user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "once"}).id)
    for _ in range(50):
        publish([[job.id], {}, {}], serializer="json", headers={"id": job.id})
    client.wait(client.schedule("x.post", user=user, payload={"text": "after the replays"}).id)
    assert sorted(posts(user)) == ["after the replays", "once"]
    assert client.job(job.id).status is JobStatus.SUCCEEDED


def test_pickled_and_unreadable_messages_are_thrown_away_unread(client, connect, user, publish, posts, tmp_path):
    connect(user)
    touched = tmp_path / "pickle-was-executed"
    pickle = f"cposix\nsystem\n(S'touch {touched}'\ntR.".encode()
    publish(pickle, content_type="application/x-python-serialize", content_encoding="binary")
    publish(b"\xff\x00 not json", content_type="application/json", content_encoding="utf-8")
    publish(json.dumps({"not": "a task"}).encode(), content_type="application/json", content_encoding="utf-8")
    publish(b"<job/>", content_type="text/xml", content_encoding="utf-8")
    still_works(client, user, posts)
    assert not touched.exists()


# --- ciphertexts ---


def expire_access_of(documents, grant_id: str) -> None:
    """So that the next job needs the refresh token."""
    documents["grants"].update_one({"_id": grant_id}, {"$unset": {"access_token": ""}})


def test_a_damaged_ciphertext_fails_its_jobs_with_a_code(client, connect, documents, user):
    grant = connect(user)
    stored = documents["grants"].find_one({"_id": grant.id})["refresh_token"]
    damaged = stored | {"ciphertext": bytes([stored["ciphertext"][0] ^ 1]) + stored["ciphertext"][1:]}
    expire_access_of(documents, grant.id)
    documents["grants"].update_one({"_id": grant.id}, {"$set": {"refresh_token": damaged}})
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "x"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")


def test_an_incomplete_ciphertext_fails_its_jobs_with_a_code(client, connect, documents, user):
    grant = connect(user)
    documents["grants"].update_one({"_id": grant.id}, {"$set": {"refresh_token": {"v": 1}}})
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "x"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")


def test_an_envelope_of_a_later_release_waits_for_the_upgrade(client, connect, documents, user, posts):
    grant = connect(user)
    expire_access_of(documents, grant.id)
    documents["grants"].update_one({"_id": grant.id}, {"$set": {"refresh_token.v": 2}})
    job = client.schedule("x.post", user=user, payload={"text": "x"})
    eventually(lambda: client.job(job.id).error is not None, what="it was tried")
    waiting = client.job(job.id)
    assert (waiting.status, waiting.error.code, waiting.attempts) == (JobStatus.SCHEDULED, "envelope_version", 0)
    assert "upgrade" in waiting.error.message
    documents["grants"].update_one({"_id": grant.id}, {"$set": {"refresh_token.v": 1}})  # "upgraded"
    make_due(documents, job.id)
    assert client.wait(job.id).status is JobStatus.SUCCEEDED


def test_two_users_tokens_swapped_in_the_database_act_as_nobody(client, connect, documents, user, posts):
    mine, theirs = connect(user), connect(f"{user}-victim")
    parts = ("refresh_token", "access_token", "data_key")
    stolen = documents["grants"].find_one({"_id": theirs.id}, dict.fromkeys(parts, 1))
    documents["grants"].update_one({"_id": mine.id}, {"$set": {name: stolen[name] for name in parts}})
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "as my victim"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")
    assert posts(f"{user}-victim") == []


def test_a_grant_relabelled_as_another_users_acts_as_nobody(client, connect, documents, user, posts):
    grant = connect(f"{user}-victim")
    documents["grants"].update_one({"_id": grant.id}, {"$set": {"user": user}})
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "as my victim"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")
    assert posts(f"{user}-victim") == []
