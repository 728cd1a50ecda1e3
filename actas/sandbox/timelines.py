"""Timelines and single posts, as the API tells them. Pure."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import AwareDatetime, BaseModel, Field

from actas.sandbox.drafts import Id
from actas.sandbox.showing import shown
from actas.sandbox.state import account_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actas.sandbox.records import Post

EXPANSIONS = frozenset({"referenced_posts", "referenced_tweets.id", "attachments.poll_ids"})


class Asked(BaseModel, extra="forbid"):
    """Which fields of a post are asked for."""

    #: Asked with the post.fields of its document, X answers in the words of that; else in older ones.
    tweet_fields: str = Field(default="", alias="tweet.fields")
    post_fields: str = Field(default="", alias="post.fields")
    expansions: str = ""

    def asked(self) -> set[str]:
        """What to tell. As on X, what there is no such thing as is passed over, an expansion among the fields, too."""
        fields = {*self.tweet_fields.split(","), *self.post_fields.split(",")} - EXPANSIONS
        return fields | EXPANSIONS.intersection(self.expansions.split(","))


class Look(Asked):
    """The query of GET /2/users/{id}/tweets."""

    max_results: int = Field(default=10, ge=5, le=100)
    pagination_token: str | None = None
    start_time: AwareDatetime | None = None
    end_time: AwareDatetime | None = None
    since_id: Id | None = None
    until_id: Id | None = None


def page(posts: Sequence[Post], look: Look) -> dict[str, Any]:
    """One page of posts, given newest first; an empty one has no ``data``, as on X.

    Raises:
        ValueError: the pagination_token is none of ours.
    """
    before = _before(look.pagination_token)
    wanted = [post for post in posts if _wanted(post, look, before)]
    told = wanted[: look.max_results]
    if not told:
        return {"meta": {"result_count": 0}}
    meta = {"result_count": len(told), "newest_id": told[0].id, "oldest_id": told[-1].id}
    if len(wanted) > len(told):
        meta["next_token"] = _pagination_token(told[-1].id)
    return {"data": [shape(post, look) for post in told], "meta": meta, **_included(told, look)}


def shape(post: Post, look: Asked) -> dict[str, object]:
    """One post."""
    text, urls = shown(post.text, post.id, post.appended())
    asked, word = look.asked(), "post" if look.post_fields else "tweet"
    told: dict[str, object] = {"id": post.id, "text": text, f"edit_history_{word}_ids": [post.id]}
    if "created_at" in asked:
        told["created_at"] = f"{post.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z"
    if "author_id" in asked:
        told["author_id"] = account_id(post.username)
    if urls and "entities" in asked:
        told["entities"] = {"urls": urls}
    if post.attachments() and asked & {"attachments", "attachments.poll_ids"}:
        told["attachments"] = post.attachments()
    if post.references() and asked & {"referenced_tweets", "referenced_posts", "referenced_tweets.id"}:
        told[f"referenced_{word}s"] = post.references()
    return told


def _included(posts: Sequence[Post], look: Look) -> dict[str, Any]:
    polls = [
        {
            "id": post.poll_id,
            "options": [{"position": n, "label": label, "votes": 0} for n, label in enumerate(post.poll.options, 1)],
        }
        for post in posts
        if post.poll is not None
    ]
    return {"includes": {"polls": polls}} if polls and "attachments.poll_ids" in look.asked() else {}


def _whole_second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _wanted(post: Post, look: Look, before: int | None) -> bool:
    at, number = _whole_second(post.at), int(post.id)  # X knows a post's time to the second
    return (
        (before is None or number < before)
        and (look.start_time is None or at >= _whole_second(look.start_time))
        and (look.end_time is None or at < _whole_second(look.end_time))
        and (look.since_id is None or number > int(look.since_id))
        and (look.until_id is None or number < int(look.until_id))
    )


def _pagination_token(post_id: str) -> str:
    return base64.b32hexencode(post_id.encode()).decode().rstrip("=").lower()


def _before(pagination_token: str | None) -> int | None:
    if pagination_token is None:
        return None
    padding = "=" * (-len(pagination_token) % 8)
    return int(base64.b32hexdecode(pagination_token.upper() + padding))
