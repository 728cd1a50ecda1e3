"""An app's webhook, and the rules of Standard Webhooks (https://www.standardwebhooks.com) for sending to it. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, SecretStr

from actas.errors import ActasError
from actas.rate_limits import retry_at

PREFIX = "whsec_"

#: The specification allows keys of 24 to 64 bytes.
KEY_BYTES = range(24, 65)

#: Pauses between tries (the specification's example): the last one begins after three days and some hours.
PAUSES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)

#: Of what failed at one time, not all comes again at one time.
JITTER = 0.1


class BadWebhook(ActasError):
    """What is stored as the app's webhook is of no use; store it again: actas apps webhook."""

    code = "bad_webhook"


def _address(url: SecretStr) -> SecretStr:
    """An address that may be sent to; the message shows none of it, because its query may hold a secret."""
    try:
        parts = urlsplit(url.get_secret_value())
        clear = bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment and parts.port != 0
    except ValueError:
        clear = False
    if not clear or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))):
        raise ValueError("must be an https:// address without user, password and fragment")
    return url


def _key(secret: SecretStr) -> SecretStr:
    if len(_key_of(secret)) not in KEY_BYTES:
        raise ValueError(f"must be {PREFIX} and base64 of 24 to 64 bytes")
    return secret


class Webhook(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """Where an app wants its events, and the keys that they are signed with."""

    #: https; or http to this very machine, which is for development and refused elsewhere (``is_plain``).
    url: Annotated[SecretStr, AfterValidator(_address)]
    secret: Annotated[SecretStr, AfterValidator(_key)]
    #: Signed with, too, while an app moves from this one to the other.
    previous: Annotated[SecretStr, AfterValidator(_key)] | None = None

    @property
    def is_plain(self) -> bool:
        return urlsplit(self.url.get_secret_value()).scheme == "http"

    @property
    def host(self) -> str:
        """What may be shown of the address."""
        return urlsplit(self.url.get_secret_value()).hostname or ""

    def headers(self, event_id: str, body: bytes, now: datetime) -> dict[str, str]:
        """The headers of one try."""
        timestamp = int(now.timestamp())
        keys = [key for key in (self.secret, self.previous) if key is not None]
        return {
            "content-type": "application/json",
            "user-agent": "actas",
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signature(key, event_id, timestamp, body) for key in keys),
        }


def new_secret() -> SecretStr:
    return SecretStr(PREFIX + base64.b64encode(secrets.token_bytes(32)).decode())


def signature(secret: SecretStr, event_id: str, timestamp: int, body: bytes) -> str:
    """``v1``: HMAC-SHA256 of id, timestamp and body, parted by dots."""
    content = b".".join((event_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(_key_of(secret), content, hashlib.sha256)).decode()


def next_try(tries: int, now: datetime, *, jitter: float) -> datetime | None:
    """When to try again after so many tries, the jitter being between 0 and 1; None: not any more."""
    if tries > len(PAUSES):
        return None
    return now + PAUSES[max(tries, 1) - 1] * (1 + JITTER * jitter)


def not_asked_before(status: int, headers: Mapping[str, str], now: datetime) -> datetime | None:
    """When an endpoint that has too much to do wants to be asked again; believed as far as our own longest pause."""
    asked = retry_at(headers, "retry-after", now) if status in {429, 503} else None
    return None if asked is None else min(asked, now + PAUSES[-1])


def _key_of(secret: SecretStr) -> bytes:
    """The key in a secret; empty if there is none."""
    try:
        return base64.b64decode(secret.get_secret_value().removeprefix(PREFIX), validate=True)
    except ValueError:
        return b""


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
