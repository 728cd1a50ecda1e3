"""Stored files, and x.upload_media: from the app's bytes to the provider's, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from actas import Client, FileReference, JobStatus, errors, jws
from actas.blacklist import LEEWAY
from actas.clock import utc_now
from actas.files import CHUNK_BYTES
from actas.ids import new_id
from actas.records import EffectState
from actas.signing import sign
from actas.stores.database import connect as open_database
from actas.stores.files import Files
from scheduler.purge import BATCH_OF_FILES, purge_files
from tests.integration.by_hand import LATER, Failing, send_again
from tests.support import REDIRECT, eventually, nothing_is_sent, settings_from
from worker import run as path
from worker.errors import LeaseTooShort
from worker.reconcile import LOOKS, reconcile
from worker.room import Room
from worker.submit import NotTaken, submit

#: Long before anything else in this database.
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

#: Three segments, the last one short.
SIZE = 2 * CHUNK_BYTES + 12_345


@pytest.fixture
def data() -> bytes:
    """Bytes that nobody has stored before."""
    return os.urandom(SIZE)


def connected_to_upload(client: Client, sandbox: Any, user: str) -> str:
    """A user who lets the app upload and post."""
    request = client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT, actions=["x.upload_media", "x.post"])
    client.finish_connect(sandbox.authorize(request.url, user), user=user)
    return user


@pytest.fixture
def uploader(client: Client, sandbox: Any, user: str) -> str:
    return connected_to_upload(client, sandbox, user)


@pytest.fixture
def upload(client: Client, uploader: str) -> Callable[..., Any]:
    def schedule(file: FileReference, category: str = "tweet_image", *, at: datetime | None = None, **more: Any) -> Any:
        payload = {"file": file.model_dump(), "category": category, **more}
        return client.schedule("x.upload_media", user=uploader, payload=payload, at=at)

    return schedule


def rows(documents: Any, file: FileReference) -> list[dict[str, Any]]:
    return list(documents["files"].find({"app": "demo", "sha256": file.sha256}))


# --- from the app to the provider ---


def test_a_stored_file_is_uploaded_whole_and_its_media_id_is_the_result(client, sandbox, user, upload, data):
    file = client.store_file(data, media_type="image/png")
    assert (file.size, file.media_type) == (SIZE, "image/png")
    job = client.wait(upload(file, alt_text="noise").id)
    assert job.status is JobStatus.SUCCEEDED, job.error
    (uploaded,) = sandbox.uploads(user)
    assert (uploaded["id"], uploaded["sha256"]) == (job.result, hashlib.sha256(data).hexdigest())
    assert uploaded["segments"] == {"0": 1, "1": 1, "2": 1}
    assert (uploaded["alt_text"], uploaded["state"]) == ("noise", "succeeded")


def test_a_video_is_waited_for_without_an_attempt_and_without_a_slot(client, sandbox, user, upload, documents, data):
    sandbox.process(2)
    job = upload(client.store_file(io.BytesIO(data), media_type="video/mp4"), "tweet_video")
    waiting = {"_id": job.id, "status": "scheduled", "error.code": "not_ready"}
    eventually(lambda: documents["jobs"].find_one(waiting), what="it is put back while X processes the video")
    done = client.wait(job.id)
    assert (done.status, done.attempts) == (JobStatus.SUCCEEDED, 1)
    (uploaded,) = sandbox.uploads(user)
    assert uploaded["looks"] >= 2
    assert uploaded["segments"] == {"0": 1, "1": 1, "2": 1}


def test_a_reply_that_is_lost_costs_a_repetition_of_that_step_only(client, sandbox, documents):
    """And the row of the step says in the end that it is done: who comes next would begin there again else."""
    sandbox.process(1)
    file = client.store_file(os.urandom(CHUNK_BYTES + 1), media_type="image/gif")
    payload, jobs = {"file": file.model_dump(), "category": "tweet_gif", "alt_text": "x"}, {}
    for endpoint in ("initialize", "append", "finalize", "status", "metadata"):  # waited for together
        user = connected_to_upload(client, sandbox, f"u{uuid4().hex[:12]}")
        sandbox.misbehave(endpoint, "drop_after", times=1, account=user)
        jobs[endpoint] = client.schedule("x.upload_media", user=user, payload=payload)
    for endpoint, job in jobs.items():
        assert client.wait(job.id, timeout=90).status is JobStatus.SUCCEEDED, endpoint
        uploaded = sandbox.uploads(job.user)
        assert len(uploaded) == (2 if endpoint == "initialize" else 1)
        assert (uploaded[-1]["state"], uploaded[-1]["alt_text"]) == ("succeeded", "x")
        assert uploaded[-1]["segments"] == {"0": 2 if endpoint == "append" else 1, "1": 1}
        states = {row["state"] for row in documents["effects"].find({"_id": {"$regex": f"^{job.id}:"}})}
        assert states == {"done"}


def test_what_another_began_is_taken_over_by_who_may_repeat_it_and_what_is_done_stays_done(room, documents):
    began = {"now": utc_now(), "grant": f"g{uuid4().hex}", "until": utc_now()}
    row = f"{new_id()}:1"
    assert room.effects.begin(row, owner="dead", **began) is None
    assert room.effects.begin(row, owner="next", **began) is not None
    assert room.effects.begin(row, owner="next", **began | {"grant": "another's"}, repeat=True) is not None
    assert room.effects.begin(row, owner="next", **began, repeat=True) is None
    room.effects.finish(row, EffectState.DONE, owner="dead", now=utc_now(), result="dead's")
    room.effects.finish(row, EffectState.DONE, owner="next", now=utc_now(), result="next's")
    left = room.effects.begin(row, owner="third", **began, repeat=True)
    assert (left.state, left.result) == (EffectState.DONE, "next's")


# --- whoever can write MongoDB ---


def altered_chunk(documents: Any, file: dict[str, Any]) -> None:
    chunk = documents["file_chunks"].find_one({"_id": f"{file['_id']}:1"})["data"]
    documents["file_chunks"].update_one({"_id": f"{file['_id']}:1"}, {"$set": {"data": b"X" + chunk[1:]}})


def chunk_of_another_type(documents: Any, file: dict[str, Any]) -> None:
    documents["file_chunks"].update_one({"_id": f"{file['_id']}:1"}, {"$set": {"data": {"$": 1}}})


def chunks_swapped(documents: Any, file: dict[str, Any]) -> None:
    first = documents["file_chunks"].find_one({"_id": f"{file['_id']}:0"})["data"]
    documents["file_chunks"].update_one({"_id": f"{file['_id']}:1"}, {"$set": {"data": first}})


def lost_chunk(documents: Any, file: dict[str, Any]) -> None:
    documents["file_chunks"].delete_one({"_id": f"{file['_id']}:1"})


def altered_manifest(documents: Any, file: dict[str, Any]) -> None:
    """With the chunk that fits it."""
    chunk = os.urandom(CHUNK_BYTES)
    manifest = file["manifest"][:32] + hashlib.sha256(chunk).digest() + file["manifest"][64:]
    documents["files"].update_one({"_id": file["_id"]}, {"$set": {"manifest": manifest}})
    documents["file_chunks"].update_one({"_id": f"{file['_id']}:1"}, {"$set": {"data": chunk}})


def no_manifest(documents: Any, file: dict[str, Any]) -> None:
    documents["files"].update_one({"_id": file["_id"]}, {"$unset": {"manifest": ""}})


def file_gone(documents: Any, file: dict[str, Any]) -> None:
    documents["files"].delete_one({"_id": file["_id"]})


def file_of_another_app(documents: Any, file: dict[str, Any]) -> None:
    documents["files"].update_one({"_id": file["_id"]}, {"$set": {"app": "other"}})


#: What is done to a file of several chunks, the code that its job fails with, and what X got of it by then.
SPOILED = {
    meddle.__name__: (meddle, code, sent)
    for meddle, code, sent in [
        (altered_chunk, "file_altered", {"0": 1}),
        (chunk_of_another_type, "file_altered", {"0": 1}),
        (chunks_swapped, "file_altered", {"0": 1}),
        (lost_chunk, "file_missing", {"0": 1}),
        (altered_manifest, "file_altered", {}),
        (no_manifest, "file_altered", {}),
        (file_gone, "file_missing", {}),
        (file_of_another_app, "file_missing", {}),
    ]
}


@pytest.mark.parametrize("how", SPOILED)
def test_who_writes_mongodb_can_spoil_an_upload_and_make_no_other(stack, client, sandbox, user, upload, documents, how):
    meddle, code, sent = SPOILED[how]
    file = client.store_file(os.urandom(SIZE), media_type="image/png")
    with nothing_is_sent(stack):
        job = upload(file)
        meddle(documents, rows(documents, file)[0])
    done = client.wait(job.id)
    assert (done.status, done.error.code) == (JobStatus.FAILED, code)
    (uploaded,) = sandbox.uploads(user)
    assert (uploaded["segments"], uploaded["finalized"], uploaded["sha256"]) == (sent, 0, None)


# --- in several turns, by a worker of this process ---


@pytest.fixture
def worker(stack: Any) -> Iterator[Room]:
    """Its clock is an hour ahead, and so are its jobs: the stack's own workers leave them alone."""
    settings = settings_from(stack.role_env("worker"))
    room = Room.open(settings, clock=lambda: utc_now() + LATER + timedelta(seconds=1))
    yield room
    room.close()


@pytest.fixture
def job(client: Client, upload: Any, documents: Any) -> Any:
    job = upload(client.store_file(os.urandom(4 * CHUNK_BYTES), media_type="image/png"), at=utc_now() + LATER)
    send_again(documents, job)
    return job


def test_an_upload_that_outlasts_its_lease_goes_on_in_the_next_turn_also_past_a_lost_reply(
    client, sandbox, user, worker, job, documents, monkeypatch
):
    """And each turn comes further, though nobody knows of a step of the first whether it was done."""
    real, checks = path.check_time, itertools.count(1)

    def lease_of_three_steps(*args: Any) -> None:  # it is looked at before the row, after it, and after reading
        if next(checks) % 8 == 0:
            raise LeaseTooShort
        real(*args)

    monkeypatch.setattr(path, "check_time", lease_of_three_steps)
    sandbox.misbehave("append", "drop_after", times=1, account=user)
    codes = []
    while (outcome := path.run(job.id, worker)).status is JobStatus.SCHEDULED:
        codes.append(outcome.decision.code)
        send_again(documents, job)
    assert outcome.status is JobStatus.SUCCEEDED
    assert {"no_reply", "lease_too_short"} <= set(codes)
    assert len(codes) < 6
    (uploaded,) = sandbox.uploads(user)
    assert uploaded["segments"] == {"0": 2, "1": 1, "2": 1, "3": 1}
    assert (client.job(job.id).attempts, uploaded["state"]) == (1, "succeeded")


@pytest.mark.parametrize("step", [1, 2, 5, 6])
def test_a_step_that_is_open_when_the_deadline_comes_leaves_nothing_to_look_for(worker, job, documents, step):
    """An upload that was broken off is in no post: the job expires by itself, and waits for no operator."""
    grant = job.grant
    rows = [
        {"_id": f"{job.id}:{n}", "state": "done" if n < step else "started", "grant": grant, "owner": "dead"}
        | {"result": "1", "started_at": LONG_AGO, "since": LONG_AGO, "until": LONG_AGO}
        for n in range(1, step + 1)
    ]
    documents["effects"].insert_many(rows)
    documents["jobs"].update_one({"_id": job.id}, {"$set": {"orphaned": True}})
    late = replace(worker, clock=lambda: job.deadline + timedelta(hours=1))
    assert path.run(job.id, late).status is JobStatus.UNCERTAIN
    for _ in range(LOOKS):
        documents["jobs"].update_one({"_id": job.id}, {"$set": {"next_at": LONG_AGO}})
        reconcile(job.id, late)
    assert documents["jobs"].find_one({"_id": job.id})["status"] == "expired"


def test_mongodb_being_away_while_a_file_is_read_spends_nothing(sandbox, user, worker, job, documents):
    outcome = path.run(job.id, replace(worker, files=Failing(worker.files, "chunks", written=False)))
    assert (outcome.status, outcome.decision.code, outcome.decision.counts) == (
        JobStatus.SCHEDULED,
        "file_unread",
        False,
    )
    assert documents["effects"].find_one({"_id": f"{job.id}:2"})["state"] == "refused"
    assert sandbox.uploads(user)[0]["segments"] == {}
    send_again(documents, job)
    assert path.run(job.id, worker).status is JobStatus.SUCCEEDED


def test_after_a_request_of_the_same_step_that_is_no_proof_that_nothing_was_done(client, worker, data, monkeypatch):
    file = client.store_file(data, media_type="image/png")
    claims: Any = SimpleNamespace(app="demo")
    turn: Any = None
    said: list[Any] = []
    read = path.file_reader(turn, claims, said, worker)
    monkeypatch.setattr(path, "check_time", lambda *_: None)
    assert read(file, CHUNK_BYTES, 5) == data[CHUNK_BYTES : CHUNK_BYTES + 5]

    def too_late(*_: Any) -> None:
        raise LeaseTooShort

    monkeypatch.setattr(path, "check_time", too_late)
    with pytest.raises(path.FileUnread, match="lease_too_short"):
        read(file, 0, 5)
    said.append(None)
    with pytest.raises(LeaseTooShort):
        read(file, 0, 5)


# --- early errors ---


def test_a_job_whose_file_is_not_stored_is_refused_early(client, upload, data):
    file = client.store_file(data, media_type="image/png")
    for wrong in (file.model_copy(update={"sha256": "0" * 64}), file.model_copy(update={"size": SIZE - 1})):
        with pytest.raises(errors.FileMissing, match="has no stored file"):
            upload(wrong)


def test_so_is_one_whose_file_is_gone_before_its_deadline(client, upload, data):
    file = client.store_file(data, media_type="image/png", keep=timedelta(days=2))
    at = utc_now() + timedelta(days=1, seconds=5)  # and a day more: its deadline
    with pytest.raises(errors.FileMissing, match="is kept until .*; store it once more"):
        upload(file, at=at)
    client.store_file(data, media_type="image/png", keep=timedelta(days=3))
    job = upload(file, at=at)
    with pytest.raises(errors.FileMissing):
        client.reschedule(job.id, at=at + timedelta(days=1))
    client.cancel(job.id)


def test_and_a_job_that_a_producer_signed_itself(client, room, data, uploader):
    grant, now = client.grant(user=uploader, provider="x"), utc_now()
    file = client.store_file(data, media_type="image/png", keep=timedelta(hours=2))
    claims = jws.Claims(
        id=new_id(),
        app="demo",
        user=uploader,
        grant=grant.id,
        connection=grant.connection,
        provider="x",
        action="x.upload_media",
        payload={"file": file.model_dump(), "category": "tweet_image"},
        run_at=now + timedelta(hours=1),
        deadline=now + timedelta(hours=3),
        issued_at=now,
    )
    (token,) = sign(client._room.vault, client._room.key_versions, [claims])
    with pytest.raises(NotTaken) as caught:
        submit(token, room)
    assert caught.value.why == "file_missing"
    client.store_file(data, media_type="image/png")
    assert submit(token, room) == claims.id
    client.cancel(claims.id)


# --- storing ---


def test_the_same_bytes_have_the_same_reference_are_stored_once_and_kept_longer(client, documents, data):
    first = client.store_file(data, media_type="image/png", keep=timedelta(days=1))
    again = client.store_file(io.BytesIO(data), media_type="image/png", keep=timedelta(days=9))
    shorter = client.store_file(bytearray(data), media_type="image/png", keep=timedelta(hours=1))
    assert first == again == shorter
    (row,) = rows(documents, first)
    assert abs(row["expires_at"] - datetime.now(UTC) - timedelta(days=9)) < timedelta(minutes=5)
    assert documents["file_chunks"].count_documents({"_id": {"$regex": f"^{row['_id']}:"}}) == 3


def test_from_where_a_file_stands_and_from_a_pipe_too(client, documents, data, tmp_path):
    whole = client.store_file(data, media_type="image/png")
    path = tmp_path / "file"
    path.write_bytes(b"before" + data)
    with path.open("rb") as file:
        file.seek(6)
        assert client.store_file(file, media_type="image/png") == whole

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert client.store_file(Pipe(data), media_type="image/png", keep=timedelta(days=40)) == whole
    (row,) = rows(documents, whole)  # what the pipe brought a second time is given up
    assert row["expires_at"] > datetime.now(UTC) + timedelta(days=39)


def test_what_two_store_at_once_is_stored_once(client, app_settings, documents, data, monkeypatch):
    with Client(app_settings) as other:
        real, meanwhile = Files.finish, []

        def finish(self: Files, *args: Any, **fields: Any) -> bool:
            if not meanwhile:
                meanwhile.append(True)
                meanwhile.append(other.store_file(data, media_type="image/png"))
            return real(self, *args, **fields)

        monkeypatch.setattr(Files, "finish", finish)
        assert client.store_file(data, media_type="image/png") == meanwhile[1]
    assert len(rows(documents, meanwhile[1])) == 1


class Breaks(io.BytesIO):
    """A source that breaks off in the middle, and cannot be read twice."""

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= 5 * CHUNK_BYTES:
            raise OSError("the network is gone")
        return super().read(size)


@pytest.mark.parametrize("data", [b"", io.BytesIO(), io.StringIO("text"), "text", None])
def test_what_is_no_file_is_refused(client, data):
    with pytest.raises(errors.InvalidRequest, match="^data "):
        client.store_file(data, media_type="image/png")


# --- purging ---


@pytest.fixture
def purge(stack) -> Iterator[Callable[[datetime], int]]:
    """With the scheduler's own credentials."""
    database = open_database(settings_from(stack.role_env("scheduler")).mongodb_url)
    yield lambda now: purge_files(SimpleNamespace(files=Files(database), clock=lambda: now))["purged"]  # type: ignore[arg-type]
    database.client.close()


@pytest.fixture
def of_long_ago(documents, app_settings) -> Iterator[Callable[..., str]]:
    """A small stored file of a day in 2020, or so many days after it."""
    database = open_database(app_settings.mongodb_url)
    files, made = Files(database), []

    def make(expires_at: datetime, *, stored: bool = True) -> str:
        file_id = new_id()
        made.append(file_id)
        files.begin(file_id, app="demo", now=LONG_AGO, give_up_at=expires_at)
        files.add(file_id, 0, [b"a", b"b"])
        if stored:
            sha256 = hashlib.sha256(file_id.encode()).hexdigest()
            assert files.finish(file_id, sha256=sha256, size=2, manifest=b"", keep_until=expires_at)
        return file_id

    yield make
    database.client.close()
    documents["files"].delete_many({"_id": {"$in": made}})
    for each in made:
        documents["file_chunks"].delete_many({"_id": {"$regex": f"^{each}:"}})


def left(documents: Any, file_id: str) -> tuple[int, int]:
    chunks = documents["file_chunks"].count_documents({"_id": {"$regex": f"^{file_id}:"}})
    return documents["files"].count_documents({"_id": file_id}), chunks


MOMENT = timedelta(milliseconds=1)


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "half stored"])
@pytest.mark.parametrize(("past", "goes"), [(LEEWAY + MOMENT, True), (LEEWAY, False), (-timedelta(days=1), False)])
def test_a_file_is_purged_with_its_chunks_after_its_time_and_never_earlier(
    stack, documents, purge, of_long_ago, past, goes, stored
):
    with nothing_is_sent(stack):  # the stack's own scheduler lives in another time
        file_id, other = of_long_ago(LONG_AGO - past, stored=stored), of_long_ago(LONG_AGO + timedelta(days=1))
        assert purge(LONG_AGO) == goes
        assert left(documents, file_id) == ((0, 0) if goes else (1, 2))
        assert left(documents, other) == (1, 2)


def test_a_purge_that_was_cut_short_is_gone_on_with(stack, documents, purge, of_long_ago):
    with nothing_is_sent(stack):
        file_id = of_long_ago(LONG_AGO - timedelta(days=1))
        documents["files"].update_one({"_id": file_id}, {"$set": {"state": "going"}})
        documents["file_chunks"].delete_one({"_id": f"{file_id}:0"})
        assert purge(LONG_AGO) == 1
        assert left(documents, file_id) == (0, 0)


def test_a_file_that_is_kept_longer_while_the_purge_looks_stays(stack, client, documents, purge, data, monkeypatch):
    with nothing_is_sent(stack):
        file = client.store_file(data, media_type="image/png")
        (row,) = rows(documents, file)
        documents["files"].update_one({"_id": row["_id"]}, {"$set": {"expires_at": LONG_AGO - timedelta(days=1)}})
        real = Files.purge.__wrapped__  # type: ignore[attr-defined]

        class Meanwhile:
            def __init__(self, collection: Any) -> None:
                self._collection = collection

            def __getattr__(self, name: str) -> Any:
                return getattr(self._collection, name)

            def update_many(self, *args: Any) -> Any:
                client.store_file(data, media_type="image/png")
                return self._collection.update_many(*args)

        def purged(self: Files, **how: Any) -> int:
            self._files = Meanwhile(self._files)  # type: ignore[assignment]
            return int(real(self, **how))

        monkeypatch.setattr(Files, "purge", purged)
        assert purge(LONG_AGO) == 0
        assert left(documents, row["_id"]) == (1, 3)


def test_a_purge_takes_any_number_in_batches(stack, documents, purge, of_long_ago):
    with nothing_is_sent(stack):
        several = [of_long_ago(LONG_AGO - timedelta(days=1)) for _ in range(2 * BATCH_OF_FILES + 1)]
        assert purge(LONG_AGO) == len(several)
        assert {left(documents, each) for each in several} == {(0, 0)}


def test_what_broke_off_is_not_stored_and_the_next_purge_takes_it(stack, client, documents, purge, user):
    data = os.urandom(6 * CHUNK_BYTES)
    with nothing_is_sent(stack):
        began = utc_now()
        with pytest.raises(OSError, match="network"):
            client.store_file(Breaks(data), media_type="image/png")
        (row,) = documents["files"].find({"app": "demo", "state": "storing", "created_at": {"$gte": began}})
        assert left(documents, row["_id"]) == (1, 4)  # 4 of the 5 chunks had been sent
        assert purge(utc_now() + LEEWAY + timedelta(seconds=1)) >= 1
        assert left(documents, row["_id"]) == (0, 0)
    assert client.store_file(data, media_type="image/png").size == len(data)
