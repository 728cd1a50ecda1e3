"""Connecting again while a disconnection is under way: it wins, at every moment, and whatever the old token's end was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from actas import Disconnection, GrantStatus, JobStatus, signing
from actas.errors import NoGrant, TooLateToReschedule
from actas.stopping import Stopper
from actas.stores.grants import Grants
from tests.support import eventually, family, nothing_is_sent


def works(client, user, posts):
    assert client.grant(user=user, provider="x").status is GrantStatus.ACTIVE
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "here"}).id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["here"]


@pytest.mark.parametrize("moment", ["hold_before", "hold_after"])
def test_connecting_again_while_the_old_token_is_being_revoked_wins(client, connect, sandbox, user, posts, moment):
    first = connect(user)
    sandbox.misbehave("revoke", moment, account=user)
    client.disconnect(user=user, provider="x")
    eventually(lambda: sandbox.held() == 1, what="the revocation is under way")
    again = connect(user)
    assert (again.id, again.status) == (first.id, GrantStatus.ACTIVE)
    sandbox.behave()
    sandbox.release()
    alive = [f["alive"] for f in sandbox.ledger()["families"] if f["account"] == user]
    assert alive[-1], "only the old authorization ends"
    works(client, user, posts)
    stored = client._room.grants.get(again.id)
    assert stored.refresh_token is not None, "the worker that had revoked shreds nothing of the new connection"


def test_connecting_again_before_anybody_revoked_wins(client, connect, stack, user, posts):
    connect(user)
    with nothing_is_sent(stack):
        client.disconnect(user=user, provider="x")
        connect(user)
    works(client, user, posts)


def test_connecting_again_does_not_bring_back_the_jobs_that_the_disconnection_stopped(
    client, connect, sandbox, user, posts
):
    connect(user)
    at = datetime.now(UTC) + timedelta(hours=1)
    job = client.schedule("x.post", user=user, payload={"text": "stopped"}, at=at)
    sandbox.misbehave("revoke", "drop_before", times=1, account=user)
    report = client.disconnect(user=user, provider="x")
    assert report == Disconnection(grants=1, jobs_cancelled=1, jobs_stopping=0)
    connect(user)
    assert client.job(job.id).status is JobStatus.CANCELLED
    works(client, user, posts)


def later() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


class Died(BaseException):
    """The process is no more, at this point."""


def dies(*_, **__):
    raise Died


def test_an_app_that_dies_in_the_middle_of_a_disconnection_has_disconnected(client, connect, user, posts, monkeypatch):
    """Tried: no job is told; a worker meets the job only after its user has connected again."""
    grant = connect(user)
    at = datetime.now(UTC) + timedelta(seconds=12)
    job = client.schedule("x.post", user=user, payload={"text": "of before"}, at=at)
    with monkeypatch.context() as patch:
        patch.setattr(Stopper, "stop", dies)
        with pytest.raises(Died):
            client.disconnect(user=user, provider="x")
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, what="revoked")
    assert client.job(job.id).status is JobStatus.SCHEDULED
    assert connect(user).id == grant.id
    done = client.wait(job.id, timeout=60)
    assert (done.status, done.error.code) == (JobStatus.CANCELLED, "disconnected")
    works(client, user, posts)


def test_a_disconnection_that_died_in_the_middle_can_be_finished_by_calling_it_again(
    client, connect, user, monkeypatch
):
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "of before"}, at=later())
    with monkeypatch.context() as patch:
        patch.setattr(Stopper, "stop", dies)
        with pytest.raises(Died):
            client.disconnect(user=user, provider="x")
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, what="revoked")
    assert client.disconnect(user=user, provider="x") == Disconnection(grants=0, jobs_cancelled=1, jobs_stopping=0)
    assert client.job(job.id).status is JobStatus.CANCELLED
    with pytest.raises(NoGrant):
        client.disconnect(user=user, provider="x")


def test_a_job_that_is_being_scheduled_during_a_disconnection_is_not_done_after_connecting_again(
    client, connect, user, posts, monkeypatch
):
    connect(user)
    sign = signing.sign

    def disconnects_meanwhile(*args):
        signed = sign(*args)
        client.disconnect(user=user, provider="x")
        connect(user)
        return signed

    with monkeypatch.context() as patch:
        patch.setattr(signing, "sign", disconnects_meanwhile)
        job = client.schedule("x.post", user=user, payload={"text": "raced"})
    done = client.wait(job.id)
    assert (done.status, done.error.code) == (JobStatus.CANCELLED, "disconnected")
    works(client, user, posts)


def test_a_slow_disconnection_leaves_the_jobs_of_the_next_connection_alone(client, connect, user, posts, monkeypatch):
    """Its first write was done; before its second the user has connected again and asked for something."""
    connect(user)
    old = client.schedule("x.post", user=user, payload={"text": "old"}, at=later())
    stop, made = Stopper.stop, []

    def slow(self, *args, **kwargs):
        monkeypatch.undo()
        connect(user)
        made.append(client.schedule("x.post", user=user, payload={"text": "new"}, at=later()))
        return stop(self, *args, **kwargs)

    monkeypatch.setattr(Stopper, "stop", slow)
    assert client.disconnect(user=user, provider="x") == Disconnection(grants=1, jobs_cancelled=1, jobs_stopping=0)
    assert client.job(made[0].id).status is JobStatus.SCHEDULED
    assert client.job(old.id).status is JobStatus.CANCELLED


def test_a_job_of_an_earlier_connection_cannot_be_rescheduled_into_the_new_one(client, connect, user, monkeypatch):
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "of before"}, at=later())
    with monkeypatch.context() as patch:
        patch.setattr(Stopper, "stop", lambda *_, **__: (0, 0))
        client.disconnect(user=user, provider="x")
    connect(user)
    with pytest.raises(TooLateToReschedule, match="disconnected since"):
        client.reschedule(job.id, at=later())


def test_a_disconnection_that_comes_late_leaves_the_accounts_next_user_alone(client, connect, user, posts, monkeypatch):
    """Two calls at once for one user; the second goes on when the account is another's already."""
    before, after = user + "-before", user + "-after"
    grant = connect(before, user)
    find = Grants.find

    def slow(self, **asked):
        found = find(self, **asked)
        monkeypatch.undo()
        client.disconnect(user=before, provider="x")
        eventually(lambda: client.grants(user=before)[0].status is GrantStatus.REVOKED, what="revoked")
        assert connect(after, user).id == grant.id
        return found

    monkeypatch.setattr(Grants, "find", slow)
    with pytest.raises(NoGrant):
        client.disconnect(user=before, provider="x")
    assert client.grant(user=after, provider="x").status is GrantStatus.ACTIVE


def test_disconnecting_once_more_ends_the_new_connection_too(client, connect, sandbox, user):
    connect(user)
    client.disconnect(user=user, provider="x")
    connect(user)
    client.disconnect(user=user, provider="x")
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, seconds=60, what="revoked")
    assert not family(sandbox, user)["alive"]
    with pytest.raises(NoGrant):
        client.grant(user=user, provider="x")
