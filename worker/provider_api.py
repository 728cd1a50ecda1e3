"""The provider's API as an action sees it: authorized, bounded, on the provider's own host, its refusals told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from pydantic import SecretStr

from actas.actions import Answer, FileReference, Refused
from actas.clock import Clock
from actas.errors import ActasError, ProviderUnavailable
from actas.http import Http, NoReply, Reply
from actas.providers import Provider
from actas.rate_limits import limits, says_limit
from worker.decision import OPERATOR_PAUSE
from worker.errors import AccessTokenRefused, OutOfCredits, RateLimited, Redirected, UsageCapped


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

    #: The account's id there, as far as the grant knows.
    account: str = ""
    #: The bytes of a stored file: (file, start, size).
    read_file: Callable[[FileReference, int, int], bytes] | None = None

    def request(
        self, method: str, url: str, *, json: Any = None, query: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """Send one request to the API; the JSON object of its reply.

        Raises:
            NotSent, ProviderUnavailable, RateLimited, AccessTokenRefused, Refused: certainly nothing was done.
            NoReply: it may have been done.
        """
        body: Mapping[str, Any] = self._send(method, url, json, query, {}, check=self._object).body
        return body

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
        """Send one request to the API; its reply, whatever is in it.

        Raises:
            As ``request``.
        """
        return self._send(method, url, json if content is None else content, query, headers or {})

    def stored(self, file: FileReference, start: int, size: int) -> bytes:
        """Some bytes of a stored file.

        Raises:
            Refused.
        """
        if self.read_file is None:
            raise Refused("there are no stored files here", refusal="file_missing")
        return self.read_file(file, start, size)

    def _send(
        self,
        method: str,
        url: str,
        body: Any,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str],
        check: Callable[[Answer], Answer] = lambda answer: answer,
    ) -> Answer:
        address = address_of(self.provider, url, query)
        bearer = SecretStr(f"Bearer {self.token.get_secret_value()}")
        # The first is what most expect; each may say otherwise, and nobody may say the last.
        fields = headers_of(
            {"Accept": "application/json"}, self.provider.api_headers, headers, {"Authorization": bearer}
        )
        try:
            reply = self.http.send(method, address, json_body=body, headers=fields, seconds=self.seconds)
            if 300 <= reply.status < 400:
                raise self._elsewhere(method, reply.status)
            if not 200 <= reply.status < 300:
                raise self._error(reply)
            answer = check(Answer(reply.status, reply.headers, reply.json()))
        except ActasError as error:
            self.seen(error)
            raise
        self.seen(None)
        return answer

    def _object(self, answer: Answer) -> Answer:
        if not isinstance(answer.body, dict):
            name = self.provider.name
            raise NoReply(f"{name} answered {answer.status} without JSON: done or not, it does not say")
        return answer

    def _error(self, reply: Reply) -> ActasError:
        name = self.provider.name
        if reply.status == 401:
            return AccessTokenRefused()
        if is_limit(self.provider, reply):
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

    def _elsewhere(self, method: str, status: int) -> ActasError:
        """What a redirect is: none is followed, for a token must not be carried to where somebody else points.

        After these three a browser asks for a page with GET (RFC 9110 section 15.4): what was asked for may be done.
        """
        said = f"{self.provider.name} answered {status}, a redirect, which is not followed"
        if status in {301, 302, 303} and method.upper() not in {"GET", "HEAD", "OPTIONS"}:
            return Redirected(f"{said}: done or not, it does not say")
        return Refused(said, refusal=f"http_{status}")

    def _limited(self, reply: Reply) -> RateLimited:
        name, now = self.provider.name, self.clock()
        if reply.status == 402:
            return OutOfCredits(now + OPERATOR_PAUSE, gate=f"{name} answered 402: the app is out of credits")
        body = reply.json()
        problem = body.get("type") if isinstance(body, dict) else None
        said = limits(reply.headers, self.provider.rate_limit_headers, now, problem=problem)
        kind, gate = (
            (UsageCapped, "the app's usage is capped")
            if said.capped
            else (RateLimited, f"{name} answered {reply.status}")
        )
        return kind(said.latest, gate=gate, user_until=said.user, app_until=said.app)


def headers_of(*several: Mapping[str, str | SecretStr]) -> dict[str, str | SecretStr]:
    """Headers, of which a later one counts, in whatever case it is written. Pure."""
    merged = {name.lower(): (name, value) for headers in several for name, value in headers.items()}
    return dict(merged.values())


def is_limit(provider: Provider, reply: Reply) -> bool:
    """Whether a refusal is a limit, which passes. Pure."""
    if reply.status in {402, 429} or (reply.status == 403 and says_limit(reply.headers, provider.rate_limit_headers)):
        return True
    return any(
        known.status == reply.status and known.contains.encode() in reply.body for known in provider.known_limits
    )


def address_of(provider: Provider, url: str, query: Mapping[str, str] | None = None) -> str:
    """Where on the provider's API a path or an address is. Pure.

    Raises:
        Refused: it is on no host of the provider's, or is not one that everybody reads in the same way.
        (A path that climbs stays on its host, but not under the base address, which may be a part of that host only.)
    """
    foreign = Refused(
        f"an action must name a path on {provider.name}'s API, or an address there", refusal="foreign_address"
    )
    if not url.isascii() or not url.isprintable() or set(url) & set(" \\#"):
        raise foreign
    address = provider.api_base + url if url.startswith("/") and not url.startswith("//") else url
    try:
        origin = _origin(address)
        ours = {_origin(base) for base in (provider.api_base, *provider.other_api_urls)}
    except ValueError:
        raise foreign from None
    if origin not in ours or "@" in urlsplit(address).netloc or _climbs(urlsplit(address).path):
        raise foreign
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}" if query else address


def _climbs(path: str) -> bool:
    """Whether a path has dot segments (RFC 3986 section 3.3), however often their dots and slashes are escaped."""
    while (plain := unquote(path)) != path:
        path = plain
    segments = path.replace("\\", "/").split("/")
    # Some servers take what is behind a semicolon for a parameter of the segment, and off, before they climb.
    return not {".", ".."}.isdisjoint(segment.partition(";")[0] for segment in segments)


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    port = {"https": 443, "http": 80}.get(parts.scheme) if parts.port is None else parts.port
    return parts.scheme, parts.hostname, port
