"""Posting on X: one post, or several as a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from actas.actions.base import Action, ActionHttp, Result, Search
from actas.actions.counting import LIMIT, misfit
from actas.actions.x.looking import find_posts
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


class PostPayload(Payload):
    text: Text


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
        return _post(http, payload.text)

    def find(self, http: ActionHttp, payload: PostPayload, job_id: str, search: Search) -> Sequence[str] | None:  # noqa: ARG002
        return find_posts(http, payload.text, search)


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
        return _post(http, payload.posts[len(made)], reply_to=made[-1] if made else None)

    def find(self, http: ActionHttp, payload: ThreadPayload, job_id: str, search: Search) -> Sequence[str] | None:  # noqa: ARG002
        return find_posts(http, payload.posts[len(search.made)], search)


def _post(http: ActionHttp, text: str, *, reply_to: str | None = None) -> Result:
    body: dict[str, Any] = {"text": text}
    if reply_to is not None:
        body["reply"] = {"in_reply_to_tweet_id": reply_to}
    match http.request("POST", "/2/tweets", json=body):
        case {"data": {"id": str(post_id)}}:  # depend on nothing but the id
            return Result(post_id)
    raise NoReply("X accepted the post but named no id")
