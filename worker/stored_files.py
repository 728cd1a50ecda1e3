"""A stored file's bytes, for an action: whatever MongoDB says, they are those that the app signed for, or none."""

from __future__ import annotations

from actas.actions import Refused
from actas.errors import FileMissing
from actas.files import FileAltered, FileReference, check_chunk, check_manifest, chunks_of, part
from actas.stores.files import Files


def read(files: Files, app: str, file: FileReference, start: int, size: int) -> bytes:
    """So many bytes of an app's file from ``start`` on, each chunk of them checked; fewer where the file ends.

    Raises:
        Refused: it is not there (file_missing), or is another one (file_altered); so it will be the next time.
        MongoUnavailable, MongoRefused.
    """
    numbers = chunks_of(start, size, file.size)
    if not numbers:
        return b""
    row = files.get(app, file.sha256)
    if row is None:
        raise Refused("the file is not stored any more", refusal=FileMissing.code)
    try:
        digests = check_manifest(file, row.manifest)
        chunks = files.chunks(row.id, numbers)
        if len(chunks) < len(numbers):
            raise Refused("a part of the file is not stored any more", refusal=FileMissing.code)
        return part((check_chunk(file, digests, number, chunks[number]) for number in numbers), start, size)
    except FileAltered as error:
        raise Refused("what is stored is not the file that was signed for", refusal=error.code) from None
