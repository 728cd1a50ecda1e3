"""The API: who am I, post, delete, repost, like, look.

With the shapes of X's API v2, and problem objects (RFC 9457).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from actas.actions.counting import misfit
from actas.sandbox.drafts import Draft, Target
from actas.sandbox.media import Media, Wrong, problem
from actas.sandbox.records import Attached, Poll, Reason, Refused
from actas.sandbox.state import account_id
from actas.sandbox.timelines import Asked, Look, page, shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from actas.sandbox.media import Shelf
    from actas.sandbox.misbehaviour import Endpoint, Misbehaviour
    from actas.sandbox.records import Family, Quota
    from actas.sandbox.state import Books

READ = frozenset({"tweet.read", "users.read"})
WRITE = READ | {"tweet.write"}
LIKE = READ | {"like.write"}

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
    # How X words this is a guess.
    Reason.QUOTE: (
        403,
        "about:blank",
        "Forbidden",
        "You attempted to quote a Tweet that is deleted or not visible to you.",
    ),
    Reason.NOT_YOURS: (403, "about:blank", "Forbidden", "You are not authorized to delete this Tweet."),
    Reason.NO_POST: (404, f"{PROBLEMS}resource-not-found", "Not Found Error", "There is no post with this id."),
}


class Api:
    def __init__(self, books: Books, shelf: Shelf, misbehaviour: Misbehaviour) -> None:
        self._books = books
        self._shelf = shelf
        self._misbehaviour = misbehaviour

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/2/users/me", self.me, methods=["GET"]),
            Route("/2/tweets", self.post, methods=["POST"]),
            Route("/2/tweets/{id}", self.find, methods=["GET"]),
            Route("/2/tweets/{id}", self.delete, methods=["DELETE"]),
            Route("/2/users/{id}/retweets", self.repost, methods=["POST"]),
            Route("/2/users/{id}/likes", self.like, methods=["POST"]),
            Route("/2/users/{id}/tweets", self.timeline, methods=["GET"]),
            *Media(self._books, self._shelf, self._misbehaviour, _answer).routes(),
        ]

    async def me(self, request: Request) -> Response:
        token = _bearer(request)

        def act() -> Response:
            name = self._books.authenticate(token, READ).username
            return JSONResponse({"data": {"id": account_id(name), "name": name.title(), "username": name}})

        return await self._serve(request, "me", token, act)

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
        if draft.text and misfit(draft.text) is not None:
            # How X words it is a guess; that it refuses is not.
            return _problem(403, "about:blank", "Forbidden", "Your Tweet text is too long.", headers=headers)
        try:
            self._shelf.check(family.username, draft.media.media_ids if draft.media else ())
        except Wrong as wrong:
            return problem(wrong)

        def act() -> Response:
            post = self._books.post(
                family,
                draft.text,
                reply_to=draft.reply.in_reply_to_tweet_id if draft.reply else None,
                attached=_attached(draft),
                reply_settings=draft.reply_settings,
            )
            told = shape(post, Asked())
            return JSONResponse({"data": {"id": told["id"], "text": told["text"]}}, 201, headers)

        return _answer(act, headers)

    async def find(self, request: Request) -> Response:
        """One post; what there is not, X answers 200 for, too, and says in the body that it found nothing."""
        token, post_id = _bearer(request), request.path_params["id"]

        def act() -> Response:
            self._books.authenticate(token, READ)
            try:
                look = Asked.model_validate(dict(request.query_params))
            except ValidationError as error:
                return _invalid(error, {})
            post = self._books.find(post_id)
            return JSONResponse(
                {"errors": [_unknown("tweet", post_id)]} if post is None else {"data": shape(post, look)}
            )

        return await self._serve(request, "post", token, act)

    async def delete(self, request: Request) -> Response:
        """Also for a post that is deleted already: that X says so too is a guess."""
        token = _bearer(request)

        def act() -> Response:
            self._books.delete(self._books.authenticate(token, WRITE), request.path_params["id"])
            return JSONResponse({"data": {"deleted": True}})

        return await self._serve(request, "delete", token, act)

    async def repost(self, request: Request) -> Response:
        token, body = _bearer(request), await request.body()

        def act() -> Response:
            family = self._books.authenticate(token, WRITE)
            target = _target(request, family, body)
            if isinstance(target, Response):
                return target
            try:
                self._books.repost(family, target.tweet_id)
            except Refused as refused:
                if refused.reason is not Reason.REPOSTED:
                    raise
                return _invalid_request("You cannot retweet a Tweet that you have already retweeted.")
            return JSONResponse({"data": {"rest_id": target.tweet_id, "retweeted": True}})

        return await self._serve(request, "retweets", token, act)

    async def like(self, request: Request) -> Response:
        token, body = _bearer(request), await request.body()

        def act() -> Response:
            family = self._books.authenticate(token, LIKE)
            target = _target(request, family, body)
            if isinstance(target, Response):
                return target
            self._books.like(family, target.tweet_id)
            return JSONResponse({"data": {"liked": True}})

        return await self._serve(request, "likes", token, act)

    async def timeline(self, request: Request) -> Response:
        token, account = _bearer(request), request.path_params["id"]

        def act() -> Response:
            self._books.authenticate(token, READ)
            posts = self._books.timeline(account)
            try:
                told = page(posts or [], Look.model_validate(dict(request.query_params)))
            except ValidationError as error:
                return _invalid(error, {})
            except ValueError:
                return _problem(
                    400, f"{PROBLEMS}invalid-request", "Invalid Request", "The pagination_token is not ours."
                )
            return JSONResponse({"errors": [_unknown("user", account)]} if posts is None else told)

        return await self._serve(request, "timeline", token, act)

    async def _serve(self, request: Request, endpoint: Endpoint, token: str, act: Callable[[], Response]) -> Response:
        """Carry it out as the rule in force says; the request's body must have been read."""
        rule = self._misbehaviour.take(endpoint, self._books.username_of(token))
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


def _attached(draft: Draft) -> Attached:
    poll, media = draft.poll, draft.media
    return Attached(
        quote=draft.quote_tweet_id,
        poll=Poll(tuple(poll.options), poll.duration_minutes) if poll else None,
        media_ids=tuple(media.media_ids) if media else (),
    )


def _target(request: Request, family: Family, body: bytes) -> Target | Response:
    """The post that an account wants to do something with; or what is wrong with that."""
    if request.path_params["id"] != account_id(family.username):
        return _invalid_request("The `id` in the path must be that of the authenticating user.")
    try:
        return Target.model_validate_json(body)
    except ValidationError as error:
        return _invalid(error, {})


def _invalid_request(message: str) -> Response:
    detail = "One or more parameters to your request was invalid."
    errors = [{"message": message, "parameters": {}}]
    return _problem(400, f"{PROBLEMS}invalid-request", "Invalid Request", detail, errors=errors)


def _unknown(kind: str, wanted: str) -> dict[str, object]:
    """Not a refusal: X answers 200, and that it found nothing."""
    return {
        "value": wanted,
        "detail": f"Could not find {kind} with id: [{wanted}].",
        "title": "Not Found Error",
        "resource_type": kind,
        "parameter": "id",
        "resource_id": wanted,
        "type": f"{PROBLEMS}resource-not-found",
    }
