"""Connecting an account: the app's side of the authorization code flow with PKCE (RFC 6749 section 4.1, RFC 7636)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from actas import oauth
from actas.accounts import account_of
from actas.clock import Clock
from actas.errors import (
    AccessDenied,
    ActasError,
    ClientRefused,
    ConnectError,
    InvalidRequest,
    InvalidState,
    ProviderUnavailable,
    TokenEndpointError,
    VaultDenied,
    VaultUnavailable,
)
from actas.http import MAX_REPLY_BYTES, NoReply, NotSent, ReplyTooLarge
from actas.providers import Provider
from actas.settings import ClientCredentials
from actas.stores.connects import Connects
from actas.unshown import Unshown

#: How long a user may take at the provider.
PENDING = timedelta(minutes=10)

#: X wants the code within about 30 s of giving it; with asking whose account it is, it stays below that.
SECONDS = 10

#: What an answer may have (RFC 6749 section 4.1.2, RFC 9207); any others are ignored.
ANSWER = ("code", "state", "error", "error_description", "error_uri", "iss", "scope")


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

    def provider_of(self, callback_url: str, *, user: str) -> str:
        """At which provider this was begun; that it is asked uses up nothing.

        Raises:
            InvalidRequest: this is no callback's URL.
            InvalidState: the state is unknown, used, too old, or another user's.
        """
        state = _parameters(callback_url)["state"]
        pending = self.connects.look(_key(state), app=self.app, user=user, now=self.clock())
        if pending is None:
            raise InvalidState
        return str(pending["provider"])

    def finish(self, callback_url: str, *, user: str, endpoint: oauth.TokenEndpoint) -> Connected:
        """Use up the state, trade the code for tokens, and ask whose account it is.

        Raises:
            InvalidRequest, InvalidState: as ``provider_of``.
            AccessDenied: the user said no.
            ConnectError: the provider did not give tokens, or not the kind that work while the user is away; or it is
                not the provider that answered.
        """
        query = _parameters(callback_url)
        pending = self.connects.take(_key(query["state"]), app=self.app, user=user, now=self.clock())
        if pending is None:
            raise InvalidState
        provider = endpoint.provider
        with explained(provider.name):
            error = query.get("error")
            if error is None or "iss" in query:  # who says "no" need not prove it; who says it is another is believed
                check_issuer(query.get("iss"), provider)
            if error == "access_denied":  # RFC 6749 section 4.1.2.1
                raise AccessDenied(f"{provider.name}: the user said no ({error})")
            if error is not None:
                raise ConnectError(f"{provider.name}: the provider reported an error ({oauth.short(error)})")
            tokens = endpoint.exchange_code(
                code=SecretStr(query["code"]),
                verifier=_pkce(query["state"], str(pending["salt"])).verifier,
                redirect_uri=str(pending["redirect_uri"]),
                seconds=SECONDS,
                now=self.clock(),
            )
            return connected(endpoint, tokens, asked=pending["scopes"])


def connected(endpoint: oauth.TokenEndpoint, tokens: oauth.Tokens, *, asked: Iterable[str]) -> Connected:
    """What new tokens connect: whose account, and with which scopes (those asked for, if the reply does not say).

    Raises:
        NotSent, NoReply, ConnectError.
    """
    account = account_of(endpoint.http, endpoint.provider, tokens)
    scopes = tokens.scopes if tokens.scopes is not None else frozenset(asked)
    return Connected(endpoint.provider.name, account, endpoint.client.client_id, scopes, tokens)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Say what an error at a provider means for whoever is connecting, and that they must begin again.

    Raises:
        AccessDenied, ConnectError.
        VaultUnavailable, VaultDenied: it signs what some providers take for a proof of who the client is.
    """
    kind: type[ActasError] = ConnectError
    try:
        yield
    except (ConnectError, VaultUnavailable, VaultDenied) as error:
        kind, what = type(error), str(error)
    except ClientRefused as error:
        what = f"{name} refused the app's own client credentials ({error.provider_code})"
    except TokenEndpointError as error:
        why = str(error) if error.provider_code == oauth.MALFORMED else error.provider_code
        what = f"{name} gave no tokens ({why})"
    except NotSent:
        what = f"{name} cannot be reached"
    except ReplyTooLarge:
        what = f"{name} answered with more than {MAX_REPLY_BYTES:,} bytes"
    except NoReply:
        what = f"{name} did not answer"
    except ProviderUnavailable as error:
        what = str(error)
    else:
        return
    raise kind(f"{what}; nothing was stored, and the user must connect again") from None


def _parameters(callback_url: str) -> dict[str, str]:
    """The parameters of an answer to an authorization request (RFC 6749 sections 4.1.2 and 4.1.2.1).

    Whatever is no such answer is refused before anything is looked up, and uses up nothing.
    """
    if not isinstance(callback_url, str):
        raise InvalidRequest("callback_url must be a string: the whole URL the browser came back with")
    try:
        callback_url.encode()  # half of a surrogate pair has no UTF-8, and so no digest either
        values = Unshown(parse_qs(urlsplit(callback_url).query, keep_blank_values=True))
    except ValueError:
        raise InvalidRequest("callback_url is no URL: pass the whole URL the browser came back with") from None
    if repeated := [name for name in values if len(values[name]) > 1]:
        # RFC 6749 section 3.1: parameters must not be included more than once.
        known = ", ".join(name for name in ANSWER if name in repeated)
        raise InvalidRequest(f"callback_url repeats a parameter: {known or 'one that is none of ours'}")
    if "state" not in values:
        raise InvalidRequest("callback_url has no state: pass the whole URL the browser came back with")
    if not ("error" in values or values.get("code", [""])[0]):
        raise InvalidRequest("callback_url has neither code nor error: pass the whole URL the browser came back with")
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
