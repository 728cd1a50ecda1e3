"""Media uploads as X has them: initialize, append, finalize, status, metadata; and what a post may name of them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from pydantic import BaseModel, Field, NonNegativeFloat, StringConstraints, ValidationError
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from actas.clock import Clock
    from actas.sandbox.misbehaviour import Endpoint, Misbehaviour
    from actas.sandbox.state import Books

WRITE = frozenset({"media.write"})

#: How long what was uploaded can be put into a post.
LIFE = timedelta(hours=24)

MOST_SEGMENT_BYTES = 5_000_000

Id = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,19}$")]

#: By category: the largest, and what its types begin with.
CATEGORIES: Mapping[str, tuple[int, str]] = {
    "tweet_image": (5 * 1024**2, "image/"),
    "tweet_gif": (15 * 1024**2, "image/gif"),
    "tweet_video": (8 * 1024**3, "video/"),
}


class Initialize(BaseModel, extra="forbid", strict=True):
    media_type: Literal[
        "video/mp4",
        "video/webm",
        "video/mp2t",
        "video/quicktime",
        "image/jpeg",
        "image/gif",
        "image/png",
        "image/webp",
    ]
    total_bytes: int = Field(ge=1, le=17_179_869_184)
    media_category: Literal["tweet_image", "tweet_gif", "tweet_video"]


class Append(BaseModel, extra="forbid"):
    media: bytes
    segment_index: int = Field(ge=0, le=999)


class AltText(BaseModel, extra="forbid", strict=True):
    text: str = Field(max_length=1000)


class Metadata(BaseModel, extra="forbid", strict=True):
    alt_text: AltText | None = None


class Describe(BaseModel, extra="forbid", strict=True):
    id: Id
    metadata: Metadata = Metadata()


class Processing(BaseModel, extra="forbid"):
    """What becomes of GIFs and videos that are finalized from now on."""

    seconds: NonNegativeFloat = Field(le=86400)
    fails: bool = False


class UploadEntry(TypedDict):
    """segments: by index, how often each came; sha256: of the whole, once it is finalized."""

    id: str
    account: str
    media_type: str
    category: str
    total_bytes: int
    segments: dict[str, int]
    sha256: str | None
    finalized: int
    state: str
    looks: int
    alt_text: str | None


@dataclass(slots=True)
class Upload:
    id: str
    username: str
    asked: Initialize
    begun_at: datetime
    data: dict[int, bytes] = field(default_factory=dict)
    came: Counter[int] = field(default_factory=Counter)
    sha256: str | None = None
    finalized: int = 0
    finalized_at: datetime | None = None
    #: What X does with it takes so long, and ends so; None: it does nothing with it.
    processing: Processing | None = None
    looks: int = 0
    alt_text: str | None = None

    def state(self, now: datetime) -> str:
        if self.finalized_at is None:
            return "uploading"
        if self.processing is None:
            return "succeeded"
        if now < self.finalized_at + timedelta(seconds=self.processing.seconds):
            return "in_progress"
        return "failed" if self.processing.fails else "succeeded"

    def entry(self, now: datetime) -> UploadEntry:
        return UploadEntry(
            id=self.id,
            account=self.username,
            media_type=self.asked.media_type,
            category=self.asked.media_category,
            total_bytes=self.asked.total_bytes,
            segments={str(index): count for index, count in sorted(self.came.items())},
            sha256=self.sha256,
            finalized=self.finalized,
            state=self.state(now),
            looks=self.looks,
            alt_text=self.alt_text,
        )


class Wrong(Exception):
    """The request is none that X takes, and what X says of it."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status


class Shelf:
    """All uploads; every method is safe to call from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._uploads: dict[str, Upload] = {}
        self._processing = Processing(seconds=0)

    def begin(self, username: str, asked: Initialize) -> Upload:
        """Begin an upload.

        Raises:
            Wrong.
        """
        largest, kind = CATEGORIES[asked.media_category]
        if not asked.media_type.startswith(kind):
            raise Wrong(f"{asked.media_type} is no {asked.media_category}")
        if asked.total_bytes > largest:
            raise Wrong(f"File size exceeds {largest} bytes.")
        with self._lock:
            upload = Upload(str(10**18 + len(self._uploads)), username, asked, self._clock())
            self._uploads[upload.id] = upload
            return upload

    def append(self, username: str, upload_id: str, segment: Append) -> None:
        """Take one segment; the same one again takes its place.

        Raises:
            Wrong.
        """
        if not 1 <= len(segment.media) <= MOST_SEGMENT_BYTES:
            raise Wrong("a segment has 1 byte to 5 MB", 413)
        with self._lock:
            upload = self._mine(username, upload_id)
            if upload.finalized_at is not None:
                raise Wrong("the upload is finalized")
            upload.data[segment.segment_index] = segment.media
            upload.came[segment.segment_index] += 1

    def finalize(self, username: str, upload_id: str) -> Upload:
        """End an upload, if it is whole. Whether X takes that twice is not known, so it is refused here.

        Raises:
            Wrong.
        """
        with self._lock:
            upload = self._mine(username, upload_id)
            upload.finalized += 1
            if upload.finalized_at is not None:
                raise Wrong("the upload is finalized")
            data = b"".join(upload.data[index] for index in sorted(upload.data))
            if sorted(upload.data) != list(range(len(upload.data))) or len(data) != upload.asked.total_bytes:
                raise Wrong("Segments do not add up to provided total file size.")
            upload.sha256 = hashlib.sha256(data).hexdigest()
            upload.data.clear()
            upload.finalized_at = self._clock()
            upload.processing = None if upload.asked.media_category == "tweet_image" else self._processing
            return upload

    def look(self, username: str, upload_id: str) -> Upload:
        """How an upload stands.

        Raises:
            Wrong.
        """
        with self._lock:
            upload = self._mine(username, upload_id)
            upload.looks += 1
            if upload.processing is None:
                raise Wrong("there is no status of this upload", 404)
            return upload

    def describe(self, username: str, asked: Describe) -> None:
        """Set what the metadata says.

        Raises:
            Wrong.
        """
        with self._lock:
            upload = self._mine(username, asked.id)
            if asked.metadata.alt_text is not None:
                upload.alt_text = asked.metadata.alt_text.text

    def check(self, username: str, ids: Sequence[str]) -> None:
        """Make sure that these can be put into a post of this user.

        Raises:
            Wrong.
        """
        with self._lock:
            now = self._clock()
            for each in ids:
                found = self._uploads.get(each)
                gone = found is None or found.username != username or found.state(now) != "succeeded"
                if gone or (found and found.finalized_at and now > found.finalized_at + LIFE):
                    raise Wrong("Your media IDs are invalid.")

    def process(self, processing: Processing) -> None:
        with self._lock:
            self._processing = processing

    def entries(self) -> list[UploadEntry]:
        """All uploads there ever were, oldest first."""
        with self._lock:
            return [upload.entry(self._clock()) for upload in self._uploads.values()]

    def shape(self, upload: Upload) -> dict[str, Any]:
        """An upload as X tells of it."""
        now = self._clock()
        shape: dict[str, Any] = {"id": upload.id, "media_key": f"13_{upload.id}"}
        shape["expires_after_secs"] = int(LIFE.total_seconds())
        if upload.finalized_at is not None:
            shape["size"] = upload.asked.total_bytes
        if upload.processing is not None:
            state = upload.state(now)
            shape["processing_info"] = {"state": state, **({"check_after_secs": 1} if state == "in_progress" else {})}
        return {"data": shape}

    def _mine(self, username: str, upload_id: str) -> Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.username != username or self._clock() > upload.begun_at + LIFE:
            raise Wrong("there is no upload with this id", 404)
        return upload


class Media:
    def __init__(
        self,
        books: Books,
        shelf: Shelf,
        misbehaviour: Misbehaviour,
        answer: Callable[[Callable[[], Response]], Response],
    ) -> None:
        """``answer`` carries out, and turns what the books refuse into X's words."""
        self._books = books
        self._shelf = shelf
        self._misbehaviour = misbehaviour
        self._answer = answer

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/2/media/upload/initialize", self.initialize, methods=["POST"]),
            Route("/2/media/upload/{id}/append", self.append, methods=["POST"]),
            Route("/2/media/upload/{id}/finalize", self.finalize, methods=["POST"]),
            Route("/2/media/upload", self.status, methods=["GET"]),
            Route("/2/media/metadata", self.metadata, methods=["POST"]),
            Route("/_sandbox/uploads", self.uploads, methods=["GET"]),
            Route("/_sandbox/processing", self.processing, methods=["POST"]),
        ]

    async def initialize(self, request: Request) -> Response:
        body = await request.body()

        def act(username: str) -> Response:
            upload = self._shelf.begin(username, Initialize.model_validate_json(body))
            return JSONResponse(self._shelf.shape(upload))

        return await self._serve(request, "initialize", act)

    async def append(self, request: Request) -> Response:
        body, kind = await request.body(), request.headers.get("content-type", "")

        def act(username: str) -> Response:
            self._shelf.append(username, request.path_params["id"], read_segment(kind, body))
            return JSONResponse({"data": {"expires_at": 1_800_000_000}})

        return await self._serve(request, "append", act)

    async def finalize(self, request: Request) -> Response:
        await request.body()
        return await self._serve(
            request,
            "finalize",
            lambda username: JSONResponse(self._shelf.shape(self._shelf.finalize(username, request.path_params["id"]))),
        )

    async def status(self, request: Request) -> Response:
        query = request.query_params

        def act(username: str) -> Response:
            if query.get("command", "STATUS") != "STATUS" or set(query) - {"command", "media_id"}:
                raise Wrong("The query is none of a status.")
            return JSONResponse(self._shelf.shape(self._shelf.look(username, query.get("media_id", ""))))

        return await self._serve(request, "status", act)

    async def metadata(self, request: Request) -> Response:
        body = await request.body()

        def act(username: str) -> Response:
            asked = Describe.model_validate_json(body)
            self._shelf.describe(username, asked)
            return JSONResponse({"data": {"id": asked.id, "associated_metadata": asked.metadata.model_dump()}})

        return await self._serve(request, "metadata", act)

    async def uploads(self, _: Request) -> Response:
        return JSONResponse({"uploads": self._shelf.entries()})

    async def processing(self, request: Request) -> Response:
        self._shelf.process(Processing.model_validate_json(await request.body()))
        return JSONResponse({})

    async def _serve(self, request: Request, endpoint: Endpoint, act: Callable[[str], Response]) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        rule = self._misbehaviour.take(endpoint, self._books.username_of(token))

        def whole() -> Response:
            username = self._books.authenticate(token, WRITE).username
            try:
                return act(username)
            except ValidationError as error:
                found = error.errors(include_input=False, include_url=False, include_context=False)
                said = "; ".join(f"$.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found)
                return problem(Wrong(said))
            except Wrong as wrong:
                return problem(wrong)

        return await self._misbehaviour.serve(request, rule, lambda: self._answer(whole))


def problem(wrong: Wrong) -> Response:
    """What X says of a request that it does not take."""
    body = {
        "errors": [{"message": str(wrong), "parameters": {}}],
        "title": "Invalid Request",
        "detail": "One or more parameters to your request was invalid.",
        "type": "https://api.twitter.com/2/problems/invalid-request",
        "status": wrong.status,
    }
    return JSONResponse(body, wrong.status, media_type="application/problem+json")


def read_segment(kind: str, body: bytes) -> Append:
    """A segment, as multipart/form-data (RFC 7578) or as JSON.

    Raises:
        Wrong, ValidationError.
    """
    boundary = re.fullmatch(r'multipart/form-data; *boundary="?([^";]{1,70})"?', kind)
    if boundary:
        return Append.model_validate(dict(_parts(body, boundary[1].encode())))
    if kind.partition(";")[0] != "application/json":
        raise Wrong("Unsupported Media Type", 415)
    segment = Append.model_validate_json(body)
    try:
        return segment.model_copy(update={"media": base64.b64decode(segment.media, validate=True)})
    except binascii.Error:
        raise Wrong("media is not in base64") from None


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    first, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if first or not (parts and parts.pop().startswith(b"--")):
        raise Wrong("the body is no multipart/form-data")
    for each in parts:
        head, _, data = each.partition(b"\r\n\r\n")
        name = re.search(rb'form-data; name="([a-z_]+)"', head)
        if name is None:
            raise Wrong("a part has no name")
        yield name[1].decode(), data
