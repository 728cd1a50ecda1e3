"""What an action is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from actas.errors import ActasError, InvalidPayload


class Payload(BaseModel):
    """The base of every action's payload: unknown fields are refused, because they would be silently not done."""

    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P", bound=Payload)


class ActionHttp(Protocol):
    """All that an action gets to see of the world: the provider's API, already authorized, on its own hosts only."""

    def request(self, method: str, path: str, *, json: Any = None) -> Mapping[str, Any]:
        """Send one request and return the JSON object of a 2xx reply; everything else raises.

        Ask it for its fields by their names (``[]``, ``get``, ``match``): whoever walks through it finds them covered.
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


class Action(ABC, Generic[P]):
    """One kind of thing that can be done as a user. Stateless: apps check payloads with it, workers perform it."""

    name: ClassVar[str]
    provider: ClassVar[str]
    scopes: ClassVar[frozenset[str]]
    #: Whether doing it twice is the same as doing it once. If not, it is never repeated after an unknown outcome.
    idempotent: ClassVar[bool]
    payload_type: type[P]

    @abstractmethod
    def perform(self, http: ActionHttp, payload: P, job_id: str) -> Result:
        """Do it, with one request; of an action with several steps, the first."""

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
