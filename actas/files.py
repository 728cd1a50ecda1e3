"""What a stored file is called, and how its bytes are checked against that. Pure.

A job's payload has 64 KiB, so a file goes by reference, and the reference is what the app signs: it must say which
bytes these are, whatever stands in MongoDB. So it is a digest, and one of two levels, so that a worker can check one
chunk of a video by itself:

- a file is cut into chunks of 1 MiB, the last one shorter; its *manifest* is the SHA-256 of each, one after the other;
- ``sha256`` is the SHA-256 of a mark (``actas file 1`` and a line feed), the size in bytes (eight, the highest first)
  and the manifest. The mark and the size keep a manifest from passing for a file's own bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from actas.errors import ActasError
from actas.payload import Payload

CHUNK_BYTES = 1024 * 1024

#: X took videos of up to 512 MB, and now of up to 8 GB (docs.x.com, media "Best practices"). A database that everything
#: else waits for is no place for those.
MAX_FILE_BYTES = 512 * CHUNK_BYTES

MARK = b"actas file 1\n"
DIGEST_BYTES = 32


class FileReference(Payload):
    """A stored file, as a payload names it: ``Client.store_file`` makes one, ``model_dump()`` is what goes in."""

    #: Not that of the bytes themselves: see above.
    sha256: Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(strict=True, ge=1, le=MAX_FILE_BYTES)]
    #: RFC 6838 section 4.2, in lower case and without parameters.
    media_type: Annotated[
        str,
        StringConstraints(strict=True, pattern=r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$"),
    ]


class FileAltered(ActasError):
    """What is stored is not the file that was signed for."""

    code = "file_altered"


def chunk_digest(chunk: bytes) -> bytes:
    return hashlib.sha256(chunk).digest()


def chunk_count(size: int) -> int:
    return -(-size // CHUNK_BYTES)


def chunk_size(number: int, size: int) -> int:
    """How many bytes a chunk of a file of this size has."""
    return min(CHUNK_BYTES, size - number * CHUNK_BYTES)


def file_digest(size: int, manifest: bytes) -> str:
    """A reference's ``sha256``, from the file's size and its manifest."""
    return hashlib.sha256(MARK + size.to_bytes(8) + manifest).hexdigest()


def chunks_of(start: int, length: int, size: int) -> range:
    """The numbers of the chunks that hold the bytes from ``start`` on, of a file of this size."""
    end = min(start + length, size)
    return range(start // CHUNK_BYTES, chunk_count(end)) if start < end else range(0)


def check_manifest(file: FileReference, manifest: object) -> Sequence[bytes]:
    """Each chunk's digest, if this is the manifest of that file.

    Raises:
        FileAltered.
    """
    if not isinstance(manifest, bytes) or len(manifest) != chunk_count(file.size) * DIGEST_BYTES:
        raise FileAltered
    if file_digest(file.size, manifest) != file.sha256:
        raise FileAltered
    return [manifest[at : at + DIGEST_BYTES] for at in range(0, len(manifest), DIGEST_BYTES)]


def check_chunk(file: FileReference, digests: Sequence[bytes], number: int, chunk: object) -> bytes:
    """The chunk of this number, if it is the one.

    Raises:
        FileAltered.
    """
    if not isinstance(chunk, bytes) or len(chunk) != chunk_size(number, file.size):
        raise FileAltered
    if chunk_digest(chunk) != digests[number]:
        raise FileAltered
    return chunk


def part(chunks: Iterable[bytes], start: int, length: int) -> bytes:
    """Of chunks that ``chunks_of`` has named, the bytes that were meant."""
    first = start // CHUNK_BYTES * CHUNK_BYTES
    return b"".join(chunks)[start - first : start - first + length]


def files_in(value: Any) -> Iterator[FileReference]:
    """All stored files that a parsed payload names, wherever it does."""
    match value:
        case FileReference():
            yield value
        case BaseModel():
            for name in type(value).model_fields:
                yield from files_in(getattr(value, name))
        case Mapping():
            for each in value.values():
                yield from files_in(each)
        case list() | tuple() | set() | frozenset():
            for each in value:
                yield from files_in(each)
