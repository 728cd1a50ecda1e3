"""Two hundred jobs of one user fall due at once, over two processes of 64 threads each: one exchange, and the grant lives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from actas import GrantStatus, JobRequest, JobStatus
from tests.support import dance, eventually, family

JOBS = 200


@pytest.mark.parametrize("known_to_be_expired", [True, False], ids=["expired by its own time", "refused with 401"])
def test_two_hundred_jobs_due_at_once_make_one_exchange(client, sandbox, user, posts, known_to_be_expired):
    tokens = dance(client, sandbox, user)
    sandbox.expire_access(user)
    stored = tokens | ({"expires_in": 0} if known_to_be_expired else {})
    client.store_grant(user=user, provider="x", account=f"id-of-{user}", tokens=stored)
    # A little ahead, so that all are there when the tick comes that finds them due, and both processes get a share.
    at = datetime.now(UTC) + timedelta(seconds=3)
    jobs = client.schedule_many([JobRequest("x.post", user, {"text": f"post {n}"}, at=at) for n in range(JOBS)])
    eventually(
        lambda: len(client.jobs(user=user, status=JobStatus.SUCCEEDED, limit=JOBS)) == JOBS,
        seconds=90,
        what="all jobs have succeeded",
    )
    assert sorted(posts(user)) == sorted(f"post {n}" for n in range(JOBS))
    books = family(sandbox, user)
    assert (books["exchanges"], books["reuse"], books["alive"]) == (1, 0, True)
    grant = client.grant(user=user, provider="x")
    assert (grant.status, grant.generation) == (GrantStatus.ACTIVE, 2)
    done = [client.job(job.id) for job in jobs]
    processes = {step["owner"].split(":")[1] for job in done for step in job.history if "owner" in step}
    assert len(processes) == 2, "both processes took part"
