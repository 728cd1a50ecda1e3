"""The demo: its search finds what is planted, its verdict sees each disagreement, and the whole of it runs."""

from __future__ import annotations

import base64
import itertools
import os
import re
import secrets
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from pymongo import MongoClient
from rich.console import Console

from actas.actions import Actions
from actas.embedded.child import plain_environment
from actas.embedded.demo import story
from actas.embedded.demo.flower import FlowerApi
from actas.embedded.demo.places import View, files, views
from actas.embedded.demo.plan import PLAN, USERS, Ending, the
from actas.embedded.demo.screen import Screen
from actas.embedded.demo.search import Finding, search
from actas.embedded.demo.verdict import Evidence, judge
from actas.embedded.stack import Stack
from actas.records import Job, JobError
from actas.states import JobStatus
from tests.support import eventually

LINE = (
    "demo: 24 scheduled, 21 posted, 1 expired, 1 cancelled, 1 refused, 0 duplicated, 0 lost, 3 exchanges,"
    " 0 readable tokens found in 7 places"
)
PLACES = ("MongoDB", "Redis", "Vault", "logs", "Flower", "beat", "what is left")


# --- the search -------------------------------------------------------------------------------------------------------

# Fixed, because they name tests, and every process of a run must collect the same ones.
TOKEN = "KeknXVVE6Fn-hnMvvmtBGmVGCYfMfW_3JOSM49K_EG_tDAPjobHYLg"
AWKWARD = "a+b/c=d e&ssJv4KPRm4V5FWwy2zfOOdtB9s"  # looks different wherever it is encoded


def base64_of(data: bytes, before: int, after: int) -> bytes:
    return base64.b64encode(os.urandom(before) + data + os.urandom(after))


@pytest.mark.parametrize("secret", [TOKEN, AWKWARD])
@pytest.mark.parametrize(
    ("form", "write"),
    [
        ("raw", str.encode),
        ("hex", lambda secret: secret.encode().hex().encode()),
        ("hex", lambda secret: secret.encode().hex().upper().encode()),
        ("UTF-16", lambda secret: secret.encode("utf-16-le")),
        ("UTF-16", lambda secret: secret.encode("utf-16-be")),
    ],
)
def test_the_search_finds_a_secret_in_each_form(secret, form, write):
    found = search(["another", secret], [("nothing", b"nothing"), ("there", b"\0\xff" + write(secret) + b"\xfe")])
    assert Finding(1, form, "there") in found
    assert {finding.where for finding in found} == {"there"}


@pytest.mark.parametrize("safe", ["", "/"])
def test_the_search_finds_a_secret_that_was_encoded_for_a_url(safe):
    data = f"?token={quote(AWKWARD, safe=safe)}&x=1".encode()
    assert search([AWKWARD], [("url", data)]) == [Finding(0, "URL-encoded", "url")]


@pytest.mark.parametrize("urlsafe", [False, True])
def test_the_search_finds_a_secret_inside_base64_wherever_it_begins_and_ends(urlsafe):
    for secret, before, after in itertools.product([TOKEN, AWKWARD, TOKEN[:-1], TOKEN[:-2]], range(7), range(4)):
        encoded = base64_of(secret.encode(), before, after)
        if urlsafe:
            encoded = encoded.translate(bytes.maketrans(b"+/", b"-_"))
        assert search([secret], [("message", encoded)]) == [Finding(0, "base64", "message")], (secret, before, after)


@pytest.mark.parametrize("length", [1, 7, 8, 14, 15, 16, 54])
def test_the_search_finds_a_secret_of_any_length_wherever_it_stands(length):
    secret = TOKEN[:length]
    for before, after in itertools.product(range(17), range(9)):
        data = b"~" * before + secret.encode() + b"~" * after
        assert search([AWKWARD, secret], [("there", data)]) == [Finding(1, "raw", "there")], (before, after)


def test_the_search_does_not_find_what_only_resembles_the_secret():
    almost = TOKEN[:-1] + ("a" if TOKEN[-1] != "a" else "b")
    pieces = [("almost", almost.encode()), ("hex", almost.encode().hex().encode()), ("half", TOKEN[:27].encode())]
    assert search([TOKEN], pieces) == []


def test_a_finding_does_not_repeat_the_secret():
    assert TOKEN not in repr(search([TOKEN], [("there", TOKEN.encode())]))


def test_looking_where_the_control_is_not_found_counts_as_blind():
    found, sees, size = story.look(
        View("logs", "output", "control", lambda: [("a.log", b"nothing of interest")]), [TOKEN]
    )
    assert (found, sees, size) == ([], False, 19)


def test_looking_tells_the_control_from_a_leak():
    view = View("logs", "output", "control", lambda: [("a.log", f"control and {TOKEN}".encode())])
    found, sees, _ = story.look(view, ["another", TOKEN])
    assert (found, sees) == ([Finding(1, "raw", "a.log")], True)


def test_a_file_that_is_taken_away_while_all_are_read_is_passed_over(tmp_path, monkeypatch):
    for name in ("a", "journal", "z"):
        (tmp_path / name).write_text(name)
    read = Path.read_bytes

    def read_late(file: Path) -> bytes:
        if file.name == "journal":
            file.unlink()
        return read(file)

    monkeypatch.setattr(Path, "read_bytes", read_late)
    assert [data for _, data in files(tmp_path)] == [b"a", b"z"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("servers"))
    with stack:
        stack.start_servers()
        stack.install()
        yield stack


def test_the_search_sees_what_is_planted_in_every_server(servers):
    """Each server's every view, with tokens planted in another form each time; and Vault keeps its own unreadable."""
    text, job_id, first, second, third = (secrets.token_urlsafe(30) for _ in range(5))
    with MongoClient(servers.servers.mongod.url.get_secret_value(), w="majority", journal=True) as mongo:
        hidden = base64.b64encode(f"x{second}".encode()).decode()
        planted_job = {"_id": first, "payload": text, "deep": [{"er": hidden}]}
        mongo.actas.jobs.insert_one(planted_job, bypass_document_validation=True)
        mongo.actas.jobs.delete_one({"_id": first})  # gone from its collection, and still in the oplog
    with redis.Redis.from_url(servers.servers.valkey.url.get_secret_value()) as valkey:
        valkey.set("a string", first)
        valkey.rpush("a list", "x", job_id, second.encode().hex())
        valkey.hset("a hash", mapping={"field": third})
        valkey.zadd(first, {third: 1})
        valkey.sadd("a set", second)
        valkey.xadd("a stream", {"field": second})
    client_secret = (servers.directory / "secrets" / "sandbox-client").read_text()
    with closing(FlowerApi(servers)) as flower:
        by_name = {str(view): view for view in views(servers, flower, job_id=job_id, text=text)}
    tokens = [first, second, third, client_secret]
    seen = {}
    for name in ("MongoDB: files", "MongoDB: documents", "Redis: files", "Redis: keys and values", "Vault: files"):
        found, sees, _ = story.look(by_name[name], tokens)
        assert sees, name
        seen[name] = {(finding.secret, finding.form) for finding in found}
    assert seen["MongoDB: files"] >= {(0, "raw"), (1, "base64")}
    assert seen["MongoDB: documents"] >= {(0, "raw"), (1, "base64")}
    assert seen["Redis: files"] >= {(0, "raw"), (1, "raw"), (1, "hex"), (2, "raw")}
    assert seen["Redis: keys and values"] >= {(0, "raw"), (1, "raw"), (1, "hex"), (2, "raw")}
    assert seen["Vault: files"] == set()


# --- the verdict ------------------------------------------------------------------------------------------------------

START = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
STATUSES = {
    Ending.POSTED: JobStatus.SUCCEEDED,
    Ending.EXPIRED: JobStatus.EXPIRED,
    Ending.CANCELLED: JobStatus.CANCELLED,
    Ending.REFUSED: JobStatus.CANCELLED,
}
FLOWER = {Ending.POSTED: "SUCCESS", Ending.EXPIRED: "REVOKED"}
CODES = {Ending.EXPIRED: "expired", Ending.CANCELLED: "cancelled", Ending.REFUSED: "disconnected"}


def job_of(post) -> Job:
    run_at = START + timedelta(seconds=post.due)
    code = CODES.get(post.ending)
    return Job(
        id=f"job of {post.name}",
        jws="",
        app="demo",
        user=post.user,
        grant=f"grant of {post.user}",
        provider="x",
        action="x.post",
        payload={"text": post.text},
        run_at=run_at,
        deadline=run_at + timedelta(days=1),
        rev=0,
        status=STATUSES[post.ending],
        next_at=run_at,
        created_at=START,
        result=f"id of {post.name}" if post.ending is Ending.POSTED else None,
        error=JobError(code, "", run_at) if code else None,
        history=({"at": run_at, "to": "running"},) if post.ending in FLOWER else (),
    )


def entry_of(post, **changes):
    at = (START + timedelta(seconds=post.due + 0.5)).isoformat()
    return {
        "id": f"id of {post.name}",
        "account": post.user,
        "account_id": "1",
        "text": post.text,
        "at": at,
        "family": "f1",
        "deleted_at": None,
    } | changes


def task_of(post):
    job = job_of(post)
    return {
        "uuid": job.id,
        "state": FLOWER[post.ending],
        "args": f"(user={job.user!r}, action={job.action!r}, at={job.run_at:%Y-%m-%dT%H:%M:%SZ})",
    }


def evidence() -> Evidence:
    """Everything as it has to be; built anew for each test to spoil."""
    return Evidence(
        jobs={post: job_of(post) for post in PLAN},
        ledger={
            "posts": [entry_of(post) for post in PLAN if post.ending is Ending.POSTED],
            "counts": {"codes": 3, "exchanges": 3, "reuse": 0, "revocations": 1, "refused": 0, "duplicates": 0},
            "families": [
                {"family": user, "account": user, "alive": user != "carol", "generation": 2, "exchanges": 1, "reuse": 0}
                for user in USERS
            ],
        },
        tasks={job_of(post).id: task_of(post) for post in PLAN if post.ending in FLOWER},
        tokens=16,
        places={place: [] for place in PLACES},
    )


def spoilt(good: Evidence, post, **changes) -> Evidence:
    return replace(good, jobs=good.jobs | {post: replace(good.jobs[post], **changes)})


POSTED = next(post for post in PLAN if post.ending is Ending.POSTED)
OTHER = next(post for post in PLAN if post.ending is Ending.POSTED and post.user != POSTED.user)
EXPIRED, CANCELLED, REFUSED = the(Ending.EXPIRED), the(Ending.CANCELLED), the(Ending.REFUSED)


def test_when_everything_agrees_nothing_is_wrong_and_the_line_says_so():
    verdict = judge(evidence())
    assert verdict.wrong == ()
    assert verdict.line == LINE


def test_each_text_of_the_plan_is_its_own_and_acceptable_to_the_action():
    assert len({post.text for post in PLAN}) == len(PLAN) == 24
    for post in PLAN:
        Actions()[story.ACTION].parse({"text": post.text})


@pytest.mark.parametrize("post", [POSTED, EXPIRED, CANCELLED, REFUSED], ids=lambda post: str(post.ending))
def test_a_job_that_is_gone_is_lost_and_so_is_one_that_is_gone_with_its_post(post):
    good = evidence()
    jobs = {other: job for other, job in good.jobs.items() if other != post}
    tasks = {job_id: task for job_id, task in good.tasks.items() if job_id != job_of(post).id}
    good.ledger["posts"] = [entry for entry in good.ledger["posts"] if entry["id"] != f"id of {post.name}"]
    verdict = judge(replace(good, jobs=jobs, tasks=tasks))
    assert verdict.wrong == (f"{post.name} is lost: its job is gone",)
    assert verdict.line.startswith("demo: 24 scheduled, ")
    assert ", 1 lost, " in verdict.line
    assert not story.all_over(jobs)


def test_what_is_left_is_searched_but_for_the_providers_side(tmp_path):
    for name in ("logs/worker1.log", "roles/worker.env", "core", "secrets/sandbox-client", "config/sandbox.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"control, and {TOKEN}")
    told = story.Told(evidence(), [TOKEN], control="control")
    left = story.search_what_is_left(told, tmp_path, Screen(Console(quiet=True)))
    assert [finding.where for finding in left.places["what is left"]] == [
        "core",
        "logs/worker1.log",
        "roles/worker.env",
    ]
    assert left.blind == []
    assert judge(left).wrong
    told = replace(told, control="not there")
    assert story.search_what_is_left(told, tmp_path, Screen(Console(quiet=True))).blind == ["what is left: all files"]


def test_a_succeeded_job_without_its_post_is_lost():
    good = evidence()
    good.ledger["posts"] = [entry for entry in good.ledger["posts"] if entry["id"] != f"id of {POSTED.name}"]
    verdict = judge(good)
    assert any(wrong.startswith(f"{POSTED.name} is lost") for wrong in verdict.wrong)
    assert "21 posted" in verdict.line
    assert "1 lost" in verdict.line


def test_two_jobs_that_claim_one_post_are_lost():
    good = evidence()
    verdict = judge(spoilt(good, POSTED, result=good.jobs[OTHER].result))
    assert verdict.wrong
    assert "1 duplicated, 2 lost" in verdict.line  # and the post that nobody claims now is one too many


@pytest.mark.parametrize("status", [JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.PARKED, JobStatus.UNCERTAIN])
def test_a_job_that_has_not_ended_is_lost(status):
    verdict = judge(spoilt(evidence(), EXPIRED, status=status))
    assert any(wrong.startswith(f"{EXPIRED.name} is lost") for wrong in verdict.wrong)
    assert "0 expired" in verdict.line
    assert "1 lost" in verdict.line


def test_a_post_that_no_job_made_is_a_duplicate():
    good = evidence()
    good.ledger["posts"].append(entry_of(POSTED, id="a second one"))
    verdict = judge(good)
    assert len(verdict.wrong) == 1
    assert "1 duplicated" in verdict.line


@pytest.mark.parametrize("post", [EXPIRED, CANCELLED, REFUSED], ids=lambda post: post.ending)
def test_a_post_that_had_not_to_be_made_is_found_out_in_the_ledger_and_in_its_job(post):
    good = evidence()
    good.ledger["posts"].append(entry_of(post))
    assert "1 duplicated" in judge(good).line
    verdict = judge(spoilt(good, post, status=JobStatus.SUCCEEDED, result=f"id of {post.name}", error=None))
    assert "22 posted" in verdict.line
    assert any(wrong.startswith(f"{post.name} had to be {post.ending}") for wrong in verdict.wrong)


def test_a_refused_post_is_told_from_a_cancelled_one():
    verdict = judge(spoilt(evidence(), REFUSED, error=JobError("cancelled", "", START)))
    assert "2 cancelled, 0 refused" in verdict.line
    assert len(verdict.wrong) == 1


def test_a_failed_job_is_neither_posted_nor_passed_over():
    verdict = judge(spoilt(evidence(), POSTED, status=JobStatus.FAILED, result=None, error=JobError("boom", "", START)))
    assert "20 posted" in verdict.line
    assert any("its job is failed (boom)" in wrong for wrong in verdict.wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "bob"},
        {"text": "something else"},
        {"at": (START - timedelta(seconds=1)).isoformat()},
        {"at": (START + timedelta(days=2)).isoformat()},
    ],
    ids=["another account", "another text", "too early", "past its deadline"],
)
def test_a_post_that_is_not_what_was_asked_for_is_wrong(changes):
    good = evidence()
    good.ledger["posts"][0] |= changes
    assert len(judge(good).wrong) == 1


@pytest.mark.parametrize(
    ("counts", "family"),
    [
        ({"reuse": 1}, {}),
        ({"refused": 2}, {}),
        ({"exchanges": 4}, {"exchanges": 2}),
        ({"exchanges": 2}, {"exchanges": 0}),
        ({}, {"alive": False}),
        ({}, {"account": "mallory"}),
    ],
    ids=["reuse", "refusals", "an exchange too many", "no exchange", "a dead grant", "somebody else's grant"],
)
def test_the_grants_have_to_be_in_order_at_the_provider(counts, family):
    good = evidence()
    good.ledger["counts"] |= counts
    good.ledger["families"][0] |= family
    verdict = judge(good)
    assert verdict.wrong
    assert f"{counts.get('exchanges', 3)} exchanges" in verdict.line


def test_a_post_that_the_provider_refused_as_a_repetition_counts_as_duplicated():
    good = evidence()
    good.ledger["counts"]["duplicates"] = 1
    verdict = judge(good)
    assert "1 duplicated" in verdict.line
    assert verdict.wrong == ("the provider refused 1 posts that it had already",)


def test_a_disconnected_grant_that_lives_on_is_wrong():
    good = evidence()
    good.ledger["families"][2] |= {"alive": True}
    assert judge(good).wrong == ("carol's grant is alive at the provider",)


@pytest.mark.parametrize(
    "change",
    [
        lambda tasks, task: tasks.pop(task["uuid"]),
        lambda tasks, task: task.update(state="STARTED"),
        lambda tasks, task: task.update(state="REVOKED"),
        lambda tasks, task: task.update(args="('x',)"),
        lambda tasks, task: task.update(args=None),
        lambda tasks, task: tasks.update(unknown=task),
    ],
    ids=["missing", "unfinished", "untrue", "nameless", "without arguments", "unknown"],
)
def test_flower_has_to_show_each_job_that_ran_as_it_is(change):
    good = evidence()
    tasks = dict(good.tasks)
    change(tasks, tasks[f"job of {POSTED.name}"])
    assert judge(replace(good, tasks=tasks)).wrong


def test_content_in_flower_is_wrong():
    assert judge(replace(evidence(), shown=["/tasks"])).wrong == ("Flower shows what a post says, at /tasks",)


def test_a_readable_token_is_counted_once_and_told_for_each_place():
    findings = {
        "logs": [Finding(3, "raw", "worker1.log"), Finding(3, "hex", "worker1.log")],
        "beat": [Finding(3, "raw", "x")],
    }
    good = evidence()
    verdict = judge(replace(good, places={**good.places, **findings}))
    assert "1 readable tokens found in 7 places" in verdict.line
    assert len(verdict.wrong) == 3


@pytest.mark.parametrize("changes", [{"tokens": 0}, {"blind": ["Redis: files"]}], ids=["no tokens", "a blind search"])
def test_a_search_that_could_not_have_found_anything_is_wrong(changes):
    assert len(judge(replace(evidence(), **changes)).wrong) == 1


# --- the whole --------------------------------------------------------------------------------------------------------

CONSOLE = """
import sys, typer
from actas.cli.demo import demo
typer.run(demo)
"""


def begin(directory: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    environment = plain_environment() | {"PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])}
    return subprocess.Popen(
        [sys.executable, "-c", CONSOLE, "--directory", str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment | {"ACTAS_MONGODB_URL": "mongodb://of.somebody.else"},
        text=True,
        start_new_session=True,
    )


def processes_in(directory: Path) -> list[str]:
    """Command lines of all that run in this directory, as everything of a stack does."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if entry.joinpath("cwd").readlink().is_relative_to(directory):
                    found.append(entry.joinpath("cmdline").read_text())
            except OSError:
                continue  # gone, or a zombie, or somebody else's
    return found


def test_the_demo_runs_without_a_terminal_ends_with_its_line_and_leaves_nothing_behind(tmp_path):
    demo = begin(tmp_path / "demo")
    output, _ = demo.communicate(timeout=150)
    lines = output.splitlines()
    assert demo.returncode == 0, output
    assert lines[-1] == LINE
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    changes = [
        line
        for line in lines
        if re.fullmatch(r"  \d\d:\d\d:\d\d\.\d{3}  (alice|bob|carol) \d  +[a-z]+( \(\w+\))?", line)
    ]
    assert len(changes) >= 21 * 3 + 3 + 1 + 1  # queued, running, and an end; two ended without having begun
    assert "\x1b" not in output
    assert [line for line in lines if "Traceback" in line] == []


def test_interrupted_the_demo_stops_everything_and_leaves_nothing_behind(tmp_path):
    demo = begin(tmp_path / "demo")

    def begun() -> bool:
        assert demo.poll() is None, demo.communicate()[0]
        return any("mongod" in command for command in processes_in(tmp_path))

    eventually(begun, seconds=60, what="mongod is being started")
    demo.send_signal(signal.SIGTERM)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, output
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
