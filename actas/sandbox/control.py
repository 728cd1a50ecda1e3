"""The control surface under /_sandbox/: for tests and the demo to look in and to meddle. Not part of any provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field, NonNegativeFloat, StringConstraints
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from actas.sandbox.config import Client
from actas.sandbox.misbehaviour import Rule
from actas.sandbox.oauth import SCOPES, USERNAME, token_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from actas.sandbox.device import Devices
    from actas.sandbox.misbehaviour import Misbehaviour
    from actas.sandbox.state import Books
    from actas.sandbox.steered_clock import SteeredClock


class AnyAccount(BaseModel, extra="forbid"):
    account: str | None = None


class OneAccount(BaseModel, extra="forbid"):
    account: str


class Grants(BaseModel, extra="forbid"):
    client_id: str
    accounts: list[Annotated[str, StringConstraints(pattern=f"^(?:{USERNAME.pattern})$")]]


class Settle(BaseModel, extra="forbid"):
    seconds: NonNegativeFloat = Field(le=86400)
    account: str | None = None


class Ahead(BaseModel, extra="forbid"):
    ahead_seconds: NonNegativeFloat = Field(le=100 * 365 * 86400)


class Registration(BaseModel, extra="forbid"):
    client_id: str
    client: Client


class Control:
    def __init__(
        self,
        clients: dict[str, Client],
        books: Books,
        devices: Devices,
        misbehaviour: Misbehaviour,
        clock: SteeredClock,
        more_credentials: Callable[[], list[str]] = list,
    ) -> None:
        self._clients = clients
        self._books = books
        self._devices = devices
        self._misbehaviour = misbehaviour
        self._clock = clock
        self._former: list[Client] = []
        self._more_credentials = more_credentials

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/_sandbox/ledger", self.ledger, methods=["GET"]),
            Route("/_sandbox/tokens", self.tokens, methods=["GET"]),
            Route("/_sandbox/held", self.held, methods=["GET"]),
            Route("/_sandbox/release", self.release, methods=["POST"]),
            Route("/_sandbox/expire_access", self.expire_access, methods=["POST"]),
            Route("/_sandbox/kill", self.kill, methods=["POST"]),
            Route("/_sandbox/settle", self.settle, methods=["POST"]),
            Route("/_sandbox/grants", self.grants, methods=["POST"]),
            Route("/_sandbox/clients", self.register, methods=["POST"]),
            Route("/_sandbox/clock", self.clock, methods=["POST"]),
            Route("/_sandbox/misbehave", self.misbehave, methods=["POST"]),
            Route("/_sandbox/misbehave", self.behave, methods=["DELETE"]),
        ]

    async def ledger(self, _: Request) -> Response:
        return JSONResponse(self._books.ledger())

    async def tokens(self, _: Request) -> Response:
        """Every credential ever issued here: what must be found nowhere else."""
        ever = [*self._former, *self._clients.values()]
        known = [client.secret.get_secret_value() for client in ever if client.secret]
        more = self._devices.codes() + self._more_credentials()
        return JSONResponse({"tokens": known + self._books.credentials() + more})

    async def held(self, _: Request) -> Response:
        return JSONResponse({"held": self._misbehaviour.held})

    async def release(self, _: Request) -> Response:
        return JSONResponse({"released": self._misbehaviour.release()})

    async def expire_access(self, request: Request) -> Response:
        asked = AnyAccount.model_validate_json(await request.body() or b"{}")
        return JSONResponse({"expired": self._books.expire_access(asked.account)})

    async def kill(self, request: Request) -> Response:
        asked = OneAccount.model_validate_json(await request.body())
        return JSONResponse({"killed": self._books.kill(asked.account)})

    async def settle(self, request: Request) -> Response:
        """How long it takes until a post is on its account's timeline; it has been made at once."""
        asked = Settle.model_validate_json(await request.body())
        self._books.settle(asked.seconds, asked.account)
        return JSONResponse({})

    async def grants(self, request: Request) -> Response:
        """Token replies for so many users at once, as if each had allowed everything in a browser."""
        asked = Grants.model_validate_json(await request.body())
        client = self._clients.get(asked.client_id)
        if client is None:
            return JSONResponse({"error": "client_id: no client has this id"}, 400)
        made = self._books.make_grants(asked.client_id, asked.accounts, SCOPES)
        return JSONResponse({"grants": [token_body(issued, client) for issued in made]}, 201)

    async def register(self, request: Request) -> Response:
        """Register a client, or another way of its to prove who it is: what it had does not count from here on.

        What becomes of its refresh tokens stays as it was.
        """
        asked = Registration.model_validate_json(await request.body())
        if (former := self._clients.get(asked.client_id)) is not None:
            self._former.append(former)
        self._clients[asked.client_id] = asked.client
        return JSONResponse({}, 201)

    async def clock(self, request: Request) -> Response:
        """Let time pass: whatever ends at a time ends by this clock."""
        asked = Ahead.model_validate_json(await request.body())
        if not self._clock.put_ahead(asked.ahead_seconds):
            return JSONResponse({"error": "ahead_seconds: the clock is further ahead and cannot be put back"}, 400)
        return JSONResponse({"now": self._clock().isoformat()})

    async def misbehave(self, request: Request) -> Response:
        rule = Rule.model_validate_json(await request.body())
        return JSONResponse({"rule": self._misbehaviour.add(rule)}, 201)

    async def behave(self, _: Request) -> Response:
        self._misbehaviour.clear()
        return JSONResponse({})
