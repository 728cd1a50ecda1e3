"""x.upload_media: what it takes, what it sends, in which order; against the sandbox itself, in this process."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from starlette.types import ASGIApp

from actas.actions import BUILT_IN, NotReady, Refused, Result, Search
from actas.actions.x import media
from actas.actions.x.media import KINDS, SEGMENT_BYTES, form
from actas.clock import utc_now
from actas.errors import InvalidPayload
from actas.files import FileReference
from actas.http import NoReply, Reply
from actas.providers import BUILT_IN as PROVIDERS
from actas.sandbox.app import build
from actas.sandbox.config import Config
from actas.sandbox.media import Wrong, read_segment
from tests.unit.in_process import ask
from worker.errors import AccessTokenRefused
from worker.provider_api import ProviderApi

UPLOAD = BUILT_IN["x.upload_media"]
MIB = 1024 * 1024

Send = Callable[..., Reply]


@dataclass
class X:
    """The sandbox in the place of X, and what it was asked."""

    app: ASGIApp
    token: str = ""
    data: bytes = b""
    asked: list[tuple[str, str]] = field(default_factory=list)
    read: list[tuple[int, int]] = field(default_factory=list)

    def send(self, method: str, url: str, *, json_body: Any, headers: dict[str, Any], seconds: float) -> Reply:
        path = url.removeprefix(PROVIDERS["x"].api_url or "")
        self.asked.append((method, path))
        clear = {name: getattr(value, "get_secret_value", lambda v=value: v)() for name, value in headers.items()}
        reply = ask(self.app, method, path, body=json_body, headers=clear)
        return Reply(reply.status, reply.headers, reply.body)

    def stored(self, file: FileReference, start: int, size: int) -> bytes:
        assert file.size == len(self.data)
        self.read.append((start, size))
        return self.data[start : start + size]

    @property
    def api(self) -> ProviderApi:
        http: Any = self
        return ProviderApi(http, PROVIDERS["x"], SecretStr(self.token), 5, utc_now, account="1", read_file=self.stored)

    @property
    def upload(self) -> dict[str, Any]:
        upload: dict[str, Any] = ask(self.app, "GET", "/_sandbox/uploads").json()["uploads"][-1]
        return upload

    def process(self, seconds: float, *, fails: bool = False) -> None:
        ask(self.app, "POST", "/_sandbox/processing", body={"seconds": seconds, "fails": fails})

    def pass_time(self, seconds: float) -> None:
        ask(self.app, "POST", "/_sandbox/clock", body={"ahead_seconds": seconds})

    def misbehave(self, **rule: Any) -> None:
        assert ask(self.app, "POST", "/_sandbox/misbehave", body=rule).status == 201


def token_of(app: ASGIApp, account: str) -> str:
    asked = {"client_id": "c", "accounts": [account]}
    token: str = ask(app, "POST", "/_sandbox/grants", body=asked).json()["grants"][0]["access_token"]
    return token


@pytest.fixture
def x() -> X:
    app = build(Config.model_validate({"clients": {"c": {}}}))
    return X(app, token_of(app, "alice"))


def payload(size: int, category: str = "tweet_image", media_type: str | None = None, **more: Any) -> dict[str, Any]:
    kind = media_type or {"tweet_image": "image/png", "tweet_gif": "image/gif", "tweet_video": "video/mp4"}[category]
    return {"file": {"sha256": "a" * 64, "size": size, "media_type": kind}, "category": category, **more}


def performed(x: X, asked: dict[str, Any], made: Sequence[str] = (), steps: int | None = None) -> list[str]:
    """The references after so many steps more, or all."""
    parsed, done = UPLOAD.parse(asked), list(made)
    end = UPLOAD.steps(parsed) if steps is None else len(done) + steps
    while len(done) < end:
        done.append(UPLOAD.perform_step(x.api, parsed, "job", tuple(done)).reference)
    return done


# --- what it takes ---


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "file: Field required; category: Field required"),
        (payload(1, "dm_image", "image/png"), "category: "),
        (payload(5 * MIB + 1), "a tweet_image has at most 5242880 bytes; this file has 5242881"),
        (payload(15 * MIB + 1, "tweet_gif"), "a tweet_gif has at most 15728640 bytes"),
        (payload(512 * MIB + 1, "tweet_video"), "file.size: "),
        (
            payload(1, "tweet_image", "video/mp4"),
            "a tweet_image is one of image/gif, image/jpeg, image/png, image/webp",
        ),
        (payload(1, "tweet_image", "image/tiff"), "a tweet_image is one of"),
        (payload(1, "tweet_gif", "image/png"), "a tweet_gif is one of image/gif"),
        (payload(1, "tweet_video", "image/gif"), "a tweet_video is one of video/mp2t, video/mp4"),
        (payload(1, alt_text=""), "alt_text: "),
        (payload(1, alt_text="a" * 1001), "alt_text: "),
        (payload(1, "tweet_video", alt_text="a"), "X takes alt_text for images and GIFs only"),
        (payload(1) | {"media_id": "1"}, "media_id: Extra inputs are not permitted"),
        ({"file": "a" * 64, "category": "tweet_image"}, "file: "),
    ],
)
def test_what_x_would_not_take_is_refused_by_its_field(asked, words):
    with pytest.raises(InvalidPayload) as caught:
        UPLOAD.parse(asked)
    assert words in str(caught.value)


@pytest.mark.parametrize("category", KINDS)
def test_the_largest_of_each_kind_is_taken_and_has_segments_enough(category):
    largest, types = KINDS[category]
    for media_type in types:
        parsed = UPLOAD.parse(payload(largest, category, media_type))
        assert UPLOAD.steps(parsed) == 1 + largest // SEGMENT_BYTES + 2
        assert largest / SEGMENT_BYTES <= 1000  # X's segments are 0 to 999
    UPLOAD.parse(payload(1, "tweet_image", alt_text="é" * 1000))


def test_it_may_be_repeated_and_needs_no_more_than_uploading():
    assert UPLOAD.is_idempotent(UPLOAD.parse(payload(1)))
    assert UPLOAD.scopes == {"media.write"}


# --- what it sends ---


@pytest.mark.parametrize("size", [1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 3 * SEGMENT_BYTES])
def test_the_file_arrives_whole_each_segment_once(x, size):
    x.data = bytes(n % 251 for n in range(size))
    made = performed(x, payload(size))
    upload = x.upload
    assert upload["sha256"] == hashlib.sha256(x.data).hexdigest()
    segments = -(-size // SEGMENT_BYTES)
    assert upload["segments"] == {str(n): 1 for n in range(segments)}
    assert (upload["state"], upload["account"], upload["media_type"]) == ("succeeded", "alice", "image/png")
    assert made[0] == upload["id"]
    assert x.read == [(n * SEGMENT_BYTES, SEGMENT_BYTES) for n in range(segments)]


def test_an_image_with_a_description_is_these_requests(x):
    x.data = b"png"
    media_id, *rest = performed(x, payload(3, alt_text="A cat"))
    assert x.asked == [
        ("POST", "/2/media/upload/initialize"),
        ("POST", f"/2/media/upload/{media_id}/append"),
        ("POST", f"/2/media/upload/{media_id}/finalize"),
        ("POST", "/2/media/metadata"),
    ]
    assert x.upload["alt_text"] == "A cat"
    assert rest == ["segment 0", "finalized", "finalized", "described"]


def test_the_first_step_is_what_perform_does(x):
    assert UPLOAD.perform(x.api, UPLOAD.parse(payload(1)), "job") == Result(x.upload["id"])


def test_whoever_comes_after_a_dead_worker_goes_on_where_it_was(x):
    x.data = bytes(5 * SEGMENT_BYTES)
    asked = payload(len(x.data))
    made = performed(x, asked, steps=3)
    assert x.upload["segments"] == {"0": 1, "1": 1}
    performed(x, asked, made)
    assert x.upload["segments"] == {str(n): 1 for n in range(5)}
    assert x.upload["sha256"] == hashlib.sha256(x.data).hexdigest()


@pytest.mark.parametrize("step", range(1, 5))
def test_each_step_may_be_done_twice(x, step):
    """Its reply was lost, say. X may refuse to finalize again, and so does the sandbox: then it says how it stands."""
    x.data = bytes(SEGMENT_BYTES + 1)
    asked = payload(len(x.data), "tweet_gif")
    made = performed(x, asked, steps=step)
    again = performed(x, asked, made[:-1], steps=1)
    performed(x, asked, again if step == 1 else made)
    assert x.upload["sha256"] == hashlib.sha256(x.data).hexdigest()


def test_a_finalizing_that_x_refuses_is_refused(x):
    """The first error counts, also where X has no status of it to tell."""
    x.data = b"png"
    made = performed(x, payload(3), steps=1)
    with pytest.raises(Refused) as caught:
        UPLOAD.perform_step(x.api, UPLOAD.parse(payload(3)), "job", (*made, "segment 0"))
    assert caught.value.refusal == "http_400"
    status = f"/2/media/upload?command=STATUS&media_id={made[0]}"
    assert x.asked[-2:] == [("POST", f"/2/media/upload/{made[0]}/finalize"), ("GET", status)]


# --- until X has processed it ---


def test_while_x_processes_a_video_the_step_is_not_ready_and_asks_as_often_as_x_says(x):
    x.process(30)
    x.data = b"mp4"
    asked = payload(3, "tweet_video")
    made = performed(x, asked, steps=3)
    assert made[-1] == "processing"
    with pytest.raises(NotReady) as caught:
        performed(x, asked, made)
    assert caught.value.seconds == 1
    assert x.asked[-1] == ("GET", f"/2/media/upload?command=STATUS&media_id={made[0]}")
    x.pass_time(31)
    assert performed(x, asked, made)[-1] == "finalized"


def test_what_x_cannot_process_is_refused(x):
    x.process(0, fails=True)
    x.data = b"mp4"
    with pytest.raises(Refused) as caught:
        performed(x, payload(3, "tweet_video"))
    assert caught.value.refusal == "media_failed"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"state": "pending", "check_after_secs": 7}, 7),
        ({"state": "in_progress", "check_after_secs": 60, "progress_percent": 3}, 60),
        ({"state": "in_progress", "check_after_secs": 61}, 5),
        ({"state": "in_progress", "check_after_secs": 0}, 5),
        ({"state": "in_progress", "check_after_secs": -1}, 5),
        ({"state": "in_progress", "check_after_secs": "7"}, 5),
        ({"state": "in_progress"}, 5),
        ({"state": "of a kind that is new", "check_after_secs": 2}, 2),
    ],
)
def test_how_soon_to_look_again(x, said, seconds):
    x.misbehave(endpoint="status", how="status", status=200, body={"data": {"id": "1", "processing_info": said}})
    parsed = UPLOAD.parse(payload(1, "tweet_video"))
    with pytest.raises(NotReady) as caught:
        UPLOAD.perform_step(x.api, parsed, "job", ("1", "segment 0", "processing"))
    assert caught.value.seconds == seconds


@pytest.mark.parametrize("said", [{"id": "1"}, {"id": "1", "processing_info": {}}, {"id": "1", "size": 3}])
def test_a_status_that_speaks_of_no_processing_means_ready(x, said):
    x.misbehave(endpoint="status", how="status", status=200, body={"data": said})
    parsed = UPLOAD.parse(payload(1, "tweet_video"))
    assert UPLOAD.perform_step(x.api, parsed, "job", ("1", "segment 0", "processing")) == Result("finalized")


# --- what goes wrong ---


@pytest.mark.parametrize("body", [{}, {"data": {}}, {"data": {"id": 7}}, {"data": {"id": "1/../2"}}, {"errors": [{}]}])
def test_an_upload_without_an_id_is_none(x, body):
    x.misbehave(endpoint="initialize", how="status", status=200, body=body)
    with pytest.raises(NoReply):
        performed(x, payload(1), steps=1)


def test_a_reference_that_is_no_media_id_is_put_into_no_address(x):
    """It stands in the journal, which whoever writes MongoDB may change."""
    with pytest.raises(Refused) as caught:
        UPLOAD.perform_step(x.api, UPLOAD.parse(payload(1)), "job", ("1/../../tweets",))
    assert caught.value.refusal == "bad_media_id"
    assert x.asked == []


def test_a_file_that_cannot_be_read_sends_nothing(x):
    def gone(*_: Any) -> bytes:
        raise Refused(refusal="file_altered")

    x.stored = gone  # type: ignore[method-assign]
    made = performed(x, payload(1), steps=1)
    with pytest.raises(Refused):
        performed(x, payload(1), made)
    assert x.asked == [("POST", "/2/media/upload/initialize")]


@pytest.mark.parametrize("step", range(5))
def test_a_dead_access_token_is_said_of_every_step(x, step):
    x.data = b"gif"
    asked = payload(3, "tweet_gif", alt_text="a")
    x.process(0)
    made = performed(x, asked, steps=step)
    if step == 3:
        made[-1] = "processing"
    x.token = "dead"
    with pytest.raises(AccessTokenRefused):
        performed(x, asked, made, steps=1)


def test_of_an_upload_that_was_broken_off_there_is_nothing_to_find(x):
    search = Search("1", datetime(2026, 1, 1, tzinfo=UTC), ("1",))
    assert list(UPLOAD.find(x.api, UPLOAD.parse(payload(1)), "job", search) or ()) == []
    assert UPLOAD.find(x.api, UPLOAD.parse(payload(1)), "job", search) is not None
    assert x.asked == []


# --- a segment's form ---


@given(data=st.binary(min_size=1, max_size=300), segment=st.integers(0, 999))
def test_a_form_is_read_as_it_was_written(data, segment):
    body, kind = form(segment, data)
    assert kind.startswith("multipart/form-data; boundary=")
    assert len(kind.partition("=")[2]) <= 70  # RFC 2046 section 5.1.1
    read = read_segment(kind, body)
    assert (read.media, read.segment_index) == (data, segment)


@pytest.mark.parametrize("data", [b"\r\n", b"--", b"\r\n--", b"\r\n\r\n", b"\x00\xff", form(1, b"x")[0]])
def test_data_that_looks_like_a_form_is_data(data):
    body, kind = form(7, data)
    assert read_segment(kind, body).media == data


def test_a_segment_may_come_as_json_as_in_xs_document():
    body = b'{"segment_index": 3, "media": "%s"}' % base64.b64encode(b"\x00data")
    read = read_segment("application/json", body)
    assert (read.media, read.segment_index) == (b"\x00data", 3)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b""),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b"nothing"),
        ("multipart/form-data; boundary=b", form(1000, b"x")[0]),
        ("application/json", b"{}"),
        ("application/json", b'{"segment_index": 1, "media": "???"}'),
        ("application/json", b'{"segment_index": 1000, "media": "eA=="}'),
    ],
)
def test_what_is_no_segment_the_sandbox_refuses(kind, body):
    with pytest.raises((Wrong, ValidationError)):
        read_segment(kind, body)


# --- the sandbox is as strict as X ---


def post(x: X, media_ids: list[str], text: str = "with media") -> int:
    body = {"text": text, "media": {"media_ids": media_ids}}
    return ask(x.app, "POST", "/2/tweets", body=body, headers={"Authorization": f"Bearer {x.token}"}).status


def test_a_post_takes_what_was_uploaded_and_nothing_else(x):
    x.data = b"png"
    media_id = performed(x, payload(3))[0]
    begun = performed(x, payload(3), steps=1)[0]
    assert post(x, ["1"]) == 400
    assert post(x, [begun]) == 400
    assert post(x, [media_id, "1"]) == 400
    assert post(X(x.app, token_of(x.app, "bob")), [media_id]) == 400
    assert post(x, [media_id]) == 201


def test_a_media_id_lives_for_a_day(x):
    x.data = b"png"
    media_id = performed(x, payload(3))[0]
    x.pass_time(24 * 3600 - 60)
    assert post(X(x.app, token_of(x.app, "alice")), [media_id], "in time") == 201
    x.pass_time(24 * 3600 + 60)
    assert post(X(x.app, token_of(x.app, "alice")), [media_id], "too late") == 400


def test_a_video_that_x_has_not_processed_yet_is_in_no_post(x):
    x.process(60)
    x.data = b"mp4"
    media_id = performed(x, payload(3, "tweet_video"), steps=3)[0]
    assert post(x, [media_id]) == 400
    x.pass_time(61)
    assert post(x, [media_id]) == 201


@pytest.mark.parametrize("missing", [0, 1])
def test_an_upload_with_a_segment_missing_is_not_finalized(x, missing):
    x.data = bytes(2 * SEGMENT_BYTES)
    parsed = UPLOAD.parse(payload(len(x.data)))
    media_id = performed(x, payload(len(x.data)), steps=1)[0]
    media._append(x.api, media_id, parsed.file, 1 - missing)
    with pytest.raises(Refused):
        media._finalize(x.api, media_id)
    assert x.upload["sha256"] is None
