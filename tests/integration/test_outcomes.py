"""What becomes of a job when the provider refuses, limits, fails, lies or falls silent."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from actas import GrantStatus, JobStatus
from tests.support import dance, eventually, family


def post(client, user, text, **options):
    return client.schedule("x.post", user=user, payload={"text": text}, **options)


def test_an_access_token_is_exchanged_for_when_the_old_one_is_refused(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.expire_access(user)
    job = client.wait(post(client, user, "hello").id)
    assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 2)  # the first was answered 401
    assert family(sandbox, user)["exchanges"] == 1
    assert client.grant(user=user, provider="x").generation == 2
    assert posts(user) == ["hello"]


def test_a_live_access_token_is_used_again_without_an_exchange(client, connect, sandbox, user):
    connect(user)
    for text in ("a", "b", "c"):
        client.wait(post(client, user, text).id)
    assert family(sandbox, user)["exchanges"] == 0


def test_a_rate_limit_is_waited_out_and_spends_no_attempt(client, connect, sandbox, user, posts):
    connect(user)
    reset = int(time.time()) + 3
    headers = {"x-rate-limit-limit": "100", "x-rate-limit-remaining": "0", "x-rate-limit-reset": str(reset)}
    sandbox.misbehave("tweets", "status", status=429, headers=headers, body={}, times=1, account=user)
    job = client.wait(post(client, user, "limited").id)
    assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 1)
    assert job.finished_at.timestamp() >= reset
    assert posts(user) == ["limited"]


def test_a_users_limit_holds_up_that_user_only(client, connect, sandbox, user):
    connect(user)
    connect(f"{user}-other")
    headers = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(int(time.time()) + 3600)}
    sandbox.misbehave("tweets", "status", status=429, headers=headers, body={}, times=1, account=user)
    limited = post(client, user, "limited")
    eventually(lambda: client.job(limited.id).error is not None, what="the 429 is noted")
    # The gate is closed: the next job of this user does not even ask.
    second = post(client, user, "second", deadline=datetime.now(UTC) + timedelta(seconds=30))
    assert client.wait(second.id).status is JobStatus.EXPIRED  # reopening comes after its deadline, so at once
    assert client.wait(post(client, f"{user}-other", "free").id).status is JobStatus.SUCCEEDED
    assert client.cancel(limited.id).outcome == "cancelled"


def test_503_is_waited_out(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.misbehave("tweets", "status", status=503, body={"title": "Service Unavailable"}, times=1, account=user)
    job = client.wait(post(client, user, "patience").id)
    assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 1)
    assert posts(user) == ["patience"]


def test_a_duplicate_refused_on_a_first_attempt_is_a_failure_not_a_success(client, connect, user, posts):
    connect(user)
    client.wait(post(client, user, "same").id)
    job = client.wait(post(client, user, "same").id)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "duplicate")
    assert posts(user) == ["same"]


def test_a_reply_lost_after_posting_is_uncertain_and_never_repeated(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.misbehave("tweets", "drop_after", times=1, account=user)
    job = client.wait(post(client, user, "maybe").id)
    assert (job.status, job.error.code) == (JobStatus.UNCERTAIN, "uncertain")
    client.wait(post(client, user, "next").id)  # whatever would repeat it has had its time
    assert posts(user) == ["next", "maybe"] or posts(user) == ["maybe", "next"]


def test_a_500_after_posting_is_uncertain(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.misbehave("tweets", "status_after", status=500, body={}, times=1, account=user)
    assert client.wait(post(client, user, "maybe").id).status is JobStatus.UNCERTAIN
    assert posts(user) == ["maybe"]


def test_a_page_of_html_in_place_of_an_answer_is_uncertain(client, connect, sandbox, user):
    connect(user)
    sandbox.misbehave("tweets", "malformed", times=1, account=user)
    assert client.wait(post(client, user, "maybe").id).status is JobStatus.UNCERTAIN


def test_a_grant_withdrawn_at_the_provider_parks_the_job_until_the_user_returns(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.kill(user)
    job = post(client, user, "waits for its user")
    eventually(lambda: client.job(job.id).status is JobStatus.PARKED, what="the job is parked")
    grant = client.grant(user=user, provider="x")
    assert grant.status is GrantStatus.REAUTHORIZATION_REQUIRED
    assert grant.failure.code == "invalid_request"  # what X says of a dead token
    connect(user)
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert posts(user) == ["waits for its user"]
    assert client.grant(user=user, provider="x").id == grant.id


def test_a_lost_answer_to_an_exchange_ends_in_an_explicit_state_with_its_cause(client, connect, sandbox, user):
    connect(user)
    sandbox.expire_access(user)
    sandbox.misbehave("token", "drop_after", times=1, account=user)  # rotated, and the reply is gone for good
    job = post(client, user, "x")
    eventually(lambda: client.job(job.id).status is JobStatus.PARKED, what="the job is parked")
    grant = client.grant(user=user, provider="x")
    assert (grant.status, grant.failure.code) == (GrantStatus.REAUTHORIZATION_REQUIRED, "lost_rotation")


def test_a_token_endpoint_in_trouble_is_waited_out(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.expire_access(user)
    sandbox.misbehave("token", "status", status=500, body={}, times=1, account=user)
    job = client.wait(post(client, user, "in the end").id)
    assert job.status is JobStatus.SUCCEEDED
    assert family(sandbox, user)["reuse"] == 0
    assert posts(user) == ["in the end"]


def test_a_provider_that_keeps_the_refresh_token_leaves_the_grant_alive(client, sandbox, user):
    tokens = dance(client, sandbox, user) | {"expires_in": 0}
    client.store_grant(user=user, provider="x", account=user, tokens=tokens)
    sandbox.misbehave("token", "keep_refresh_token", times=2, account=user)
    assert client.wait(post(client, user, "a").id).status is JobStatus.SUCCEEDED
    sandbox.expire_access(user)
    assert client.wait(post(client, user, "b").id).status is JobStatus.SUCCEEDED
    assert client.grant(user=user, provider="x").generation == 3


def test_new_tokens_that_do_not_help_against_a_401_are_asked_for_once_a_minute(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.misbehave("tweets", "status", status=401, body={}, account=user)
    job = post(client, user, "in a minute")
    waiting = eventually(
        lambda: (now := client.job(job.id)).error and now.error.code == "at_gate" and now, what="the job waits"
    )
    assert waiting.attempts == 2  # the first token was refused, and its successor
    assert timedelta(seconds=30) < waiting.next_at - waiting.created_at < timedelta(seconds=75)
    assert family(sandbox, user)["exchanges"] == 1
    assert client.cancel(job.id).outcome == "cancelled"


def test_a_deadline_that_passes_while_waiting_ends_the_job_as_expired(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.misbehave("tweets", "status", status=503, body={}, account=user)
    soon = datetime.now(UTC) + timedelta(seconds=20)  # and surely asked for once before that
    job = client.wait(post(client, user, "too late", deadline=soon).id, timeout=60)
    assert (job.status, job.error.code) == (JobStatus.EXPIRED, "expired")
    assert "provider_unavailable" in job.error.message
    assert posts(user) == []
