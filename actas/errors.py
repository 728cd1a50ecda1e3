"""Every error actas raises, each with a stable machine-readable code.

The class docstring is the default message. Texts are written for strangers: they name what to do, and never carry a
token, a payload or a provider's raw reply. Errors from libraries are replaced at the room's door with ``from None``,
because their texts and locals may hold what we must not show.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar


class ActasError(Exception):
    """Something went wrong in actas."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])

    @property
    def __context__(self) -> BaseException | None:
        """None after ``raise ... from None``, which only asks not to show it, and some error reporters show it anyway.

        It is a library's own error, with the request in its attributes and the token in its frames.
        """
        return None if self.__suppress_context__ else super().__context__

    @__context__.setter
    def __context__(self, context: BaseException | None) -> None:
        BaseException.__dict__["__context__"].__set__(self, context)


class SettingsError(ActasError):
    """A setting is missing, unknown or malformed."""

    code = "bad_settings"


# --- what a caller of Client can do something about ---


class InvalidRequest(ActasError):
    """The request cannot be accepted as it is."""

    code = "invalid_request"


class UnknownAction(InvalidRequest):
    """No action has this name."""

    code = "unknown_action"


class UnknownProvider(InvalidRequest):
    """No provider has this name."""

    code = "unknown_provider"


class InvalidPayload(InvalidRequest):
    """The payload does not fit the action."""

    code = "invalid_payload"


class FileMissing(InvalidRequest):
    """A file that the payload names is not stored, or not kept until the job's deadline; store it with store_file."""

    code = "file_missing"


class InvalidTime(InvalidRequest):
    """A time is naive, in the wrong order, or beyond the horizon."""

    code = "invalid_time"


class InsufficientScope(InvalidRequest):
    """The grant lacks a scope that the action needs; connect again with it."""

    code = "insufficient_scope"


class AmbiguousAccount(InvalidRequest):
    """The user has several accounts at this provider; say which with account=."""

    code = "ambiguous_account"


class IdempotencyConflict(InvalidRequest):
    """This idempotency key was used for a job with other content."""

    code = "idempotency_conflict"


class TooLateToReschedule(ActasError):
    """The job has ended, or begun, or is to be stopped; schedule another one."""

    code = "too_late"


class JustRevoked(ActasError):
    """The user was just revoked, and what is signed now would pass for older; ask again in 5 seconds."""

    code = "just_revoked"


class NotFound(ActasError):
    """There is no such thing."""

    code = "not_found"


class NoGrant(NotFound):
    """The user has not connected this provider, or must connect it again."""

    code = "no_grant"


class NoClientKey(NotFound):
    """The app has no key to prove itself with at this provider, or one that does not fit; an operator makes it."""

    code = "no_client_key"


class ConnectError(ActasError):
    """Connecting the account did not work; begin again."""

    code = "connect_failed"


class AccessDenied(ConnectError):
    """The user said no at the provider."""

    code = "access_denied"


class InvalidState(ConnectError):
    """The state is unknown, used, older than ten minutes, or another user's."""

    code = "invalid_state"


# --- outages: nobody's fault, waited out ---


class Unavailable(ActasError):
    """A service actas needs does not answer."""

    code = "unavailable"


class VaultUnavailable(Unavailable):
    """Vault is unreachable or sealed."""

    code = "vault_unavailable"


class MongoUnavailable(Unavailable):
    """MongoDB does not answer, or has no primary."""

    code = "mongodb_unavailable"


class ProviderUnavailable(Unavailable):
    """The provider does not answer; nothing was sent, or what was sent has no effect."""

    code = "provider_unavailable"


class ProviderBusy(ProviderUnavailable):
    """The provider asked us to come back later (429); it did nothing."""

    code = "provider_busy"

    def __init__(self, message: str | None = None, *, until: datetime | None = None) -> None:
        """``until``: when it wants to be asked again, if that is known."""
        super().__init__(message)
        self.until = until


# --- refusals by Vault, and by our own checks ---


class VaultDenied(ActasError):
    """Vault refused: the role may not do this, or its credentials are wrong."""

    code = "vault_denied"


class MongoRefused(ActasError):
    """MongoDB refused: the role may not do this, or what is stored does not fit."""

    code = "mongodb_refused"


class EnvelopeError(ActasError):
    """A stored ciphertext is damaged, moved, or not ours."""

    code = "bad_envelope"


class EnvelopeVersionError(EnvelopeError):
    """A stored ciphertext has a format version this release does not know; upgrade before reading it."""

    code = "envelope_version"


class JobRefused(ActasError):
    """The signed job is not acceptable."""

    code = "job_refused"

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code  # type: ignore[misc]  # narrower than the class's: bad_signature, altered, revoked, ...


# --- what a token endpoint can say (RFC 6749 section 5.2 and dialects) ---


class TokenEndpointError(ActasError):
    """The token endpoint refused."""

    code = "token_endpoint"

    def __init__(self, message: str | None = None, *, provider_code: str) -> None:
        super().__init__(message)
        self.provider_code = provider_code


class GrantDead(TokenEndpointError):
    """The provider no longer accepts this grant; its user must connect again."""

    code = "reauthorization_required"


class ClientRefused(TokenEndpointError):
    """The provider refused the app's own client credentials (invalid_client); an operator must mend them."""

    code = "client_refused"
