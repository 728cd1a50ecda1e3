"""Uploading media to X: initialize, append segment after segment, finalize, wait until X has processed it, describe it.

The names and the shapes are those of X's published OpenAPI document (v2.167). Each request is a step of its own, so
whoever comes after a dead worker goes on with the segment after the last that is done.

It may be repeated. A segment is named by its index, and X's own guide says "Failed chunks can be retried individually"
(docs.x.com, "Chunked Media Upload"); initializing again leaves an upload that nobody uses and that ends by itself; an
upload that is finalized already answers when asked how it stands; a description says the same again.

Upon success X keeps it for a post for 24 hours (``expires_after_secs`` of the same guide: 86400).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from actas.actions.base import Action, ActionHttp, NotReady, Refused, Result, Search
from actas.files import CHUNK_BYTES, FileReference
from actas.http import NoReply
from actas.payload import Payload

#: X's document takes segments 0 to 999, of 5 MB at most (developer.x.com, "POST media/upload (APPEND)"); ones of 5 MiB
#: were refused with 413 (github.com/trypostit/trypost, pull request 31). X's own examples send 1 MiB; so is a chunk.
SEGMENT_BYTES = CHUNK_BYTES

MIB = 1024 * 1024

#: What X takes of each kind (docs.x.com, media "Best practices", and the document's list of media types): how large,
#: and of which types. Of videos it would take more than a stored file can have.
KINDS: Mapping[str, tuple[int, frozenset[str]]] = {
    "tweet_image": (5 * MIB, frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})),
    "tweet_gif": (15 * MIB, frozenset({"image/gif"})),
    "tweet_video": (512 * MIB, frozenset({"video/mp4", "video/quicktime", "video/webm", "video/mp2t"})),
}

ID = re.compile(r"[0-9]{1,19}")

#: What a finalized upload's step says it made: whether X has to be asked until it is ready.
READY, PROCESSING = "finalized", "processing"

#: How soon to look again, where X does not say, and at most.
LOOK_AGAIN_SECONDS, LOOK_AGAIN_AT_LATEST_SECONDS = 5, 60

Category: TypeAlias = Literal["tweet_image", "tweet_gif", "tweet_video"]


class MediaPayload(Payload):
    file: FileReference
    category: Category
    #: Of images and GIFs only (developer.x.com, "POST media/metadata/create"), and of 1,000 characters (the document).
    alt_text: Annotated[str, Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def _x_takes_it(self) -> Self:
        largest, types = KINDS[self.category]
        if self.file.media_type not in types:
            raise ValueError(f"a {self.category} is one of {', '.join(sorted(types))}")
        if self.file.size > largest:
            raise ValueError(f"a {self.category} has at most {largest} bytes; this file has {self.file.size}")
        if self.alt_text is not None and self.category == "tweet_video":
            raise ValueError("X takes alt_text for images and GIFs only")
        return self


class UploadMedia(Action[MediaPayload]):
    """One file for a post to come; the job's result is the media id, which ``x.post`` takes."""

    name = "x.upload_media"
    provider = "x"
    scopes = frozenset({"media.write"})
    idempotent = True
    payload_type = MediaPayload

    def steps(self, payload: MediaPayload) -> int:
        return 1 + _segments(payload) + len(_last_steps(payload))

    def perform(self, http: ActionHttp, payload: MediaPayload, job_id: str) -> Result:
        return self.perform_step(http, payload, job_id, ())

    def perform_step(self, http: ActionHttp, payload: MediaPayload, job_id: str, made: Sequence[str]) -> Result:  # noqa: ARG002
        if not made:
            return _initialize(http, payload)
        media, segment = made[0], len(made) - 1
        if not ID.fullmatch(media):
            raise Refused("what X began is no media id", refusal="bad_media_id")
        if segment < _segments(payload):
            return _append(http, media, payload.file, segment)
        match _last_steps(payload)[segment - _segments(payload)]:
            case "finalize":
                return _finalize(http, media)
            case "process":
                return _processed(http, media, made[-1])
            case _:
                return _describe(http, media, payload.alt_text or "")

    def find(self, http: ActionHttp, payload: MediaPayload, job_id: str, search: Search) -> Sequence[str]:  # noqa: ARG002
        """Nothing that anybody sees: an upload that was broken off is in no post, and ends by itself."""
        return ()


def _segments(payload: MediaPayload) -> int:
    return math.ceil(payload.file.size / SEGMENT_BYTES)


def _last_steps(payload: MediaPayload) -> Sequence[str]:
    """What comes after the segments; X says at the end of the first of these whether it must process the media."""
    return ("finalize", "process", *(() if payload.alt_text is None else ("describe",)))


def _initialize(http: ActionHttp, payload: MediaPayload) -> Result:
    body = {
        "media_type": payload.file.media_type,
        "total_bytes": payload.file.size,
        "media_category": payload.category,
    }
    match http.request("POST", "/2/media/upload/initialize", json=body):
        case {"data": {"id": str(media)}} if ID.fullmatch(media):
            return Result(media)
    raise NoReply("X began an upload and named no id")


def _append(http: ActionHttp, media: str, file: FileReference, segment: int) -> Result:
    content, content_type = form(segment, http.stored(file, segment * SEGMENT_BYTES, SEGMENT_BYTES))
    # Whatever a 2xx says: of the old API it had no body.
    http.send("POST", f"/2/media/upload/{media}/append", content=content, headers={"Content-Type": content_type})
    return Result(f"segment {segment}")


def form(segment: int, data: bytes) -> tuple[bytes, str]:
    """A segment as multipart/form-data (RFC 7578), and its content type.

    X's document takes JSON, too, with the bytes in base64: a third more of them, and not what X's examples send.
    """
    boundary = hashlib.sha256(data).hexdigest()  # which data that has it in itself would have to be made for
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="segment_index"\r\n\r\n{segment}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="media"; filename="media"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return b"".join(
        [head.encode(), data, f"\r\n--{boundary}--\r\n".encode()]
    ), f"multipart/form-data; boundary={boundary}"


def _finalize(http: ActionHttp, media: str) -> Result:
    try:
        said = http.request("POST", f"/2/media/upload/{media}/finalize")
    except Refused:
        # Perhaps it is finalized, and only the answer to that was lost: then X can say how it stands.
        try:
            said = _status(http, media)
        except Refused:
            said = {}
        if _processing(said) is None:
            raise
    info = _processing(said)
    return Result(READY if info is None or info.get("state") == "succeeded" else PROCESSING)


def _processed(http: ActionHttp, media: str, finalized: str) -> Result:
    """Done when X has processed the media.

    X: only if the answer to finalizing has a ``processing_info`` is there a status to be asked for.
    """
    if finalized == READY:
        return Result(READY)
    info = _processing(_status(http, media)) or {}
    match info.get("state"):
        case None | "succeeded":
            return Result(READY)
        case "failed":
            raise Refused("X cannot process this media", refusal="media_failed")
    seconds = info.get("check_after_secs")
    if not isinstance(seconds, int) or not 0 < seconds <= LOOK_AGAIN_AT_LATEST_SECONDS:
        seconds = LOOK_AGAIN_SECONDS
    raise NotReady("X is processing the media", seconds=seconds)


def _status(http: ActionHttp, media: str) -> Mapping[str, Any]:
    return http.request("GET", "/2/media/upload", query={"command": "STATUS", "media_id": media})


def _processing(said: Mapping[str, Any]) -> Mapping[str, Any] | None:
    match said:
        case {"data": {"processing_info": Mapping() as info}}:
            return info
    return None


def _describe(http: ActionHttp, media: str, alt_text: str) -> Result:
    http.send("POST", "/2/media/metadata", json={"id": media, "metadata": {"alt_text": {"text": alt_text}}})
    return Result("described")
