"""What an action asks of an API: recorded, each request checked against the contract before it is answered."""

from __future__ import annotations

import json as json_
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from actas.actions import Action, Answer, FileReference, Search
from actas.http import Reply
from tests.contract.schema import Operation, Request, operation_of


class Recording:
    """An ``ActionHttp`` that answers as ``answer`` says, and does not take what is not in the contract."""

    def __init__(
        self, operations: Sequence[Operation], answer: Callable[[Request, Operation], Any], *, account: str
    ) -> None:
        self.account = account
        self.requests: list[Request] = []
        self.operations: list[Operation] = []
        self._known = operations
        self._answer = answer

    def request(
        self, method: str, url: str, *, json: Any = None, query: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self.send(method, url, json=json, query=query).body
        return answer

    def send(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        assert not urlsplit(url).query, "a query is given as one, or it would be written in two ways"
        kind = {name.lower(): value for name, value in (headers or {}).items()}.get("content-type", "application/json")
        request = Request(method, url, dict(query or {}), json, content, kind)
        operation = operation_of(request, self._known)
        self.requests.append(request)
        self.operations.append(operation)
        body = self._answer(request, operation)
        return Answer(operation.status, {}, Reply(operation.status, {}, json_.dumps(body).encode()).json())

    def stored(self, file: FileReference, start: int, size: int) -> bytes:
        return b"\0" * min(size, file.size - start)


def exercise(action: Action[Any], payload: Any, http: Recording, search: Search) -> None:
    """Let an action do all its steps, and look for what each of them may have made."""
    made: list[str] = []
    for _ in range(action.steps(payload)):
        action.find(http, payload, "job", Search(search.account, search.since, tuple(made)))
        made.append(action.perform_step(http, payload, "job", made).reference)
