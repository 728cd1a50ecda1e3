"""The scheduler is killed, again and again, while it tells apps of what happens: no event is lost, each has one id."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from actas import JobRequest, JobStatus
from actas.installing import installer
from tests.receiving import Receiver, receiver
from tests.support import eventually

JOBS, KILLS = 200, 6


@pytest.fixture
def there(stack) -> Iterator[Receiver]:
    where = {"vault_addr": stack.servers.bao.url, "vault_token": stack.servers.bao.token}
    with receiver() as there:
        installer.set_webhook("demo", SecretStr(there.url), new_secret=False, development=True, **where)
        stack.processes["scheduler"].restart()  # it knew of none
        yield there
        installer.remove_webhook("demo", **where)


def test_no_event_is_lost_and_none_has_two_ids(client, connect, stack, user, there, documents):
    connect(user)
    jobs = client.schedule_many([JobRequest("x.post", user, {"text": f"post {n}"}) for n in range(JOBS)])
    for n in range(KILLS):  # each at another stage: some are untold, some copied, some being sent
        some = (n + 1) * JOBS // (KILLS + 2)
        eventually(lambda some=some: len(set(there.ids)) >= some, what=f"{some} events have come")
        stack.processes["scheduler"].kill()
        stack.processes["scheduler"].restart()
    done = lambda: {each.subject for each in there.requests if each.told["type"] == "job.succeeded"}  # noqa: E731
    # What was being sent when it died is due again a minute later.
    eventually(lambda: done() >= {job.id for job in jobs}, seconds=170, what="all are told")
    ids: dict[str, set[str]] = {}
    for each in there.requests:
        ids.setdefault(each.subject, set()).add(each.id)
    assert {job.id: len(ids[job.id]) for job in jobs} == {job.id: 1 for job in jobs}
    assert len(there.requests) - len(set(there.ids)) <= KILLS * 4, "sent twice: what was on its way, and no more"
    assert {client.job(job.id).status for job in jobs} == {JobStatus.SUCCEEDED}
    assert documents["jobs"].find_one({"untold": {"$exists": True}}) is None
