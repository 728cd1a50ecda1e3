"""Jobs, rewritten in the database. The attacker is an administrator of MongoDB: may read and write every document.

Has no credentials of Vault. What is tried: each field of a signed job edited, signatures exchanged and made up, rows
copied, finished rows set back, a worker's claim taken away. What such an attacker can do is said in docs/security.md
(delay, suppress, un-cancel, and by removing the journal repeat, inside the window); everything else must fail.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actas import JobStatus
from actas.clock import utc_now
from actas.ids import new_id
from tests.attacks.tampering import connect_user, ended, make_due, refused, still_works, waiting_job
from tests.support import eventually

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


#: What is edited beside the signature.
EDITS: dict[str, dict[str, Any]] = {
    "payload": {"payload": {"text": "something else"}},
    "user": {"user": "somebody-else"},
    "app": {"app": "mallory"},
    "provider": {"provider": "google"},
    "action": {"action": "x.other"},
    "time": {"run_at": LONG_AGO},
    "deadline": {"deadline": datetime(2037, 1, 1, tzinfo=UTC)},
    "revision": {"rev": 7},
}

RUBBISH = ("", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "💥", "." * 50)


@pytest.fixture(scope="module")
def edited(client, sandbox, module_grant, documents) -> dict[str, str]:
    """The ids of all these jobs, made due at the same moment."""
    other = waiting_job(client, module_grant.user, "another")
    victim = connect_user(client, sandbox)
    changes: dict[str, dict[str, Any]] = EDITS | {"grant": {"grant": victim.id}, "signature": {"jws": other.jws}}
    changes |= {f"signature {number}": {"jws": jws} for number, jws in enumerate(RUBBISH)}
    jobs = {name: waiting_job(client, module_grant.user, name).id for name in changes}
    for name, job in jobs.items():
        make_due(documents, job, **changes[name])
    return jobs


@pytest.mark.parametrize("edit", [*EDITS, "grant", "signature"])
def test_an_edited_job_document_is_refused(documents, edited, edit):
    job = ended(documents, edited[edit])
    assert (job["status"], job["error"]["code"]) == ("failed", "altered")


@pytest.mark.parametrize("number", range(len(RUBBISH)))
def test_rubbish_in_place_of_a_signature_is_refused(documents, edited, number):
    job = ended(documents, edited[f"signature {number}"])
    assert (job["status"], job["error"]["code"]) == ("failed", "bad_header")


def test_of_all_of_these_the_provider_has_seen_nothing(client, documents, edited, module_grant, posts):
    for job in edited.values():
        ended(documents, job)
    assert posts(module_grant.user) == []
    still_works(client, module_grant.user, posts)


def test_a_job_moved_forward_in_the_database_still_waits_for_its_signed_time(client, connect, documents, user, posts):
    connect(user)
    job = waiting_job(client, user)
    make_due(documents, job.id)
    eventually(lambda: "not_yet" in [step.get("code") for step in client.job(job.id).history], what="put back")
    again = client.job(job.id)
    assert (again.status, again.next_at) == (JobStatus.SCHEDULED, job.run_at)
    assert posts(user) == []


def test_a_job_forced_into_the_queue_still_waits_for_its_signed_time(client, connect, documents, user, posts, publish):
    """As above, past the dispatcher: the row says queued, and the attacker's friend at the broker sends its message."""
    connect(user)
    job = waiting_job(client, user)
    documents["jobs"].update_one({"_id": job.id}, {"$set": {"status": "queued", "queued_at": utc_now()}})
    publish([[job.id], {}, {}], serializer="json", headers={"id": job.id})
    eventually(lambda: "not_yet" in [step.get("code") for step in client.job(job.id).history], what="put back")
    assert posts(user) == []


def test_a_job_claimed_by_nobody_does_not_run_early_either(client, connect, documents, user, posts):
    """The row says running, under a claim that is over: rescue brings it back, and its signed time still stands."""
    connect(user)
    job = waiting_job(client, user)
    claim = {"owner": "mallory", "until": LONG_AGO}
    documents["jobs"].update_one({"_id": job.id}, {"$set": {"status": "running", "claim": claim}})
    eventually(lambda: "not_yet" in [step.get("code") for step in client.job(job.id).history], what="put back")
    assert posts(user) == []


def test_a_job_copied_under_another_id_is_refused(client, connect, documents, user, posts):
    """One signature, one job: a thousand copies would be a thousand posts."""
    connect(user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "once"}).id)
    row = documents["jobs"].find_one({"_id": job.id})
    copy = row | {"_id": new_id(), "status": "scheduled", "next_at": utc_now()}
    documents["jobs"].insert_one(copy)
    refused(client, copy["_id"], "altered")
    assert posts(user) == ["once"]


@pytest.mark.parametrize("status", ["scheduled", "running"])
def test_a_finished_job_set_back_is_found_done(client, connect, documents, user, posts, status):
    """The row is made to look as before it ran; the journal, which the attacker leaves alone, tells."""
    connect(user)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "once"}).id)
    before: dict[str, Any] = {"status": status, "next_at": utc_now(), "claim": {"owner": "mallory", "until": LONG_AGO}}
    gone = dict.fromkeys(("result", "finished_at", "history", "queued_at"), "")
    documents["jobs"].update_one({"_id": job.id}, {"$set": before, "$unset": gone})
    again = client.wait(job.id)
    assert (again.status, again.result) == (JobStatus.SUCCEEDED, job.result)
    assert posts(user) == ["once"]


def test_a_finished_job_replayed_past_its_window_expires_even_without_its_journal(
    client, connect, documents, user, posts
):
    connect(user)
    deadline = utc_now() + timedelta(seconds=12)  # long enough for it to be done before, also on a busy machine
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "once"}, deadline=deadline).id)
    assert job.status is JobStatus.SUCCEEDED
    eventually(lambda: utc_now() > deadline, what="its window is over")
    documents["effects"].delete_many({"_id": {"$regex": f"^{job.id}"}})
    row = documents["jobs"].find_one_and_delete({"_id": job.id})
    documents["jobs"].insert_one(row | {"status": "scheduled", "next_at": utc_now()})
    assert client.wait(job.id).status is JobStatus.EXPIRED
    assert posts(user) == ["once"]


def test_a_claim_taken_from_a_worker_at_work_does_not_make_it_act_twice(
    client, connect, documents, sandbox, user, posts
):
    """The request is under way when its job is given to another worker: that one looks into the journal and stops."""
    connect(user)
    sandbox.misbehave("tweets", "hold_after", times=1, account=user)
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    eventually(lambda: sandbox.held() == 1, what="the post is made, its answer held")
    stolen = {"owner": "mallory", "until": LONG_AGO}
    documents["jobs"].update_one({"_id": job.id, "status": "running"}, {"$set": {"claim": stolen}})
    client.wait(job.id)  # looked for meanwhile, it may be found before its worker says how it ended
    sandbox.release()
    eventually(lambda: client.job(job.id).status is JobStatus.SUCCEEDED, what="it is known how it ended")
    assert "uncertain" in [step["to"] for step in client.job(job.id).history]
    assert posts(user) == ["once"]
