"""http.request, from an app's call to the provider's answer."""

from __future__ import annotations

from actas import JobStatus


def asked(client, user, **payload):
    whole = {"provider": "x", "method": "POST", "url": "/2/tweets", "json": {"text": "hello"}} | payload
    return client.wait(client.schedule("http.request", user=user, payload=whole).id)


def test_a_request_is_made_as_the_user_and_its_result_is_the_id_that_the_reply_names(client, connect, user, posts):
    connect(user)
    job = asked(client, user, reference="data.id")
    assert (job.status, job.provider) == (JobStatus.SUCCEEDED, "x")
    assert job.result.isdecimal()
    assert posts(user) == ["hello"]


def test_a_request_to_another_host_is_not_made_and_says_why(client, connect, sandbox, user):
    """``http://`` is refused by no payload: a provider in development may be there. This one is not."""
    connect(user)
    jobs = [asked(client, user, url=url) for url in ("https://evil.invalid/2/tweets", "http://127.0.0.1:9/2/tweets")]
    assert {(job.status, job.error.code) for job in jobs} == {(JobStatus.FAILED, "foreign_address")}
    assert asked(client, user, url=f"{sandbox.base_url}/2/tweets").status is JobStatus.SUCCEEDED


def test_a_lost_reply_is_asked_for_again_where_http_says_that_one_may(client, connect, sandbox, user, posts):
    connect(user)
    sandbox.misbehave("me", "drop_after", times=1, account=user)
    job = client.schedule("http.request", user=user, payload={"provider": "x", "method": "GET", "url": "/2/users/me"})
    sandbox.misbehave("tweets", "drop_after", times=1, account=user)
    assert asked(client, user).status is JobStatus.UNCERTAIN  # a POST: never repeated
    got = client.wait(job.id)
    assert (got.status, got.result) == (JobStatus.SUCCEEDED, "HTTP 200")
    assert posts(user) == ["hello"]
