"""Connecting an account: the app's side of the authorization code flow with PKCE (RFC 6749 section 4.1, RFC 7636)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from actas import oauth
from actas.client_auth import Assertions
from actas.clock import Clock
from actas.errors import (
    AccessDenied,
    ClientRefused,
    ConnectError,
    InvalidRequest,
    InvalidState,
    ProviderUnavailable,
    TokenEndpointError,
)
from actas.http import Http, NoReply, NotSent
from actas.providers import Provider
from actas.settings import ClientCredentials
from actas.stores.connects import Connects
from actas.unshown import Unshown

#: How long a user may take at the provider.
PENDING = timedelta(minutes=10)

#: X wants the code within about 30 s of giving it; the whole of finish_connect stays below that.
SECONDS = 10


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """Where to send the user's browser now."""

    url: str = field(repr=False)  # carries the state
    expires_in: timedelta = PENDING


@dataclass(frozen=True, slots=True)
class Connected:
    """What came out of a finished connection."""

    provider: str
    account: str
    client_id: str
    scopes: frozenset[str]
    tokens: oauth.Tokens


@dataclass(frozen=True, slots=True)
class Connector:
    """One app's connecting, at any provider."""

    app: str
    connects: Connects
    http: Http
    clock: Clock

    def begin(
        self, *, user: str, provider: Provider, client: ClientCredentials, redirect_uri: str, scopes: Iterable[str]
    ) -> ConnectRequest:
        state, salt = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        pkce = _pkce(state, salt)
        scopes = sorted(set(scopes))
        now = self.clock()
        self.connects.put(
            {
                "_id": _key(state),
                "salt": salt,
                "app": self.app,
                "user": user,
                "provider": provider.name,
                "redirect_uri": redirect_uri,
                "scopes": scopes,
                "created_at": now,
                "expires_at": now + PENDING,
            }
        )
        url = oauth.authorization_url(
            provider, client, redirect_uri=redirect_uri, scopes=scopes, state=state, pkce=pkce
        )
        return ConnectRequest(url)

    def take_pending(self, callback_url: str, *, user: str) -> tuple[dict[str, str], dict[str, str | list[str]]]:
        """The callback's parameters, and what ``begin`` kept for them.

        Raises:
            InvalidRequest: this is no callback's URL.
            InvalidState: the state is unknown, used, too old, or another user's.
            AccessDenied: the user said no.
            ConnectError: the provider reports another error.
        """
        query = _parameters(callback_url)
        state = query.get("state")
        if state is None:
            raise InvalidRequest("callback_url has no state: pass the whole URL the browser came back with")
        pending = self.connects.take(_key(state), app=self.app, user=user, now=self.clock())
        if pending is None:
            raise InvalidState
        if (error := query.get("error")) == "access_denied":  # RFC 6749 section 4.1.2.1
            raise AccessDenied(f"{pending['provider']}: the user said no")
        if error is not None:
            raise ConnectError(f"{pending['provider']}: the provider reported an error ({error[:64]!r})")
        if not query.get("code"):
            raise ConnectError("callback_url has no code")
        return query, pending

    def finish(
        self,
        query: dict[str, str],
        pending: dict[str, str | list[str]],
        provider: Provider,
        client: ClientCredentials,
        assertions: Assertions | None = None,
    ) -> Connected:
        """Trade the code for tokens and ask whose account it is.

        Raises:
            ConnectError: the provider did not give tokens, or not the kind that work while the user is away; or it is
                not the provider that answered.
        """
        check_issuer(query.get("iss"), provider)
        verifier = _pkce(query["state"], str(pending["salt"])).verifier
        endpoint = oauth.TokenEndpoint(self.http, provider, client, assertions)
        try:
            tokens = endpoint.exchange_code(
                code=SecretStr(query["code"]),
                verifier=verifier,
                redirect_uri=str(pending["redirect_uri"]),
                seconds=SECONDS,
                now=self.clock(),
            )
            account = self._account(provider, tokens)
        except ClientRefused:
            raise ConnectError(f"{provider.name} refused the app's own client credentials") from None
        except TokenEndpointError as error:
            raise ConnectError(f"{provider.name} gave no tokens ({error.provider_code})") from None
        except (NotSent, NoReply):
            raise ConnectError(f"{provider.name} did not answer") from None
        except ProviderUnavailable as error:
            raise ConnectError(str(error)) from None
        scopes = tokens.scopes if tokens.scopes is not None else frozenset(pending["scopes"])
        return Connected(provider.name, account, client.client_id, scopes, tokens)

    def _account(self, provider: Provider, tokens: oauth.Tokens) -> str:
        headers: dict[str, str | SecretStr] = {
            "Authorization": SecretStr(f"Bearer {tokens.access_token.get_secret_value()}")
        }
        assert provider.whose_url is not None  # of a complete provider
        headers |= provider.api_headers
        reply = self.http.send("GET", provider.whose_url, headers=headers, seconds=SECONDS)
        found = reply.json()
        for name in provider.account_id:
            found = found.get(name) if isinstance(found, dict) else None
        if reply.status >= 300 or not isinstance(found, str | int):
            raise ConnectError(f"{provider.name} did not tell whose account it is (HTTP {reply.status})")
        return str(found)


def _parameters(callback_url: str) -> dict[str, str]:
    if not isinstance(callback_url, str):
        raise InvalidRequest("callback_url must be a string: the whole URL the browser came back with")
    try:
        callback_url.encode()  # half of a surrogate pair has no UTF-8, and so no digest either
        values = Unshown(parse_qs(urlsplit(callback_url).query, keep_blank_values=True))
    except ValueError:
        raise InvalidRequest("callback_url is no URL: pass the whole URL the browser came back with") from None
    if any(len(values[name]) > 1 for name in values):
        # RFC 6749 section 3.1: parameters must not be included more than once.
        raise InvalidRequest("callback_url repeats a parameter")
    return Unshown((name, values[name][0]) for name in values)


def check_issuer(issuer: str | None, provider: Provider) -> None:
    """Make sure that an answer is from where the browser was sent (RFC 9207 section 2.4). Pure.

    Raises:
        ConnectError: it is not; its code is another's, and must not be shown to this provider.
    """
    if issuer is None:
        if provider.says_issuer:
            raise ConnectError(f"the answer does not name its issuer, and {provider.name} always does")
    elif not (issuer == provider.issuer if provider.issuer else _same_place(issuer, provider.authorize_url or "")):
        raise ConnectError(f"the answer is not from {provider.name}, it says, and its code is not for it")


def _same_place(issuer: str, url: str) -> bool:
    """Whether an answer says that it is from where the browser was sent (RFC 9207 section 2.4).

    By scheme, host and port; the path is each provider's own affair.
    """
    try:
        one, other = urlsplit(issuer), urlsplit(url)
        return (one.scheme, one.hostname, one.port) == (other.scheme, other.hostname, other.port)
    except ValueError:
        return False


def _key(state: str) -> str:
    """The state is stored as a digest, so that reading the database does not let one finish another's connection."""
    return hashlib.sha256(state.encode()).hexdigest()


def _pkce(state: str, salt: str) -> oauth.Pkce:
    """A verifier that nobody has in one piece: the state is in the browser only, the salt in the database only."""
    verifier = hmac.digest(state.encode(), salt.encode(), "sha256")
    return oauth.Pkce(SecretStr(urlsafe_b64encode(verifier).rstrip(b"=").decode()))
