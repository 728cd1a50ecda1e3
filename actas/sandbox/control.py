"""The control surface under /_sandbox/: for tests and the demo to look in and to meddle. Not part of any provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from actas.sandbox.misbehaviour import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import SecretStr
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from actas.sandbox.misbehaviour import Misbehaviour
    from actas.sandbox.state import Books


class AnyAccount(BaseModel, extra="forbid"):
    account: str | None = None


class OneAccount(BaseModel, extra="forbid"):
    account: str


class Control:
    def __init__(self, client_secrets: Iterable[SecretStr], books: Books, misbehaviour: Misbehaviour) -> None:
        self._client_secrets = tuple(client_secrets)
        self._books = books
        self._misbehaviour = misbehaviour

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/_sandbox/ledger", self.ledger, methods=["GET"]),
            Route("/_sandbox/tokens", self.tokens, methods=["GET"]),
            Route("/_sandbox/held", self.held, methods=["GET"]),
            Route("/_sandbox/release", self.release, methods=["POST"]),
            Route("/_sandbox/expire_access", self.expire_access, methods=["POST"]),
            Route("/_sandbox/kill", self.kill, methods=["POST"]),
            Route("/_sandbox/misbehave", self.misbehave, methods=["POST"]),
            Route("/_sandbox/misbehave", self.behave, methods=["DELETE"]),
        ]

    async def ledger(self, _: Request) -> Response:
        return JSONResponse(self._books.ledger())

    async def tokens(self, _: Request) -> Response:
        """Every credential ever issued here: what must be found nowhere else."""
        known = [secret.get_secret_value() for secret in self._client_secrets]
        return JSONResponse({"tokens": known + self._books.credentials()})

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

    async def misbehave(self, request: Request) -> Response:
        rule = Rule.model_validate_json(await request.body())
        return JSONResponse({"rule": self._misbehaviour.add(rule)}, 201)

    async def behave(self, _: Request) -> Response:
        self._misbehaviour.clear()
        return JSONResponse({})
