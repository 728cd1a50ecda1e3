"""X's published OpenAPI document: it is not ours to ship, and nothing but ``make test-contract`` needs it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from tests.contract.schema import NotInContract, Operation, Request, Schema

NAME = "x-openapi-2.167.json"
SETTING = "ACTAS_X_OPENAPI"


def place() -> Path:
    """Where the document is to be."""
    named = os.environ.get(SETTING)
    return Path(named) if named else Path(__file__).parents[2].parent / "shared" / "data" / NAME


class Document:
    """What X says of its API."""

    def __init__(self, path: Path) -> None:
        self.whole: dict[str, Any] = json.loads(path.read_bytes())
        # Whether it is a document is X's affair; looking through all of it takes a minute.
        self._api = OpenAPI.from_dict(self.whole, config=Config(spec_validator_cls=None))

    def resolve(self, schema: Schema) -> Schema:
        """What a $ref stands for; X writes descriptions beside it, which OpenAPI 3.0 says to pass over."""
        while "$ref" in schema:
            found: Any = self.whole
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        return schema

    def operation(self, operation: Operation) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self.whole["paths"].get(operation.path, {}).get(operation.method.lower())
        return found

    def parameters(self, operation: Operation, kind: str) -> dict[str, Schema]:
        """The parameters in the path, or in the query."""
        there = self.operation(operation) or {}
        known = [self.resolve(parameter) for parameter in there.get("parameters", [])]
        return {each["name"]: self.resolve(each["schema"]) for each in known if each["in"] == kind}

    def answer(self, operation: Operation) -> Schema:
        """The schema of what it answers, when it does what it was asked for."""
        there = self.operation(operation) or {}
        return self.resolve(there["responses"][str(operation.status)]["content"]["application/json"]["schema"])

    def check_request(self, request: Request, operation: Operation) -> None:
        """Ask openapi-core whether the document takes a request.

        Raises:
            NotInContract: it does not.
        """
        unknown = set(request.query) - set(self.parameters(operation, "query"))
        if unknown:  # openapi-core passes it over, and so does X
            raise NotInContract(f"{request}: the document knows no {', '.join(sorted(unknown))} in its query")
        if request.content is not None:
            request = self._as_json(request, operation)
        try:
            self._api.validate_request(_mock(request))
        except OpenAPIError as error:
            raise NotInContract(f"{request}: {_said(error)}") from None

    def _as_json(self, request: Request, operation: Operation) -> Request:
        """A form's request as one of JSON, whose schema is the same: openapi-core takes no number in a form for one."""
        content = (self.operation(operation) or {})["requestBody"]["content"]
        kind = request.content_type.partition(";")[0]
        if content.get(kind) is None or content[kind] != content["application/json"] or operation.body is None:
            raise NotInContract(f"{request}: the document takes no {kind} there")
        return replace(request, json=request.fields(operation.body), content=None, content_type="application/json")

    def check_answer(self, request: Request, status: int, body: Any) -> None:
        """Ask openapi-core whether X could answer so.

        Raises:
            NotInContract: it could not.
        """
        answer = MockResponse(json.dumps(body).encode(), status_code=status, content_type="application/json")
        try:
            self._api.validate_response(_mock(request), answer)
        except OpenAPIError as error:
            raise NotInContract(f"the answer to {request}: {_said(error)}") from None

    def example(self, schema: Schema, *, whole: bool) -> Any:
        """A value as a schema has it: with all its fields, or with those only that have to be there."""
        schema = self.resolve(schema)
        given = [schema[word] for word in ("example", "default") if word in schema] + list(schema.get("enum", ()))[:1]
        if given:
            return given[0]
        if several := schema.get("oneOf") or schema.get("anyOf"):
            return self.example(several[0], whole=whole)
        match schema.get("type", "object"):
            case "object":
                fields = schema.get("properties", {})
                wanted = fields if whole else schema.get("required", ())
                return {name: self.example(fields[name], whole=whole) for name in wanted}
            case "array":
                count = max(schema.get("minItems", 0), 1 if whole else 0)
                return [self.example(schema["items"], whole=whole) for _ in range(count)]
        return _simple(schema)

    def problems(self) -> Iterator[dict[str, Any]]:
        """An example of each problem (RFC 9457) that it has."""
        for schema in self.whole["components"]["schemas"]["Problem"]["oneOf"]:
            yield self.example(schema, whole=True)


def _simple(schema: Schema) -> Any:
    match schema["type"]:
        case "boolean":
            return True
        case "string" if schema.get("format") == "date-time":
            return "2026-11-26T12:00:10.000Z"
        case "string":
            return "1146654567674912769" if "[0-9]" in schema.get("pattern", "") else "text"
    return schema.get("minimum", 1)


def _mock(request: Request) -> MockRequest:
    return MockRequest(
        "https://api.x.com",
        request.method.lower(),
        request.path,
        args=dict(request.query),
        headers={"Authorization": "Bearer token"},
        data=None if request.json is None else json.dumps(request.json).encode(),
        content_type=request.content_type,
    )


def _said(error: BaseException) -> str:
    """What openapi-core says, without the whole of what it looked at."""
    said = []
    cause: BaseException | None = error
    while cause is not None:
        errors = list(getattr(cause, "schema_errors", ()))
        said += [f"{each.json_path}: {each.message}" for each in errors] or [str(cause).partition(": Value ")[0]]
        cause = cause.__cause__
    return ": ".join(dict.fromkeys(said))
