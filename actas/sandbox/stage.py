"""All personas of a sandbox under /p/<name>, and how tests make them and look into them: /_sandbox/personas/<name>."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, NonNegativeFloat, SecretStr
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from actas.sandbox.misbehaviour import Rule
from actas.sandbox.personas import Persona, PersonaName
from actas.sandbox.playing import Playing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from actas.clock import Clock

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
HERE = "/_sandbox/personas/{name}"


class PersonaRule(Rule, frozen=True):
    """As anywhere, at an endpoint of a persona: token, revoke, me, or what an endpoint of its API does."""

    endpoint: str  # type: ignore[assignment]  # wider than the X-shaped provider's


class NoPersona(Exception):
    """There is none of this name."""


class Named(BaseModel):
    name: PersonaName


class Account(BaseModel, extra="forbid"):
    account: str | None = None


class Backdate(BaseModel, extra="forbid"):
    account: str
    seconds: NonNegativeFloat


class Secrets(BaseModel, extra="forbid"):
    client_secrets: tuple[SecretStr, ...]


class Stage:
    """The personas there are, by name."""

    def __init__(self, personas: Mapping[str, Persona], clock: Clock) -> None:
        self._clock = clock
        self._playing = {name: Playing(name, persona, clock) for name, persona in personas.items()}

    def routes(self) -> list[BaseRoute]:
        metadata = "/.well-known/oauth-authorization-server/p/{name}"  # RFC 8414 section 3.1
        return [
            Route("/p/{name}/.well-known/openid-configuration", self.metadata, methods=["GET"]),
            Route(metadata, self.metadata, methods=["GET"]),
            Route("/p/{name}{path:path}", self.serve, methods=METHODS),
            Route(HERE, self.put, methods=["PUT"]),
            Route(f"{HERE}/ledger", self.ledger, methods=["POST"]),
            Route(f"{HERE}/misbehave", self.misbehave, methods=["POST"]),
            Route(f"{HERE}/misbehave", self.behave, methods=["DELETE"]),
            Route(f"{HERE}/held", self.held, methods=["GET"]),
            Route(f"{HERE}/release", self.release, methods=["POST"]),
            Route(f"{HERE}/expire_access", self.expire_access, methods=["POST"]),
            Route(f"{HERE}/kill", self.kill, methods=["POST"]),
            Route(f"{HERE}/backdate", self.backdate, methods=["POST"]),
            Route(f"{HERE}/secrets", self.secrets, methods=["POST"]),
        ]

    def credentials(self) -> list[str]:
        """Every secret, code and token of all personas."""
        known: list[str] = []
        for playing in self._playing.values():
            known += [secret.get_secret_value() for secret in playing.persona.client_secrets]
            known += playing.books.credentials()
        return known

    async def serve(self, request: Request) -> Response:
        playing = self._playing.get(request.path_params["name"])
        if playing is None:
            return Response("no persona has this name", 404)
        return await playing.serve(request, request.path_params["path"])

    async def metadata(self, request: Request) -> Response:
        name = request.path_params["name"]
        playing = self._playing.get(name)
        if playing is None:
            return Response("no persona has this name", 404)
        return JSONResponse(playing.metadata(f"{str(request.base_url).rstrip('/')}/p/{name}"))

    # --- for tests ---------------------------------------------------------------------------------------------------

    async def put(self, request: Request) -> Response:
        """Make a persona, or another in its place: nothing is left of what happened to the one before."""
        name = Named.model_validate(request.path_params).name
        self._playing[name] = Playing(name, Persona.model_validate_json(await request.body()), self._clock)
        return JSONResponse({"name": name}, 201)

    async def ledger(self, request: Request) -> Response:
        asked = Account.model_validate_json(await request.body() or b"{}")
        return JSONResponse(self._the(request).ledger(asked.account))

    async def misbehave(self, request: Request) -> Response:
        rule = PersonaRule.model_validate_json(await request.body())
        return JSONResponse({"rule": self._the(request).misbehaviour.add(rule)}, 201)

    async def behave(self, request: Request) -> Response:
        self._the(request).misbehaviour.clear()
        return JSONResponse({})

    async def held(self, request: Request) -> Response:
        return JSONResponse({"held": self._the(request).misbehaviour.held})

    async def release(self, request: Request) -> Response:
        return JSONResponse({"released": self._the(request).misbehaviour.release()})

    async def expire_access(self, request: Request) -> Response:
        asked = Account.model_validate_json(await request.body() or b"{}")
        return JSONResponse({"expired": self._the(request).books.expire_access(asked.account)})

    async def kill(self, request: Request) -> Response:
        asked = Account.model_validate_json(await request.body())
        return JSONResponse({"killed": self._the(request).books.kill(asked.account or "")})

    async def backdate(self, request: Request) -> Response:
        asked = Backdate.model_validate_json(await request.body())
        return JSONResponse({"moved": self._the(request).things.backdate(asked.account, asked.seconds)})

    async def secrets(self, request: Request) -> Response:
        """Take other client secrets, as when one is changed."""
        playing = self._the(request)
        asked = Secrets.model_validate_json(await request.body())
        playing.persona = playing.persona.model_copy(update={"client_secrets": asked.client_secrets})
        return JSONResponse({})

    def _the(self, request: Request) -> Playing:
        playing = self._playing.get(request.path_params["name"])
        if playing is None:
            raise NoPersona("no persona has this name")
        return playing
