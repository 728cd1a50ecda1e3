"""How an app's bytes become a stored file, and whether the files that a job names will be there when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from itertools import islice
from typing import BinaryIO

from pydantic import ValidationError

from actas.clock import Clock, to_milliseconds
from actas.errors import FileMissing, InvalidRequest, MongoRefused, MongoUnavailable
from actas.files import (
    CHUNK_BYTES,
    MAX_FILE_BYTES,
    FileReference,
    chunk_digest,
    file_digest,
)
from actas.ids import new_id
from actas.requests import DEFAULT_WINDOW, HORIZON
from actas.stores.files import Files

DEFAULT_KEEP = timedelta(days=30)

#: As far ahead as a job's deadline may be, and a little: the file is stored first.
LONGEST_KEEP = HORIZON + DEFAULT_WINDOW + timedelta(days=1)

#: What is not stored whole by then is taken for given up.
TIME_TO_STORE = timedelta(days=1)

#: So many chunks go in one message, which has ten seconds.
AT_ONCE = 4

SIZES = f"a file has 1 to {MAX_FILE_BYTES} bytes (512 MiB)"


@dataclass(frozen=True, slots=True)
class FileWriter:
    """Stores the files of one app."""

    app: str
    files: Files
    clock: Clock

    def store(self, data: bytes | BinaryIO, *, media_type: str, keep: timedelta) -> FileReference:
        """Store bytes, or keep them longer if they are there."""
        _check_keep(keep)
        _check_media_type(media_type)
        if isinstance(data, bytes | bytearray | memoryview):
            data = BytesIO(bytes(data))
        if (known := self._known(data, media_type, keep)) is not None:
            return known
        now, file_id = self.clock(), new_id()
        self.files.begin(file_id, app=self.app, now=now, give_up_at=now + TIME_TO_STORE)
        try:
            size, manifest = self._copied(data, file_id)
            file = _reference(size, manifest, media_type)
        except BaseException:
            with suppress(MongoUnavailable, MongoRefused):
                self.files.give_up(file_id, now)
            raise
        until = self._until(keep)
        if self.files.finish(file_id, sha256=file.sha256, size=size, manifest=manifest, keep_until=until):
            return file
        # The app has it already: another process was faster, or these bytes could not be read twice.
        self.files.give_up(file_id, now)
        if not self.files.prolong(self.app, file.sha256, until):
            raise InvalidRequest("storing the file took longer than a day, and so it is not stored; begin again")
        return file

    def _known(self, data: BinaryIO, media_type: str, keep: timedelta) -> FileReference | None:
        """The file, if it is stored, and these bytes can be read twice: what is there need not be sent."""
        try:
            begin = data.tell() if data.seekable() else None
        except (AttributeError, OSError, ValueError):
            begin = None
        if begin is None:
            return None
        chunks = [(len(chunk), chunk_digest(chunk)) for chunk in _chunks(data)]
        data.seek(begin)
        file = _reference(sum(size for size, _ in chunks), b"".join(digest for _, digest in chunks), media_type)
        return file if self.files.prolong(self.app, file.sha256, self._until(keep)) else None

    def _copied(self, data: BinaryIO, file_id: str) -> tuple[int, bytes]:
        size, digests, stored = 0, list[bytes](), 0
        for chunks in _several(_chunks(data)):
            self.files.add(file_id, stored, chunks)
            stored += len(chunks)
            size += sum(map(len, chunks))
            digests += map(chunk_digest, chunks)
        return size, b"".join(digests)

    def _until(self, keep: timedelta) -> datetime:
        return to_milliseconds(self.clock() + keep)


def check_stored(app: str, named: Sequence[tuple[FileReference, datetime]], files: Files) -> None:
    """Make sure that the files which jobs name are there until the jobs' deadlines.

    Raises:
        FileMissing: one is not, or not as long; or it is another file than its reference says.
    """
    there = files.find(app, sorted({file.sha256 for file, _ in named})) if named else {}
    for file, deadline in named:
        found = there.get(file.sha256)
        if found is None or found.size != file.size:
            raise FileMissing(f"the app has no stored file {file.sha256[:12]}… of {file.size} bytes; store it first")
        if found.keep_until < deadline:
            raise FileMissing(
                f"the stored file {file.sha256[:12]}… is kept until {found.keep_until:%Y-%m-%dT%H:%M:%SZ}, and the"
                f" job's deadline is {deadline:%Y-%m-%dT%H:%M:%SZ}; store it once more, with a longer keep"
            )


def _check_keep(keep: object) -> None:
    if not isinstance(keep, timedelta) or not timedelta(0) < keep <= LONGEST_KEEP:
        raise InvalidRequest(f"keep must be a timedelta of more than 0 and at most {LONGEST_KEEP.days} days")


def _check_media_type(media_type: object) -> None:
    try:
        FileReference(sha256="0" * 64, size=1, media_type=media_type)
    except ValidationError:
        raise InvalidRequest("media_type must be one such as image/png, in lower case, without parameters") from None


def _reference(size: int, manifest: bytes, media_type: str) -> FileReference:
    if size == 0:
        raise InvalidRequest(f"data is empty; {SIZES}")
    return FileReference(sha256=file_digest(size, manifest), size=size, media_type=media_type)


def _chunks(data: BinaryIO) -> Iterator[bytes]:
    """What a file has from here on, in whole chunks: a pipe gives fewer bytes than it was asked for."""
    chunk, size = bytearray(), 0
    while True:
        try:
            read = data.read(CHUNK_BYTES - len(chunk))
        except AttributeError:
            read = None
        if not isinstance(read, bytes):
            raise InvalidRequest("data must be bytes, or a file that was opened in binary mode and waits for its bytes")
        chunk += read
        size += len(read)
        if size > MAX_FILE_BYTES:
            raise InvalidRequest(f"data is too large; {SIZES}")
        if chunk and (len(chunk) == CHUNK_BYTES or not read):
            yield bytes(chunk)
            chunk.clear()
        if not read:
            return


def _several(chunks: Iterator[bytes]) -> Iterator[Sequence[bytes]]:
    return iter(lambda: list(islice(chunks, AT_ONCE)), [])
