"""How an app proves at a token endpoint which client it is (RFC 6749 section 2.3, RFC 7523 section 2.2).

There may be several proofs of one client: secrets while one is being changed at the provider, versions of a key while
another is taking its place. They are tried in order, which costs nothing but a request: a server authenticates the
client before it looks at the grant (RFC 6749 section 5.2 has an error of its own for that).
"""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from urllib.parse import quote_plus

from pydantic import SecretStr

from actas.client_keys import ClientKey
from actas.clock import Clock
from actas.ids import new_id
from actas.providers.model import Provider
from actas.settings import ClientCredentials

#: RFC 7523 section 2.2.
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

#: How long an assertion is good for. It is made for one request, and who sees it in a log must come too late.
ASSERTION_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes with one request: fields of its body, or a user and a password (RFC 7617)."""

    fields: Mapping[str, str | SecretStr]
    basic: tuple[str, SecretStr] | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """One of the ways to prove it."""

    #: Tells it from the others, and tells nothing of it.
    mark: str
    #: May ask Vault.
    proof: Callable[[], Proof]


class ClientKeys(Protocol):
    """Vault, as far as it is needed here."""

    def client_key(self, app: str, provider: str) -> ClientKey:
        """An app's key at a provider."""

    def sign_as_client(self, key: ClientKey, data: bytes, *, version: int, algorithm: str) -> str:
        """A signature in base64url (RFC 7515)."""


@dataclass(frozen=True, slots=True)
class Assertions:
    """JWTs that say who an app is at a provider, each for one request, signed in Vault."""

    keys: ClientKeys
    key: ClientKey
    algorithm: str
    clock: Clock

    @classmethod
    def of(cls, keys: ClientKeys, app: str, provider: Provider, clock: Clock) -> Assertions | None:
        """Those of an app at a provider; None where they are not how clients prove themselves.

        Raises:
            NoClientKey: the app has no key there, or one that cannot sign as the provider wants.
            VaultUnavailable, VaultDenied.
        """
        if provider.client_auth != "private_key_jwt":
            return None
        key = keys.client_key(app, provider.name)
        return cls(keys, key, key.algorithm(provider.assertion_algorithm), clock)

    def sign(self, version: int, *, client_id: str, audience: str) -> SecretStr:
        """A JWT as RFC 7523 section 3 asks for.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        now = int(self.clock().timestamp())
        header = {"alg": self.algorithm, "typ": "JWT", "kid": self.key.key_id(version)}
        claims = {"iss": client_id, "sub": client_id, "aud": audience, "jti": new_id(), "iat": now}
        claims["exp"] = now + ASSERTION_SECONDS
        data = b".".join(_encoded(part) for part in (header, claims))
        signature = self.keys.sign_as_client(self.key, data, version=version, algorithm=self.algorithm)
        return SecretStr(f"{data.decode()}.{signature}")


def ways(provider: Provider, client: ClientCredentials, assertions: Assertions | None) -> Iterator[Way]:
    """The ways in which an app can prove itself at a provider, in the order in which they are to be tried."""
    who = {provider.client_id_parameter: client.client_id}
    if provider.client_auth == "private_key_jwt":
        assert assertions is not None  # whoever has such a provider brings them
        for version in sorted(assertions.key.public):  # the oldest first: it is the one that the provider surely knows
            yield Way(assertions.key.key_id(version), _by_assertion(provider, client, assertions, version))
        return
    secrets = [secret for secret in (client.client_secret, *client.other_client_secrets) if secret is not None]
    if provider.client_auth == "none" or not secrets:
        yield Way("", lambda: Proof(who))  # a public client only says who it is (RFC 6749 section 3.2.1)
    elif provider.client_auth == "basic":
        for secret in secrets:
            yield Way(_mark(secret), partial(Proof, {}, _basic(client.client_id, secret)))
    else:
        for secret in secrets:
            yield Way(_mark(secret), partial(Proof, {**who, "client_secret": secret}))


def _by_assertion(
    provider: Provider, client: ClientCredentials, assertions: Assertions, version: int
) -> Callable[[], Proof]:
    audience = provider.issuer if provider.assertion_audience == "issuer" else provider.token_url
    assert audience is not None  # of a complete provider, and the profile's own check

    def proof() -> Proof:
        assertion = assertions.sign(version, client_id=client.client_id, audience=audience)
        return Proof(
            {
                provider.client_id_parameter: client.client_id,
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": assertion,
            }
        )

    return proof


def _basic(client_id: str, secret: SecretStr) -> tuple[str, SecretStr]:
    """RFC 6749 section 2.3.1: form-encode both parts before they go into the header."""
    return quote_plus(client_id), SecretStr(quote_plus(secret.get_secret_value()))


#: A plain digest of a secret that somebody has thought up can be guessed by whoever reads it in an error's report.
_MARKING = os.urandom(32)


def _mark(secret: SecretStr) -> str:
    return hmac.digest(_MARKING, secret.get_secret_value().encode(errors="surrogatepass"), "sha256").hex()


class Taken:
    """Which way each client was last taken by, where there are several: the next request begins with it."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], str] = {}  # a read or a write of one entry needs no lock

    def first(self, url: str, client_id: str, found: list[Way]) -> list[Way]:
        """The same ways, with the one that was taken in front."""
        mark = self._marks.get((url, client_id))
        return sorted(found, key=lambda way: way.mark != mark)

    def note(self, url: str, client_id: str, way: Way) -> None:
        self._marks[url, client_id] = way.mark


#: Of this process; there are as many as it has clients.
TAKEN = Taken()


def _encoded(part: Mapping[str, object]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part, separators=(",", ":")).encode()).rstrip(b"=")
