"""A persona's API: endpoints that are declared, and the things that were made through them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from starlette.responses import JSONResponse, Response

from actas.sandbox.personas import Endpoint, Says, filled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from actas.clock import Clock


class ThingEntry(TypedDict):
    """A thing that was made, as the persona's ledger has it."""

    id: str
    reference: str
    account: str
    at: str
    endpoint: str
    json: Any


@dataclass(slots=True)
class Thing:
    endpoint: Endpoint
    account: str
    key: str | None
    at: datetime
    #: What its templates are filled from: the request, and what it was given.
    values: dict[str, Any] = field(repr=False)

    def now(self) -> dict[str, Any]:
        """What templates are filled from, with its time, which may be moved."""
        utc = self.at.astimezone(UTC)
        seconds = self.at.timestamp()
        return {
            **self.values,
            "at": f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03}Z",
            "at_seconds": int(seconds),
            "at_ms": int(seconds * 1000),
        }

    def entry(self) -> ThingEntry:
        return ThingEntry(
            id=str(self.values["id"]),
            reference=str(self.values["reference"]),
            account=self.account,
            at=self.at.isoformat(),
            endpoint=f"{self.endpoint.method} {self.endpoint.path}",
            json=self.values["json"],
        )


class Things:
    """All that was made through one persona's API, oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._things: list[Thing] = []

    def entries(self, account: str | None) -> list[ThingEntry]:
        return [thing.entry() for thing in self._things if account in {None, thing.account}]

    def backdate(self, account: str, seconds: float) -> int:
        """Let all that an account has made be so much older than it is; how many."""
        theirs = [thing for thing in self._things if thing.account == account]
        for thing in theirs:
            thing.at -= timedelta(seconds=seconds)
        return len(theirs)

    def answer(self, endpoint: Endpoint, account: str, asked: Mapping[str, Any]) -> Response:
        """Do what an endpoint does; ``asked`` is the request: its path, query, headers, json and text."""
        number = int(account) if account.isdecimal() else account
        values = {**asked, "account": account, "account_number": number}
        match endpoint.does:
            case "makes":
                return self._make(endpoint, account, values)
            case "lists":
                return self._list(endpoint, account, values)
            case "looks":
                return self._look(endpoint, account, values)
        return said(endpoint.reply, values)

    def _make(self, endpoint: Endpoint, account: str, values: dict[str, Any]) -> Response:
        key = None if endpoint.key is None else str(filled(endpoint.key, values))
        there = next((t for t in self._things if key is not None and (t.account, t.key) == (account, key)), None)
        if there is not None:
            return said(endpoint.again or endpoint.reply, there.now())
        number = 10**9 + len(self._things)
        values |= {"number": number}
        values |= {"id": filled(endpoint.id, {**values, "number": str(number)})}
        values |= {"reference": filled(endpoint.reference, values)}
        thing = Thing(endpoint, account, key, self._clock(), values)
        self._things.append(thing)
        return said(endpoint.reply, thing.now())

    def _list(self, endpoint: Endpoint, account: str, values: dict[str, Any]) -> Response:
        theirs = [t for t in self._things if endpoint.everybodys or t.account == account]
        theirs = [t for t in theirs if _fits(t, endpoint, values["query"])]
        shown = list(reversed(theirs)) if endpoint.newest_first else theirs
        items = [filled(endpoint.item, thing.now()) for thing in shown]
        reply = endpoint.empty if endpoint.empty is not None and not items else endpoint.reply
        return said(reply, {**values, "items": items, "count": len(items)})

    def _look(self, endpoint: Endpoint, account: str, values: dict[str, Any]) -> Response:
        wanted = values["path"].get("id")
        for thing in self._things:
            if thing.account == account and str(thing.values["id"]) == wanted:
                return said(endpoint.reply, thing.now())
        return said(endpoint.missing, values)


def said(says: Says, values: Mapping[str, Any]) -> Response:
    """A reply with its placeholders filled in."""
    headers = {name: str(filled(value, values)) for name, value in says.headers.items()}
    body = filled(says.body, values)
    if body is None or (isinstance(body, str) and isinstance(says.body, str)):
        return Response(body, says.status, headers)
    return JSONResponse(body, says.status, headers)


def matching(api: Sequence[Endpoint], method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
    """The first endpoint that is meant, and the parts of its path that are named."""
    for endpoint in api:
        if (parts := endpoint.match(method, path)) is not None:
            return endpoint, parts
    return None


def asked(request: Request, body: bytes, path: Mapping[str, str]) -> dict[str, Any]:
    """A request as templates know it."""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    text = body.decode(errors="replace")
    query, headers = dict(request.query_params), dict(request.headers)
    return {"path": dict(path), "query": query, "headers": headers, "json": parsed, "text": text}


def _fits(thing: Thing, endpoint: Endpoint, query: Mapping[str, str]) -> bool:
    wanted = {name: template for name, template in endpoint.where.items() if name in query}
    return all(str(filled(template, thing.now())) == query[name] for name, template in wanted.items())
