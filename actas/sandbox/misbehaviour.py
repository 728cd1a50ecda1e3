"""Misbehaving on demand: rules that say which requests go wrong, and how.

All of it lives on the server's event loop: between two awaits nothing else runs, so it needs no lock.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, Field, NonNegativeFloat, PositiveInt, model_validator
from starlette.responses import HTMLResponse, JSONResponse, Response

from actas.sandbox.connection import Dropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

#: tweets is POST /2/tweets, and post and delete are GET and DELETE /2/tweets/{id}; timeline, retweets and likes are
#: those of /2/users/{id}; device gives codes; the last five are of media.
Endpoint = Literal[
    "token",
    "tweets",
    "timeline",
    "revoke",
    "me",
    "post",
    "delete",
    "retweets",
    "likes",
    "device",
    "initialize",
    "append",
    "finalize",
    "status",
    "metadata",
]

How = Literal[
    "hold_before",  # held until released, nothing done yet; if the client goes away, it is never done
    "hold_after",  # done; the reply is held until released
    "drop_before",  # the connection is closed without a reply; nothing done
    "drop_after",  # done; then the connection is closed without a reply
    "slow",  # {seconds} later it is done and answered, whether or not the client still waits
    "status",  # this {status, headers, body}; nothing done
    "status_after",  # done; then this {status, headers, body}
    "malformed",  # 200 and a page of HTML; nothing done
    "empty",  # 200 and no body; nothing done
    "no_expires_in",  # token: done, and the reply does not say expires_in
    "changed",  # done; the fields of {body} take the place of the reply's own, null takes one out
    "keep_refresh_token",  # token: no new refresh token in the reply, and the old one stays valid
    "altered",  # token: done, and the reply has {headers}, and the fields of {body} instead of its own; null: none
    "long_tokens",  # token: done, and the tokens have 16,384 characters; they work
]
TOKEN_ONLY = frozenset({"no_expires_in", "keep_refresh_token", "altered", "long_tokens"})


class Rule(BaseModel, frozen=True, extra="forbid"):
    """One way of going wrong. The oldest rule that fits a request, and is not used up, has it."""

    endpoint: Endpoint
    how: How
    #: For so many requests; None: until cleared.
    times: PositiveInt | None = None
    #: Only requests for this username; None: everybody's.
    account: str | None = None
    seconds: NonNegativeFloat | None = None
    status: int | None = Field(default=None, ge=200, le=599)
    headers: dict[str, str] = {}
    #: A string goes out as it is, anything else as JSON; None: no body.
    body: Any = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.how in TOKEN_ONLY and self.endpoint != "token":
            raise ValueError(f"{self.how} is for the token endpoint")
        if (self.seconds is None) == (self.how == "slow"):
            raise ValueError("seconds goes with slow, and slow with seconds")
        if self.how == "altered" and not isinstance(self.body, dict):
            raise ValueError("altered goes with a body of fields")
        if (self.status is None) == (self.how in {"status", "status_after"}):
            raise ValueError("status goes with how=status or status_after, and they with it")
        return self


class Misbehaviour:
    """The rules in force, and the requests they hold."""

    def __init__(self) -> None:
        self._rules: dict[str, tuple[Rule, int | None]] = {}  # by id, with how many times are left
        self._made = 0
        self._released = asyncio.Event()
        self.held = 0

    def add(self, rule: Rule) -> str:
        """Put a rule in force; its id."""
        self._made += 1
        name = f"r{self._made}"
        self._rules[name] = (rule, rule.times)
        return name

    def clear(self) -> None:
        """No more rules; what is held stays held."""
        self._rules.clear()

    def release(self) -> int:
        """Let go of all requests held now; how many. Later ones are held anew."""
        self._released.set()
        self._released = asyncio.Event()
        return self.held

    def take(self, endpoint: Endpoint, username: str | None) -> Rule | None:
        """The rule for this request, one use of which is now spent."""
        for name, (rule, left) in self._rules.items():
            if rule.endpoint == endpoint and rule.account in {None, username}:
                if left is not None and left == 1:
                    del self._rules[name]
                elif left is not None:
                    self._rules[name] = (rule, left - 1)
                return rule
        return None

    async def serve(self, request: Request, rule: Rule | None, act: Callable[[], Response]) -> Response:
        """Carry out ``act``, which changes state and answers in one step, the way the rule says.

        The request's body must have been read before, or a client that goes away cannot be noticed.
        """
        if rule is None:
            return act()
        if instead := await self._before(request, rule):
            return instead
        return await self._after(request, rule, act())

    async def _before(self, request: Request, rule: Rule) -> Response | None:
        match rule.how:
            case "drop_before":
                return Dropped()
            case "status" | "malformed" | "empty":
                return _canned(rule)
            case "hold_before":
                return None if await self._hold(request) else Dropped()
            case "slow":
                await asyncio.sleep(rule.seconds or 0)
        return None

    async def _after(self, request: Request, rule: Rule, reply: Response) -> Response:
        match rule.how:
            case "drop_after":
                return Dropped()
            case "status_after":
                return _canned(rule)
            case "hold_after":
                await self._hold(request)
            case "changed":
                return _changed(reply, rule.body)
        return reply

    async def _hold(self, request: Request) -> bool:
        """Wait for the release; False if the client went away first."""
        released = asyncio.ensure_future(self._released.wait())
        gone = asyncio.ensure_future(_gone(request))
        self.held += 1
        try:
            await asyncio.wait({released, gone}, return_when=asyncio.FIRST_COMPLETED)
            return not gone.done()
        finally:
            self.held -= 1
            released.cancel()
            gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _changed(reply: Response, fields: Any) -> Response:
    """Where the reply is no JSON object, it stays as it is."""
    try:
        body = json.loads(bytes(reply.body))
    except ValueError:
        return reply
    if not isinstance(body, dict):
        return reply
    body |= fields
    return JSONResponse({name: value for name, value in body.items() if value is not None}, reply.status_code)


def _canned(rule: Rule) -> Response:
    if rule.how == "malformed":
        return HTMLResponse("<!doctype html><title>Oops</title><h1>Something went wrong</h1>")
    status = rule.status or 200
    if rule.body is None or isinstance(rule.body, str):
        return Response(rule.body, status, rule.headers)
    return JSONResponse(rule.body, status, rule.headers)
