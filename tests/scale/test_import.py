"""A hundred thousand readable tokens move in; the console is killed twice on the way. SCALE=1 for all of them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from pymongo import MongoClient

import actas
from actas import Grant, GrantStatus, JobRequest, JobStatus
from actas.embedded.child import plain_environment
from actas.embedded.stack import APP, CLIENT_ID
from actas.envelope import Purpose, decrypt
from actas.vault.room import BATCH
from tests.support import killed_after, settings_from
from worker.room import Room

TOKENS = 100_000

#: Several pages of them, so that there is a midst to be killed in.
AT_LEAST = 2_000

#: All are tokens of the provider's own, and all are decrypted in the end and compared; so many are exchanged, too, and with
#: a few of those is posted. (Exchanging all 100,000 takes a quarter of an hour and shows no more: it is the same token.)
EXCHANGED, POSTED = 2_000, 20

TOKEN_LENGTH = 54
TOKEN = re.compile(rb"[A-Za-z0-9_-]{%d,}" % TOKEN_LENGTH)

PAGE = 1_000

CONSOLE = [sys.executable, "-c", "from actas.cli import main; main()"]
IMPORT = [
    *("import-tokens", "--json", "--provider", "x"),
    *("--collection", "users", "--map", "user=handle,account=x.id,refresh_token=x.refresh_token"),
    *("--run", "--shred", "--yes"),
]


def test_readable_tokens_move_in_with_two_kills_each_once_all_usable_and_none_is_readable(
    stack, client, sandbox, posts, scale
):
    count = max(round(TOKENS * scale), AT_LEAST)
    env = plain_environment() | stack.role_env("app-demo") | {"PYTHONPATH": str(Path(actas.__file__).parents[1])}
    host, _, options = stack.servers.mongod.url.get_secret_value().partition("?")
    env["IMPORT_MONGODB_URL"] = f"{host}legacy?{options}"
    handles = [f"mover{n}" for n in range(count)]
    tokens = {
        handle: reply["refresh_token"]
        for start in range(0, count, PAGE)
        for handle, reply in zip(
            handles[start : start + PAGE], sandbox.make_grants(CLIENT_ID, handles[start : start + PAGE]), strict=True
        )
    }
    assert len({token.encode() for token in tokens.values() if TOKEN.fullmatch(token.encode())}) == count
    with MongoClient(stack.servers.mongod.url.get_secret_value()) as admin:
        users, grants = admin["legacy"]["users"], admin["actas"]["grants"]
        users.insert_many(
            [{"handle": each, "x": {"id": f"id-{each}", "refresh_token": tokens[each]}} for each in handles]
        )

        movers = {"app": APP, "user": {"$regex": "^mover"}}
        began = time.monotonic()
        killed(env, count // BATCH // 3, "actas.stores.importing:ImportedGrants.insert")
        first = {doc["_id"]: doc["refresh_token"] for doc in grants.find(movers, {"refresh_token": 1})}
        readable = {"x.refresh_token": {"$exists": True}}
        killed(env, 1, "actas.stores.import_source:Source.unset")
        assert 0 < users.count_documents(readable) < count, "killed while it was unsetting"
        told = run(env)
        seconds = time.monotonic() - began

        assert users.count_documents({"x": {"$exists": True}}) == count
        assert users.count_documents(readable) == 0
        stored = list(grants.find(movers))
        assert sorted(doc["user"] for doc in stored) == sorted(tokens)
        assert len({doc["account"] for doc in stored}) == len(stored) == count
        by_id = {doc["_id"]: doc["refresh_token"] for doc in stored}
        assert all(by_id[grant] == token for grant, token in first.items()), "what was stored was not written again"
        assert told["verified"] >= min(200, count)
        secret = {token.encode() for token in tokens.values()}
        for database in ("actas", "legacy"):
            for name in admin[database].list_collection_names():
                for raw in admin[database][name].find_raw_batches():
                    assert not {window for run in TOKEN.findall(raw) for window in windows(run)} & secret

    with closing(Room.open(settings_from(stack.role_env("worker")))) as room:
        for start in range(0, count, PAGE):
            page = [Grant.from_doc(doc) for doc in stored[start : start + PAGE]]
            keys = room.vault.unwrap("demo", [(grant.id, grant.data_key.wrapped) for grant in page])
            for grant, key in zip(page, keys, strict=True):
                context = grant.context(Purpose.REFRESH, generation=grant.generation, data_key_id=grant.data_key.id)
                assert decrypt(key, grant.refresh_token, context).get_secret_value() == tokens[grant.user]
        chosen = [Grant.from_doc(doc) for doc in stored[:: max(1, count // EXCHANGED)]]
        with ThreadPoolExecutor(8) as pool:
            exchanged = [access.grant for access in pool.map(room.exchange.access_token, chosen)]
    assert {(grant.status, grant.generation) for grant in exchanged} == {(GrantStatus.ACTIVE, 2)}
    families = [each for each in sandbox.ledger()["families"] if each["account"].startswith("mover")]
    assert (sum(each["exchanges"] for each in families), sum(each["reuse"] for each in families)) == (len(chosen), 0)

    posting = [grant.user for grant in exchanged[:: max(1, len(exchanged) // POSTED)]]
    jobs = client.schedule_many([JobRequest("x.post", user, {"text": f"moved {user}"}) for user in posting])
    for job in jobs:
        assert client.wait(job.id, timeout=60).status is JobStatus.SUCCEEDED
    assert [posts(user) for user in posting] == [[f"moved {user}"] for user in posting]
    rate = count / seconds
    print(f"\n{count} tokens moved in, read back and unset in {seconds:.1f} s, two kills included: {rate:.0f}/s")  # noqa: T201


def windows(run: bytes) -> Iterator[bytes]:
    """Whatever could be a token in a run of its characters."""
    return (run[at : at + TOKEN_LENGTH] for at in range(len(run) - TOKEN_LENGTH + 1))


def run(env: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run([*CONSOLE, *IMPORT], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not TOKEN.search((done.stdout + done.stderr).encode())
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def killed(env: dict[str, str], calls: int, method: str) -> None:
    """Run the console until it has called a method so often, and is killed then."""
    done = subprocess.run([*killed_after(calls, method), *IMPORT], env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
