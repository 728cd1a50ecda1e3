"""Connecting and disconnecting accounts, and everybody who must not get through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from actas import GrantStatus, JobStatus
from actas.errors import AccessDenied, ActasError, AmbiguousAccount, ConnectError, InvalidRequest, NoGrant
from tests.conftest import TIMES
from tests.support import REDIRECT, dance, eventually, family


def begin(client, user):
    return client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT)


def test_connecting_stores_a_grant_that_shows_no_token(client, connect, sandbox, user):
    grant = connect(user)
    assert (grant.status, grant.generation, grant.user) == (GrantStatus.ACTIVE, 1, user)
    assert {"tweet.write", "offline.access"} <= grant.scopes
    shown = repr(grant) + repr(client.grants(user=user)) + str(grant)
    assert not [token for token in sandbox.tokens() if token in shown]


def test_the_authorization_url_carries_pkce_and_an_unguessable_state(client, user):
    query = parse_qs(urlsplit(begin(client, user).url).query)
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["state"][0]) >= 43
    assert begin(client, user).url != begin(client, user).url


def test_a_user_who_says_no_is_told_apart(client, sandbox, user):
    callback = sandbox.authorize(begin(client, user).url, user, allow=False)
    with pytest.raises(AccessDenied, match="^x: the user said no .access_denied.; nothing was stored"):
        client.finish_connect(callback, user=user)


@pytest.mark.parametrize("query", ["", "?code=c", "?state=a&state=b&code=c"])
def test_a_callback_without_its_parameters_or_with_repeated_ones_is_an_early_error(client, user, query):
    with pytest.raises(InvalidRequest):
        client.finish_connect(REDIRECT + query, user=user)


@pytest.mark.parametrize("url", ["http://[::1?state=s&code=c", f"{REDIRECT}?state=\ud800&code=c", None, 1, b"http://x"])
def test_what_is_no_url_at_all_is_an_early_error(client, user, url):
    with pytest.raises(InvalidRequest, match="^callback_url "):
        client.finish_connect(url, user=user)


@pytest.mark.parametrize("how", ["malformed", "empty", "drop_after", "drop_before"])
def test_a_token_endpoint_that_fails_the_connection_gives_one_clear_error(client, sandbox, user, how):
    callback = sandbox.authorize(begin(client, user).url, user)
    sandbox.misbehave("token", how, times=1)
    with pytest.raises(ConnectError, match="^x") as caught:
        client.finish_connect(callback, user=user)
    assert not [token for token in sandbox.tokens() if token in f"{caught.value!r} {caught.value}"]
    assert client.grants(user=user) == []


def test_connecting_again_keeps_the_grants_id_and_outruns_what_was_there(client, connect, user, posts):
    first = connect(user)
    second = connect(user)
    assert (second.id, second.generation) == (first.id, 2)
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "hi"}).id).status is JobStatus.SUCCEEDED


def test_an_account_connected_by_another_user_is_refused(connect, user):
    connect(user)
    with pytest.raises(ConnectError, match="another user"):
        connect(f"{user}-mallory", user)


def test_a_user_with_two_accounts_must_say_which(client, connect, user, posts):
    connect(user, f"{user}a")
    second = connect(user, f"{user}b")
    with pytest.raises(AmbiguousAccount, match=second.account):
        client.schedule("x.post", user=user, payload={"text": "which?"})
    job = client.schedule("x.post", user=user, payload={"text": "this one"}, account=second.account)
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert (posts(f"{user}a"), posts(f"{user}b")) == ([], ["this one"])


def test_tokens_an_app_got_by_itself_are_stored_and_work(client, sandbox, user, posts):
    grant = client.store_grant(user=user, provider="x", account=f"id-{user}", tokens=dance(client, sandbox, user))
    assert grant.account == f"id-{user}"
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "mine"}).id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["mine"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"refresh_token": None}, "refresh token"),
        ({"scope": None}, "scope"),
        ({"access_token": None}, "access_token"),
        ({"expires_in": "soon"}, "expires_in"),
    ],
)
def test_incomplete_tokens_are_an_early_error(client, user, change, words):
    tokens = {"access_token": "canary-a", "refresh_token": "canary-r", "scope": "tweet.write", "expires_in": 1} | change
    with pytest.raises(ActasError, match=words) as caught:
        client.store_grant(user=user, provider="x", account="1", tokens=tokens)
    assert "canary" not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize("tokens", ["canary-a", None, ["canary-a"], b"{}"])
def test_tokens_that_are_no_reply_are_an_early_error(client, user, tokens):
    with pytest.raises(InvalidRequest, match="^tokens must be") as caught:
        client.store_grant(user=user, provider="x", account="1", tokens=tokens)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("account", ["", None, 12345])
def test_tokens_without_an_account_are_an_early_error(client, user, account):
    tokens = {"access_token": "a", "refresh_token": "r", "scope": "tweet.write"}
    with pytest.raises(InvalidRequest, match="account"):
        client.store_grant(user=user, provider="x", account=account, tokens=tokens)


def test_disconnecting_stops_the_jobs_revokes_at_the_provider_and_shreds(client, connect, sandbox, user, posts):
    connect(user)
    client.wait(client.schedule("x.post", user=user, payload={"text": "before"}).id)
    later = datetime.now(UTC) + timedelta(hours=1)
    job = client.schedule("x.post", user=user, payload={"text": "after"}, at=later)
    report = client.disconnect(user=user, provider="x")
    assert (report.grants, report.jobs_cancelled, report.jobs_stopping) == (1, 1, 0)
    stopped = client.job(job.id)
    assert (stopped.status, stopped.error.code) == (JobStatus.CANCELLED, "disconnected")
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, what="the worker has revoked")
    assert family(sandbox, user)["alive"] is False
    with pytest.raises(NoGrant):
        client.schedule("x.post", user=user, payload={"text": "no more"})
    stored = client._room.grants.get(report_grant(client, user))
    assert (stored.refresh_token, stored.access_token, stored.data_key) == (None, None, None)
    with pytest.raises(NoGrant):
        client.disconnect(user=user, provider="x")
    assert posts(user) == ["before"]


def report_grant(client, user):
    return client.grants(user=user)[0].id


def test_disconnecting_during_an_exchange_leaves_no_live_token_and_no_post(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.expire_access(user)
    sandbox.misbehave("token", "hold_after", times=1, account=user)  # rotated already; the reply is under way
    job = client.schedule("x.post", user=user, payload={"text": "never"})
    eventually(lambda: sandbox.held() == 1, what="the exchange is under way")
    assert client.disconnect(user=user, provider="x").jobs_stopping == 1
    sandbox.release()
    assert client.wait(job.id).status is JobStatus.CANCELLED
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, seconds=30, what="revoked")
    assert family(sandbox, user)["alive"] is False
    assert posts(user) == []


def test_a_provider_that_does_not_answer_a_revocation_is_asked_again(client, connect, documents, sandbox, user):
    grants, ours = documents["grants"], {"_id": connect(user).id}
    sandbox.misbehave("revoke", "drop_before", times=1, account=user)
    client.disconnect(user=user, provider="x")
    put_off = eventually(lambda: (now := grants.find_one(ours)).get("revocation") and now, what="it was tried")
    assert (put_off["status"], put_off["revocation"]["tries"]) == ("revoking", 1)
    pause = put_off["revoke_at"] - put_off["revocation"]["at"]
    assert pause.total_seconds() == float(TIMES["ACTAS_EXCHANGE_LEASE_SECONDS"]), "it is left alone that long"
    grants.update_one(ours, {"$set": {"revoke_at": datetime.now(UTC)}})  # as if that were over
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, what="revoked")
    assert family(sandbox, user)["alive"] is False


def test_a_user_may_connect_again_after_disconnecting(client, connect, user, posts):
    first = connect(user)
    client.disconnect(user=user, provider="x")
    eventually(lambda: client.grants(user=user)[0].status is GrantStatus.REVOKED, what="revoked")
    assert connect(user).id == first.id
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "back"}).id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["back"]


def test_connecting_again_wins_over_a_revocation_that_is_still_to_come(client, connect, sandbox, user):
    connect(user)
    sandbox.misbehave("revoke", "drop_before", times=1, account=user)
    client.disconnect(user=user, provider="x")
    connect(user)
    assert client.wait(client.schedule("x.post", user=user, payload={"text": "here"}).id).status is JobStatus.SUCCEEDED
    assert client.grant(user=user, provider="x").status is GrantStatus.ACTIVE
