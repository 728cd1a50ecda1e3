"""The one place that imports httpx: a bounded request, and an honest answer to "was it sent?".

Threads enforce no time limits (Celery's thread pool cannot), so each request has a deadline for the whole of it and a
bound on the reply's size. Redirects are never followed: a token must not be carried to where somebody else points.
Nothing is kept between requests: no cookies, or one user's would be sent for the next.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx
from pydantic import SecretStr

from actas.errors import ActasError
from actas.unshown import Fields, Unshown, in_clear

MAX_REPLY_BYTES = 1_000_000


class NotSent(ActasError):
    """The request did not reach the other side; it certainly had no effect."""

    code = "not_sent"


class NotWritten(NotSent):
    """The request could not be written; that is the request's own fault, and nobody else's."""

    code = "not_written"


class NoReply(ActasError):
    """The request may have been sent, and no whole reply came; nobody here can know its effect."""

    code = "no_reply"


class ReplyTooLarge(NoReply):
    """The reply has more than 1,000,000 bytes and was not read to its end; nobody here can know what it says."""

    code = "reply_too_large"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON, its objects unshown; None when it is not JSON: an error page is no reason to fall over.

        Its label is not looked at. RFC 6749 section 5.1 wants application/json; who labels it otherwise has rotated the
        token all the same, and what is in the reply exists nowhere else.
        """
        try:
            return json.loads(self.body, object_hook=Unshown)
        except (ValueError, RecursionError):
            return None

    @property
    def kind(self) -> str:
        """What sort of a reply it is, in words that show nothing of it; JSON is JSON whatever its label says."""
        if 300 <= self.status < 400:
            return "a redirect, which is not followed"
        if not self.body.strip():
            return "its body is empty"
        if isinstance(found := self.json(), dict):
            return "its body is JSON"
        if found is None and self.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            return "its body is HTML"
        return "its body is no JSON" if found is None else "its body is JSON, but no object"


class Http:
    """A pool of connections, shared by threads; made after a fork, never before."""

    def __init__(self, *, connections: int = 100) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        transport = httpx.HTTPTransport(limits=limits, trust_env=False)
        self._deadline = _Deadline()
        # httpx has no way to say this: its timeouts bound each read, and a peer that drips its headers has no end.
        transport._pool._network_backend = _Network(self._deadline)  # noqa: SLF001
        self._client = httpx.Client(
            transport=transport,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            trust_env=False,  # no proxy and no .netrc comes between us and the provider
        )

    def close(self) -> None:
        self._client.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        headers: Fields | None = None,
        json_body: Any = None,
        form: Fields | None = None,
        basic_auth: tuple[str, SecretStr] | None = None,
    ) -> Reply:
        """Send one request and read its whole reply within ``seconds``.

        ``json_body`` may be bytes: JSON that is written already, and is sent as it is.

        Raises:
            NotSent: it could not be written, or no connection could be had; safe to repeat.
            NoReply: the connection broke, the time ran out or the reply was too large, after sending may have begun.
        """
        self._deadline.at = time.monotonic() + seconds
        try:
            request = self._client.build_request(
                method,
                url,
                headers=in_clear(headers),
                content=json_body if isinstance(json_body, bytes) else None,
                json=None if isinstance(json_body, bytes) else json_body,
                data=in_clear(form) if form is not None else None,
                timeout=httpx.Timeout(seconds, connect=min(seconds, 5), pool=min(seconds, 5)),
            )
        except (httpx.InvalidURL, UnicodeError, ValueError, TypeError):
            raise NotWritten from None
        try:
            auth = httpx.BasicAuth(basic_auth[0], basic_auth[1].get_secret_value()) if basic_auth else None
            response = self._client.send(request, auth=auth, stream=True)
            try:
                body = _bounded(response.iter_bytes())
                if body is None:
                    raise ReplyTooLarge
                return Reply(response.status_code, response.headers, body)
            finally:
                response.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol):
            raise NotSent from None
        except httpx.LocalProtocolError:
            raise NotWritten from None
        # The last two are about where a reply redirects to; our own address was read above.
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError):
            raise NoReply from None


def _bounded(chunks: Iterable[bytes]) -> bytes | None:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            return None
    return bytes(body)


class _Deadline(threading.local):
    """When this thread's request must be over. A request is sent by one thread from its beginning to its end."""

    at = float("inf")

    def clip(self, timeout: float | None, late: type[Exception]) -> float:
        left = self.at - time.monotonic()
        if left <= 0:
            raise late
        return left if timeout is None else min(timeout, left)


class _Network(httpcore.SyncBackend):
    """httpcore's own network, with every wait cut to what is left of the request's time."""

    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = self._deadline.clip(timeout, httpcore.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, timeout, local_address, socket_options), self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.clip(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.clip(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = self._deadline.clip(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
