"""The provider's API as an action sees it: authorized, bounded, on the provider's own host, its refusals told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from actas.actions import Refused
from actas.clock import Clock
from actas.errors import ProviderUnavailable
from actas.http import Http, NoReply, Reply
from actas.providers import Provider
from worker.errors import AccessTokenRefused, RateLimited
from worker.rate_limits import retry_at


@dataclass(frozen=True, slots=True)
class ProviderApi:
    """Implements ``actas.actions.ActionHttp``."""

    http: Http
    provider: Provider
    token: SecretStr = field(repr=False)
    seconds: float
    clock: Clock

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
        reply = self.http.send(method, url, json_body=json, headers=headers, seconds=self.seconds)
        if 200 <= reply.status < 300:
            body = reply.json()
            if isinstance(body, dict):
                return body
            raise NoReply(f"{self.provider.name} answered {reply.status} without JSON: done or not, it does not say")
        raise self._error(reply)

    def _error(self, reply: Reply) -> Exception:
        name = self.provider.name
        if reply.status == 401:
            return AccessTokenRefused()
        if reply.status == 429:
            until = retry_at(reply.headers, self.provider.rate_limit_headers, self.clock())
            return RateLimited(until, gate=f"{name} answered 429")
        if reply.status == 503:
            # "Unable to handle the request" (RFC 9110 section 15.6.4): it did not.
            return ProviderUnavailable(f"{name} answered 503")
        if reply.status >= 500:
            return NoReply(f"{name} answered {reply.status}: done or not, it does not say")
        for known in self.provider.known_refusals:
            if known.status == reply.status and known.contains.encode() in reply.body:
                return Refused(f"{name} refused: {known.code}", refusal=known.code)
        return Refused(f"{name} refused with HTTP {reply.status}", refusal=f"http_{reply.status}")
