"""Connecting where no browser is: a code that the user enters on another device (RFC 8628).

The device code is a credential while it lives. It is kept in the process that asked for it and nowhere else, so a
connection that is begun in this way is finished by the same process, or not at all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from actas.clock import Clock
from actas.connecting import PENDING, Connected, connected, explained
from actas.errors import (
    AccessDenied,
    ConnectError,
    InvalidRequest,
    ProviderBusy,
    ProviderUnavailable,
    TokenEndpointError,
    VaultUnavailable,
)
from actas.http import NoReply, NotSent
from actas.oauth import TokenEndpoint, Tokens
from actas.providers import Provider

#: Between two questions, if the provider does not say (section 3.2); and what each ``slow_down`` adds (section 3.5).
INTERVAL_SECONDS = 5.0
SLOWER_SECONDS = 5.0

#: A provider that does not answer is asked half as often each time (section 3.5), down to this.
LONGEST_INTERVAL_SECONDS = 60.0

#: One request. A user is waiting, and the next one comes anyway.
SECONDS = 10.0

#: No user is waited for longer than this, whatever is said.
LONGEST = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What to show to the user; keep it in this process only, for the device code in it is a credential."""

    user: str
    provider: str
    #: To be entered at ``verification_uri``; whoever enters it connects *their* account, so show it to the user only.
    user_code: str = field(repr=False)
    verification_uri: str
    #: The same with the code in it, to be clicked or shown as a QR code, if the provider has that.
    verification_uri_complete: str | None = field(repr=False)
    expires_in: timedelta
    interval: float
    scopes: frozenset[str]
    device_code: SecretStr = field(repr=False)
    #: On the monotonic clock.
    ends_at: float = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeviceConnector:
    """Connecting by a code, at any provider that has it."""

    clock: Clock
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def begin(self, *, user: str, endpoint: TokenEndpoint, scopes: Iterable[str]) -> DeviceRequest:
        """Ask for a code (section 3.1).

        Raises:
            InvalidRequest: the provider has no such thing, as far as its profile says.
            ConnectError: it gave no code.
        """
        provider = endpoint.provider
        if provider.device_url is None:
            raise InvalidRequest(f"{provider.name} cannot be connected by a code: its profile has no device_url")
        scopes, asked_at = frozenset(scopes), self.monotonic()
        with explained(provider.name):
            body = endpoint.authorize_device(scopes, seconds=SECONDS)
            seconds = _seconds(body, "expires_in", PENDING.total_seconds())
            expires_in = timedelta(seconds=min(seconds, LONGEST.total_seconds()))
            complete = body.get("verification_uri_complete")
            return DeviceRequest(
                user=user,
                provider=provider.name,
                user_code=_text(provider, body, "user_code"),
                # As Google still calls it; the name is from a draft of the RFC.
                verification_uri=_address(provider, body, "verification_uri", "verification_url"),
                verification_uri_complete=complete if _is_address(complete) else None,
                expires_in=expires_in,
                interval=min(_seconds(body, "interval", INTERVAL_SECONDS), LONGEST_INTERVAL_SECONDS),
                scopes=scopes,
                device_code=SecretStr(_text(provider, body, "device_code")),
                ends_at=asked_at + expires_in.total_seconds(),
            )

    def finish(self, request: DeviceRequest, endpoint: TokenEndpoint) -> Connected:
        """Ask until the user has answered (sections 3.4 and 3.5), and then whose account it is.

        Raises:
            AccessDenied: the user said no.
            ConnectError: the user said nothing in time; or the provider gave no tokens.
        """
        with explained(request.provider):
            tokens = self._tokens(request, endpoint)
            return connected(endpoint, tokens, asked=request.scopes)

    def _tokens(self, request: DeviceRequest, endpoint: TokenEndpoint) -> Tokens:
        name, interval, trouble = request.provider, request.interval, ""
        while self.monotonic() + interval < request.ends_at:
            self.sleep(interval)
            try:
                return endpoint.exchange_device_code(request.device_code, seconds=SECONDS, now=self.clock())
            except TokenEndpointError as error:
                interval, trouble = interval + _slower(error, name), ""
            except ProviderBusy as error:
                interval, trouble = interval + SLOWER_SECONDS, str(error)
            except (NotSent, NoReply, ProviderUnavailable, VaultUnavailable) as error:  # some proofs Vault signs
                interval, trouble = min(2 * interval, max(interval, LONGEST_INTERVAL_SECONDS)), str(error)
        last = f"; when last asked: {trouble}" if trouble else ""
        raise ConnectError(f"{name}: nobody entered the code in time{last}")


def _slower(error: TokenEndpointError, name: str) -> float:
    """How many seconds more are to be between two questions from now on; an answer that ends them is raised."""
    match error.provider_code:
        case "authorization_pending":
            return 0.0
        case "slow_down":
            return SLOWER_SECONDS
        case "access_denied":
            raise AccessDenied(f"{name}: the user said no (access_denied)")
        case "expired_token":
            raise ConnectError(f"{name}: nobody entered the code in time (expired_token)")
    raise error


def _text(provider: Provider, body: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = body.get(name)
        if isinstance(value, str) and 0 < len(value) <= 2000 and value.isprintable():
            return value
    raise ConnectError(f"{provider.name} gave no code to enter: {names[0]} is missing, or cannot be one")


def _address(provider: Provider, body: Mapping[str, Any], *names: str) -> str:
    address = _text(provider, body, *names)
    if not _is_address(address):
        raise ConnectError(f"{provider.name} gave no code to enter: {names[0]} is no https address")
    return address


def _is_address(value: object) -> bool:
    """Whether a user can be sent there: over TLS, or to this machine."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > 2000:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"})


def _seconds(body: Mapping[str, Any], name: str, default: float) -> float:
    """A span as providers write it; an impossible one is as good as none."""
    said = body.get(name)
    try:
        seconds = float(said) if isinstance(said, int | float | str) and not isinstance(said, bool) else default
    except (ValueError, OverflowError):
        return default
    return seconds if math.isfinite(seconds) and seconds > 0 else default
