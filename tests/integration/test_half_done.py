"""A thread that is held half done and then moved, by a desk of chaos and as the ledger sees it: with the real thing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from actas import Client, Job, JobStatus
from actas.sandbox.remote import SandboxControl
from tests.chaos import load
from tests.chaos.kinds import ALL
from tests.chaos.load import Desk, User
from tests.ledger import Books, Kind, check
from tests.support import eventually

T = TypeVar("T")


class Drawn(random.Random):
    """Always a hold, and soon."""

    def choice(self, seq: Sequence[T]) -> T:
        return next((each for each in seq if each == "hold"), seq[0])

    def random(self) -> float:
        return 0.3


@pytest.fixture
def desk(client: Client, connect: Any, sandbox: SandboxControl, user: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(load, "KINDS", [kind for kind in ALL if kind.action == "x.thread"])
    connect(user)
    users = [User(user, connected=True)]
    return Desk(client, sandbox, Drawn(1), users, datetime.now(UTC) + timedelta(seconds=1), pace=1)


@pytest.fixture
def books(desk: Desk, documents: Any, sandbox: SandboxControl, user: str) -> Callable[[], Books]:
    """This user's."""

    def read() -> Books:
        ledger = sandbox.ledger()
        return Books(
            now=datetime.now(UTC),
            asked=desk.asked,
            jobs=[Job.from_doc(doc) for doc in documents["jobs"].find({"user": user})],
            effects=list(documents["effects"].find({"user": user})),
            posts=[post for post in ledger["posts"] if post["account"] == user],
            grants=list(documents["grants"].find({"user": user})),
            owners=list(desk.owners()),
            families=[family for family in ledger["families"] if family["account"] == user],
        )

    return read


def test_a_thread_that_was_held_half_done_goes_on_once_its_app_moves_it(client, desk, sandbox, user, books):
    sandbox.misbehave("tweets", "hold_after", account=user, times=1)
    desk.ask_now()
    (asked,) = desk.asked
    eventually(lambda: sandbox.held() == 1, what="its first post is out, and the reply is held")
    desk.revoke_user()
    sandbox.release()
    eventually(lambda: client.job(asked.job).held, what="the worker finds that its user was logged out")
    assert len(books().posts) == 1
    assert check(books()) == []

    def moved() -> bool:
        desk.reschedule()
        return desk.counts["reschedule: half done"] == 1

    eventually(moved, what="a signature of now does not pass for one of before")
    done = client.wait(asked.job)
    assert (done.status, done.rev, len(done.made)) == (JobStatus.SUCCEEDED, 1, len(asked.texts))
    assert datetime.fromisoformat(books().posts[0]["at"]) < done.run_at
    assert check(books()) == []
    for never in ({"holdable": False}, {"earlier": []}):
        (found,) = check(replace(books(), asked=[replace(asked, **never)]))
        assert found.kind is Kind.UNEXPLAINED
        assert "before its time" in found.what
