"""The API: who am I, post, delete, look; with the shapes of X's API v2, and problem objects (RFC 9457)."""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, ValidationError
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from actas.actions.counting import misfit
from actas.sandbox.media import Media, Wrong, problem
from actas.sandbox.records import Reason, Refused
from actas.sandbox.showing import shown
from actas.sandbox.state import account_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from actas.sandbox.media import Shelf
    from actas.sandbox.misbehaviour import Misbehaviour
    from actas.sandbox.records import Post, Quota
    from actas.sandbox.state import Books

READ = frozenset({"tweet.read", "users.read"})
WRITE = READ | {"tweet.write"}

#: The living API says api.twitter.com in its problem types where its document says api.x.com.
PROBLEMS = "https://api.twitter.com/2/problems/"
REFUSALS: dict[Reason, tuple[int, str, str, str]] = {
    Reason.UNAUTHORIZED: (401, "about:blank", "Unauthorized", "Unauthorized"),
    Reason.SCOPE: (403, "about:blank", "Forbidden", "This grant lacks a scope that the request needs."),
    Reason.DUPLICATE: (
        403,
        "about:blank",
        "Forbidden",
        "You are not allowed to create a Tweet with duplicate content.",
    ),
    Reason.REPLY: (
        403,
        "about:blank",
        "Forbidden",
        "You attempted to reply to a Tweet that is deleted or not visible to you.",
    ),
    Reason.NOT_YOURS: (403, "about:blank", "Forbidden", "You are not authorized to delete this Tweet."),
    Reason.NO_POST: (404, f"{PROBLEMS}resource-not-found", "Not Found Error", "There is no post with this id."),
}

Id = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,19}$")]


class ReplyTo(BaseModel, extra="forbid", strict=True):
    in_reply_to_tweet_id: Id
    exclude_reply_user_ids: list[Id] = []
    auto_populate_reply_metadata: bool = False


class Attached(BaseModel, extra="forbid", strict=True):
    media_ids: list[Id] = Field(min_length=1, max_length=4)


class Draft(BaseModel, extra="forbid", strict=True):
    """The body of POST /2/tweets, as much of it as the sandbox has a use for; anything else is refused."""

    text: str = Field(min_length=1)
    reply: ReplyTo | None = None
    media: Attached | None = None


EXPANSIONS = frozenset({"referenced_posts", "referenced_tweets.id"})


class Look(BaseModel, extra="forbid"):
    """The query of GET /2/users/{id}/tweets."""

    max_results: int = Field(default=10, ge=5, le=100)
    pagination_token: str | None = None
    start_time: AwareDatetime | None = None
    end_time: AwareDatetime | None = None
    since_id: Id | None = None
    until_id: Id | None = None
    #: Asked with the post.fields of its document, X answers in the words of that; else in older ones.
    tweet_fields: str = Field(default="", alias="tweet.fields")
    post_fields: str = Field(default="", alias="post.fields")
    expansions: str = ""

    def asked(self) -> set[str]:
        """What to tell. As on X, what there is no such thing as is passed over, an expansion among the fields, too."""
        fields = {*self.tweet_fields.split(","), *self.post_fields.split(",")} - EXPANSIONS
        return fields | EXPANSIONS.intersection(self.expansions.split(","))


class Api:
    def __init__(self, books: Books, shelf: Shelf, misbehaviour: Misbehaviour) -> None:
        self._books = books
        self._shelf = shelf
        self._misbehaviour = misbehaviour

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/2/users/me", self.me, methods=["GET"]),
            Route("/2/tweets", self.post, methods=["POST"]),
            Route("/2/tweets/{id}", self.delete, methods=["DELETE"]),
            Route("/2/users/{id}/tweets", self.timeline, methods=["GET"]),
            *Media(self._books, self._shelf, self._misbehaviour, _answer).routes(),
        ]

    async def me(self, request: Request) -> Response:
        token = _bearer(request)
        rule = self._misbehaviour.take("me", self._books.username_of(token))

        def act() -> Response:
            name = self._books.authenticate(token, READ).username
            return JSONResponse({"data": {"id": account_id(name), "name": name.title(), "username": name}})

        return await self._misbehaviour.serve(request, rule, lambda: _answer(act))

    async def post(self, request: Request) -> Response:
        token = _bearer(request)
        body = await request.body()
        rule = self._misbehaviour.take("tweets", self._books.username_of(token))
        return await self._misbehaviour.serve(request, rule, lambda: _answer(lambda: self._post(token, body)))

    def _post(self, token: str, body: bytes) -> Response:
        family = self._books.authenticate(token, WRITE)
        quota = self._books.spend(family.username)
        headers = _rate_headers(quota)
        if quota is not None and quota.exceeded:
            return _problem(429, "about:blank", "Too Many Requests", "Too Many Requests", headers=headers)
        try:
            draft = Draft.model_validate_json(body)
        except ValidationError as error:
            return _invalid(error, headers)
        if misfit(draft.text) is not None:
            # How X words it is a guess; that it refuses is not.
            return _problem(403, "about:blank", "Forbidden", "Your Tweet text is too long.", headers=headers)
        try:
            self._shelf.check(family.username, draft.media.media_ids if draft.media else ())
        except Wrong as wrong:
            return problem(wrong)
        reply_to = draft.reply.in_reply_to_tweet_id if draft.reply else None

        def act() -> Response:
            post = self._books.post(family, draft.text, reply_to=reply_to)
            return JSONResponse({"data": {"id": post.id, "text": shown(post.text, post.id).text}}, 201, headers)

        return _answer(act, headers)

    async def delete(self, request: Request) -> Response:
        """Also for a post that is deleted already: that X says so too is a guess."""

        def act() -> Response:
            self._books.delete(self._books.authenticate(_bearer(request), WRITE), request.path_params["id"])
            return JSONResponse({"data": {"deleted": True}})

        return _answer(act)

    async def timeline(self, request: Request) -> Response:
        token, account = _bearer(request), request.path_params["id"]
        rule = self._misbehaviour.take("timeline", self._books.username_of(token))

        def act() -> Response:
            self._books.authenticate(token, READ)
            try:
                look = Look.model_validate(dict(request.query_params))
                before = _before(look.pagination_token)
            except ValidationError as error:
                return _invalid(error, {})
            except ValueError:
                return _problem(
                    400, f"{PROBLEMS}invalid-request", "Invalid Request", "The pagination_token is not ours."
                )
            posts = self._books.timeline(account)
            if posts is None:
                return JSONResponse({"errors": [_unknown_user(account)]})
            return JSONResponse(_page([post for post in posts if _wanted(post, look, before)], look))

        return await self._misbehaviour.serve(request, rule, lambda: _answer(act))


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _answer(act: Callable[[], Response], headers: Mapping[str, str] | None = None) -> Response:
    try:
        return act()
    except Refused as refused:
        return _problem(*REFUSALS[refused.reason], headers=headers)


def _problem(
    status: int,
    kind: str,
    title: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **more: object,
) -> Response:
    body = {"detail": detail, "type": kind, "title": title, "status": status, **more}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _invalid(error: ValidationError, headers: Mapping[str, str]) -> Response:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    errors = [{"message": f"$.{'.'.join(map(str, item['loc']))}: {item['msg']}", "parameters": {}} for item in found]
    detail = "One or more parameters to your request was invalid."
    return _problem(400, f"{PROBLEMS}invalid-request", "Invalid Request", detail, headers=headers, errors=errors)


def _rate_headers(quota: Quota | None) -> dict[str, str]:
    if quota is None:
        return {}
    return {
        "x-rate-limit-limit": str(quota.limit),
        "x-rate-limit-remaining": str(quota.remaining),
        "x-rate-limit-reset": str(math.ceil(quota.reset.timestamp())),  # rounded up: then it is surely over
    }


# --- paging -----------------------------------------------------------------------------------------------------------


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


def _page(posts: list[Post], look: Look) -> dict[str, Any]:
    """One page of posts; an empty one has no ``data``, as on X."""
    page = posts[: look.max_results]
    if not page:
        return {"meta": {"result_count": 0}}
    meta = {"result_count": len(page), "newest_id": page[0].id, "oldest_id": page[-1].id}
    if len(posts) > len(page):
        meta["next_token"] = _pagination_token(page[-1].id)
    return {"data": [_shape(post, look) for post in page], "meta": meta}


def _shape(post: Post, look: Look) -> dict[str, object]:
    text, urls = shown(post.text, post.id)
    asked, word = look.asked(), "post" if look.post_fields else "tweet"
    shape: dict[str, object] = {"id": post.id, "text": text, f"edit_history_{word}_ids": [post.id]}
    if "created_at" in asked:
        shape["created_at"] = f"{post.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z"
    if "author_id" in asked:
        shape["author_id"] = account_id(post.username)
    if urls and "entities" in asked:
        shape["entities"] = {"urls": urls}
    if post.reply_to and asked & {"referenced_tweets", *EXPANSIONS}:
        shape[f"referenced_{word}s"] = [{"type": "replied_to", "id": post.reply_to}]
    return shape


def _unknown_user(account: str) -> dict[str, object]:
    """Not a refusal: X answers 200, and that it found nothing."""
    return {
        "value": account,
        "detail": f"Could not find user with id: [{account}].",
        "title": "Not Found Error",
        "resource_type": "user",
        "parameter": "id",
        "resource_id": account,
        "type": f"{PROBLEMS}resource-not-found",
    }


def _pagination_token(post_id: str) -> str:
    return base64.b32hexencode(post_id.encode()).decode().rstrip("=").lower()


def _before(pagination_token: str | None) -> int | None:
    if pagination_token is None:
        return None
    padding = "=" * (-len(pagination_token) % 8)
    return int(base64.b32hexdecode(pagination_token.upper() + padding))
