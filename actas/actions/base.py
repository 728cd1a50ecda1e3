"""What an action is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import ValidationError

from actas.errors import ActasError, InvalidPayload
from actas.files import FileReference
from actas.payload import Payload

#: The ``provider`` of an action that is for any: its payload says which.
ANY_PROVIDER = "*"


P = TypeVar("P", bound=Payload)


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx reply of the provider's API."""

    status: int
    #: By name, in any case.
    headers: Mapping[str, str] = field(repr=False)
    #: The body as JSON; None: it has none, or it is none.
    body: Any = field(repr=False)


class ActionHttp(Protocol):
    """All that an action gets to see of the world: the provider's API, already authorized, on its own hosts only.

    A ``url`` is a path on the API's base address, or a whole address on one of the provider's API hosts; anything else
    is refused, and so is following a redirect. What is not a 2xx raises:

        NotSent, ProviderUnavailable, RateLimited, AccessTokenRefused, Refused: certainly nothing was done.
        NoReply: it may have been done.

    Ask objects for their fields by their names (``[]``, ``get``, ``match``): whoever walks through them finds them
    covered.
    """

    @property
    def account(self) -> str:
        """The account's id at the provider; ``import:...`` for a token whose import did not tell."""

    def request(
        self, method: str, url: str, *, json: Any = None, query: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """Send one request; the JSON object of its 2xx reply (NoReply if that is none)."""

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
        """Send one request; its 2xx reply, whatever is in it."""

    def stored(self, file: FileReference, start: int, size: int) -> bytes:
        """Some bytes of a stored file, as its job's signature names it.

        Raises:
            Refused: they are not there, or not those that were stored.
        """


@dataclass(frozen=True, slots=True)
class Result:
    """What the provider made: its id there. Never content."""

    reference: str


@dataclass(frozen=True, slots=True)
class Search:
    """What is known of a step whose outcome is not: where and since when to look for what it may have made."""

    #: The account's id at the provider.
    account: str
    #: Nothing that is older can be it; what a clock may be off is taken into account.
    since: datetime
    #: The references of what the steps before it made, in order.
    made: tuple[str, ...] = ()


class Refused(ActasError):
    """The provider will not do this, however often it is asked."""

    code = "refused"

    def __init__(self, message: str | None = None, *, refusal: str = "refused") -> None:
        super().__init__(message)
        self.refusal = refusal


class NotReady(ActasError):
    """The provider is at what was asked for before, and has done nothing now; ask again later."""

    code = "not_ready"

    def __init__(self, message: str | None = None, *, seconds: float = 5) -> None:
        """``seconds``: how soon, from one on."""
        super().__init__(message)
        self.seconds = seconds if 1 <= seconds <= 86_400 else 5


class Action(ABC, Generic[P]):
    """One kind of thing that can be done as a user. Stateless: apps check payloads with it, workers perform it."""

    name: ClassVar[str]
    #: Whose API it is; ``ANY_PROVIDER``: see ``provider_of``.
    provider: ClassVar[str]
    #: What the user must have granted for it.
    scopes: ClassVar[frozenset[str]]
    #: Whether doing it twice is the same as doing it once. If not, it is never repeated after an unknown outcome.
    idempotent: ClassVar[bool]
    payload_type: type[P]

    @abstractmethod
    def perform(self, http: ActionHttp, payload: P, job_id: str) -> Result:
        """Do it, with one request; of an action with several steps, the first."""

    def provider_of(self, payload: P) -> str:  # noqa: ARG002 - the same, whatever is asked for
        """At which provider it is to be done."""
        return self.provider

    def is_idempotent(self, payload: P) -> bool:  # noqa: ARG002 - the same, whatever is asked for
        """Whether doing just this twice is the same as doing it once."""
        return self.idempotent

    def steps(self, payload: P) -> int:  # noqa: ARG002 - one, whatever is asked for
        """How many requests it takes, each with an effect of its own that is written down by itself."""
        return 1

    def perform_step(self, http: ActionHttp, payload: P, job_id: str, made: Sequence[str]) -> Result:  # noqa: ARG002
        """Do the next step, with one request; ``made`` are the references of what the steps before it made."""
        return self.perform(http, payload, job_id)

    def find(self, http: ActionHttp, payload: P, job_id: str, search: Search) -> Sequence[str] | None:  # noqa: ARG002
        """Look for what the step after ``search.made`` may have made, without making anything.

        All that has its content and is not older than ``search.since``, by its references, the oldest first: an empty
        answer says that there certainly is no such thing. None: the provider cannot be asked, or not far enough back.

        Raises:
            As ``ActionHttp.request``.
        """
        return None

    def parse(self, payload: Mapping[str, Any]) -> P:
        """Check a payload.

        Raises:
            InvalidPayload: naming each wrong field, never its content.
        """
        try:
            return self.payload_type.model_validate(dict(payload))
        except ValidationError as error:
            problems = [
                f"{'.'.join(str(part) for part in item['loc']) or 'payload'}: {item['msg']}"
                for item in error.errors(include_input=False, include_url=False)
            ]
            raise InvalidPayload(f"{self.name}: {'; '.join(problems)}") from None
