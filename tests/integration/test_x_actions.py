"""X's actions on the whole path: done once, whatever becomes of the reply."""

from __future__ import annotations

from typing import Any

import pytest

from actas import JobStatus
from actas.errors import InsufficientScope
from tests.support import REDIRECT, eventually

#: Asked for by default is what posting needs.
ALL = ["x.post", "x.delete_post", "x.repost", "x.like", "x.upload_media"]


@pytest.fixture
def allowing(client, sandbox, user):
    """A user who has allowed all of it."""
    request = client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT, actions=ALL)
    return client.finish_connect(sandbox.authorize(request.url, user), user=user)


def entries(sandbox, kind: str, user: str) -> list[dict[str, Any]]:
    return [entry for entry in sandbox.ledger()[kind] if entry["account"] == user]


def test_what_may_be_done_twice_is_repeated_when_its_reply_was_lost_and_is_there_once(client, allowing, sandbox, user):
    first, other = (client.schedule("x.post", user=user, payload={"text": text}) for text in ("keep", "throw away"))
    kept, thrown = (client.wait(job.id).result for job in (first, other))
    for endpoint in ("retweets", "likes", "delete"):
        sandbox.misbehave(endpoint, "drop_after", times=1, account=user)
    jobs = {
        name: client.schedule(f"x.{name}", user=user, payload={"post_id": post})
        for name, post in (("repost", kept), ("like", kept), ("delete_post", thrown))
    }
    done = {name: client.wait(job.id) for name, job in jobs.items()}
    assert {name: (job.status, job.result) for name, job in done.items()} == {
        "repost": (JobStatus.SUCCEEDED, f"repost:{kept}"),
        "like": (JobStatus.SUCCEEDED, f"like:{kept}"),
        "delete_post": (JobStatus.SUCCEEDED, f"deleted:{thrown}"),
    }
    for kind in ("reposts", "likes"):
        [entry] = entries(sandbox, kind, user)
        assert (entry["post"], entry["asked"]) == (kept, 2)
    deleted = {entry["id"]: entry["deleted_at"] is not None for entry in entries(sandbox, "posts", user)}
    assert deleted == {kept: False, thrown: True}


def test_a_post_with_something_attached_is_looked_for_and_never_repeated(client, allowing, sandbox, user):
    file = client.store_file(b"an image, let us say", media_type="image/png").model_dump()
    uploads = [
        client.schedule("x.upload_media", user=user, payload={"file": file, "category": "tweet_image"})
        for _ in range(2)
    ]
    ids = [client.wait(job.id).result for job in uploads]
    first = client.wait(client.schedule("x.post", user=user, payload={"text": "first"}).id).result
    payloads = [
        {"text": "look", "quote": first, "reply": {"in_reply_to": first}},
        {"text": "well?", "poll": {"options": ["yes", "no"], "duration_minutes": 60}, "reply_settings": "following"},
        {"media_ids": ids},
    ]
    sandbox.misbehave("tweets", "drop_after", times=len(payloads), account=user)
    jobs = [client.schedule("x.post", user=user, payload=payload) for payload in payloads]
    eventually(lambda: {client.job(job.id).status for job in jobs} == {JobStatus.SUCCEEDED}, what="all are found")
    made = {entry["id"]: entry for entry in entries(sandbox, "posts", user) if entry["id"] != first}
    assert set(made) == {client.job(job.id).result for job in jobs}
    quoting, polled, media = (made[client.job(job.id).result] for job in jobs)
    assert (quoting["text"], quoting["quote"], quoting["reply_to"]) == ("look", first, first)
    assert polled["poll"] == {"options": ["yes", "no"], "duration_minutes": 60}
    assert polled["reply_settings"] == "following"
    assert (media["text"], media["media_ids"]) == ("", ids)


def test_likes_are_not_asked_for_by_default(client, connect, user):
    grant = connect(user)
    assert set(grant.scopes) == {"tweet.read", "tweet.write", "users.read", "offline.access"}
    with pytest.raises(InsufficientScope, match=r"like\.write"):
        client.schedule("x.like", user=user, payload={"post_id": "1"})


def test_what_is_not_there_fails_with_its_name(client, allowing, user):
    for name in ("repost", "like"):
        job = client.wait(client.schedule(f"x.{name}", user=user, payload={"post_id": "1"}).id)
        assert (job.status, job.error.code) == (JobStatus.FAILED, "not_found")
