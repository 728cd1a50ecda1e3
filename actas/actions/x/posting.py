"""Posting on X: one post, or several as a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, ValidationInfo, field_validator, model_validator

from actas.actions.base import Action, ActionHttp, Result, Search
from actas.actions.counting import LIMIT, misfit
from actas.actions.x.ids import Id
from actas.actions.x.looking import find_posts
from actas.actions.x.sameness import Wanted
from actas.http import NoReply
from actas.payload import Payload

SCOPES = frozenset({"tweet.read", "tweet.write", "users.read"})

#: X has no limit of its own for what one post after the other makes; its own apps stop at 25.
MOST_POSTS = 25


def _fits(text: str) -> str:
    if (counted := misfit(text)) is not None:
        raise ValueError(f"must be 1 to {LIMIT} characters as X counts them; this is {counted}")
    return text


Text = Annotated[str, AfterValidator(_fits)]

# The limits are those of X's published OpenAPI document (v2.167): CreatePostsRequest and what it refers to.


class ReplyTo(Payload):
    in_reply_to: Id
    #: Accounts that X would name at the reply's beginning, and shall not.
    exclude_user_ids: tuple[Id, ...] = ()


class Poll(Payload):
    options: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=25)], ...], Field(min_length=2, max_length=4)
    ]
    duration_minutes: Annotated[StrictInt, Field(ge=5, le=10_080)]


class PostPayload(Payload):
    """A post. Of a quoted post, a poll and media, X takes one.

    So say its documents of POST /2/tweets up to v2.166, of each of the three; v2.167 has no word of it any more.
    """

    reply: ReplyTo | None = None
    #: The id of the post that is quoted.
    quote: Id | None = None
    poll: Poll | None = None
    #: The ids of what was uploaded before.
    media_ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=4)] | None = None
    #: Who is to be seen in the media.
    tagged_user_ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=10)] | None = None
    #: Who may reply; without it, everybody.
    reply_settings: Literal["following", "mentionedUsers", "subscribers", "verified"] | None = None
    # The last one, for its validator to know whether there are media.
    text: Text | None = Field(default=None, validate_default=True)

    @field_validator("text")
    @classmethod
    def _there(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None and info.data.get("media_ids", ()) is None:
            raise ValueError("required, unless there are media_ids")
        return text

    @model_validator(mode="after")
    def _attached(self) -> Self:
        attached = [name for name in ("quote", "poll", "media_ids") if getattr(self, name) is not None]
        if len(attached) > 1:
            raise ValueError(f"X takes one of quote, poll and media_ids, not {' and '.join(attached)}")
        if self.tagged_user_ids is not None and self.media_ids is None:
            raise ValueError("tagged_user_ids are tagged in media, and there are no media_ids")
        return self


class ThreadPayload(Payload):
    posts: Annotated[tuple[Text, ...], Field(min_length=2, max_length=MOST_POSTS)]


class Post(Action[PostPayload]):
    """One post: ``POST /2/tweets``. X has no idempotency header, so it is never repeated after an unknown outcome."""

    name = "x.post"
    provider = "x"
    scopes = SCOPES
    idempotent = False
    payload_type = PostPayload

    def perform(self, http: ActionHttp, payload: PostPayload, job_id: str) -> Result:  # noqa: ARG002
        return _post(http, _body(payload))

    def find(self, http: ActionHttp, payload: PostPayload, job_id: str, search: Search) -> Sequence[str] | None:  # noqa: ARG002
        wanted = Wanted(
            text=payload.text or "",
            reply_to=payload.reply.in_reply_to if payload.reply else None,
            quote=payload.quote,
            poll=payload.poll.options if payload.poll else (),
            media=payload.media_ids or (),
        )
        return find_posts(http, wanted, search)


class Thread(Action[ThreadPayload]):
    """Several posts, each a step of its own and a reply to the one before it."""

    name = "x.thread"
    provider = "x"
    scopes = SCOPES
    idempotent = False
    payload_type = ThreadPayload

    def steps(self, payload: ThreadPayload) -> int:
        return len(payload.posts)

    def perform(self, http: ActionHttp, payload: ThreadPayload, job_id: str) -> Result:
        return self.perform_step(http, payload, job_id, ())

    def perform_step(self, http: ActionHttp, payload: ThreadPayload, job_id: str, made: Sequence[str]) -> Result:  # noqa: ARG002
        body: dict[str, Any] = {"text": payload.posts[len(made)]}
        if made:
            body["reply"] = {"in_reply_to_tweet_id": made[-1]}
        return _post(http, body)

    def find(self, http: ActionHttp, payload: ThreadPayload, job_id: str, search: Search) -> Sequence[str] | None:  # noqa: ARG002
        parent = search.made[-1] if search.made else None
        return find_posts(http, Wanted(payload.posts[len(search.made)], reply_to=parent), search)


def _body(payload: PostPayload) -> dict[str, Any]:
    """A post in X's words; what was not asked for is not in it."""
    body: dict[str, Any] = {}
    if payload.text is not None:
        body["text"] = payload.text
    if payload.reply is not None:
        body["reply"] = {"in_reply_to_tweet_id": payload.reply.in_reply_to}
        if payload.reply.exclude_user_ids:
            body["reply"]["exclude_reply_user_ids"] = list(payload.reply.exclude_user_ids)
    if payload.quote is not None:
        body["quote_tweet_id"] = payload.quote
    if payload.poll is not None:
        body["poll"] = {"options": list(payload.poll.options), "duration_minutes": payload.poll.duration_minutes}
    if payload.media_ids is not None:
        body["media"] = {"media_ids": list(payload.media_ids)}
        if payload.tagged_user_ids is not None:
            body["media"]["tagged_user_ids"] = list(payload.tagged_user_ids)
    if payload.reply_settings is not None:
        body["reply_settings"] = payload.reply_settings
    return body


def _post(http: ActionHttp, body: dict[str, Any]) -> Result:
    match http.request("POST", "/2/tweets", json=body):
        case {"data": {"id": str(post_id)}}:  # depend on nothing but the id
            return Result(post_id)
    raise NoReply("X accepted the post but named no id")
