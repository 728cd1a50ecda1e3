"""Vault is sealed, or hangs, while much falls due: one of the fleet asks whether it is back, and nothing is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import hvac
import pytest

from actas import JobRequest
from actas.embedded.stack import Stack
from tests.counted_vault import client, documents, proxy, sandbox, stack
from tests.support import connected, eventually, made_stale, nothing_is_sent
from worker.outage import PAUSES

#: Taken over as they are.
__all__ = ["client", "documents", "proxy", "sandbox", "stack"]

JOBS, USERS, SECONDS = 50, 10, 20

#: Processes that take jobs (tests.counted_vault).
WORKERS = 2

#: What is no job: the ticks of the scheduler that rewrap and renew, each seldom.
OTHERS = 10


@pytest.fixture(autouse=True)
def healed() -> None:
    """Instead of the other stack's."""


def seal(stack: Stack) -> None:
    bao = stack.servers.bao
    hvac.Client(url=bao.url, token=bao.token.get_secret_value()).sys.seal()


#: How Vault goes away, and how it comes back.
AWAY: Mapping[str, tuple[Callable[[Stack], None], Callable[[Stack], None]]] = {
    "is sealed": (seal, lambda stack: stack.servers.bao.restart()),  # it unseals itself
    "hangs": (lambda stack: stack.servers.bao.pause(), lambda stack: stack.servers.bao.resume()),
}


@pytest.mark.parametrize("how", AWAY)
def test_a_vault_that_is_away_is_asked_seldom_and_nothing_is_spent_on_it(client, sandbox, stack, documents, proxy, how):
    goes, comes_back = AWAY[how]
    users = [f"{how.replace(' ', '')}{n}" for n in range(USERS)]
    for user in users:
        connected(client, sandbox, user)
        made_stale(documents, user)
    with nothing_is_sent(stack):
        jobs = client.schedule_many(
            [JobRequest("x.post", users[n % USERS], {"text": f"{how} {n}"}) for n in range(JOBS)]
        )
        goes(stack)
        asked_before, went_at = proxy.requests, time.monotonic()
    try:
        ours = {"_id": {"$in": [job.id for job in jobs]}}
        met = ours | {"history.code": "vault_unavailable"}
        eventually(lambda: documents["jobs"].count_documents(met) > 0, what="it is known that it is away")
        eventually(lambda: time.monotonic() > went_at + SECONDS, what="it was away for that long")
        asked = proxy.requests - asked_before
        undone = {"status": {"$in": ["scheduled", "queued", "running"]}, "attempts": 0}
        waiting = documents["jobs"].count_documents(ours | undone)
    finally:
        comes_back(stack)
    back_at = time.monotonic()
    done = ours | {"status": "succeeded", "attempts": 1}
    eventually(lambda: documents["jobs"].count_documents(done) == JOBS, seconds=90, what="all are done")
    print(f"{asked} calls to a Vault away for {SECONDS} s; done {time.monotonic() - back_at:.1f} s after")  # noqa: T201
    assert waiting == JOBS, "none failed, and no attempt was spent"
    texts = [post["text"] for post in sandbox.ledger()["posts"] if post["text"].startswith(how)]
    assert sorted(texts) == sorted(f"{how} {n}" for n in range(JOBS))
    # Each may have been on its way just then; after that there are each worker's probes: after 1, 2, 4, 8, 15 s and so on.
    assert asked <= JOBS + WORKERS * (5 + SECONDS / PAUSES.longest.total_seconds()) + OTHERS
