"""The words in which a test says what a provider's documentation says: replies, and the endpoints of an API.

Replies are documented examples, word for word; what is in braces is filled in for each request:

    ``{id}`` ``{number}``              the id of the thing in question, as text; its number, a number
    ``{account}`` ``{account_number}`` the account's id, as the provider knows it: as text, or as a number
    ``{at}`` ``{at_seconds}`` ``{at_ms}``   when it was made: 2026-11-27T06:00:00.000Z, or numbers since the epoch
    ``{json.a.b}`` ``{path.id}`` ``{query.q}`` ``{headers.x-id}``   what the request had there; ``{text}``: its body
    ``{items}`` ``{count}``            of a listing: its items, and how many they are
    ``{reset}``                        in a limit's headers: the second since the epoch when its ``pause`` is over

A text that is nothing but one of these becomes the value itself, whatever that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Does = Literal["makes", "lists", "looks", "says"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: ``Reply(400, {"error": "invalid_grant"})``. A text goes out as it is, anything else as JSON."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Of a limit: the seconds that it asks to wait; None: those of a Retry-After, else nothing is said.
    pause: float | None = None

    def as_data(self) -> dict[str, Any]:
        return {"status": self.status, "body": self.body, "headers": dict(self.headers)}

    def __str__(self) -> str:
        return f"{self.status} {self.body if self.body is not None else '(no body)'}"

    @property
    def seconds(self) -> float | None:
        """How long a limit asks to wait, as far as it says so."""
        if self.pause is not None:
            return self.pause
        said = {name.lower(): value for name, value in self.headers.items()}.get("retry-after", "")
        return float(said) if said.isdecimal() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What all endpoints have: use one of Made, Lists, Looks, Says."""

    scopes: Sequence[str] = ()

    def as_data(self) -> dict[str, Any]:
        """As the sandbox wants it (``actas.sandbox.personas.Endpoint``), but for where it is."""
        data: dict[str, Any] = {"scopes": list(self.scopes)}
        return data


@dataclass(frozen=True, slots=True)
class Made(Endpoint):
    """An endpoint that makes a thing of the account's: a post, an event, a like; also a change that lasts."""

    method: str
    #: On the profile's ``api_url``, or a whole address on one of ``other_api_urls``.
    path: str
    reply: Reply
    #: The id that the provider gives it, or the client (``{json.id}``).
    id: str = "{number}"
    #: What the action's Result must name.
    reference: str = "{id}"
    #: What makes two things the same for the provider (``{json.id}``); None: each request makes another.
    key: str | None = None
    #: The answer where there is the same already; None: that of the first time once more.
    again: Reply | None = None

    def as_data(self) -> dict[str, Any]:
        more = {"id": self.id, "reference": self.reference, "key": self.key}
        again = self.again.as_data() if self.again else None
        return {**Endpoint.as_data(self), "does": "makes", "reply": self.reply.as_data(), "again": again, **more}


@dataclass(frozen=True, slots=True)
class Lists(Endpoint):
    """An endpoint that lists what the account has, or everybody; ``{items}`` in its reply are these."""

    method: str
    path: str
    reply: Reply
    item: Any
    #: Where there is nothing to list, if that is said in another way.
    empty: Reply | None = None
    newest_first: bool = True
    #: It has other accounts' things in it, too, as the issues of a repository are: ``{account}`` is whose each is.
    everybodys: bool = False
    #: Parameters of the query that narrow it down: ``{"q": "{json.title}"}`` lists what has this title.
    where: Mapping[str, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        return {
            **Endpoint.as_data(self),
            "does": "lists",
            "reply": self.reply.as_data(),
            "item": self.item,
            "empty": self.empty.as_data() if self.empty else None,
            "newest_first": self.newest_first,
            "everybodys": self.everybodys,
            "where": dict(self.where),
        }


@dataclass(frozen=True, slots=True)
class Looks(Endpoint):
    """An endpoint that tells of one thing, by its id in the path: ``/notes/{id}``."""

    method: str
    path: str
    reply: Reply
    missing: Reply = Reply(404, {"error": "not_found"})

    def as_data(self) -> dict[str, Any]:
        replies = {"reply": self.reply.as_data(), "missing": self.missing.as_data()}
        return {**Endpoint.as_data(self), "does": "looks", **replies}


@dataclass(frozen=True, slots=True)
class Says(Endpoint):
    """An endpoint that makes nothing that anybody would look for, and has always the same reply."""

    method: str
    path: str
    reply: Reply

    def as_data(self) -> dict[str, Any]:
        return {**Endpoint.as_data(self), "does": "says", "reply": self.reply.as_data()}
