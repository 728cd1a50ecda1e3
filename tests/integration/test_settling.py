"""`actas jobs show`, `resolve`, `retry`: an operator at the console, with an operator's credentials.

The scheduler stands still, so that no worker looks for what is uncertain before the operator has spoken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from actas import Client, Job, JobStatus
from actas.cli import app as console_app
from actas.clock import utc_now
from actas.sandbox.remote import SandboxControl
from tests.integration.by_hand import send_again
from tests.support import eventually, nothing_is_sent
from worker.reconcile import reconcile
from worker.room import Room
from worker.run import run


@pytest.fixture
def documents(stack) -> Iterator[Any]:
    with MongoClient(stack.servers.mongod.url.get_secret_value(), tz_aware=True, tzinfo=UTC) as admin:
        yield admin["actas"]


@pytest.fixture
def console(stack, monkeypatch) -> Callable[..., Any]:
    """`actas jobs`, with the credentials of a role."""

    def console(*words: str, role: str = "operator", answer: str | None = None) -> Any:
        with monkeypatch.context() as env:
            env.delenv("ACTAS_APP", raising=False)
            for name, value in stack.role_env(role).items():
                env.setenv(name, value)
            return CliRunner().invoke(console_app, ["jobs", *words], input=answer)

    return console


@pytest.fixture
def standing_still(stack) -> Iterator[None]:
    with nothing_is_sent(stack):
        yield


@pytest.fixture
def uncertain(
    standing_still, client: Client, connect, user: str, room: Room, sandbox: SandboxControl, documents
) -> Callable[..., Job]:
    """A job whose request went wrong in this way."""
    connect(user)

    def make(how: str = "drop_before", action: str = "x.post", payload: Any = None) -> Job:
        job = client.schedule(action, user=user, payload=payload or {"text": "once"})
        send_again(documents, job)
        sandbox.misbehave("tweets", how, times=1, account=user)
        assert run(job.id, room).status is JobStatus.UNCERTAIN
        return client.job(job.id)

    return make


def test_a_story_is_told_step_by_step(client, uncertain, console):
    job = uncertain()
    told = console("show", job.id)
    assert told.exit_code == 0
    for words in ("uncertain", "step 1  unknown", "begun", "workers look for it, next at", f"resolve {job.id}"):
        assert words in told.stdout
    assert "once" not in told.stdout
    told = json.loads(console("show", job.id, "--json").stdout)
    assert [(step["step"], step["state"]) for step in told["steps"]] == [(1, "unknown")]
    assert [step["to"] for step in told["history"]][-1] == "uncertain"
    assert "resolve" in told["next"]


def test_an_app_sees_all_but_the_journal(client, uncertain, console):
    job = uncertain()
    told = console("show", job.id, role="app-demo")
    assert (told.exit_code, "step 1" in told.stdout) == (0, False)
    assert "closed to apps" in told.stderr


def test_what_is_uncertain_or_failed_is_counted_below_a_listing(client, uncertain, console, user):
    job = uncertain()
    assert "1 uncertain" in console("--user", user).stdout
    assert "1 uncertain" in console("--user", user, "--app", "demo").stdout
    assert "uncertain" not in console("--user", user, "--app", "other").stdout
    assert [row["id"] for row in json.loads(console("--status", "uncertain", "--user", user, "--json").stdout)] == [
        job.id
    ]


def test_what_happened_is_settled_as_done(client, stack, uncertain, console, room, posts, user):
    job = uncertain("drop_after")
    said = console("resolve", job.id, "--happened", "--reference", "1789", answer="y\n")
    assert said.exit_code == 0, said.output
    assert "will not be done again" in said.stdout
    assert "resolved at" in console("show", job.id).stdout
    reconcile(job.id, room)
    done = client.job(job.id)
    assert (done.status, done.result) == (JobStatus.SUCCEEDED, "1789")
    assert "resolved: it happened" in console("show", job.id).stdout
    assert posts(user) == ["once"]


def test_what_did_not_happen_is_done(client, stack, uncertain, console, posts, user):
    job = uncertain()
    assert console("resolve", job.id, "--did-not", "--yes").exit_code == 0
    stack.processes["scheduler"].resume()
    assert eventually(lambda: (now := client.job(job.id)).status is JobStatus.SUCCEEDED and now)
    assert posts(user) == ["once"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say which"),
        (["--did-not", "--reference", "1"], "has made nothing"),
        (["--happened", "--reference", ""], "1 to 200 characters"),
        (["--happened", "--reference", "x" * 201], "1 to 200 characters"),
    ],
)
def test_what_is_not_said_clearly_changes_nothing(client, uncertain, console, words, says):
    job = uncertain()
    said = console("resolve", job.id, "--yes", *words)
    assert said.exit_code != 0
    assert says in said.output + str(said.exception)
    assert client.job(job.id) == job


@pytest.mark.parametrize("verb", [["resolve", "--happened"], ["retry"]], ids=lambda verb: verb[0])
def test_who_is_not_sure_changes_nothing(client, uncertain, console, documents, verb):
    job = uncertain()
    if verb == ["retry"]:
        documents["effects"].update_one({"_id": f"{job.id}:1"}, {"$set": {"state": "refused"}})
        documents["jobs"].update_one({"_id": job.id}, {"$set": {"status": "failed"}})
    before = client.job(job.id)
    said = console(verb[0], job.id, *verb[1:], answer="n\n")
    assert (said.exit_code, "Sure?" in said.stdout) == (1, True)
    assert client.job(job.id) == before


def test_only_what_is_uncertain_is_resolved(client, connect, console, user, standing_still):
    connect(user)
    job = client.schedule("x.post", user=user, payload={"text": "x"})
    said = console("resolve", job.id, "--happened", "--yes")
    assert (said.exit_code, "the job is scheduled, not uncertain" in said.stderr) == (1, True)


def test_what_the_journal_knows_is_not_for_an_operator_to_say(client, uncertain, console, documents):
    job = uncertain()
    documents["effects"].update_one({"_id": f"{job.id}:1"}, {"$set": {"state": "done", "result": "1"}})
    said = console("resolve", job.id, "--did-not", "--yes")
    assert (said.exit_code, "the journal knows" in said.stderr) == (1, True)
    assert documents["resolutions"].find_one({"_id": f"{job.id}:1"}) is None


def test_a_step_that_others_build_on_needs_its_reference(client, uncertain, console, documents):
    job = uncertain("drop_after", "x.thread", {"posts": ["one", "two"]})
    said = console("resolve", job.id, "--happened", "--yes")
    assert (said.exit_code, "--reference" in said.stderr) == (1, True)
    assert console("resolve", job.id, "--happened", "--reference", "1", "--yes").exit_code == 0
    assert documents["resolutions"].find_one({"_id": f"{job.id}:1"})["reference"] == "1"


# --- retry ---


@pytest.fixture
def failed(standing_still, client: Client, connect, user: str, room: Room, sandbox: SandboxControl, documents) -> Job:
    """The provider has refused it, for a reason that can pass."""
    connect(user)
    sandbox.misbehave(
        "tweets", "status", status=403, body={"title": "Forbidden", "detail": "no"}, times=1, account=user
    )
    job = client.schedule("x.post", user=user, payload={"text": "again"})
    send_again(documents, job)
    assert run(job.id, room).status is JobStatus.FAILED
    return client.job(job.id)


def test_a_failed_job_is_done_after_all_under_its_first_signature(client, stack, failed, console, posts, user):
    assert f"actas jobs retry {failed.id}" in console("show", failed.id).stdout
    said = console("retry", failed.id, answer="y\n")
    assert said.exit_code == 0, said.output
    assert "x.post as" in said.stdout
    again = client.job(failed.id)
    assert (again.status, again.attempts, again.error, again.finished_at) == (JobStatus.SCHEDULED, 0, None, None)
    stack.processes["scheduler"].resume()
    done = eventually(lambda: (now := client.job(failed.id)).status is JobStatus.SUCCEEDED and now)
    assert (done.jws, done.rev) == (failed.jws, failed.rev)
    assert [step["to"] for step in done.history].count("failed") == 1, "that it failed is not forgotten"
    assert posts(user) == ["again"]


def test_a_failed_job_that_may_have_been_done_is_not_retried(client, failed, console, documents):
    documents["effects"].update_one({"_id": f"{failed.id}:1"}, {"$set": {"state": "unknown"}})
    said = console("retry", failed.id, "--yes")
    assert (said.exit_code, "may have acted" in said.stderr) == (1, True)
    assert client.job(failed.id) == failed


def test_a_job_whose_signature_has_expired_is_not_retried(client, failed, console, documents):
    documents["jobs"].update_one({"_id": failed.id}, {"$set": {"deadline": utc_now() - timedelta(seconds=1)}})
    said = console("retry", failed.id, "--yes")
    assert (said.exit_code, "only its app" in said.stderr) == (1, True)


def test_a_deadline_edited_in_the_database_does_not_bring_a_job_back(
    client, stack, failed, console, documents, posts, user
):
    """What counts is what was signed."""
    documents["jobs"].update_one({"_id": failed.id}, {"$set": {"deadline": failed.deadline + timedelta(days=1)}})
    assert console("retry", failed.id, "--yes").exit_code == 0
    stack.processes["scheduler"].resume()
    done = eventually(lambda: (now := client.job(failed.id)).status is JobStatus.FAILED and now)
    assert done.error.code == "altered"
    assert posts(user) == []


def test_apps_do_not_retry_and_resolve_at_the_console(uncertain, console, client):
    job = uncertain()
    for verb in (["resolve", job.id, "--happened", "--yes"], ["retry", job.id, "--yes"]):
        assert console(*verb, role="app-demo").exit_code != 0
    assert client.job(job.id) == job


def test_what_was_refused_of_what_producers_sent_is_listed(console, documents):
    now = utc_now()
    row = {"app": "demo", "job": "j-refused", "code": "invalid_time", "message": "m", "at": now}
    documents["refusals"].insert_one(row | {"_id": "digest", "expires_at": now + timedelta(days=30)})
    assert "j-refused" in console("refused").stdout
    assert [row["code"] for row in json.loads(console("refused", "--json", "--app", "demo").stdout)]
    assert "j-refused" not in console("refused", "--app", "other").stdout
