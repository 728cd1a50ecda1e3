"""The OAuth requests both sides need: the app when connecting, the worker when exchanging and revoking."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr

from actas.client_auth import TAKEN, Assertions, Way, ways
from actas.clock import to_milliseconds
from actas.errors import ClientRefused, GrantDead, ProviderBusy, ProviderUnavailable, TokenEndpointError
from actas.http import Http, NotSent, Reply
from actas.providers import Provider
from actas.rate_limits import retry_at
from actas.settings import ClientCredentials
from actas.unshown import Unshown

#: Our own code for a reply that is no error and cannot be understood.
MALFORMED = "malformed"

#: Errors of RFC 6749 section 5.2 that blame the client, not the grant: no user must suffer for them; the last is
#: GitHub's word for the first (docs.github.com, "Troubleshooting OAuth app access token request errors").
CLIENT_ERRORS = frozenset({"invalid_client", "unauthorized_client", "incorrect_client_credentials"})


@dataclass(frozen=True, slots=True)
class Tokens:
    """A token endpoint's successful reply (RFC 6749 section 5.1)."""

    access_token: SecretStr
    access_expires_at: datetime
    #: None when the provider keeps the old one in force (RFC 6749 section 6).
    refresh_token: SecretStr | None = None
    #: None when the provider granted exactly what was asked for (RFC 6749 section 3.3).
    scopes: frozenset[str] | None = None
    #: Seconds until the refresh token ends by itself, as far as the reply says so: no RFC has a field for it.
    refresh_expires_in: float | None = None


@dataclass(frozen=True, slots=True)
class Pkce:
    """A code verifier and its S256 challenge (RFC 7636 section 4)."""

    verifier: SecretStr

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.get_secret_value().encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def authorization_url(
    provider: Provider,
    client: ClientCredentials,
    *,
    redirect_uri: str,
    scopes: Iterable[str],
    state: str,
    pkce: Pkce,
) -> str:
    """Where to send the user's browser (RFC 6749 section 4.1.1, RFC 7636 section 4.3)."""
    query = {
        **provider.authorize_parameters,
        "response_type": "code",
        provider.client_id_parameter: client.client_id,
        "redirect_uri": redirect_uri,
        "state": state,
    }
    if scope := " ".join(sorted(scopes)):
        query["scope"] = scope
    if provider.pkce == "S256":
        query |= {"code_challenge": pkce.challenge, "code_challenge_method": "S256"}
    assert provider.authorize_url is not None  # of a complete provider
    joint = "&" if "?" in provider.authorize_url else "?"  # a query of its own must be kept (RFC 6749 section 3.1)
    return f"{provider.authorize_url}{joint}{urlencode(query)}"


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """One app's dealings with one provider's token endpoint; the provider is a complete one."""

    http: Http
    provider: Provider
    client: ClientCredentials
    #: Needed where the provider's ``client_auth`` is private_key_jwt.
    assertions: Assertions | None = None

    def exchange_code(
        self, *, code: SecretStr, verifier: SecretStr, redirect_uri: str, seconds: float, now: datetime
    ) -> Tokens:
        """Trade an authorization code for tokens (RFC 6749 section 4.1.3).

        Raises:
            NotSent, NoReply, ProviderUnavailable, ClientRefused, GrantDead, TokenEndpointError.
        """
        form: dict[str, str | SecretStr] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
        }
        if self.provider.pkce == "S256":
            form["code_verifier"] = verifier
        return read_tokens(self.provider, self._post(self.provider.token_url, form, seconds), now)

    def refresh(self, refresh_token: SecretStr, *, scopes: Iterable[str] = (), seconds: float, now: datetime) -> Tokens:
        """Trade a refresh token for an access token (RFC 6749 section 6): the *exchange*.

        ``scopes``: what was granted, for those providers that want to be told.

        Raises:
            NotSent, NoReply, ProviderUnavailable, ClientRefused, GrantDead, TokenEndpointError.
        """
        form: dict[str, str | SecretStr] = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        if self.provider.scope_at_exchange:
            form["scope"] = " ".join(sorted({*self.provider.base_scopes, *scopes}))
        return read_tokens(self.provider, self._post(self.provider.token_url, form, seconds), now)

    def authorize_device(self, scopes: Iterable[str], *, seconds: float) -> Mapping[str, Any]:
        """Ask for a code that a user enters elsewhere (RFC 8628 section 3.1); the reply's fields (section 3.2).

        Raises:
            NotSent, NoReply, ProviderUnavailable, ClientRefused, TokenEndpointError.
        """
        form: dict[str, str | SecretStr] = {"scope": scope} if (scope := " ".join(sorted(scopes))) else {}
        reply = self._post(self.provider.device_url, form, seconds)
        body = reply.json()
        if reply.status < 300 and isinstance(body, dict) and not isinstance(body.get("error"), str):
            return body
        raise _refusal(self.provider, reply, None, "device endpoint", "code")

    def exchange_device_code(self, device_code: SecretStr, *, seconds: float, now: datetime) -> Tokens:
        """Ask whether the user has allowed it, and for the tokens (RFC 8628 section 3.4).

        Raises:
            NotSent, NoReply, ProviderUnavailable, ClientRefused, GrantDead.
            TokenEndpointError: also with those of section 3.5, which say to go on asking.
        """
        form: dict[str, str | SecretStr] = {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "device_code": device_code,
        }
        return read_tokens(self.provider, self._post(self.provider.token_url, form, seconds), now)

    def revoke(self, token: SecretStr, *, hint: str, seconds: float) -> None:
        """Tell the provider to forget a token (RFC 7009 section 2); an unknown token counts as forgotten.

        Raises:
            NotSent, NoReply, ProviderUnavailable, ClientRefused, TokenEndpointError.
        """
        assert self.provider.revoke_url is not None  # whoever asks has seen to it: saying nothing is not revoking
        form: dict[str, str | SecretStr] = {"token": token, "token_type_hint": hint}
        reply = self._post(self.provider.revoke_url, form, seconds)
        body = reply.json()
        if reply.status >= 300 or (isinstance(body, dict) and isinstance(body.get("error"), str)):
            raise _refusal(self.provider, reply)

    def _post(self, url: str | None, form: dict[str, str | SecretStr], seconds: float) -> Reply:
        """Send it, proving who the client is; where a proof is refused and there is another, once more with that.

        Never after a reply that was lost: what was asked for may have been done. A refused client has spent nothing.

        Raises:
            NotSent, NoReply; VaultUnavailable, VaultDenied (nothing was sent, or what was sent was refused).
        """
        assert url is not None  # of a complete provider
        ends_at = time.monotonic() + seconds
        first, *others = self._ways()
        reply = self._prove(url, form, first, ends_at)
        for way in others:
            if not self._refuses_client(reply):
                break
            TAKEN.note(self._where, self.client.client_id, way)  # its turn, also if no time is left for it
            reply = self._prove(url, form, way, ends_at)
        return reply

    @property
    def _where(self) -> str:
        return self.provider.token_url or ""

    def _ways(self) -> list[Way]:
        found = list(ways(self.provider, self.client, self.assertions))
        return TAKEN.first(self._where, self.client.client_id, found)

    def _prove(self, url: str, form: dict[str, str | SecretStr], way: Way, ends_at: float) -> Reply:
        proof = way.proof()
        seconds = ends_at - time.monotonic()
        if seconds <= 0:
            raise NotSent("no time was left to send it")
        return self.http.send(
            "POST",
            url,
            form={**form, **proof.fields},
            basic_auth=proof.basic,
            headers={"Accept": "application/json"},
            seconds=seconds,
        )

    def _refuses_client(self, reply: Reply) -> bool:
        # Whatever else is said: who has given tokens has used up what they were given for.
        return not _gives(reply.status, reply.json()) and isinstance(_refusal(self.provider, reply), ClientRefused)


def read_tokens(provider: Provider, reply: Reply, now: datetime) -> Tokens:
    """What a token endpoint said. Success is having an access token, not HTTP 200: some send errors with 200.

    Raises:
        ProviderBusy: 429. ProviderUnavailable: 5xx, or a reply that is no OAuth reply at all.
        GrantDead, ClientRefused, TokenEndpointError: as the provider's data tells them apart.
    """
    body = reply.json()
    if _gives(reply.status, body):
        default = provider.default_expires_seconds
        if _lifetime(body.get("expires_in"), default) is None:
            # These tokens exist nowhere else, and where they rotate the old ones are dead: refusing them for this would
            # lose the grant, and a lifetime guessed wrong costs a 401.
            body["expires_in"] = default
        if not isinstance(body.get("scope"), str):
            body["scope"] = None  # the same: what was granted is known from connecting
        return parse_tokens(body, now, provider)
    raise _refusal(provider, reply, now)


def _gives(status: int, body: Any) -> bool:
    return status < 300 and isinstance(body, dict) and isinstance(body.get("access_token"), str)


def parse_tokens(body: Mapping[str, object], now: datetime, provider: Provider) -> Tokens:
    """The fields of RFC 6749 section 5.1, read tolerantly where providers are known to differ.

    Raises:
        TokenEndpointError: a field has an impossible value; the message names it and does not show it.
    """
    body = Unshown(body)  # and no token a local variable: error reporters record those
    for name in ("access_token", "refresh_token", "scope"):
        if not isinstance(body.get(name) or "", str):
            raise TokenEndpointError(f"{name} is not a string", provider_code=MALFORMED)
    for name in ("access_token", "refresh_token"):
        if not _PRINTABLE.fullmatch(body.get(name) or ""):
            raise TokenEndpointError(f"{name} has impossible characters", provider_code=MALFORMED)
    if not body.get("access_token"):
        raise TokenEndpointError("access_token is missing", provider_code=MALFORMED)
    lifetime = _lifetime(body.get("expires_in"), provider.default_expires_seconds)
    if lifetime is None:
        raise TokenEndpointError("expires_in is not a number of seconds", provider_code=MALFORMED)
    return Tokens(
        access_token=SecretStr(body["access_token"]),
        access_expires_at=to_milliseconds(now + timedelta(seconds=lifetime)),
        refresh_token=SecretStr(body["refresh_token"]) if body.get("refresh_token") else None,
        scopes=granted(body.get("scope") or "", provider) or None,  # blanks name none, as nothing does
        refresh_expires_in=_refresh_lifetime(body),
    )


def granted(scope: str, provider: Provider) -> frozenset[str]:
    """The scopes that a token reply names, by the names they are asked for with; their order says nothing."""
    names = (scope.replace(",", " ") if provider.scope_commas else scope).split()
    return frozenset(name.removeprefix(provider.scope_prefix) for name in names)


#: RFC 6749 appendix A.12 and A.17. Anything else would break where it is used, much later.
_PRINTABLE = re.compile("[ -~]*")

#: No access token lives longer than this, whatever is said.
YEAR_SECONDS = 365 * 86400


def _lifetime(expires_in: object, default: int) -> float | None:
    """Seconds, as providers write them: a number, a numeric string, or nothing; None if it is none of these."""
    if expires_in is None:
        return default
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float | str):
        return None
    try:
        seconds = float(expires_in)
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), YEAR_SECONDS) if math.isfinite(seconds) else None


#: GitHub, LinkedIn and TikTok; Keycloak. The first that says a number of seconds counts.
_REFRESH_LIFETIME_FIELDS = ("refresh_token_expires_in", "refresh_expires_in")

#: A refresh token of which a longer life is said has no end that would concern anybody; 100 years.
_ENDLESS_SECONDS = 100 * YEAR_SECONDS


def _refresh_lifetime(body: Mapping[str, object]) -> float | None:
    """Seconds until the refresh token's end; None if nothing sensible is said, or 0: Keycloak's word for no end."""
    for name in _REFRESH_LIFETIME_FIELDS:
        said = body.get(name)
        if isinstance(said, bool) or not isinstance(said, int | float | str):
            continue
        try:
            seconds = float(said)
        except (ValueError, OverflowError):
            continue
        if 0 < seconds <= _ENDLESS_SECONDS:  # false of NaN
            return seconds
    return None


def _refusal(
    provider: Provider,
    reply: Reply,
    now: datetime | None = None,
    endpoint: str = "token endpoint",
    wanted: str = "tokens",
) -> TokenEndpointError | ProviderUnavailable:
    said = f"{provider.name}'s {endpoint} answered {reply.status} and no {wanted}"
    body = reply.json()
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        description = str(body.get("error_description", ""))
        if any(fatal.error == error and fatal.description in description for fatal in provider.fatal_errors):
            return GrantDead(provider_code=short(error))
        if error in CLIENT_ERRORS:
            return ClientRefused(provider_code=short(error))
    if reply.status == 429:
        until = retry_at(reply.headers, provider.rate_limit_headers, now) if now else None
        return ProviderBusy(said, until=until)
    if reply.status >= 500 or not isinstance(error, str):
        return ProviderUnavailable(f"{said} ({reply.kind})")
    return TokenEndpointError(f"{provider.name}'s {endpoint} refused: {short(error)}", provider_code=short(error))


def short(error: str) -> str:
    """A provider's error code as we may show it: words, as all known ones are. What else is there may be a token."""
    return error if _CODE.fullmatch(error) else "unreadable"


_CODE = re.compile("[A-Za-z]{1,24}([_.-][A-Za-z]{1,24}){0,7}")
