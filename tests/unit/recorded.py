"""A provider that answers what it was told to, and writes down what it was asked: everything but the wire is real."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from pydantic import SecretStr

from actas.errors import ActasError
from actas.http import Reply
from actas.providers import BUILT_IN, Provider
from actas.unshown import in_clear
from worker.provider_api import ProviderApi

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
TOKEN = "canary-access-token"


@dataclass(frozen=True, slots=True)
class Sent:
    method: str
    url: str
    json: Any
    headers: Mapping[str, str] = field(repr=False)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))


def reply(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
    """What comes from the wire; a body that is no bytes is JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Reply(status, httpx.Headers(headers or {}), raw)


class Wire:
    """In the place of ``actas.http.Http``."""

    def __init__(self, *answers: Reply | ActasError) -> None:
        self._answers = list(answers)
        self.sent: list[Sent] = []

    def send(self, method: str, url: str, *, seconds: float, headers: Any, json_body: Any) -> Reply:
        request = httpx.Request(method, url, json=json_body, headers=in_clear(headers))  # as httpx will write it
        body = json.loads(request.content) if request.content else None
        self.sent.append(Sent(method, url, body, {name.lower(): value for name, value in request.headers.items()}))
        answer = self._answers.pop(0)
        if isinstance(answer, ActasError):
            raise answer
        return answer


def api(provider: str | Provider, *answers: Reply | ActasError, account: str = "42") -> tuple[ProviderApi, list[Sent]]:
    """A provider's API as an action sees it, and what it will have been asked."""
    wire = Wire(*answers)
    known = BUILT_IN[provider] if isinstance(provider, str) else provider
    return ProviderApi(wire, known, SecretStr(TOKEN), 5, lambda: NOW, account=account), wire.sent
