"""What can come up on a job's path. Each is turned into what happens next by ``worker.decision``."""

from __future__ import annotations

from datetime import datetime

from actas.errors import ActasError
from actas.gates import AtGate
from actas.http import NoReply, NotSent
from actas.records import JobError


class NotYet(ActasError):
    """The job's time has not come; its message was early."""

    code = "not_yet"

    def __init__(self, at: datetime) -> None:
        super().__init__()
        self.at = at


class TooLate(ActasError):
    """The job's deadline has passed."""

    code = "expired"

    def __init__(self, message: str | None = None, *, held_up_by: JobError | None = None) -> None:
        """``held_up_by``: why the job was last put back, so that its end tells the cause and not only the hour."""
        if held_up_by is not None:
            message = f"the deadline has passed; it was held up by: {held_up_by.code}"
        super().__init__(message)


class Stopped(ActasError):
    """Somebody who may do so has stopped the job."""

    code = "cancelled"

    def __init__(self, message: str | None = None, *, code: str = "cancelled") -> None:
        super().__init__(message)
        self.reason = code


class Held(ActasError):
    """Its user was logged out everywhere; the job waits until its app signs it anew."""

    code = "held"


class NeedsUser(ActasError):
    """The grant no longer works until its user connects again."""

    code = "reauthorization_required"


class TokenPending(ActasError):
    """Somebody else is exchanging this grant's token right now."""

    code = "awaiting_token"


class Unanswered(ActasError):
    """An exchange was begun and nobody knows how it ended; until that is known, the grant's data key stays."""

    code = "unanswered"


class Outrun(TokenPending):
    """The provider gave tokens, and the grant had others by then: its user connected again."""

    code = "outrun"


class WrongClient(ActasError):
    """The grant was issued to another client than the one whose credentials are stored.

    Nothing may be sent with these: the provider would call the grant invalid (RFC 6749 section 5.2), and it is not.
    """

    code = "wrong_client"


class RateLimited(AtGate):
    """The provider refused with 429."""

    code = "rate_limited"

    def __init__(
        self, until: datetime, *, gate: str, user_until: datetime | None = None, app_until: datetime | None = None
    ) -> None:
        """``until`` is when to ask again; the others tell until when whose limit is exhausted."""
        super().__init__(until, gate=gate)
        self.user_until = user_until
        self.app_until = app_until


class UsageCapped(RateLimited):
    """The app has used up what the provider lets it do in a month, or the like."""

    code = "usage_capped"


class OutOfCredits(RateLimited):
    """The app must pay before the provider does anything for it (402)."""

    code = "out_of_credits"


class AccessTokenRefused(ActasError):
    """The provider's API did not accept the access token (401)."""

    code = "access_token_refused"


class LeaseTooShort(ActasError):
    """Too little is left of the job's lease to send the request and know how it ended."""

    code = "lease_too_short"


class FileUnread(NotSent):
    """A stored file could not be read just now, and so nothing was sent."""

    code = "file_unread"


class OutcomeUnknown(ActasError):
    """The request was on its way, and nobody knows whether the provider acted; look there before repeating it."""

    code = "uncertain"


class CannotTell(ActasError):
    """Looking does not tell whether it was done; say so with: actas jobs resolve."""

    code = "cannot_tell"


class NotNow(ActasError):
    """Whether it was done cannot be told yet."""

    code = "look_later"

    def __init__(self, at: datetime, *, looks: int = 0) -> None:
        """``at``: when to look again; ``looks``: how many looks have counted that found nothing."""
        super().__init__()
        self.at, self.looks = at, looks


class Redirected(NoReply):
    """The provider answered with a redirect, which is not followed; it may have done what it was asked for first."""

    code = "redirected"
