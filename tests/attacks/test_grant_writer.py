"""Grants, rewritten in the database. The attacker is an administrator of MongoDB, and has users of their own.

May read and write every document, and schedule rightly signed jobs as ``user``. Has no credentials of Vault. What is
tried: parts of the victim's grant put into one's own and the other way round, whole grants exchanged, labels edited,
ciphertexts moved within a grant, damaged or cut, old copies put back. Ending a grant that way is possible and said in
docs/security.md; acting as somebody else must fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from actas import Grant, GrantStatus, Job, JobRequest, JobStatus
from tests.attacks.tampering import connect_user, each_ended, make_due, still_works
from tests.support import eventually, family, nothing_is_sent

TOKENS = ("refresh_token", "access_token", "data_key")

#: Why a worker refuses: what is stored cannot be read where it now stands; it is not the grant of the job's user.
UNREADABLE, FOREIGN = "bad_envelope", "foreign_grant"


@dataclass(frozen=True)
class Pair:
    """The attacker's grant and the victim's, as they are before; and what is done to the two documents."""

    mine: Grant
    theirs: Grant
    documents: Any

    def exchange(self, *parts: str) -> None:
        """Each gets the other's parts."""
        mine, theirs = (self.documents["grants"].find_one({"_id": grant.id}) for grant in (self.mine, self.theirs))
        for grant, from_ in ((self.mine, theirs), (self.theirs, mine)):
            self._set(grant, {part: _at(from_, part) for part in parts})

    def exchange_ids(self, *but: str) -> None:
        """Each document gets the other's id, and keeps all it holds but for these fields."""
        mine, theirs = (
            self.documents["grants"].find_one_and_delete({"_id": grant.id}) for grant in (self.mine, self.theirs)
        )
        for doc, other in ((mine, theirs), (theirs, mine)):
            self.documents["grants"].insert_one(doc | {"_id": other["_id"]} | {name: other[name] for name in but})

    def expire(self) -> None:
        """So that the next jobs need the refresh tokens."""
        for grant in (self.mine, self.theirs):
            self.documents["grants"].update_one({"_id": grant.id}, {"$unset": {"access_token": ""}})

    def each(self, fields: Callable[[Grant], dict[str, Any]]) -> None:
        for grant in (self.mine, self.theirs):
            self._set(grant, fields(grant))

    def put_refresh_for_access(self) -> None:
        """A worker would send it to the API."""
        for grant in (self.mine, self.theirs):
            doc = self.documents["grants"].find_one({"_id": grant.id})
            self._set(
                grant, {"access_token": {**doc["refresh_token"], "expires_at": doc["access_token"]["expires_at"]}}
            )

    def put_access_for_refresh(self) -> None:
        """A worker would send it to the token endpoint."""
        for grant in (self.mine, self.theirs):
            access = self.documents["grants"].find_one({"_id": grant.id})["access_token"]
            self._set(grant, {"refresh_token": {name: access[name] for name in ("v", "nonce", "ciphertext")}})
        self.expire()

    def relabel(self) -> None:
        """The victim's grant becomes the attacker's, and the other way round, by their users' names alone."""
        self._set(self.mine, {"user": self.theirs.user})
        self._set(self.theirs, {"user": self.mine.user})

    def damage(self) -> None:
        for grant in (self.mine, self.theirs):
            stored = self.documents["grants"].find_one({"_id": grant.id})["refresh_token"]["ciphertext"]
            self._set(grant, {"refresh_token.ciphertext": bytes([stored[0] ^ 1]) + stored[1:]})
        self.expire()

    def _set(self, grant: Grant, fields: dict[str, Any]) -> None:
        before = self.documents["grants"].find_one({"_id": grant.id})
        self.documents["grants"].update_one({"_id": grant.id}, {"$set": fields})
        assert self.documents["grants"].find_one({"_id": grant.id}) != before


def _at(doc: Any, path: str) -> Any:
    for name in path.split("."):
        doc = doc[name]
    return doc


#: What is done to the pair; what a worker says to jobs that were signed before it, and to those signed after it.
ATTACKS: dict[str, tuple[Callable[[Pair], Any], str, str]] = {
    "access tokens exchanged": (lambda pair: pair.exchange("access_token"), UNREADABLE, UNREADABLE),
    "access tokens' ciphertexts exchanged": (
        lambda pair: pair.exchange("access_token.ciphertext"),
        UNREADABLE,
        UNREADABLE,
    ),
    "data keys exchanged": (lambda pair: pair.exchange("data_key"), UNREADABLE, UNREADABLE),
    "wrapped keys exchanged": (lambda pair: pair.exchange("data_key.wrapped"), UNREADABLE, UNREADABLE),
    "data keys' ids exchanged": (lambda pair: pair.exchange("data_key.id"), UNREADABLE, UNREADABLE),
    "data keys and access tokens exchanged": (
        lambda pair: pair.exchange("data_key", "access_token"),
        UNREADABLE,
        UNREADABLE,
    ),
    "data keys and all tokens exchanged": (lambda pair: pair.exchange(*TOKENS), UNREADABLE, UNREADABLE),
    "refresh tokens exchanged": (
        lambda pair: (pair.exchange("refresh_token"), pair.expire()),
        UNREADABLE,
        UNREADABLE,
    ),
    "wrapped keys exchanged, refresh tokens needed": (
        lambda pair: (pair.exchange("data_key.wrapped"), pair.expire()),
        UNREADABLE,
        UNREADABLE,
    ),
    "data keys and refresh tokens exchanged": (
        lambda pair: (pair.exchange("data_key", "refresh_token"), pair.expire()),
        UNREADABLE,
        UNREADABLE,
    ),
    # A job names its grant by its id; an app signs for the grant that MongoDB then says is its user's.
    "whole grants exchanged": (Pair.exchange_ids, FOREIGN, UNREADABLE),
    "whole grants exchanged, users' names set right": (
        lambda pair: pair.exchange_ids("user"),
        UNREADABLE,
        UNREADABLE,
    ),
    "whole grants exchanged, all labels set right": (
        lambda pair: pair.exchange_ids("user", "account"),
        UNREADABLE,
        UNREADABLE,
    ),
    "users' names exchanged": (Pair.relabel, FOREIGN, UNREADABLE),
    "a later generation": (lambda pair: pair.each(lambda _: {"generation": 2}), UNREADABLE, UNREADABLE),
    "an earlier generation": (lambda pair: pair.each(lambda _: {"generation": 0}), UNREADABLE, UNREADABLE),
    "another key id": (lambda pair: pair.each(lambda _: {"data_key.id": "made-up"}), UNREADABLE, UNREADABLE),
    "other accounts": (
        lambda pair: pair.each(lambda grant: {"account": f"0{grant.account}"}),
        UNREADABLE,
        UNREADABLE,
    ),
    "refresh tokens put for access tokens": (Pair.put_refresh_for_access, UNREADABLE, UNREADABLE),
    "access tokens put for refresh tokens": (Pair.put_access_for_refresh, UNREADABLE, UNREADABLE),
    "ciphertexts damaged": (Pair.damage, UNREADABLE, UNREADABLE),
    "ciphertexts cut off": (
        lambda pair: (pair.each(lambda _: {"refresh_token": {"v": 1}}), pair.expire()),
        UNREADABLE,
        UNREADABLE,
    ),
    "nothing: the control": (lambda _: None, "", ""),
}
CONTROL = "nothing: the control"


@pytest.fixture(scope="module")
def pairs(client, sandbox, documents) -> dict[str, Pair]:
    return {name: Pair(*(connect_user(client, sandbox) for _ in range(2)), documents) for name in ATTACKS}


@pytest.fixture(scope="module")
def ends(stack, client, pairs) -> dict[str, list[Job]]:
    """All of these at once, each on a pair of its own; both users' jobs signed before it, and after it: their ends."""

    def post(text: str) -> list[Job]:
        users = [grant.user for pair in pairs.values() for grant in (pair.mine, pair.theirs)]
        return client.schedule_many([JobRequest("x.post", user, {"text": text}) for user in users])

    with nothing_is_sent(stack):
        before = post("signed before")
        for name, (attack, _, _) in ATTACKS.items():
            attack(pairs[name])
        after = post("signed after")
    jobs = {name: [*before[2 * n : 2 * n + 2], *after[2 * n : 2 * n + 2]] for n, name in enumerate(pairs)}
    told = iter(each_ended(client, [job for four in jobs.values() for job in four]))
    return {name: [next(told) for _ in four] for name, four in jobs.items()}


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != CONTROL])
def test_what_was_done_to_two_grants_makes_them_act_as_nobody(ends, pairs, sandbox, posts, attack):
    _, before, after = ATTACKS[attack]
    assert {job.status for job in ends[attack]} == {JobStatus.FAILED}
    assert [job.error and job.error.code for job in ends[attack]] == [before, before, after, after]
    for grant in (pairs[attack].mine, pairs[attack].theirs):
        assert posts(grant.user) == []
        assert family(sandbox, grant.user)["exchanges"] == 0


def test_two_grants_left_alone_act_as_their_own(ends, pairs, posts):
    assert {job.status for job in ends[CONTROL]} == {JobStatus.SUCCEEDED}
    for grant in (pairs[CONTROL].mine, pairs[CONTROL].theirs):
        assert sorted(posts(grant.user)) == ["signed after", "signed before"]


def test_an_envelope_of_a_later_release_waits_for_the_upgrade(client, connect, documents, user, posts):
    grant = connect(user)
    later = {"$set": {"refresh_token.v": 2}, "$unset": {"access_token": ""}}
    documents["grants"].update_one({"_id": grant.id}, later)
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


PARTS = (("access_token",), ("refresh_token",), ("data_key", "access_token"), ("data_key", "refresh_token"), TOKENS)


@pytest.fixture(scope="module")
def partly_rolled_back(client, sandbox, documents) -> dict[tuple[str, ...], tuple[Grant, Job]]:
    """Each in a grant of its own, after an exchange: the grant, and how its next job ended."""

    def all_post(text: str) -> list[Job]:
        requests = [JobRequest("x.post", grant.user, {"text": text}) for grant in grants.values()]
        return each_ended(client, client.schedule_many(requests))

    grants = {parts: connect_user(client, sandbox) for parts in PARTS}
    old = {parts: documents["grants"].find_one({"_id": grant.id}) for parts, grant in grants.items()}
    for grant in grants.values():
        sandbox.expire_access(grant.user)
    assert {job.status for job in all_post("before")} == {JobStatus.SUCCEEDED}
    for parts, grant in grants.items():
        back: dict[str, Any] = {"$set": {part: old[parts][part] for part in parts}}
        if "access_token" not in parts:
            back["$unset"] = {"access_token": ""}
        documents["grants"].update_one({"_id": grant.id}, back)
    return {parts: (grants[parts], job) for parts, job in zip(PARTS, all_post("after"), strict=True)}


@pytest.mark.parametrize("parts", PARTS, ids=" and ".join)
def test_a_grant_of_which_parts_are_rolled_back_cannot_be_read(partly_rolled_back, sandbox, posts, parts):
    """An old token under the grant's present generation: the provider is not even asked."""
    grant, job = partly_rolled_back[parts]
    assert (job.status, job.error.code) == (JobStatus.FAILED, UNREADABLE)
    assert posts(grant.user) == ["before"]
    told = family(sandbox, grant.user)
    assert (told["alive"], told["reuse"], told["exchanges"]) == (True, 0, 1)


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
    client, connect, documents, user, posts
):
    """An account changes hands within the app: the copy from before is neither the new user's nor of use to the old."""
    later, account = f"{user}-later", f"a-{user}"
    grant = connect(user, account)
    old = documents["grants"].find_one({"_id": grant.id})
    client.disconnect(user=user, provider="x")
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, what="revoked")
    assert connect(later, account).id == grant.id
    theirs = client.schedule("x.post", user=later, payload={"text": "mine now"})
    assert client.wait(theirs.id).status is JobStatus.SUCCEEDED
    new = documents["grants"].find_one({"_id": grant.id})
    documents["grants"].update_one({"_id": grant.id}, {"$set": {name: old[name] for name in (*TOKENS, "generation")}})
    job = client.wait(client.schedule("x.post", user=later, payload={"text": "with the old tokens"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")
    documents["grants"].replace_one({"_id": grant.id}, new | {"user": user})
    job = client.wait(client.schedule("x.post", user=user, payload={"text": "with the new ones"}).id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "bad_envelope")
    documents["grants"].replace_one({"_id": grant.id}, new)
    still_works(client, later, lambda _: posts(account))
    assert posts(account) == ["mine now", "still works"]
