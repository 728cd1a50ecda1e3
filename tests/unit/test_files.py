"""What a stored file is called, and that nothing else passes for it."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actas import files, storing
from actas.errors import InvalidRequest
from actas.files import (
    CHUNK_BYTES,
    MAX_FILE_BYTES,
    FileAltered,
    FileReference,
    check_chunk,
    check_manifest,
    chunk_digest,
    chunks_of,
    file_digest,
    files_in,
    part,
)
from actas.payload import Payload

#: So small that a file of a few bytes has several.
SMALL = 7


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(files, "CHUNK_BYTES", SMALL)
    monkeypatch.setattr(storing, "CHUNK_BYTES", SMALL)


def cut(data: bytes) -> list[bytes]:
    return [data[at : at + files.CHUNK_BYTES] for at in range(0, len(data), files.CHUNK_BYTES)]


def of(data: bytes) -> tuple[FileReference, bytes]:
    manifest = b"".join(map(chunk_digest, cut(data)))
    return FileReference(sha256=file_digest(len(data), manifest), size=len(data), media_type="image/png"), manifest


def read(file: FileReference, manifest: object, chunks: dict[int, Any], start: int, size: int) -> bytes:
    """As a worker does."""
    numbers = chunks_of(start, size, file.size)
    digests = check_manifest(file, manifest)
    return part((check_chunk(file, digests, number, chunks[number]) for number in numbers), start, size)


def test_a_digest_is_what_the_page_says_it_is():
    """Stored files outlive releases: written out once more, by hand."""
    data = bytes(range(256)) * 4096 + b"end"
    first, second = hashlib.sha256(data[:1048576]).digest(), hashlib.sha256(b"end").digest()
    size = b"\x00\x00\x00\x00\x00\x10\x00\x03"
    assert of(data)[0].sha256 == hashlib.sha256(b"actas file 1\n" + size + first + second).hexdigest()
    assert of(b"x")[0].sha256 == "713b329d19761105007d2d69a81c3790cd2ee5514293dcc2a8b43df6ea090de7"


def test_a_manifest_does_not_pass_for_a_file_that_has_its_bytes():
    """Else whoever writes MongoDB could put a long file's manifest in the place of its bytes, or the other way round."""
    data = b"x" * (CHUNK_BYTES + 1)
    file, manifest = of(data)
    assert of(manifest)[0].sha256 != file.sha256
    short = FileReference(sha256=file.sha256, size=len(manifest), media_type="image/png")
    with pytest.raises(FileAltered):
        check_manifest(short, chunk_digest(manifest))


@pytest.mark.usefixtures("small_chunks")
class TestOfAnyBytes:
    @given(data=st.binary(min_size=1, max_size=40), start=st.integers(0, 50), size=st.integers(0, 50))
    def test_what_is_read_is_what_was_stored(self, data, start, size):
        file, manifest = of(data)
        assert read(file, manifest, dict(enumerate(cut(data))), start, size) == data[start : start + size]

    @given(data=st.binary(min_size=1, max_size=40), start=st.integers(0, 50), size=st.integers(1, 50))
    def test_only_the_chunks_that_are_needed_are_read(self, data, start, size):
        numbers = chunks_of(start, size, len(data))
        needed = {at // SMALL for at in range(start, min(start + size, len(data)))}
        assert set(numbers) == needed

    @given(data=st.binary(min_size=1, max_size=40), other=st.binary(max_size=40), number=st.integers(0, 5))
    def test_no_other_chunk_passes(self, data, other, number):
        file, manifest = of(data)
        chunks = dict(enumerate(cut(data)))
        number %= len(chunks)
        if other != chunks[number]:
            with pytest.raises(FileAltered):
                read(file, manifest, chunks | {number: other}, 0, len(data))

    @given(data=st.binary(min_size=1, max_size=40), other=st.binary(min_size=1, max_size=40))
    def test_no_other_file_passes_under_its_name(self, data, other):
        file, _ = of(data)
        if other != data:
            with pytest.raises(FileAltered):
                check_manifest(file, of(other)[1])

    @given(data=st.binary(min_size=1, max_size=40), size=st.integers(1, 60))
    def test_nor_the_same_bytes_with_another_size(self, data, size):
        file, manifest = of(data)
        if size != len(data):
            with pytest.raises(FileAltered):
                check_manifest(file.model_copy(update={"size": size}), manifest)


@pytest.mark.parametrize("odd", [None, "text", 1, b"", [], {"a": 1}, b"x" * 31, b"x" * 33])
def test_what_is_no_manifest_and_no_chunk_at_all_is_refused_too(odd):
    file, manifest = of(b"content")
    with pytest.raises(FileAltered):
        check_manifest(file, odd)
    with pytest.raises(FileAltered):
        check_chunk(file, check_manifest(file, manifest), 0, odd)


# --- references ---

GOOD = {"sha256": "a" * 64, "size": 1, "media_type": "image/png"}


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "A" * 64},
        {"sha256": "a" * 63},
        {"sha256": "a" * 64 + "\n"},
        {"size": 0},
        {"size": -1},
        {"size": "1"},
        {"size": 1.0},
        {"size": True},
        {"size": MAX_FILE_BYTES + 1},
        {"media_type": "image"},
        {"media_type": "image/"},
        {"media_type": "Image/PNG"},
        {"media_type": "text/plain; charset=utf-8"},
        {"media_type": "image/png\r\nX: y"},
        {"name": "x"},
    ],
)
def test_what_is_no_reference_is_refused(change):
    with pytest.raises(ValidationError):
        FileReference.model_validate(GOOD | change)


def test_a_reference_is_what_it_dumps():
    file = FileReference.model_validate(GOOD | {"size": MAX_FILE_BYTES, "media_type": "model/vnd.usdz+zip"})
    assert FileReference.model_validate(file.model_dump()) == file
    assert set(file.model_dump()) == set(GOOD)


class Letter(Payload):
    attached: tuple[FileReference, ...] = ()
    by_name: dict[str, FileReference]
    logo: FileReference | None = None
    anything: Any = None


def test_the_files_of_a_payload_are_found_wherever_they_are():
    several = [FileReference.model_validate(GOOD | {"size": n + 1}) for n in range(4)]
    letter = Letter(attached=several[:2], by_name={"a": several[2]}, logo=several[3], anything=[{"x": [1, None]}])
    assert sorted(file.size for file in files_in(letter)) == [1, 2, 3, 4]
    assert list(files_in(Letter(by_name={}))) == []


# --- reading what is to be stored ---


class Stream(io.RawIOBase):
    """Gives its bytes as a pipe does: some at a time."""

    def __init__(self, data: bytes, at_once: int) -> None:
        self._data, self._at_once = data, at_once

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._at_once)
        given, self._data = self._data[:size], self._data[size:]
        return given


@pytest.mark.usefixtures("small_chunks")
@given(data=st.binary(max_size=60), at_once=st.integers(1, 10))
def test_chunks_are_whole_however_the_bytes_come(data, at_once):
    assert list(storing._chunks(Stream(data, at_once))) == cut(data)


@pytest.mark.parametrize("data", [io.StringIO("text"), None, "text", 7, ["x"]], ids=lambda data: type(data).__name__)
def test_what_gives_no_bytes_is_refused(data):
    with pytest.raises(InvalidRequest, match="data must be bytes, or a file"):
        list(storing._chunks(data))


def test_a_file_that_has_nothing_to_say_just_now_is_refused():
    """One that does not wait for its bytes answers None: its end is not there yet."""
    stream = Stream(b"", 1)
    stream.read = lambda _: None  # type: ignore[method-assign,assign]
    with pytest.raises(InvalidRequest, match="waits for its bytes"):
        list(storing._chunks(stream))


def test_the_largest_file_is_512_mib_and_one_byte_more_is_refused_before_it_is_all_read():
    class Zeros(io.RawIOBase):
        left = MAX_FILE_BYTES * 10

        def read(self, size: int = -1) -> bytes:
            self.left -= size
            return bytes(size)

    zeros = Zeros()
    chunks = storing._chunks(zeros)
    assert sum(len(next(chunks)) for _ in range(512)) == MAX_FILE_BYTES
    with pytest.raises(InvalidRequest, match="512 MiB"):
        next(chunks)
    assert zeros.left >= MAX_FILE_BYTES * 9 - CHUNK_BYTES


@pytest.mark.parametrize("keep", [timedelta(0), timedelta(seconds=-1), timedelta(days=403), 30, None])
def test_a_keep_that_is_none_is_refused(keep):
    with pytest.raises(InvalidRequest, match="keep must be a timedelta"):
        storing._check_keep(keep)


def test_a_file_can_be_kept_as_long_as_any_job_may_wait():
    storing._check_keep(storing.HORIZON + storing.DEFAULT_WINDOW + timedelta(hours=1))


@pytest.mark.parametrize("media_type", ["", "png", None, 1, b"image/png", "image/png;q=1"])
def test_a_media_type_that_is_none_is_refused(media_type):
    with pytest.raises(InvalidRequest, match="media_type must be one such as image/png"):
        storing._check_media_type(media_type)
