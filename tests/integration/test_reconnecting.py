"""Connecting again while a disconnection is under way: it wins, at every moment, and whatever the old token's end was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from actas import Disconnection, GrantStatus, JobStatus
from actas.errors import NoGrant
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


def test_disconnecting_once_more_ends_the_new_connection_too(client, connect, sandbox, user):
    connect(user)
    client.disconnect(user=user, provider="x")
    connect(user)
    client.disconnect(user=user, provider="x")
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, seconds=60, what="revoked")
    assert not family(sandbox, user)["alive"]
    with pytest.raises(NoGrant):
        client.grant(user=user, provider="x")
