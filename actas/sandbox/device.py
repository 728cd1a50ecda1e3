"""Device authorization (RFC 8628): one device shows a code, its user enters it on another one, in a browser."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from actas.sandbox import pages
from actas.sandbox.client_auth import OAuthError
from actas.sandbox.oauth import SCOPES, USERNAME, strings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from actas.clock import Clock
    from actas.sandbox.misbehaviour import Misbehaviour
    from actas.sandbox.oauth import OAuth

#: RFC 8628 section 6.1: no vowels, so that no words come out, and nothing that looks like something else.
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"

CODE_SECONDS = 600
INTERVAL_SECONDS = 1
#: What each ``slow_down`` adds (section 3.5).
SLOWER_SECONDS = 5


class Answer(Enum):
    """What the user has said so far."""

    NONE = "none"
    ALLOWED = "allowed"
    DENIED = "denied"


@dataclass(slots=True)
class Asked:
    """One device's request; ``device_code`` is for it alone, ``user_code`` for whoever is to enter it."""

    client_id: str
    scopes: frozenset[str]
    device_code: str
    user_code: str
    expires_at: datetime
    interval: timedelta
    #: When its device last asked whether the user has answered.
    asked_at: datetime | None = None
    answer: Answer = Answer.NONE
    username: str | None = None
    redeemed: bool = False


class Devices:
    """The codes there are; every method is safe to call from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: dict[str, Asked] = {}  # by device code

    def begin(self, client_id: str, scopes: frozenset[str]) -> Asked:
        now = self._clock()
        letters = "".join(secrets.choice(LETTERS) for _ in range(8))
        asked = Asked(
            client_id,
            scopes,
            device_code=secrets.token_urlsafe(32),
            user_code=f"{letters[:4]}-{letters[4:]}",
            expires_at=now + timedelta(seconds=CODE_SECONDS),
            interval=timedelta(seconds=INTERVAL_SECONDS),
        )
        with self._lock:
            self._asked[asked.device_code] = asked
        return asked

    def waiting(self, user_code: str) -> Asked | None:
        """The request that a code was shown for, if it may be answered still; its hyphen and case do not matter."""
        with self._lock:
            return self._waiting(user_code)

    def answer(self, user_code: str, username: str | None) -> bool:
        """The user's word: as whom, or None for no; False if nothing waits for it."""
        with self._lock:
            asked = self._waiting(user_code)
            if asked is None:
                return False
            asked.answer = Answer.DENIED if username is None else Answer.ALLOWED
            asked.username = username
            return True

    def redeem(self, device_code: str, client_id: str) -> tuple[str, frozenset[str]]:
        """Who has allowed what, once.

        Raises:
            OAuthError: as RFC 8628 section 3.5 says; who asks too soon is to ask less often from then on.
        """
        with self._lock:
            asked, now = self._asked.get(device_code), self._clock()
            if asked is None or asked.client_id != client_id or asked.redeemed:
                raise OAuthError(400, "invalid_grant", "The device code is unknown, used, or another client's.")
            if now >= asked.expires_at:
                raise OAuthError(400, "expired_token", "The device code has expired.")
            soon = asked.asked_at is not None and now < asked.asked_at + asked.interval
            asked.asked_at = now
            if soon:
                asked.interval += timedelta(seconds=SLOWER_SECONDS)
                raise OAuthError(400, "slow_down", "Ask less often.")
            if asked.answer is Answer.DENIED:
                raise OAuthError(400, "access_denied", "The user said no.")
            if asked.username is None:
                raise OAuthError(400, "authorization_pending", "The user has not answered yet.")
            asked.redeemed = True
            return asked.username, asked.scopes

    def username_of(self, device_code: str) -> str | None:
        """Who has allowed this; None as long as nobody has."""
        with self._lock:
            asked = self._asked.get(device_code)
            return asked.username if asked else None

    def codes(self) -> list[str]:
        """Every code that was ever given, of either kind."""
        with self._lock:
            return [code for asked in self._asked.values() for code in (asked.device_code, asked.user_code)]

    def _waiting(self, user_code: str) -> Asked | None:
        entered, now = _letters(user_code), self._clock()
        for asked in self._asked.values():
            if _letters(asked.user_code) == entered and asked.answer is Answer.NONE and now < asked.expires_at:
                return asked
        return None


def _letters(user_code: str) -> str:
    return "".join(letter for letter in user_code.upper() if letter.isalnum())


class DeviceFlow:
    """The device authorization endpoint, and the page where a user enters a code."""

    def __init__(self, devices: Devices, oauth: OAuth, misbehaviour: Misbehaviour) -> None:
        self._devices = devices
        self._oauth = oauth
        self._misbehaviour = misbehaviour

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/i/oauth2/device/code", self.begin, methods=["POST"]),
            Route("/i/oauth2/device", self.ask, methods=["GET"], name="device"),
            Route("/i/oauth2/device", self.decide, methods=["POST"]),
        ]

    async def begin(self, request: Request) -> Response:
        form = strings(await request.form())
        rule = self._misbehaviour.take("device", None)

        def act() -> Response:
            client_id = self._oauth.authenticate(request, form)
            scopes = frozenset(form.get("scope", "").split())
            if not scopes or not scopes <= SCOPES:
                raise OAuthError(400, "invalid_scope", "A scope is missing, or unknown.")
            page = str(request.url_for("device"))
            return JSONResponse(
                _told(self._devices.begin(client_id, scopes), page), headers={"cache-control": "no-store"}
            )

        return await self._misbehaviour.serve(request, rule, lambda: self._oauth.answer(act, counted=False))

    async def ask(self, request: Request) -> Response:
        asked = self._devices.waiting(code) if (code := request.query_params.get("user_code", "")) else None
        page = pages.device_page(code, asked.client_id if asked else None, asked.scopes if asked else ())
        return HTMLResponse(page, headers=pages.HEADERS)

    async def decide(self, request: Request) -> Response:
        fields = strings(await request.form())
        allowed, username = fields.get("decision") == "allow", fields.get("account", "").strip()
        if allowed and not USERNAME.fullmatch(username):
            return _shown("An account is 1 to 40 letters, digits, dots, hyphens and underscores.", 400)
        if not self._devices.answer(fields.get("user_code", ""), username if allowed else None):
            return _shown("No device waits with this code.", 400)
        return _shown("Your device may go on now." if allowed else "Your device is told no.", 200)


def _told(asked: Asked, page: str) -> Mapping[str, object]:
    """A device authorization reply (RFC 8628 section 3.2)."""
    return {
        "device_code": asked.device_code,
        "user_code": asked.user_code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code={asked.user_code}",
        "expires_in": CODE_SECONDS,
        "interval": INTERVAL_SECONDS,
    }


def _shown(message: str, status: int) -> Response:
    page = pages.error_page(message) if status >= 400 else pages.notice_page(message)
    return HTMLResponse(page, status, headers=pages.HEADERS)
