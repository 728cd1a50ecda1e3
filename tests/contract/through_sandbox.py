"""The real sandbox behind the contract: what it is asked, and what it answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from actas.actions import BUILT_IN, Search
from actas.sandbox.app import build
from actas.sandbox.config import Client, Config
from actas.sandbox.state import account_id
from tests.contract.recording import Recording, exercise
from tests.contract.schema import Operation, Request
from tests.contract.x_payloads import EXAMPLES, POLL
from tests.contract.x_schema import OPERATIONS

TYPES = {"string": str, "boolean": bool, "integer": int}


class ThroughSandbox(Recording):
    """The sandbox itself, in this process, behind the contract."""

    def __init__(self, username: str) -> None:
        super().__init__(OPERATIONS, self.ask, account=account_id(username))
        self._app = build(Config(clients={"c": Client()}))
        self._headers: dict[str, str] = {}
        wanted = {"client_id": "c", "accounts": [username]}
        [tokens] = self._asked("POST", "/_sandbox/grants", json=wanted).json()["grants"]
        self._headers["Authorization"] = f"Bearer {tokens['access_token']}"
        self.answers: list[tuple[Request, Operation, Any]] = []

    def do_everything(self) -> None:
        """Let each x action do what the examples are of."""
        first = BUILT_IN["x.post"].perform(self, BUILT_IN["x.post"].parse({"text": "first"}), "job").reference
        search = Search(self.account, datetime.now(UTC) - timedelta(minutes=1))
        media = self._uploaded()
        for name, payload in sorted(EXAMPLES, key=lambda example: example[0] == "x.delete_post"):
            there = payload | dict.fromkeys({"quote", "post_id"} & payload.keys(), first)
            there |= {"media_ids": [media]} if "media_ids" in payload else {}
            there |= {"reply": payload["reply"] | {"in_reply_to": first}} if "reply" in payload else {}
            exercise(BUILT_IN[name], BUILT_IN[name].parse(there), self, search)
        with_links = BUILT_IN["x.post"].parse({"text": "see https://a.example/b"})
        exercise(BUILT_IN["x.post"], with_links, self, search)
        BUILT_IN["x.post"].find(self, BUILT_IN["x.post"].parse({"text": "?", "poll": POLL}), "job", search)
        self.request("GET", "/2/users/me")
        # It has processed them at once, so nobody had to ask.
        self.request("GET", "/2/media/upload", query={"command": "STATUS", "media_id": media})

    def _uploaded(self) -> str:
        """The id of media that can be put into a post."""
        action, made = BUILT_IN["x.upload_media"], list[str]()
        payload = action.parse(next(payload for name, payload in EXAMPLES if name == action.name))
        for _ in range(action.steps(payload)):
            made.append(action.perform_step(self, payload, "job", made).reference)
        return made[0]

    def ask(self, request: Request, operation: Operation) -> Any:
        reply = self._asked(request.method, request.path, params=dict(request.query), **_body(request))
        assert reply.status_code == operation.status, f"{request}: {reply.status_code} {reply.text}"
        self.answers.append((request, operation, reply.json()))
        return reply.json()

    def _asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://sandbox", headers=self._headers) as http:
                return await http.request(method, path, **more)

        return asyncio.run(asked())


def _body(request: Request) -> dict[str, Any]:
    if request.content is None:
        return {} if request.json is None else {"json": request.json}
    return {"content": request.content, "headers": {"Content-Type": request.content_type}}


def values_at(body: Any, path: str) -> list[Any]:
    """What an answer has at a path, if it has it."""
    values = [body]
    for part in path.split("."):
        name = part.removesuffix("[]")
        values = [value[name] for value in values if isinstance(value, dict) and name in value]
        if part.endswith("[]"):
            values = [each for value in values for each in value]
    return values
