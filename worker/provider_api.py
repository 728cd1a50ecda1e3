"""The provider's API as an action sees it: authorized, bounded, on the provider's own host, its refusals told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from actas.actions import Refused
from actas.clock import Clock
from actas.errors import ActasError, ProviderUnavailable
from actas.http import Http, NoReply, Reply
from actas.providers import Provider
from actas.rate_limits import limits
from worker.decision import OPERATOR_PAUSE
from worker.errors import AccessTokenRefused, OutOfCredits, RateLimited, UsageCapped


@dataclass(frozen=True, slots=True)
class ProviderApi:
    """Implements ``actas.actions.ActionHttp``."""

    http: Http
    provider: Provider
    token: SecretStr = field(repr=False)
    seconds: float
    clock: Clock
    #: Told of each reply: None, or the error it is; what it says of the provider and the app concerns others, too.
    seen: Callable[[ActasError | None], None] = lambda _: None

    def request(self, method: str, path: str, *, json: Any = None) -> Mapping[str, Any]:
        """Send one request to the API.

        Raises:
            NotSent, ProviderUnavailable, RateLimited, AccessTokenRefused, Refused: certainly nothing was done.
            NoReply: it may have been done.
        """
        if not path.startswith("/") or path.startswith("//"):
            raise Refused("an action must name a path on the provider's API", refusal="foreign_address")
        bearer = SecretStr(f"Bearer {self.token.get_secret_value()}")
        headers: dict[str, str | SecretStr] = {"Authorization": bearer, "Accept": "application/json"}
        url = self.provider.api_url.rstrip("/") + path
        try:
            answer = self._answer(self.http.send(method, url, json_body=json, headers=headers, seconds=self.seconds))
        except ActasError as error:
            self.seen(error)
            raise
        self.seen(None)
        return answer

    def _answer(self, reply: Reply) -> Mapping[str, Any]:
        if not 200 <= reply.status < 300:
            raise self._error(reply)
        body = reply.json()
        if not isinstance(body, dict):
            raise NoReply(f"{self.provider.name} answered {reply.status} without JSON: done or not, it does not say")
        return body

    def _error(self, reply: Reply) -> ActasError:
        name = self.provider.name
        if reply.status == 401:
            return AccessTokenRefused()
        if reply.status in {402, 429}:
            return self._limited(reply)
        if reply.status == 503:
            # "Unable to handle the request" (RFC 9110 section 15.6.4): it did not.
            return ProviderUnavailable(f"{name} answered 503")
        if reply.status >= 500:
            return NoReply(f"{name} answered {reply.status}: done or not, it does not say")
        for known in self.provider.known_refusals:
            if known.status == reply.status and known.contains.encode() in reply.body:
                return Refused(f"{name} refused: {known.code}", refusal=known.code)
        return Refused(f"{name} refused with HTTP {reply.status}", refusal=f"http_{reply.status}")

    def _limited(self, reply: Reply) -> RateLimited:
        name, now = self.provider.name, self.clock()
        if reply.status == 402:
            return OutOfCredits(now + OPERATOR_PAUSE, gate=f"{name} answered 402: the app is out of credits")
        body = reply.json()
        problem = body.get("type") if isinstance(body, dict) else None
        said = limits(reply.headers, self.provider.rate_limit_headers, now, problem=problem)
        kind, gate = (
            (UsageCapped, "the app's usage is capped") if said.capped else (RateLimited, f"{name} answered 429")
        )
        return kind(said.latest, gate=gate, user_until=said.user, app_until=said.app)
