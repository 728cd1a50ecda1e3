"""Any request to a provider's own API, for what has no action of its own here.

It goes to the provider's API hosts and nowhere else (``worker.provider_api.address_of``), follows no redirect, and is
bounded in time (``ACTAS_HTTP_TIMEOUT_SECONDS``) and in the size of its reply (``actas.http.MAX_REPLY_BYTES``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from actas.actions.base import ANY_PROVIDER, Action, ActionHttp, Answer, Result
from actas.errors import ProviderUnavailable
from actas.http import NoReply
from actas.payload import Payload
from actas.providers.model import NAME

#: RFC 9110 section 9.2.1: who asks so asks for nothing to be done. Section 9.3.1: what comes with it has no meaning,
#: and some servers refuse it.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

#: RFC 9110 section 9.2.2: the safe ones, and two more.
IDEMPOTENT = SAFE | {"PUT", "DELETE"}

#: What a request may say of what it sends and wants (RFC 9110 sections 8, 12 and 13, RFC 7240, and a draft's key that
#: many APIs know). All that would say who asks, of what host, by which way, or how long the request is, is not there.
#: What an API wants to be told each time (its version) belongs in its provider's ``api_headers``.
HEADERS = frozenset(
    {
        "accept",
        "accept-language",
        "content-language",
        "content-type",
        "idempotency-key",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "prefer",
        "range",
    }
)

#: A media type that is JSON (RFC 8259, RFC 6839 section 3.1).
JSON = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json(?: *;.*)?", re.IGNORECASE)

#: What ids are made of, URNs and paths among them; nothing that is written for people.
ID = re.compile(r"[A-Za-z0-9._~:/@+=%-]{1,200}")


def _provider(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError("must be the name of a provider")
    return name


def _url(url: str) -> str:
    """What certainly cannot be sent is refused early; that it is on one of the provider's hosts, the worker sees to."""
    if not url.isascii() or not url.isprintable() or set(url) & set(" \\#"):
        raise ValueError("must be ASCII without spaces, backslashes, fragments and control characters; escape them")
    if not (url.startswith(("/", "https://", "http://")) and not url.startswith("//")):
        raise ValueError("must be a path on the provider's API, such as /2/users/me, or a whole https:// address there")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        raise ValueError("must be an address that can be read") from None
    if "@" in parts.netloc:
        raise ValueError("must not have credentials in it")
    return url


def _headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if name.lower() not in HEADERS:
            raise ValueError(f"may have {', '.join(sorted(HEADERS))}; others belong in the provider's api_headers")
        if not value.isascii() or not value.isprintable():
            raise ValueError("must have values of printable ASCII")
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("must have each name once, in whatever case it is written")
    if any(name.lower() == "content-type" and not JSON.fullmatch(value) for name, value in headers.items()):
        raise ValueError("must have a Content-Type that is JSON")
    return headers


class RequestPayload(Payload):
    provider: Annotated[str, AfterValidator(_provider)]
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
    #: A path on the API, or a whole address on one of the provider's API hosts.
    url: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_url)]
    query: Annotated[Mapping[str, str], Field(max_length=50)] = {}
    #: Any JSON value.
    json_: Annotated[Any, Field(alias="json")] = None
    headers: Annotated[Mapping[str, Annotated[str, Field(max_length=1000)]], AfterValidator(_headers)] = {}
    #: Whether doing it twice is the same as doing it once; if nothing is said, what HTTP says of the method.
    idempotent: bool | None = None
    #: Where in the JSON reply the id of what was made is: ``data.id``, ``items.0.id``.
    reference: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,60}(\.[A-Za-z0-9_-]{1,60}){0,9}$")] | None = None

    @model_validator(mode="after")
    def _body_has_a_meaning(self) -> Self:
        if self.json_ is not None and self.method in SAFE:
            raise ValueError(f"a {self.method} has no json; say it in the query")
        return self


class Request(Action[RequestPayload]):
    """One request, as the payload has it. Nobody here knows what it does: it is repeated only where HTTP says one may.

    The user's scopes are not checked early, because nobody knows which it takes; the provider refuses.
    """

    name = "http.request"
    provider = ANY_PROVIDER
    scopes = frozenset()
    idempotent = False
    payload_type = RequestPayload

    def provider_of(self, payload: RequestPayload) -> str:
        return payload.provider

    def is_idempotent(self, payload: RequestPayload) -> bool:
        return payload.method in IDEMPOTENT if payload.idempotent is None else payload.idempotent

    def perform(self, http: ActionHttp, payload: RequestPayload, job_id: str) -> Result:  # noqa: ARG002
        try:
            answer = http.send(
                payload.method, payload.url, json=payload.json_, query=payload.query or None, headers=payload.headers
            )
        except NoReply as error:
            if payload.method in SAFE:  # so there is nothing to be uncertain of, whatever comes of the job
                raise ProviderUnavailable(f"{payload.provider} did not answer, and was only asked: {error}") from None
            raise
        return Result(reference_of(answer, payload.reference))


def reference_of(answer: Answer, path: str | None) -> str:
    """The id of what was made, as far as the reply names one; if not, just how it went. Pure."""
    named = _at(answer.body, path) if path else None
    # A query may hold what is not to be kept, such as the key to an upload.
    where = answer.headers.get("location", "").partition("?")[0].partition("#")[0]
    for candidate in (named, where):
        if candidate and ID.fullmatch(candidate):
            return candidate
    return f"HTTP {answer.status}"


def _at(body: Any, path: str) -> str | None:
    for step in path.split("."):
        if isinstance(body, Mapping):
            body = body.get(step)
        elif isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        else:
            return None
    return str(body) if isinstance(body, str | int) and not isinstance(body, bool) else None
