"""An app that writes into other apps' jobs, as MongoDB lets every app, under signatures of its own.

The attacker is an app. Has users, grants and a client of its own, and signs rightly as itself; may update every job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from actas import Client, JobStatus
from actas.clock import utc_now
from tests.attacks.tampering import claims_of, insert_job, token
from tests.support import dance, eventually, settings_from

POSTS = ["one", "two", "three"]


@pytest.fixture(scope="module")
def writer(add_app, client) -> Iterator[Client]:
    """Has a client at the provider; here it is the sandbox's only one."""
    known = client._room.vault.client_credentials("demo", "x")
    settings = settings_from(add_app("job-writer")).model_copy(update={"clients": {"job-writer/x": known}})
    with Client(settings) as app:
        yield app


@pytest.fixture
def bait(writer: Client, client, sandbox, user: str) -> Any:
    """The attacker's own job under an id of its choice: its claims and its signature."""
    account = f"m{user}"
    tokens = dance(client, sandbox, account)
    grant = writer.store_grant(user=account, provider="x", account=account, tokens=tokens)

    def signed(job_id: str) -> tuple[Any, str]:
        claims = replace(claims_of("job-writer", account, grant.id, "bait"), id=job_id, connection=grant.connection)
        header = {"alg": "Ed25519", "typ": "job+jwt", "kid": "actas-app-job-writer:v1"}
        return claims, token(header, claims, lambda data: writer._room.vault.sign("job-writer", [data], version=1)[0])

    return signed


def ended(documents: Any, job_id: str) -> Any:
    return eventually(
        lambda: documents["jobs"].find_one({"_id": job_id, "finished_at": {"$exists": True}}), what="it has ended"
    )


def test_a_job_whose_id_is_a_row_of_anothers_journal_is_refused(client, writer, bait, documents, connect, user, posts):
    """Tried: jti "<victim>:1", whose own row "<victim>:1:1" was read as the victim's first step."""
    connect(user)
    victim = client.schedule("x.thread", user=user, payload={"posts": POSTS}, at=utc_now() + timedelta(seconds=8))
    claims, jws = bait(f"{victim.id}:1")
    insert_job(writer._room.database, claims, jws)
    assert ended(documents, claims.id)["error"]["code"] == "bad_id"
    # As if a worker had died with it: then the journal is read first.
    writer._room.database["jobs"].update_one({"_id": victim.id}, {"$set": {"orphaned": True}})
    assert client.wait(victim.id, timeout=60).status is JobStatus.SUCCEEDED
    assert posts(user) == POSTS


def test_a_row_written_while_ones_own_job_stood_in_anothers_document_is_not_taken_for_the_others(
    client, writer, bait, documents, connect, user, posts
):
    """Tried: the victim's document overwritten by the attacker's own job of that id, which runs; then put back."""
    connect(user)
    victim = client.schedule("x.thread", user=user, payload={"posts": POSTS}, at=utc_now() + timedelta(hours=1))
    theirs = writer._room.database["jobs"]
    before = theirs.find_one({"_id": victim.id})
    claims, jws = bait(victim.id)
    copies = {name: value for name, value in claims.copies().items() if name != "id"}
    now = utc_now()
    theirs.update_one({"_id": victim.id}, {"$set": copies | {"jws": jws, "status": "scheduled", "next_at": now}})
    assert ended(documents, victim.id)["status"] == "succeeded", "control: its own post was made"
    put_back = {name: value for name, value in before.items() if name != "_id"}
    gone = {"result": "", "finished_at": "", "untold": ""}
    theirs.update_one({"_id": victim.id}, {"$set": put_back, "$unset": gone})
    client.reschedule(victim.id, at=utc_now())
    done = client.wait(victim.id, timeout=60)
    assert (done.status, done.error and done.error.code) == (JobStatus.FAILED, "altered"), "suppressed, and said so"
    assert posts(user) == [], "nothing under the attacker's post"


def test_what_an_operator_says_of_a_job_is_not_for_an_app_to_say(client, writer, connect, user, sandbox, posts):
    """Tried: fields beside the job that say it did not happen, so that it is done twice."""
    connect(user)
    sandbox.misbehave("timeline", "status", status=503, body={}, account=user)
    sandbox.misbehave("tweets", "drop_after", times=1, account=user)
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    eventually(lambda: client.job(job.id).status is JobStatus.UNCERTAIN, what="nobody knows")
    says = {"step": "1", "happened": False, "reference": None, "at": utc_now()}
    looks = {"resolution": says, "looks": 9, "next_at": utc_now()}
    writer._room.database["jobs"].update_one({"_id": job.id}, {"$set": looks})
    sandbox.behave()
    assert (
        eventually(
            lambda: (now := client.job(job.id)).status is not JobStatus.UNCERTAIN and now, what="it is settled"
        ).status
        is JobStatus.SUCCEEDED
    )
    assert [step["to"] for step in client.job(job.id).history].count("running") == 1, "it was not tried again"
    assert posts(user) == ["once"]
