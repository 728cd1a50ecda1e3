"""A client of the sandbox's control surface, and a browser for its authorization page; for tests and the demo."""

from __future__ import annotations

import json
import re
from datetime import datetime
from html import unescape
from html.parser import HTMLParser
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from urllib.parse import urlencode, urljoin, urlsplit

from actas.errors import ActasError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actas.sandbox.media import UploadEntry
    from actas.sandbox.misbehaviour import Endpoint, How
    from actas.sandbox.records import Ledger

SECONDS = 30.0


class SandboxError(ActasError):
    """The sandbox does not answer, or not as asked."""

    code = "sandbox"


class Parameters(TypedDict, total=False):
    """What a kind of misbehaviour needs besides; see ``actas.sandbox.misbehaviour.Rule``."""

    seconds: float
    status: int
    headers: Mapping[str, str]
    body: object


class SandboxControl:
    """Looks into a running sandbox and meddles; safe to share between threads. Every call may raise SandboxError."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")

    def ledger(self) -> Ledger:
        ledger: Ledger = self._call("GET", "ledger")
        return ledger

    def tokens(self) -> list[str]:
        """Every token, code and client secret there ever was: to look for in places where they must not be."""
        tokens: list[str] = self._call("GET", "tokens")["tokens"]
        return tokens

    def misbehave(
        self,
        endpoint: Endpoint,
        how: How,
        *,
        times: int | None = None,
        account: str | None = None,
        **parameters: Unpack[Parameters],
    ) -> str:
        """Put a rule in force for so many requests (None: until cleared) of one username (None: all); its id."""
        rule = {"endpoint": endpoint, "how": how, "times": times, "account": account, **parameters}
        name: str = self._call("POST", "misbehave", rule)["rule"]
        return name

    def behave(self) -> None:
        """Clear all rules; requests that are held stay held."""
        self._call("DELETE", "misbehave")

    def held(self) -> int:
        """How many requests are held right now."""
        held: int = self._call("GET", "held")["held"]
        return held

    def release(self) -> int:
        """Let go of the requests held now; how many."""
        released: int = self._call("POST", "release")["released"]
        return released

    def expire_access(self, account: str | None = None) -> int:
        """Let one username's access tokens, or all, expire now; how many."""
        expired: int = self._call("POST", "expire_access", {"account": account})["expired"]
        return expired

    def kill(self, account: str) -> int:
        """The user withdraws at the provider what was allowed; how many families died."""
        killed: int = self._call("POST", "kill", {"account": account})["killed"]
        return killed

    def settle(self, seconds: float, account: str | None = None) -> None:
        """Let the timeline of one username, or everybody's, show a post only so long after it was made."""
        self._call("POST", "settle", {"seconds": seconds, "account": account})

    def uploads(self, account: str) -> list[UploadEntry]:
        """The uploads of media of one username, oldest first."""
        uploads: list[UploadEntry] = self._call("GET", "uploads")["uploads"]
        return [upload for upload in uploads if upload["account"] == account]

    def process(self, seconds: float, *, fails: bool = False) -> None:
        """Take so long, from now on, to process a GIF or a video that is finalized; and say then that it is bad."""
        self._call("POST", "processing", {"seconds": seconds, "fails": fails})

    def make_grants(self, client_id: str, accounts: Sequence[str]) -> list[dict[str, Any]]:
        """The token endpoint's replies, as if each of these usernames had allowed this client everything."""
        asked = {"client_id": client_id, "accounts": list(accounts)}
        grants: list[dict[str, Any]] = self._call("POST", "grants", asked)["grants"]
        return grants

    def register(self, client_id: str, **client: Any) -> None:
        """Register a client, or register it anew; fields as in ``actas.sandbox.config.Client``."""
        self._call("POST", "clients", {"client_id": client_id, "client": client})

    def put_ahead(self, seconds: float) -> datetime:
        """Put the sandbox's clock so far ahead of this machine's, never back; what it shows now."""
        return datetime.fromisoformat(self._call("POST", "clock", {"ahead_seconds": seconds})["now"])

    def authorize(self, url: str, account: str, *, allow: bool = True) -> str:
        """Do what a user and a browser do with an authorization URL; the callback URL they end up at.

        That is also the way an error comes back to the client (RFC 6749 section 4.1.2.1).

        Raises:
            SandboxError: the sandbox shows an error page, with its words.
        """
        status, location, body = _request("GET", url)
        if status == 200:
            form = _Form()
            form.feed(body)
            fields = form.fields | {"account": account, "decision": "allow" if allow else "deny"}
            status, location, body = _request("POST", urljoin(url, form.action or url), form=fields)
        if status == 302 and location:
            return location
        raise SandboxError(f"the sandbox answers {status}: {_title(body)}")

    def enter_code(self, page: str, user_code: str, account: str, *, allow: bool = True) -> None:
        """Do what a user and a browser do with the code that a device shows (RFC 8628 section 3.3).

        Raises:
            SandboxError: the sandbox shows an error page, with its words.
        """
        status, _, body = _request("GET", page)
        form = _Form()
        form.feed(body)
        if status == 200:
            fields = form.fields | {"user_code": user_code, "account": account}
            fields["decision"] = "allow" if allow else "deny"
            status, _, body = _request("POST", urljoin(page, form.action or page), form=fields)
        if status != 200:
            raise SandboxError(f"the sandbox answers {status}: {_title(body)}")

    def _call(self, method: str, name: str, body: object = None) -> Any:
        status, _, text = _request(method, f"{self.base_url}/_sandbox/{name}", json_body=body)
        if status >= 300:
            raise SandboxError(f"the sandbox answers {status} to {method} {name}: {text}")
        return json.loads(text)


def _title(page: str) -> str:
    title = re.search(r"<title>(.*?)</title>", page)
    return unescape(title[1]) if title else "no page"


class _Form(HTMLParser):
    """The form of the authorization page: its action, and its inputs as they are prefilled."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.action = given.get("action")
        elif tag == "input" and (name := given.get("name")):
            self.fields[name] = given.get("value") or ""


def _request(
    method: str, url: str, *, json_body: object = None, form: Mapping[str, str] | None = None
) -> tuple[int, str | None, str]:
    """Status, Location and body; no redirect is followed, no proxy is asked."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise SandboxError("the sandbox has an http:// address on this machine")
    data, headers = None, {}
    if form is not None:
        data, headers = urlencode(form), {"content-type": "application/x-www-form-urlencoded"}
    elif json_body is not None:
        data, headers = json.dumps(json_body), {"content-type": "application/json"}
    connection = HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    try:
        connection.request(method, f"{parts.path or '/'}?{parts.query}", data, headers)
        reply: HTTPResponse = connection.getresponse()
        return reply.status, reply.headers.get("location"), reply.read().decode()
    except (OSError, HTTPException) as error:
        raise SandboxError(f"the sandbox does not answer at {parts.netloc}: {type(error).__name__}") from None
    finally:
        connection.close()
