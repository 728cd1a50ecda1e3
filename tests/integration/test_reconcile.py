"""What becomes of jobs of which nobody knows whether they were done: looked for at the provider, by the rules.

The scheduler stands still meanwhile; jobs are run and looked for by hand, by a worker of this process whose clock can be
moved on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from actas import Client, Job, JobStatus
from actas.actions import Actions, Result
from actas.actions.x import Post, Thread
from actas.clock import utc_now
from actas.embedded.stack import Stack
from actas.errors import TooLateToReschedule
from actas.gates import AtGate
from actas.http import NoReply
from actas.sandbox.remote import SandboxControl
from tests.conftest import TIMES
from tests.integration.by_hand import Failing, row, send_again
from tests.support import nothing_is_sent, settings_from
from worker.reconcile import reconcile
from worker.room import Room
from worker.run import run

#: After this, what is not there will not come any more: the request's time, the provider's, and what clocks may differ.
SETTLE_SECONDS = 60
SETTLED = timedelta(seconds=20 + SETTLE_SECONDS + 5)


@pytest.fixture(autouse=True, scope="module")
def _by_hand_only(stack: Stack) -> Iterator[None]:
    with nothing_is_sent(stack):
        yield


class Clock:
    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self._ahead

    def go_on_to(self, moment: datetime) -> None:
        self._ahead = max(self._ahead, moment - utc_now())

    def go_on(self, by: timedelta) -> None:
        self._ahead += by


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def room(stack: Stack, clock: Clock) -> Iterator[Room]:
    room = Room.open(settings_from(stack.role_env("worker") | TIMES), clock=clock)
    settles = room.providers["x"].model_copy(update={"settle_seconds": SETTLE_SECONDS})
    yield replace(room, providers={"x": settles})
    room.close()


@pytest.fixture
def uncertain(
    client: Client, connect: Callable[[str], Any], user: str, room: Room, sandbox: SandboxControl, documents: Any
) -> Callable[..., Job]:
    """A job whose request went wrong in this way."""
    connect(user)

    def make(how: str, **options: Any) -> Job:
        job = client.schedule("x.post", user=user, payload={"text": "once"}, **options)
        send_again(documents, job)
        sandbox.misbehave("tweets", how, times=1, account=user)
        outcome = run(job.id, room)
        assert outcome is not None
        assert outcome.status is JobStatus.UNCERTAIN
        return client.job(job.id)

    return make


def looked(job: Job, room: Room, client: Client, clock: Clock) -> Job:
    """The job after the next look for it."""
    clock.go_on_to(client.job(job.id).next_at + timedelta(milliseconds=1))
    reconcile(job.id, room)
    return client.job(job.id)


def posted(sandbox: SandboxControl, account: str) -> list[str]:
    return [post["id"] for post in sandbox.ledger()["posts"] if post["account"] == account]


def test_what_was_done_is_found_at_once(client, uncertain, room, clock, documents, sandbox, user):
    job = uncertain("drop_after")
    assert timedelta(0) < job.next_at - clock() < timedelta(seconds=5)
    assert not reconcile(job.id, room), "not before its time"
    found = looked(job, room, client, clock)
    assert (found.status, found.error, [found.result]) == (JobStatus.SUCCEEDED, None, posted(sandbox, user))
    stored = row(documents, job)
    assert (stored["state"], stored["result"]) == ("done", found.result)
    assert "code" not in stored
    assert "looks" not in documents["jobs"].find_one({"_id": job.id})


def test_what_was_not_done_is_done_after_two_looks_when_it_would_have_to_be_there(
    client, uncertain, room, clock, documents, posts, user
):
    job = uncertain("drop_before")
    over = row(documents, job)["finished_at"]
    first = looked(job, room, client, clock)
    assert (first.status, first.looks) == (JobStatus.UNCERTAIN, 0)
    assert first.next_at - over >= SETTLED
    second = looked(job, room, client, clock)
    assert (second.status, second.looks) == (JobStatus.UNCERTAIN, 1)
    assert second.next_at - clock() > timedelta(seconds=55), "the provider gets its time once more"
    third = looked(job, room, client, clock)
    assert (third.status, third.attempts, third.error) == (JobStatus.SCHEDULED, 0, None)
    stored = row(documents, job)
    assert (stored["state"], stored["code"], stored["doubted"]) == ("refused", "absent", True)
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.SUCCEEDED
    assert posts(user) == ["once"]


def test_what_comes_late_is_found_by_the_second_look(client, uncertain, room, clock, monkeypatch, posts, user):
    job = uncertain("drop_after")
    with monkeypatch.context() as lagging:
        lagging.setattr(Post, "find", lambda *_: [])
        looked(job, room, client, clock)
        assert looked(job, room, client, clock).looks == 1
    assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED
    assert posts(user) == ["once"]


def test_what_was_not_done_before_its_deadline_is_expired(client, uncertain, room, clock):
    job = uncertain("drop_before", deadline=datetime.now(UTC) + timedelta(seconds=60))
    for _ in range(3):
        job = looked(job, room, client, clock)
    assert (job.status, job.error.code) == (JobStatus.EXPIRED, "expired")


def test_what_was_done_is_a_success_whatever_its_deadline(client, uncertain, room, clock):
    job = uncertain("drop_after", deadline=datetime.now(UTC) + timedelta(seconds=60))
    clock.go_on(timedelta(hours=1))
    assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED


def died_with(documents: Any, job: Job, *, until: datetime) -> None:
    """As a worker that died in the midst of its request leaves things."""
    row = {"state": "started", "owner": "dead", "until": until}
    documents["effects"].update_one({"_id": f"{job.id}:1"}, {"$set": row, "$unset": {"finished_at": "", "code": ""}})


def test_a_dead_workers_request_may_have_begun_until_its_lease_was_over(client, uncertain, room, clock, documents):
    job = uncertain("drop_before")
    until = clock() + timedelta(minutes=10)
    died_with(documents, job, until=until)
    job = looked(job, room, client, clock)
    assert timedelta(0) <= job.next_at - until - SETTLED < timedelta(seconds=1)
    assert looked(job, room, client, clock).looks == 1


def test_a_recorded_refusal_permits_the_next_attempt_without_a_look(client, uncertain, room, clock, documents, posts):
    """A worker that stood still past its lease, and then sent nothing, said so in the journal when others had given up."""
    job = uncertain("drop_before")
    documents["effects"].update_one({"_id": f"{job.id}:1"}, {"$set": {"state": "refused", "code": "lease_too_short"}})
    blind = replace(room, providers={})  # nobody is asked
    assert looked(job, blind, client, clock).status is JobStatus.SCHEDULED
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.SUCCEEDED
    assert posts(job.user) == ["once"]


def test_what_the_journal_knows_by_now_is_a_success_without_a_look(client, uncertain, room, clock, documents):
    job = uncertain("drop_after")
    documents["effects"].update_one({"_id": f"{job.id}:1"}, {"$set": {"state": "done", "result": "17"}})
    job = looked(job, replace(room, providers={}), client, clock)
    assert (job.status, job.result) == (JobStatus.SUCCEEDED, "17")


def test_what_another_job_has_made_is_not_taken_for_this_ones(client, uncertain, room, clock, documents, user):
    """Tried: the same text, of the same user, in the same seconds, and the other job's post is the only one."""
    ours = uncertain("drop_before")
    other = client.schedule("x.post", user=user, payload={"text": "once"})
    send_again(documents, other)
    assert run(other.id, room).status is JobStatus.SUCCEEDED
    for _ in range(3):
        ours = looked(ours, room, client, clock)
    assert ours.status is JobStatus.SCHEDULED


def test_of_two_that_are_looked_for_one_takes_what_is_there(client, uncertain, room, clock):
    first, second = uncertain("drop_after"), uncertain("drop_before")
    first = looked(first, room, client, clock)
    for _ in range(3):
        second = looked(second, room, client, clock)
    assert (first.status, second.status) == (JobStatus.SUCCEEDED, JobStatus.SCHEDULED)


def test_nothing_is_taken_while_another_job_may_be_making_the_same(client, uncertain, room, clock, documents, user):
    job = uncertain("drop_after")
    other = {"_id": "other:1", "kind": "act", "grant": job.grant, "state": "started", "started_at": clock()}
    documents["effects"].insert_one(other | {"until": clock() + timedelta(minutes=1)})
    try:
        assert looked(job, room, client, clock).status is JobStatus.UNCERTAIN
        clock.go_on(timedelta(minutes=1) + SETTLED)
        assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED, "it would have said so by now"
    finally:
        documents["effects"].delete_one({"_id": "other:1"})


def test_a_duplicate_of_what_had_been_called_absent_is_not_repeated_and_not_a_failure(
    client, uncertain, room, clock, documents, monkeypatch, posts, user
):
    """The provider did it, did not show it for longer than it says, and then refuses the repetition."""
    job = uncertain("drop_after")
    with monkeypatch.context() as lagging:
        lagging.setattr(Post, "find", lambda *_: [])
        for _ in range(3):
            job = looked(job, room, client, clock)
        send_again(documents, job)
        assert run(job.id, room).status is JobStatus.UNCERTAIN
        for _ in range(4):  # absence does not count any more
            job = looked(job, room, client, clock)
            assert job.status is JobStatus.UNCERTAIN
    assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED
    assert posts(user) == ["once"]


def test_who_did_it_knows_better_than_who_did_not_find_it(client, uncertain, room, clock, documents):
    job = uncertain("drop_before")
    owner = row(documents, job)["owner"]
    for _ in range(3):
        job = looked(job, room, client, clock)
    room.effects.finish(f"{job.id}:1", "done", owner=owner, now=clock(), result="17")
    send_again(documents, job)
    assert (run(job.id, room).status, client.job(job.id).result) == (JobStatus.SUCCEEDED, "17")


def test_a_job_that_is_cancelled_while_it_is_uncertain_is_not_repeated(
    client, uncertain, room, clock, documents, posts
):
    job = uncertain("drop_before")
    assert client.cancel(job.id, timeout=0).outcome == "too_late", "nobody can promise that"
    for _ in range(3):
        job = looked(job, room, client, clock)
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.CANCELLED
    assert posts(job.user) == []


def test_a_look_that_was_outrun_settles_nothing(client, uncertain, room, clock, documents, monkeypatch):
    job = uncertain("drop_after")

    def find(*_: Any) -> Sequence[str]:
        documents["jobs"].update_one({"_id": job.id}, {"$set": {"next_at": clock()}})  # as an operator's word does
        return []

    monkeypatch.setattr(Post, "find", find)
    before = client.job(job.id)
    after = looked(job, room, client, clock)
    assert (after.status, after.looks, after.error) == (JobStatus.UNCERTAIN, 0, before.error)


def say(documents: Any, job: Job, *, step: int = 1, **said: Any) -> None:
    """Write an operator's word where the console does, and let it be looked at soon."""
    begun_at = documents["effects"].find_one({"_id": f"{job.id}:{step}"})["started_at"]
    says = {"begun_at": begun_at, "happened": False, "reference": None, "at": utc_now()} | said
    documents["resolutions"].replace_one({"_id": f"{job.id}:{step}"}, says, upsert=True)
    documents["jobs"].update_one({"_id": job.id}, {"$set": {"next_at": utc_now()}})


@pytest.mark.parametrize("happened", [True, False])
def test_an_operators_word_settles_it(client, uncertain, room, clock, documents, happened, posts):
    job = uncertain("drop_before")
    say(documents, job, happened=happened, reference="17" if happened else None)
    job = looked(job, replace(room, providers={}), client, clock)
    if happened:
        assert (job.status, job.result) == (JobStatus.SUCCEEDED, "17")
    else:
        assert job.status is JobStatus.SCHEDULED
        send_again(documents, job)
        assert run(job.id, room).status is JobStatus.SUCCEEDED
    assert posts(job.user) == ([] if happened else ["once"])


def test_an_operators_word_of_an_earlier_attempt_settles_nothing(client, uncertain, room, clock, documents):
    """The question stood open while the step was called absent, begun anew, and its reply lost again."""
    job = uncertain("drop_before")
    say(documents, job, begun_at=row(documents, job)["started_at"] - timedelta(seconds=1))
    assert looked(job, room, client, clock).status is JobStatus.UNCERTAIN


def test_an_operators_word_is_not_lost_to_a_look_that_found_nothing(
    client, uncertain, room, clock, documents, monkeypatch
):
    """The operator sees the post; the timeline does not show it yet; the second counted look is under way."""
    job = uncertain("drop_after")
    with monkeypatch.context() as lagging:
        lagging.setattr(Post, "find", lambda *_: [])
        while job.looks < 1:
            job = looked(job, room, client, clock)

    def find(*_: Any) -> Sequence[str]:
        say(documents, job, happened=True, reference="1789")
        return []

    monkeypatch.setattr(Post, "find", find)
    looked(job, room, client, clock)
    assert row(documents, job)["code"] == "absent", "it was outrun all the same"
    job = looked(job, room, client, clock)
    assert (job.status, job.result) == (JobStatus.SUCCEEDED, "1789")


@pytest.mark.parametrize("by", ["a look", "an operator"])
def test_one_post_is_not_said_of_two_jobs(client, uncertain, room, clock, documents, posts, by):
    """Another job's worker has posted the same, and cannot reach MongoDB until its lease is over."""
    ours = uncertain("drop_before")
    other = client.schedule("x.post", user=ours.user, payload={"text": "once"})
    send_again(documents, other)

    class Late(Failing):
        def finish(self, *args: Any, **kwargs: Any) -> None:
            clock.go_on(timedelta(seconds=room.settings.job_lease_seconds + 1))
            if by == "a look":
                looked(ours, room, client, clock)
            else:  # says of the other that it did not happen, while its worker has the reply in hand
                moved = {"$set": {"status": "queued", "orphaned": True}, "$unset": {"claim": ""}}
                documents["jobs"].update_one({"_id": other.id}, moved)
                assert run(other.id, room).status is JobStatus.UNCERTAIN
                say(documents, other)
                looked(other, room, client, clock)
            room.effects.finish(*args, **kwargs)

    run(other.id, replace(room, effects=Late(room.effects, "", written=True)))
    assert posts(ours.user) == ["once"]
    assert row(documents, other)["state"] == "done"
    assert client.job(ours.id).status is JobStatus.UNCERTAIN


def test_a_503_after_the_fact_is_not_called_a_failure(client, connect, user, room, clock, documents, sandbox, posts):
    """A proxy's 503 after X has posted; repeated, it is refused as a duplicate."""
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    send_again(documents, job)
    sandbox.misbehave("tweets", "status_after", times=1, account=user, status=503, body={})
    assert run(job.id, room).status is JobStatus.SCHEDULED
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.UNCERTAIN
    assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED
    assert posts(user) == ["once"]


def test_what_was_perhaps_sent_is_not_called_failed_by_a_worker_that_lacks_the_action(
    client, connect, user, room, documents
):
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    send_again(documents, job)
    documents["jobs"].update_one({"_id": job.id}, {"$set": {"orphaned": True}})
    begun = {"_id": f"{job.id}:1", "state": "started", "owner": "dead", "grant": job.grant}
    documents["effects"].insert_one(begun)
    assert run(job.id, replace(room, actions=Actions({}))).status is JobStatus.UNCERTAIN


@pytest.mark.parametrize("how", ["cancelled", "too late"])
def test_what_may_be_repeated_and_was_perhaps_done_is_not_called_undone(
    client, connect, user, room, clock, sandbox, monkeypatch, how
):
    connect(user)
    monkeypatch.setattr(Post, "idempotent", True)
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    send_again(room.documents, job)
    sandbox.misbehave("tweets", "drop_after", times=1, account=user)
    assert run(job.id, room).status is JobStatus.SCHEDULED
    send_again(room.documents, job)
    if how == "cancelled":
        room.documents["jobs"].update_one({"_id": job.id}, {"$set": {"stop": True}})
    else:
        clock.go_on_to(job.deadline)
    assert run(job.id, room).status is JobStatus.UNCERTAIN


def test_a_worker_whose_machine_was_suspended_sends_nothing(client, connect, user, room, clock, documents, posts):
    """The monotonic clock stands still then; the other does not."""
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    send_again(documents, job)

    class Suspended(Failing):
        def begin(self, *args: Any, **kwargs: Any) -> Any:
            begun = room.effects.begin(*args, **kwargs)
            clock.go_on(timedelta(seconds=room.settings.job_lease_seconds))
            return begun

    outcome = run(job.id, replace(room, effects=Suspended(room.effects, "", written=True)))
    assert (outcome.status, outcome.decision.code) == (JobStatus.SCHEDULED, "lease_too_short")
    assert posts(user) == []


def test_an_action_that_cannot_look_waits_for_an_operator(client, uncertain, room, clock, monkeypatch):
    monkeypatch.setattr(Post, "find", lambda *_: None)
    job = looked(uncertain("drop_after"), room, client, clock)
    assert (job.status, job.looks) == (JobStatus.UNCERTAIN, 0)
    assert job.next_at - clock() > timedelta(minutes=59)
    assert job.error.message.endswith("looked for: cannot_tell")
    again = looked(job, room, client, clock)
    assert again.error.message == job.error.message, "it does not grow"


def test_whoever_looks_waits_at_gates_and_outages_too(client, uncertain, room, clock, monkeypatch):
    job = uncertain("drop_after")
    until = clock() + timedelta(minutes=3)

    def limited(*_: Any) -> None:
        raise AtGate(until, gate="x answered 429")

    with monkeypatch.context() as refusing:
        refusing.setattr(Post, "find", limited)
        job = looked(job, room, client, clock)
    assert abs(job.next_at - until) < timedelta(seconds=1)
    job = looked(job, replace(room, grants=Failing(room.grants, "get", written=False)), client, clock)
    assert job.status is JobStatus.UNCERTAIN
    assert timedelta(seconds=5) <= job.next_at - clock() < timedelta(minutes=2)
    assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("how", ["drop_after", "drop_before"])
def test_a_job_whose_user_disconnected_is_looked_for_when_there_is_something_to_look_with_and_is_not_repeated(
    client, uncertain, room, clock, user, connect, how
):
    job = uncertain(how)
    client.disconnect(user=user, provider="x")
    job = looked(job, room, client, clock)
    assert (job.status, job.error.message.rpartition(": ")[2]) == (JobStatus.UNCERTAIN, "disconnected")
    connect(user)
    while job.status is JobStatus.UNCERTAIN:
        job = looked(job, room, client, clock)
    if how == "drop_after":
        assert job.status is JobStatus.SUCCEEDED
        return
    send_again(room.documents, job)
    assert run(job.id, room).status is JobStatus.CANCELLED


def test_a_job_that_says_something_else_than_was_signed_is_not_looked_for(client, uncertain, room, clock, documents):
    job = uncertain("drop_after")
    documents["jobs"].update_one({"_id": job.id}, {"$set": {"payload.text": "another"}})
    job = looked(job, room, client, clock)
    assert (job.status, job.error.message.rpartition(": ")[2]) == (JobStatus.UNCERTAIN, "altered")


def test_who_dies_after_its_conclusion_leaves_it_to_the_next_look(client, uncertain, room, clock):
    job = uncertain("drop_after")
    clock.go_on_to(job.next_at)
    looker = replace(room, jobs=Failing(room.jobs, "settle_looked", written=False))
    with pytest.raises(Exception, match="MongoDB"):
        reconcile(job.id, looker)
    assert client.job(job.id).status is JobStatus.UNCERTAIN
    assert looked(job, replace(room, providers={}), client, clock).status is JobStatus.SUCCEEDED


# --- threads ---


POSTS = ["one", "two", "three"]


@pytest.fixture
def thread(client: Client, connect: Callable[[str], Any], user: str, documents: Any) -> Job:
    connect(user)
    job = client.schedule("x.thread", user=user, payload={"posts": POSTS})
    send_again(documents, job)
    return job


class FailsOnce:
    """Before the so-many-th step of a thread, something happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int, what: Callable[[], None]) -> None:
        real = Thread.perform_step

        def perform_step(action: Any, http: Any, payload: Any, job_id: str, made: Sequence[str]) -> Any:
            if len(made) + 1 == step and not self.done:
                self.done = True
                what()
            return real(action, http, payload, job_id, made)

        self.done = False
        monkeypatch.setattr(Thread, "perform_step", perform_step)


def whole(sandbox: SandboxControl, account: str) -> bool:
    """Whether an account has posted the thread, once, each a reply to the one before."""
    made = [post for post in sandbox.ledger()["posts"] if post["account"] == account]
    replies = [post["reply_to"] for post in made]
    return [post["text"] for post in made] == POSTS and replies == [None, *(post["id"] for post in made[:-1])]


def test_a_thread_is_posted_one_after_the_other(client, room, thread, sandbox, documents, user):
    assert run(thread.id, room).status is JobStatus.SUCCEEDED
    assert whole(sandbox, user)
    done = client.job(thread.id)
    assert (list(done.made), done.result) == (posted(sandbox, user), posted(sandbox, user)[0])
    rows = documents["effects"].find({"_id": {"$regex": f"^{thread.id}:"}})
    assert {row["_id"][-1]: row["result"] for row in rows} == dict(zip("123", done.made, strict=True))


@pytest.mark.parametrize("broken", list(product([1, 2, 3], ["drop_after", "drop_before", "status_after"])), ids=str)
def test_a_reply_lost_in_the_middle_leaves_no_hole_and_no_double(
    client, room, thread, sandbox, clock, monkeypatch, broken
):
    step, how = broken
    user, status = thread.user, {"status": 500} if how == "status_after" else {}
    FailsOnce(monkeypatch, step, lambda: sandbox.misbehave("tweets", how, times=1, account=user, **status))
    assert run(thread.id, room).status is JobStatus.UNCERTAIN
    job = client.job(thread.id)
    assert len(job.made) == (step - 1 if step > 2 else 0)
    while job.status is JobStatus.UNCERTAIN:
        job = looked(job, room, client, clock)
    if job.status is JobStatus.SCHEDULED:
        send_again(room.documents, job)
        assert run(job.id, room).status is JobStatus.SUCCEEDED
    assert client.job(job.id).status is JobStatus.SUCCEEDED
    assert whole(sandbox, user)


def test_a_limit_in_the_middle_is_waited_out(client, room, thread, sandbox, documents, clock, user, monkeypatch):
    rule = {"status": 429, "headers": {"retry-after": "30"}, "body": {}}
    FailsOnce(monkeypatch, 2, lambda: sandbox.misbehave("tweets", "status", times=1, account=user, **rule))
    assert run(thread.id, room).status is JobStatus.SCHEDULED
    job = client.job(thread.id)
    assert (job.attempts, len(posted(sandbox, user))) == (0, 1)
    clock.go_on_to(job.next_at)
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.SUCCEEDED
    assert whole(sandbox, user)


def test_a_thread_that_is_half_done_is_not_moved_to_another_time(
    client, room, thread, sandbox, documents, clock, user, monkeypatch
):
    rule = {"status": 429, "headers": {"retry-after": "30"}, "body": {}}
    FailsOnce(monkeypatch, 2, lambda: sandbox.misbehave("tweets", "status", times=1, account=user, **rule))
    assert run(thread.id, room).status is JobStatus.SCHEDULED
    with pytest.raises(TooLateToReschedule, match="a part of it is done"):
        client.reschedule(thread.id, at=utc_now() + timedelta(hours=1))
    documents["jobs"].update_one({"_id": thread.id}, {"$set": {"status": "parked", "held": True}})
    # What was held goes on when it is signed anew, and nothing of it is done twice.
    client.reschedule(thread.id, at=utc_now())
    clock.go_on(timedelta(seconds=31))
    send_again(documents, thread)
    assert run(thread.id, room).status is JobStatus.SUCCEEDED
    assert whole(sandbox, user)


@pytest.mark.parametrize("how", ["cancelled", "expired", "failed"])
def test_a_thread_that_ends_in_the_middle_says_how_far_it_came(client, room, thread, sandbox, clock, monkeypatch, how):
    user = thread.user

    def happens() -> None:
        match how:
            case "cancelled":
                client.cancel(thread.id, timeout=0)
                monkeypatch.setattr("worker.run.FRESH_SECONDS", -1)
            case "expired":
                clock.go_on_to(thread.deadline)
            case "failed":
                body = {"detail": "no"}
                sandbox.misbehave("tweets", "status", status=403, body=body, times=1, account=user)

    FailsOnce(monkeypatch, 3 if how == "failed" else 2, happens)
    assert run(thread.id, room).status == how
    job = client.job(thread.id)
    assert list(job.made) == posted(sandbox, user)
    assert [post["text"] for post in sandbox.ledger()["posts"] if post["account"] == user] == POSTS[:2]


def test_a_thread_whose_worker_has_too_little_time_left_goes_on_in_another_turn(
    client, room, thread, sandbox, documents, user, monkeypatch
):
    margin = room.settings.job_lease_seconds
    with monkeypatch.context() as short:
        FailsOnce(short, 1, lambda: short.setattr("worker.run.LEASE_MARGIN_SECONDS", margin))
        outcome = run(thread.id, room)
    assert (outcome.status, outcome.decision.code) == (JobStatus.SCHEDULED, "lease_too_short")
    send_again(documents, client.job(thread.id))
    assert run(thread.id, room).status is JobStatus.SUCCEEDED
    assert whole(sandbox, user)


def test_a_step_that_was_resolved_without_its_reference_cannot_be_gone_on_from(
    client, room, thread, sandbox, documents, clock, user, monkeypatch
):
    FailsOnce(monkeypatch, 1, lambda: sandbox.misbehave("tweets", "drop_after", times=1, account=user))
    assert run(thread.id, room).status is JobStatus.UNCERTAIN
    say(documents, thread, happened=True)
    job = looked(thread, room, client, clock)
    assert (job.status, job.error.message.rpartition(": ")[2]) == (JobStatus.UNCERTAIN, "cannot_tell")
    say(documents, thread, happened=True, reference=posted(sandbox, user)[0])
    assert looked(thread, room, client, clock).status is JobStatus.SCHEDULED
    send_again(documents, thread)
    assert run(thread.id, room).status is JobStatus.SUCCEEDED
    assert whole(sandbox, user)


# --- what may be done twice, and was perhaps done once ---


@pytest.fixture
def begun(client, connect, user, room, documents, sandbox, monkeypatch) -> Callable[..., Job]:
    """A job that may be done twice, whose first reply was lost after it was done."""
    connect(user)
    monkeypatch.setattr(Post, "idempotent", True)

    def make(**options: Any) -> Job:
        job = client.schedule("x.post", user=user, payload={"text": "once"}, **options)
        send_again(documents, job)
        sandbox.misbehave("tweets", "drop_after", times=1, account=user)
        assert run(job.id, room) is not None
        return client.job(job.id)

    return make


def test_what_was_perhaps_done_is_not_cancelled_while_it_waits_to_be_done_again(client, begun, room, clock, documents):
    job = begun()
    assert job.status is JobStatus.SCHEDULED
    assert client.cancel(job.id).outcome == "too_late"
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.UNCERTAIN
    assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED


def test_what_was_perhaps_done_is_not_called_expired_when_the_deadline_comes_before_the_next_try(
    client, begun, room, clock
):
    job = begun(deadline=clock() + timedelta(seconds=4))
    assert job.status is JobStatus.UNCERTAIN
    assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED


def test_what_was_perhaps_done_is_not_called_cancelled_by_whoever_has_no_reply(
    client, connect, user, room, clock, documents, monkeypatch
):
    connect(user)
    monkeypatch.setattr(Post, "idempotent", True)
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    send_again(documents, job)
    perform = Post.perform

    def cancelled_meanwhile(self: Post, *args: Any) -> None:
        perform(self, *args)
        client.cancel(job.id)
        raise NoReply

    monkeypatch.setattr(Post, "perform", cancelled_meanwhile)
    assert run(job.id, room).status is JobStatus.UNCERTAIN
    assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("stopped", [True, False])
def test_a_limit_met_by_the_repetition_does_not_say_that_nothing_was_done_before(
    client, begun, room, clock, documents, sandbox, user, stopped
):
    job = begun()
    send_again(documents, job)
    sandbox.misbehave("tweets", "status", times=1, account=user, status=429, headers={"retry-after": "1"}, body={})
    assert run(job.id, room).status is JobStatus.SCHEDULED
    assert row(documents, job)["state"] == "unknown"
    if stopped:
        client.cancel(job.id)
    else:
        clock.go_on_to(job.deadline)
    clock.go_on(timedelta(seconds=5))
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.UNCERTAIN
    assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED


def test_a_refusal_of_the_repetition_does_not_say_that_nothing_was_done_before(
    client, begun, room, clock, documents, sandbox, user
):
    """As a DELETE is refused with 404 when what it deletes is gone: by the first one."""
    job = begun()
    send_again(documents, job)
    sandbox.misbehave("tweets", "status", times=1, account=user, status=404, body={})
    assert run(job.id, room).status is JobStatus.UNCERTAIN
    assert looked(job, room, client, clock).status is JobStatus.SUCCEEDED


def test_a_grant_that_died_meanwhile_does_not_park_what_was_perhaps_done(client, begun, room, clock, documents, user):
    job = begun()
    documents["grants"].update_one({"_id": job.grant}, {"$set": {"status": "reauthorization_required"}})
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.UNCERTAIN


def test_a_row_that_was_taken_over_and_withdrawn_still_says_that_nobody_knows(client, begun, room, documents):
    job = begun()
    send_again(documents, job)
    lost = replace(room, effects=Failing(room.effects, "begin", written=True))
    assert run(job.id, lost).status is JobStatus.SCHEDULED
    assert row(documents, job)["state"] == "unknown"


@pytest.mark.parametrize("result", [None, Result({1, 2})], ids=["none", "one that MongoDB does not take"])  # type: ignore[arg-type]
def test_what_was_done_by_an_action_that_names_no_result_is_not_called_cancelled(
    client, connect, user, room, documents, posts, monkeypatch, result
):
    connect(user)
    perform = Post.perform
    monkeypatch.setattr(Post, "perform", lambda *args: (perform(*args), result)[1])
    job = client.schedule("x.post", user=user, payload={"text": "once"})
    send_again(documents, job)
    run(job.id, room)
    assert client.cancel(job.id).outcome == "too_late"
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.UNCERTAIN
    assert posts(user) == ["once"]
