"""Whether an app could act at a provider: all that can be found out without acting, and without a user being there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from actas.actions import Actions
from actas.client_auth import Assertions
from actas.clock import Clock
from actas.errors import (
    ActasError,
    ClientRefused,
    GrantDead,
    ProviderBusy,
    ProviderUnavailable,
    SettingsError,
    TokenEndpointError,
    VaultDenied,
    VaultUnavailable,
)
from actas.http import Http, NoReply, NotSent, Reply
from actas.oauth import TokenEndpoint
from actas.providers import Provider, Providers
from actas.records import Grant, GrantStatus
from actas.settings import ClientCredentials, Settings
from actas.stores.database import connect
from actas.stores.grants import Grants
from actas.vault.room import VaultRoom

SECONDS = 10.0

#: Clocks further apart than this make a reset of a limit come too early, or a signed assertion be refused.
MOST_SECONDS_APART = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what came of it; ``-`` is no fault, or nobody can tell from here."""

    state: Literal["ok", "-", "wrong"]
    name: str
    text: str


def examine(settings: Settings, name: str, user: str | None, clock: Clock) -> Iterator[Finding]:
    """What an app, whose settings these are, needs at a provider: one finding for each, in the order of need.

    Raises:
        SettingsError: these are not an app's settings.
        UnknownProvider.
    """
    if settings.app is None:
        raise SettingsError("ACTAS_APP is needed to look at a provider: source the env file of an app's role")
    providers = Providers.load(settings.providers_file)
    with closing(Http()) as http, closing(VaultRoom(settings)) as vault:
        try:
            provider = providers.complete(name, http)
        except ProviderUnavailable as error:
            yield Finding("wrong", "profile", str(error))
            return
        yield Finding("ok", "profile", f"exchanges at {provider.token_url}")
        yield from hosts(provider, http, clock)
        try:
            client = vault.client_credentials(settings.app, name)
            assertions = Assertions.of(vault, settings.app, provider, clock)
        except ActasError as error:
            yield Finding("wrong", "credentials", str(error))
        else:
            yield credentials(provider, client)
            yield token_endpoint(TokenEndpoint(http, provider, client, assertions), clock())
    if user is not None:
        yield from granted(settings, settings.app, provider, user)


def credentials(provider: Provider, client: ClientCredentials) -> Finding:
    """Whether client credentials look like some. Pure."""
    secret = client.client_secret.get_secret_value() if client.client_secret else ""
    for what, value in (("client_id", client.client_id), ("client_secret", secret)):
        if value != value.strip():
            return Finding("wrong", "credentials", f"{what} begins or ends with a blank or a line's end; store it anew")
    if not secret and provider.client_auth in {"basic", "post"}:
        text = f"no client_secret is stored: {provider.name} will take it for a public client, or refuse it"
        return Finding("-", "credentials", text)
    return Finding("ok", "credentials", f"client {client.client_id}")


def hosts(provider: Provider, http: Http, clock: Clock) -> Iterator[Finding]:
    """Whether the provider's hosts are reached, and where an access token's owner is told."""
    for url in dict.fromkeys(_origin(url) for url in (provider.authorize_url, provider.api_url) if url):
        reply = _asked(http, url)
        if reply is None:
            yield Finding("wrong", "network", f"{url} is not reached")
            continue
        apart = _seconds_apart(reply, clock())
        if apart is not None and apart > MOST_SECONDS_APART:
            text = f"{url} is {apart:.0f} s away from this machine's clock; is NTP running?"
            yield Finding("wrong", "clock", text)
        else:
            yield Finding("ok", "network", f"{url} is reached")
    whose = provider.whose_url or ""
    reply = _asked(http, whose)
    if reply is None:
        yield Finding("wrong", "account", f"{whose} is not reached")
    elif reply.status in {400, 401, 403}:
        yield Finding("ok", "account", f"{whose} wants an access token")
    else:
        yield Finding("wrong", "account", f"{whose} answers {reply.status} to whoever has no access token, and not 401")


def token_endpoint(endpoint: TokenEndpoint, now: datetime) -> Finding:
    """Whether the provider knows the client, by its answer to a refresh token that nobody has issued."""
    name = endpoint.provider.name
    made_up = SecretStr(secrets.token_urlsafe(32))
    try:
        endpoint.refresh(made_up, seconds=SECONDS, now=now)
    except GrantDead as error:
        return Finding("ok", "client", f"{name} knows it, and refuses a made-up refresh token ({error.provider_code})")
    except ClientRefused as error:
        return Finding("wrong", "client", f"{name} refuses the app's own client credentials ({error.provider_code})")
    except ProviderBusy:
        return Finding("-", "client", f"{name} answers 429; ask again later")
    except TokenEndpointError as error:
        text = (
            f"{name} refuses a made-up refresh token with {error.provider_code}, which is none of the profile's"
            " fatal_errors: if it says so of a dead one, too, that would not be noticed"
        )
        return Finding("-", "client", text)
    except (NotSent, NoReply, ProviderUnavailable, VaultUnavailable, VaultDenied) as error:  # some proofs Vault signs
        return Finding("wrong", "client", f"{name}'s token endpoint: {error}")
    return Finding("wrong", "client", f"{name} gives tokens for a refresh token that was made up: this is no provider")


def granted(settings: Settings, app: str, provider: Provider, user: str) -> Iterator[Finding]:
    """What a user has granted, and for which actions that is enough."""
    documents = connect(settings.mongodb_url)
    with documents.client:
        grants = Grants(documents).find(app=app, user=user, provider=provider.name)
    if not grants:
        yield Finding("wrong", "grant", f"the user has not connected {provider.name}; actas connect {provider.name}")
    actions = [action for action in Actions().all() if action.provider == provider.name]
    for grant in grants:
        yield _grant(grant)
        may = sorted(action.name for action in actions if action.scopes <= grant.scopes)
        for action in sorted(actions, key=lambda action: action.name):
            if missing := action.scopes - grant.scopes:
                yield Finding("-", action.name, f"needs {' '.join(sorted(missing))} besides")
        yield Finding("ok" if may else "-", "actions", f"granted for: {', '.join(may) or 'none'}")


def _grant(grant: Grant) -> Finding:
    if grant.status is GrantStatus.ACTIVE:
        return Finding("ok", "grant", f"account {grant.account}, connected since {grant.updated_at:%Y-%m-%d %H:%M} UTC")
    cause = f" ({grant.failure.code})" if grant.failure else ""
    return Finding("wrong", "grant", f"account {grant.account} is {grant.status}{cause}: connect again")


def _asked(http: Http, url: str) -> Reply | None:
    try:
        return http.send("GET", url, seconds=SECONDS)
    except NotSent:
        return None
    except NoReply:
        return Reply(0, {}, b"")


def _seconds_apart(reply: Reply, now: datetime) -> float | None:
    """Between its clock and ours, as far as a reply tells (RFC 9110 section 6.6.1)."""
    try:
        return abs((parsedate_to_datetime(reply.headers.get("date", "")) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"
