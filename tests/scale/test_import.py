"""A hundred thousand readable tokens move in; the console is killed twice on the way. SCALE=1 for all of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymongo import MongoClient

import actas
from actas import JobRequest, JobStatus
from actas.embedded.child import plain_environment
from tests.support import dance, eventually

TOKENS = 100_000

#: With fewer, it would be done before it can be killed.
AT_LEAST = 8_000

#: So many are tokens of the provider's own; the rest is made up.
REAL = 20

CONSOLE = [
    *(sys.executable, "-c", "from actas.cli import main; main()", "import-tokens", "--json", "--provider", "x"),
    *("--collection", "users", "--map", "user=handle,account=x.id,refresh_token=x.refresh_token"),
    *("--run", "--shred", "--yes"),
]


def test_readable_tokens_move_in_with_two_kills_each_once_all_usable_and_none_is_readable(
    stack, client, sandbox, posts, scale, capsys
):
    count = max(round(TOKENS * scale), AT_LEAST)
    env = plain_environment() | stack.role_env("app-demo") | {"PYTHONPATH": str(Path(actas.__file__).parents[1])}
    host, _, options = stack.servers.mongod.url.get_secret_value().partition("?")
    env["IMPORT_MONGODB_URL"] = f"{host}legacy?{options}"
    real = {f"real{n}": dance(client, sandbox, f"real{n}")["refresh_token"] for n in range(REAL)}
    made_up = {f"made-up-{n}": f"canary-{uuid4().hex}" for n in range(count - REAL)}
    tokens = made_up | real
    # The real ones are spread, so that each kill has some before it and some after.
    handles = sorted(tokens, key=hash)
    with MongoClient(stack.servers.mongod.url.get_secret_value()) as admin:
        users, grants = admin["legacy"]["users"], admin["actas"]["grants"]
        users.insert_many(
            [{"handle": each, "x": {"id": f"id-{each}", "refresh_token": tokens[each]}} for each in handles]
        )

        began = time.monotonic()
        kill_when(env, lambda: grants.estimated_document_count() > count // 3)
        first = {doc["_id"]: doc["refresh_token"] for doc in grants.find({}, {"refresh_token": 1})}
        readable = {"x.refresh_token": {"$exists": True}}
        kill_when(env, lambda: users.count_documents(readable) < count)
        assert 0 < users.count_documents(readable) < count, "killed while it was unsetting"
        told = run(env)
        seconds = time.monotonic() - began

        assert users.count_documents({"x": {"$exists": True}}) == count
        assert users.count_documents(readable) == 0
        stored = list(grants.find())
        assert sorted(doc["user"] for doc in stored) == sorted(tokens)
        assert len({doc["account"] for doc in stored}) == len(stored) == count
        by_id = {doc["_id"]: doc["refresh_token"] for doc in stored}
        assert all(by_id[grant] == token for grant, token in first.items()), "what was stored was not written again"
        assert told["verified"] >= min(200, count)
        for database in ("actas", "legacy"):
            for name in admin[database].list_collection_names():
                for raw in admin[database][name].find_raw_batches():
                    assert b"canary-" not in raw
                    assert not [token for token in real.values() if token.encode() in raw]

    jobs = client.schedule_many([JobRequest("x.post", user, {"text": f"moved {user}"}) for user in real])
    for job in jobs:
        assert client.wait(job.id, timeout=60).status is JobStatus.SUCCEEDED
    assert [posts(user) for user in real] == [[f"moved {user}"] for user in real]
    with capsys.disabled():
        rate = count / seconds
        print(f"\n{count} tokens moved in, read back and unset in {seconds:.1f} s, two kills included: {rate:.0f}/s")  # noqa: T201


def run(env: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(CONSOLE, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "canary-" not in done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def kill_when(env: dict[str, str], seen: Callable[[], bool]) -> None:
    """Run the console until something is seen, and kill it then."""
    running = subprocess.Popen(CONSOLE, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: seen() or running.poll() is not None, seconds=300, what="it is under way")
    assert running.poll() is None, "it ended before it could be killed"
    running.send_signal(signal.SIGKILL)
    running.wait()
