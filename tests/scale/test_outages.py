"""Long outages and long limits with much that is due: everything waits, nothing storms, nobody else is late."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import hvac
import pytest

from actas import Job, JobRequest, JobStatus
from actas.sandbox.remote import SandboxControl
from tests.counted_vault import client, documents, proxy, sandbox, stack
from tests.support import connected, eventually, made_stale

#: Taken over as they are.
__all__ = ["client", "documents", "proxy", "sandbox", "stack"]

JOBS = 1_000
USERS = 20
SEALED_SECONDS = 300
LIMITED_SECONDS = 900
#: What the limited user has due meanwhile: sent to the workers one by one, they would hold up everybody.
LIMITED_JOBS = 3_000

#: What the fleet may ask of a Vault that does not answer, a second: the probes, and what is not a job.
CALLS_A_SECOND = 5


def texts(sandbox: SandboxControl) -> list[str]:
    return [post["text"] for post in sandbox.ledger()["posts"]]


@pytest.mark.timeout(1800)
def test_jobs_wait_for_a_sealed_vault_without_asking_it_all_the_time(client, sandbox, stack, documents, proxy, scale):
    """Each job needs Vault: no access token is alive, and no data key was unwrapped before."""
    count, seconds = round(JOBS * scale), max(20, SEALED_SECONDS * scale)
    users = [f"sealed{n}" for n in range(min(USERS, count))]
    for user in users:
        connected(client, sandbox, user)
        made_stale(documents, user)
    due = datetime.now(UTC) + timedelta(seconds=10)
    jobs = client.schedule_many(
        [JobRequest("x.post", users[n % len(users)], {"text": f"sealed {n}"}, at=due) for n in range(count)]
    )
    hvac.Client(url=stack.servers.bao.url, token=stack.servers.bao.token.get_secret_value()).sys.seal()
    eventually(lambda: datetime.now(UTC) > due, what="they are due")
    asked_before = proxy.requests
    ends_at = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > ends_at, seconds=seconds + 60, what="it was sealed for that long")
    asked = proxy.requests - asked_before
    ids = [job.id for job in jobs]
    waiting = documents["jobs"].count_documents(
        {"_id": {"$in": ids}, "status": {"$in": ["scheduled", "queued", "running"]}, "attempts": 0}
    )
    stack.servers.bao.restart()  # it unseals itself
    back_at = time.monotonic()
    eventually(
        lambda: documents["jobs"].count_documents({"_id": {"$in": ids}, "status": "succeeded"}) == count,
        seconds=120 + count / 5,
        what="all are done",
    )
    print(  # noqa: T201
        f"sealed for {seconds:.0f} s with {count} jobs due: {asked} calls to Vault ({asked / seconds:.2f}/s), all done "
        f"{time.monotonic() - back_at:.1f} s after it was back"
    )
    assert waiting == count, "none failed, and no attempt was spent"
    assert documents["jobs"].count_documents({"_id": {"$in": ids}, "attempts": 1}) == count
    assert sorted(texts(sandbox)) == sorted(f"sealed {n}" for n in range(count))
    assert asked < seconds * CALLS_A_SECOND


@pytest.mark.timeout(1800)
def test_a_users_limit_of_a_quarter_of_an_hour_delays_nobody_else(client, sandbox, documents, scale):
    seconds, count = max(15, LIMITED_SECONDS * scale), round(LIMITED_JOBS * scale)
    limited, others = "limited", [f"other{n}" for n in range(5)]
    for user in (limited, *others):
        connected(client, sandbox, user)
    reset = int(time.time() + seconds)
    headers = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(reset)}
    sandbox.misbehave("tweets", "status", status=429, headers=headers, body={}, account=limited)
    now = datetime.now(UTC)

    def schedule(user: str, jobs: int) -> list[Job]:
        """All due before the limit is over, evenly."""
        step = timedelta(seconds=seconds / (jobs + 1))
        return client.schedule_many(
            [JobRequest("x.post", user, {"text": f"{user} {n}"}, at=now + (n + 1) * step) for n in range(jobs)]
        )

    theirs = schedule(limited, count)
    free = [job for user in others for job in schedule(user, 20)]
    free_ids = [job.id for job in free]
    eventually(
        lambda: documents["jobs"].count_documents({"_id": {"$in": free_ids}, "status": "succeeded"}) == len(free),
        seconds=seconds + 60,
        what="everybody else's are done",
    )
    late = sorted((client.job(job.id).finished_at - job.run_at).total_seconds() for job in free)
    eventually(lambda: time.time() > reset, seconds=seconds, what="the limit is over")
    sandbox.behave()
    ids = [job.id for job in theirs]
    eventually(
        lambda: documents["jobs"].count_documents({"_id": {"$in": ids}, "status": "succeeded"}) == count,
        seconds=max(60, seconds / 5) + count / 5,
        what="the limited user's are done",
    )
    done = [client.job(job_id) for job_id in ids]
    taken = sum(step["to"] == JobStatus.RUNNING for job in done for step in job.history)
    assert all(job.finished_at.timestamp() >= reset for job in done)
    print(  # noqa: T201
        f"limited for {seconds:.0f} s; others' lateness p50 {late[len(late) // 2]:.2f} s, worst {late[-1]:.2f} s; the "
        f"limited user's {len(done)} jobs were done within {max(j.finished_at.timestamp() for j in done) - reset:.1f} s; workers had "
        f"them in hand {taken} times"
    )
    assert late[-1] < 5
    assert {job.attempts for job in done} == {1}
    assert taken < 1.2 * count + 20, "most of them waited in MongoDB"
