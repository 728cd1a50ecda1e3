"""A contract in small: the operations of a provider's API that we use, and whether a request is one of them. Pure.

Written by ourselves, from the facts of the published document; ``make test-contract`` compares it with that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

from jsonschema import Draft202012Validator

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}


class NotInContract(AssertionError):
    """A request is not what the provider's API takes; or two schemas do not agree."""


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked of the API."""

    method: str
    #: With its parameters in braces.
    path: str
    scopes: frozenset[str]
    #: That of success.
    status: int
    parameters: Mapping[str, Schema] = field(default_factory=dict)
    #: What may stand in the query; an array is written with commas.
    query: Mapping[str, Schema] = field(default_factory=dict)
    #: None: it has no body.
    body: Schema | None = None
    content_type: str = "application/json"
    #: What our code reads of the answer, by its path, and of what type it must be.
    reads: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def parse(self, path: str) -> dict[str, str] | None:
        """The parameters of a path, if it is one of this operation's."""
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]*)", re.escape(self.path))
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found else None


@dataclass(frozen=True)
class Request:
    """What an action has asked of the API."""

    method: str
    #: The path on the API's base address, without a query.
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    #: A body that is not JSON, as it is.
    content: bytes | None = field(default=None, repr=False)
    content_type: str = "application/json"

    def fields(self, schema: Schema) -> Any:
        """The body as its schema is about it; of a form (RFC 7578), the parts by their names."""
        if self.content is None:
            return self.json
        head = f"Content-Type: {self.content_type}\r\n\r\n".encode()
        parts = message_from_bytes(head + self.content, policy=HTTP).iter_parts()
        named = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts}
        known = schema["properties"]
        return {name: _written(value.decode("latin-1"), known.get(name, TEXT)) for name, value in named.items()}

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operation_of(request: Request, operations: Sequence[Operation]) -> Operation:
    """Which operation a request is, if it is as that wants it.

    Raises:
        NotInContract: saying where and why it is not.
    """
    matching = [(known, known.parse(request.path)) for known in operations]
    found = [(known, parameters) for known, parameters in matching if parameters is not None]
    found = [(known, parameters) for known, parameters in found if known.method == request.method] or found
    # /2/users/me fits /2/users/{id}, too: the one with fewer parameters is meant.
    operation, parameters = min(found, key=lambda pair: len(pair[1]), default=(None, {}))
    if operation is None or operation.method != request.method:
        known = "; ".join(each.name for each in operations)
        raise NotInContract(f"{request} is no operation of the contract; known: {known}")
    wrong = [*_wrong_parameters(operation, parameters), *_wrong_query(operation, request.query)]
    if operation.body is None:
        wrong += ["it has a body, and takes none"] if (request.json, request.content) != (None, None) else []
    elif (kind := request.content_type.partition(";")[0]) != operation.content_type:
        wrong.append(f"its body is {kind}, and not {operation.content_type}")
    else:
        wrong += violations(request.fields(operation.body), operation.body)
    if wrong:
        raise NotInContract(f"{request} is not {operation.name} as the contract has it: {'; '.join(wrong)}")
    return operation


def _wrong_parameters(operation: Operation, parameters: Mapping[str, str]) -> Iterator[str]:
    for name, value in parameters.items():
        for problem in violations(value, operation.parameters[name]):
            yield f"in its path, {name}: {problem}"


def _wrong_query(operation: Operation, query: Mapping[str, str]) -> Iterator[str]:
    for name, value in query.items():
        if name not in operation.query:
            yield f"in its query, {name!r} is unknown; known: {', '.join(operation.query) or 'none'}"
            continue
        schema = operation.query[name]
        for problem in violations(_written(value, schema), schema):
            yield f"in its query, {name}: {problem}"


def _written(value: str, schema: Schema) -> Any:
    """What a text in a query stands for."""
    match schema["type"]:
        case "array":
            return value.split(",")
        case "integer" if re.fullmatch(r"-?[0-9]+", value):
            return int(value)
    return value


def violations(value: Any, schema: Schema) -> list[str]:
    """Where a value is not as its schema (JSON Schema, draft 2020-12) wants it."""
    found = Draft202012Validator(schema).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in sorted(found, key=lambda error: error.json_path)]


# --- two schemas ---

#: Where ours must not be less (more) than theirs.
AT_LEAST, AT_MOST = ("minimum", "minLength", "minItems"), ("maximum", "maxLength", "maxItems")
SAME = ("type", "pattern", "uniqueItems")


def looser(ours: Schema, theirs: Schema, resolve: Any = lambda schema: schema, where: str = "$") -> Iterator[str]:
    """Where our schema would let something pass that theirs (OpenAPI 3.0) refuses; ``resolve`` follows a $ref."""
    theirs = resolve(theirs)
    yield from (f"{where}: {problem}" for problem in (*_looser_values(ours, theirs), *_looser_objects(ours, theirs)))
    for name, schema in ours.get("properties", {}).items():
        if name in theirs.get("properties", {}):
            yield from looser(schema, theirs["properties"][name], resolve, f"{where}.{name}")
        else:
            yield f"{where}.{name}: there is no such field"
    if "items" in ours:
        yield from looser(ours["items"], theirs["items"], resolve, f"{where}[]")


def _looser_values(ours: Schema, theirs: Schema) -> Iterator[str]:
    for word in SAME:
        if word in theirs and ours.get(word) != theirs[word]:
            yield f"{word} is {theirs[word]!r}, and ours is {ours.get(word)!r}"
    if theirs.get("format") == "date-time" and ours.get("format") != "date-time":  # others say how a number is stored
        yield f"format is 'date-time', and ours is {ours.get('format')!r}"
    for words, sign in ((AT_LEAST, 1), (AT_MOST, -1)):
        for word in words:
            if word in theirs and (word not in ours or (ours[word] - theirs[word]) * sign < 0):
                yield f"{word} is {theirs[word]}, and ours is {ours.get(word)}"
    if "enum" in theirs and not set(ours.get("enum", ["anything"])) <= set(theirs["enum"]):
        yield f"one of {theirs['enum']}, and ours is of {ours.get('enum')}"


def _looser_objects(ours: Schema, theirs: Schema) -> Iterator[str]:
    if missing := set(theirs.get("required", ())) - set(ours.get("required", ())):
        yield f"{', '.join(sorted(missing))} must be there, and need not in ours"
    if theirs.get("additionalProperties") is False and ours.get("additionalProperties") is not False:
        yield "takes no other fields, and ours does"
