"""Which gates an error closes, and which an answer opens: pure functions of (error, whose request it was)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from actas.actions import Refused
from actas.errors import ActasError, ClientRefused, ProviderBusy, ProviderUnavailable, TokenEndpointError
from actas.gates import client_gate, exchange_gate, grant_gate, provider_gate, token_gate
from actas.http import NoReply, NotSent, NotWritten, ReplyTooLarge
from actas.oauth import MALFORMED
from worker.errors import AccessTokenRefused, OutOfCredits, RateLimited, Redirected


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose request it is, and what for."""

    app: str
    provider: str
    grant: str
    #: None: an exchange, at the token endpoint.
    action: str | None = None
    #: A job's id, or the name of a chore.
    asked_by: str = ""

    @property
    def mark(self) -> str:
        """It, among those whose requests failed: short, and digits only, whatever the ids are."""
        return f"{crc32(f'{self.grant} {self.action} {self.asked_by}'.encode(errors='replace')):08x}"


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long a gate is closed that does not know until when: twice as long each time the probe fails."""

    first: timedelta
    longest: timedelta
    #: Failures of so many in a row close it, over the whole fleet.
    run: int = 1


#: A provider in trouble: one user's post that it cannot digest is no run, however often it is tried.
TROUBLE = Pauses(timedelta(seconds=5), timedelta(minutes=5), run=5)

#: What an operator must mend: credentials, credits.
OPERATOR = Pauses(timedelta(minutes=1), timedelta(minutes=5))


#: A token endpoint that answers 429 and does not say when to come back.
BUSY = Pauses(timedelta(seconds=5), timedelta(minutes=1))


@dataclass(frozen=True, slots=True)
class Closing:
    """A gate to be closed until a time that is known, or by its pauses."""

    gate: str
    code: str
    until: datetime | None = None
    pauses: Pauses = OPERATOR
    #: It opens to one request first; else to all at its time, for then the limit is certainly over.
    probe: bool = True
    #: Whose failure it is.
    by: str = ""


def closings(error: ActasError | None, whose: Whose) -> list[Closing]:
    """The gates that an error at the provider closes: the narrowest that explain it."""
    match error:
        case OutOfCredits():
            return [Closing(client_gate(whose.app, whose.provider), error.code)]
        case RateLimited():
            return _limits(error, whose)
        case ClientRefused():
            return [Closing(exchange_gate(whose.app, whose.provider), error.code)]
        case NotSent() | NoReply() | ProviderUnavailable() if not _is_well(error, whose):
            return [Closing(_its_gate(whose), error.code, pauses=TROUBLE, by=whose.mark)]
    return []


def _is_well(error: ActasError, whose: Whose) -> bool:
    """Whether a provider that has not done what was asked is in no trouble."""
    match error:
        # Nobody was asked anything; a chore's limit is not the jobs' matter: who asked for the exchange knows; and who
        # sends somewhere else is well.
        case NotWritten() | ProviderBusy() | Redirected():
            return True
        # It answers, and an app may ask for as much as it likes; a token endpoint that says so much is in trouble.
        case ReplyTooLarge():
            return whose.action is not None
    return False


def busy(error: ProviderBusy, whose: Whose) -> Closing:
    """The gate that a token endpoint's 429 closes when a job was waiting for the exchange."""
    gate = exchange_gate(whose.app, whose.provider)
    return Closing(gate, error.code, error.until, BUSY, probe=error.until is None)


def openings(error: ActasError | None, whose: Whose) -> list[str]:
    """The gates that open when this is what came of a request (None: what was asked for).

    A refusal in the provider's own words is an answer, too: it is well, whatever it thinks of this user.
    """
    if not _answered(error):
        return []
    done = error is None or isinstance(error, Refused)
    if whose.action is not None:
        return [_its_gate(whose), *([client_gate(whose.app, whose.provider)] if done else [])]
    known = not isinstance(error, ClientRefused | ProviderBusy)
    return [_its_gate(whose), *([exchange_gate(whose.app, whose.provider)] if known else [])]


def _answered(error: ActasError | None) -> bool:
    match error:
        case None | Refused() | RateLimited() | AccessTokenRefused() | ProviderBusy() | Redirected():
            return True
        case TokenEndpointError():
            return error.provider_code != MALFORMED
    return False


def _its_gate(whose: Whose) -> str:
    return token_gate(whose.provider) if whose.action is None else provider_gate(whose.provider)


def _limits(error: RateLimited, whose: Whose) -> list[Closing]:
    closed = []
    if error.app_until is not None:
        closed.append(Closing(client_gate(whose.app, whose.provider), error.code, error.app_until))
    if error.user_until is not None:
        gate = grant_gate(whose.grant, whose.action or "")
        closed.append(Closing(gate, error.code, error.user_until, probe=False))
    return closed
