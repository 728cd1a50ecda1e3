"""Grants, rewritten in the database. The attacker is an administrator of MongoDB, and has users of their own.

May read and write every document, and schedule rightly signed jobs as ``user``. Has no credentials of Vault. What is
tried: parts of the victim's grant put into one's own and the other way round, whole grants exchanged, labels edited,
ciphertexts moved within a grant, damaged or cut, old copies put back. Ending a grant that way is possible and said in
docs/security.md; acting as somebody else must fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actas import GrantStatus, JobStatus
from tests.attacks.tampering import make_due, still_works
from tests.support import eventually, family

TOKENS = ("refresh_token", "access_token", "data_key")

#: A grant that cannot be read, and one that is not its user's.
REFUSALS = {"bad_envelope", "foreign_grant"}


@pytest.fixture
def victim(user: str) -> str:
    return f"{user}-victim"


@pytest.fixture
def acts_as_nobody(client, user, victim, posts) -> Callable[[], None]:
    """Both users' next jobs fail for what was done to their grants, and the provider sees neither."""

    def check() -> None:
        jobs = [client.schedule("x.post", user=who, payload={"text": f"for {who}"}) for who in (user, victim)]
        ended = [client.wait(job.id) for job in jobs]
        assert {job.status for job in ended} == {JobStatus.FAILED}
        assert {job.error.code for job in ended} <= REFUSALS
        assert (posts(user), posts(victim)) == ([], [])

    return check


def expire_access_of(documents: Any, *grants: str) -> None:
    """So that the next job needs the refresh token."""
    documents["grants"].update_many({"_id": {"$in": list(grants)}}, {"$unset": {"access_token": ""}})


def exchange_parts(documents: Any, one: str, other: str, parts: tuple[str, ...]) -> None:
    docs = {grant: documents["grants"].find_one({"_id": grant}) for grant in (one, other)}
    for to, from_ in ((one, other), (other, one)):
        values = {part: at(docs[from_], part) for part in parts}
        assert values != {part: at(docs[to], part) for part in parts}
        documents["grants"].update_one({"_id": to}, {"$set": values})


def at(doc: Any, path: str) -> Any:
    for name in path.split("."):
        doc = doc[name]
    return doc


@pytest.mark.parametrize(
    "parts",
    [
        ("access_token",),
        ("access_token.ciphertext",),
        ("data_key",),
        ("data_key.wrapped",),
        ("data_key.id",),
        ("data_key", "access_token"),
        TOKENS,
    ],
    ids=" and ".join,
)
def test_two_users_parts_exchanged_act_as_nobody(connect, documents, user, victim, acts_as_nobody, parts):
    exchange_parts(documents, connect(user).id, connect(victim).id, parts)
    acts_as_nobody()


@pytest.mark.parametrize(
    "parts", [("refresh_token",), ("data_key.wrapped",), ("data_key", "refresh_token")], ids=" and ".join
)
def test_two_users_parts_exchanged_are_exchanged_for_nobody(
    connect, documents, sandbox, user, victim, acts_as_nobody, parts
):
    """The same where a refresh token is needed: the provider never sees the other one's."""
    mine, theirs = connect(user).id, connect(victim).id
    exchange_parts(documents, mine, theirs, parts)
    expire_access_of(documents, mine, theirs)
    acts_as_nobody()
    assert [family(sandbox, who)["exchanges"] for who in (user, victim)] == [0, 0]


@pytest.mark.parametrize("labels_stay", [False, True], ids=["with their labels", "labels set right again"])
def test_two_whole_grants_with_their_ids_exchanged_act_as_nobody(
    connect, documents, user, victim, acts_as_nobody, labels_stay
):
    mine, theirs = (documents["grants"].find_one_and_delete({"_id": connect(who).id}) for who in (user, victim))
    labels = ("user", "account") if labels_stay else ()
    for doc, other in ((mine, theirs), (theirs, mine)):
        documents["grants"].insert_one(doc | {"_id": other["_id"]} | {name: other[name] for name in labels})
    acts_as_nobody()


@pytest.mark.parametrize("part", ["refresh_token", "access_token"])
def test_one_users_token_put_in_the_place_of_the_other_kind_is_refused(
    client, connect, documents, sandbox, user, posts, part
):
    """A refresh token in place of the access token would be sent to the API; the other way round, to the endpoint."""
    grant = connect(user)
    doc = documents["grants"].find_one({"_id": grant.id})
    refresh, access = doc["refresh_token"], doc["access_token"]
    moved = {
        "refresh_token": {"refresh_token": {name: access[name] for name in ("v", "nonce", "ciphertext")}},
        "access_token": {"access_token": {**refresh, "expires_at": access["expires_at"]}},
    }[part]
    documents["grants"].update_one({"_id": grant.id}, {"$set": moved})
    if part == "refresh_token":
        expire_access_of(documents, grant.id)
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "x"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")
    assert family(sandbox, user)["exchanges"] == 0
    assert posts(user) == []


@pytest.mark.parametrize(
    "label",
    [{"generation": 2}, {"generation": 0}, {"account": "4711"}, {"data_key.id": "made-up"}],
    ids=str,
)
def test_a_grant_with_an_edited_label_acts_as_nobody(client, connect, documents, user, posts, label):
    grant = connect(user)
    documents["grants"].update_one({"_id": grant.id}, {"$set": label})
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "x"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")
    assert posts(user) == []


def test_a_grant_relabelled_as_another_users_acts_as_nobody(client, connect, documents, user, victim, posts):
    grant = connect(victim)
    documents["grants"].update_one({"_id": grant.id}, {"$set": {"user": user}})
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "as my victim"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")
    assert posts(victim) == []


# --- damage ---


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


# --- old copies ---


def test_a_grant_rolled_back_to_a_used_token_ends_in_an_explicit_state(
    client, connect, documents, sandbox, user, posts
):
    """The provider takes the old refresh token for a stolen one and ends the grant: said, and nobody else's harm."""
    grant = connect(user)
    old = documents["grants"].find_one({"_id": grant.id})
    sandbox.expire_access(user)
    assert (
        client.wait(client.schedule("x.post", user=user, payload={"text": "before"}).id).status is JobStatus.SUCCEEDED
    )
    assert client.grant(user=user, provider="x").generation == 2
    documents["grants"].replace_one({"_id": grant.id}, old)
    job = client.schedule("x.post", user=user, payload={"text": "after"})
    eventually(lambda: client.job(job.id).status is JobStatus.PARKED, what="the job is parked")
    ended = client.grant(user=user, provider="x")
    assert (ended.status, ended.failure.code) == (GrantStatus.REAUTHORIZATION_REQUIRED, "invalid_request")
    assert posts(user) == ["before"]
    connect(user)  # and its user can mend it
    assert client.wait(job.id).status is JobStatus.SUCCEEDED


def test_a_grant_rolled_back_past_a_disconnection_is_of_no_use(client, connect, documents, sandbox, user, posts):
    grant = connect(user)
    old = documents["grants"].find_one({"_id": grant.id})
    client.disconnect(user=user, provider="x")
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, what="revoked")
    documents["grants"].replace_one({"_id": grant.id}, old)
    job = client.schedule("x.post", user=user, payload={"text": "after"})
    eventually(lambda: client.job(job.id).status is JobStatus.PARKED, what="the job is parked")
    assert posts(user) == []
    assert family(sandbox, user)["alive"] is False


def test_a_grant_rolled_back_to_the_accounts_last_user_does_not_act_for_that_one(
    client, connect, documents, user, victim, posts
):
    """An account changes hands within the app: the copy from before is neither the new user's nor of use to the old."""
    grant = connect(user, "a-" + user)
    old = documents["grants"].find_one({"_id": grant.id})
    client.disconnect(user=user, provider="x")
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, what="revoked")
    assert connect(victim, "a-" + user).id == grant.id
    theirs = client.schedule("x.post", user=victim, payload={"text": "mine now"})
    assert client.wait(theirs.id).status is JobStatus.SUCCEEDED
    new = documents["grants"].find_one({"_id": grant.id})
    documents["grants"].update_one({"_id": grant.id}, {"$set": {name: old[name] for name in (*TOKENS, "generation")}})
    job = client.wait(client.schedule("x.post", user=victim, payload={"text": "with the old tokens"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")
    documents["grants"].replace_one({"_id": grant.id}, new | {"user": user})
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "with the new ones"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")
    documents["grants"].replace_one({"_id": grant.id}, new)
    still_works(client, victim, lambda _: posts("a-" + user))
    assert posts("a-" + user) == ["mine now", "still works"]
