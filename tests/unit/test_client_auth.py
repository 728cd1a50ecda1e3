"""How an app proves who it is: client assertions (RFC 7523), and several proofs while one takes another's place."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from pydantic import SecretStr

from actas.client_auth import ASSERTION_SECONDS, ASSERTION_TYPE, Assertions, Taken, Way, ways
from actas.client_keys import ALGORITHMS, ClientKey
from actas.errors import ClientRefused, GrantDead, NoClientKey, TokenEndpointError, VaultUnavailable
from actas.examining import token_endpoint
from actas.http import Http, NoReply, NotSent
from actas.oauth import TokenEndpoint
from actas.providers import BUILT_IN, Provider
from actas.settings import ClientCredentials
from tests.unit.peer import Peer, http_reply

NOW = datetime(2026, 11, 23, 9, 0, 0, 500_000, UTC)
X = BUILT_IN["x"]
ISSUER = "https://x.com"

GOOD = http_reply(200, b'{"access_token": "a"}')
REFUSED = http_reply(401, b'{"error": "invalid_client"}')


@pytest.fixture
def http():
    http = Http()
    yield http
    http.close()


@pytest.fixture
def answering(peer) -> Callable[..., Peer]:
    """A peer that gives these replies, one after the other; bytes, or what becomes of the connection."""

    def make(*replies: bytes | Callable[..., None]) -> Peer:
        left = list(replies)

        def answer(connection) -> None:
            reply = left.pop(0)
            connection.sendall(reply) if isinstance(reply, bytes) else reply(connection)

        return peer(answer)

    return make


# --- keys as Vault has them ---


class Vault:
    """Signs with keys of its own, as transit does, and shows what transit shows of them."""

    def __init__(self, kind: str, versions: int = 1) -> None:
        self.kind = kind
        self.keys = {version: made(kind) for version in range(1, versions + 1)}
        self.away = False

    def client_key(self, app: str, provider: str) -> ClientKey:
        public = {version: shown(key) for version, key in self.keys.items()}
        return ClientKey(f"actas-client-{app}.{provider}", self.kind, public)

    def sign_as_client(self, key: ClientKey, data: bytes, *, version: int, algorithm: str) -> str:
        if self.away:
            raise VaultUnavailable
        header, payload = (base64.urlsafe_b64decode(part + b"==") for part in data.split(b"."))
        token = jws.serialize_compact(json.loads(header), payload, self.keys[version], algorithms=[algorithm])
        signed, _, signature = token.rpartition(".")
        assert signed.encode() == data
        return signature


RSA = RSAKey.generate_key(2048)


def made(kind: str) -> Any:
    if kind == "ed25519":
        return OKPKey.generate_key("Ed25519")
    return ECKey.generate_key("P-256") if kind == "ecdsa-p256" else RSA


def shown(key: Any) -> str:
    if isinstance(key, OKPKey):
        return base64.b64encode(base64.urlsafe_b64decode(key.as_dict(private=False)["x"] + "=")).decode()
    return key.as_pem(private=False).decode()


def provider(url: str, **changed: Any) -> Provider:
    asked = {"token_url": f"{url}/token", "revoke_url": f"{url}/revoke", "client_auth": "private_key_jwt"}
    return X.model_copy(update=asked | changed)


def endpoint(http: Http, provider: Provider, vault: Any = None, **credentials: Any) -> TokenEndpoint:
    client = ClientCredentials(client_id="c", **credentials)
    assertions = Assertions.of(vault, "blog", provider, lambda: NOW) if vault else None
    return TokenEndpoint(http, provider, client, assertions)


def refresh(endpoint: TokenEndpoint, seconds: float = 5) -> str:
    return endpoint.refresh(SecretStr("r"), seconds=seconds, now=NOW).access_token.get_secret_value()


def forms(there: Peer) -> list[dict[str, str]]:
    return [dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode())) for request in there.requests]


def read(assertion: str, vault: Vault) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, verified with what would be registered at the provider."""
    keys = KeySet.import_key_set(vault.client_key("blog", "x").jwk_set())
    verified = jws.deserialize_compact(assertion, keys, algorithms=[a for each in ALGORITHMS.values() for a in each])
    return verified.headers(), json.loads(verified.payload)


# EdDSA: RFC 9864 has another name for it, and servers still say this one.
eddsa = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")


@eddsa
@pytest.mark.parametrize(
    ("kind", "wanted", "algorithm"),
    [
        ("ecdsa-p256", None, "ES256"),
        ("ecdsa-p256", "ES256", "ES256"),
        ("rsa-2048", None, "RS256"),
        ("rsa-2048", "PS256", "PS256"),
        ("ed25519", None, "EdDSA"),
        ("ed25519", "Ed25519", "Ed25519"),
    ],
)
def test_an_assertion_is_what_rfc_7523_asks_for_and_verifies_with_the_registered_set(
    http, peer, kind, wanted, algorithm
):
    there, vault = peer(200, b'{"access_token": "a"}'), Vault(kind)
    assert refresh(endpoint(http, provider(there.url, assertion_algorithm=wanted), vault)) == "a"
    (form,) = forms(there)
    header, claims = read(form.pop("client_assertion"), vault)
    assert form == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "client_id": "c",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
    assert "authorization" not in there.headers
    assert header == {"alg": algorithm, "typ": "JWT", "kid": vault.keys[1].thumbprint()}
    assert claims.pop("jti")
    issued_at = int(NOW.timestamp())
    assert claims == {
        "iss": "c",
        "sub": "c",
        "aud": f"{there.url}/token",
        "iat": issued_at,
        "exp": issued_at + ASSERTION_SECONDS,
    }
    assert ASSERTION_SECONDS <= 60


def test_each_request_has_an_assertion_of_its_own_and_no_secret(http, peer):
    there, vault = peer(200, b'{"access_token": "a"}'), Vault("ecdsa-p256")
    client = endpoint(http, provider(there.url), vault, client_secret=SecretStr("left over"))
    refresh(client)
    refresh(client)
    client.exchange_code(code=SecretStr("c"), verifier=SecretStr("v"), redirect_uri="https://a/", seconds=5, now=NOW)
    client.revoke(SecretStr("r"), hint="refresh_token", seconds=5)
    said = [read(form["client_assertion"], vault)[1] for form in forms(there)]
    assert len({claims["jti"] for claims in said}) == 4
    # also where something is revoked: it is the authorization server that it is for
    assert {claims["aud"] for claims in said} == {f"{there.url}/token"}
    assert all(b"left" not in request for request in there.requests)


def test_an_assertion_can_be_for_the_issuer(http, peer):
    there, vault = peer(200, b'{"access_token": "a"}'), Vault("ecdsa-p256")
    profile = provider(there.url, assertion_audience="issuer", issuer=ISSUER, client_id_parameter="client_key")
    refresh(endpoint(http, profile, vault))
    (form,) = forms(there)
    assert read(form["client_assertion"], vault)[1]["aud"] == ISSUER
    assert (form["client_key"], form["client_assertion_type"]) == ("c", ASSERTION_TYPE)
    assert "client_id" not in form


def test_where_vault_is_sealed_nothing_is_sent(http, peer):
    there, vault = peer(200, b'{"access_token": "a"}'), Vault("ecdsa-p256")
    client = endpoint(http, provider(there.url), vault)
    vault.away = True
    with pytest.raises(VaultUnavailable):
        refresh(client)
    assert there.requests == []


@pytest.mark.parametrize(
    ("kind", "wanted", "said"),
    [
        ("ecdsa-p256", "PS256", "assertion_algorithm is PS256.*signs ES256"),
        ("rsa-4096", "ES256", "signs RS256 or PS256"),
        ("ed25519", "RS256", "signs EdDSA or Ed25519"),
        ("aes256-gcm96", None, "of type aes256-gcm96"),
        ("ecdsa-p521", None, "of type ecdsa-p521"),
    ],
)
def test_a_key_that_cannot_sign_as_the_provider_wants_is_named(kind, wanted, said):
    with pytest.raises(NoClientKey, match=rf"Vault's key actas-client-a\.x|{said}") as caught:
        ClientKey("actas-client-a.x", kind, {}).algorithm(wanted)
    assert "actas-client-a.x" in str(caught.value)


@pytest.mark.parametrize("kind", ["ecdsa-p256", "rsa-2048", "ed25519"])
def test_the_registered_set_is_public_and_has_all_versions(kind):
    vault = Vault(kind, versions=2)
    key = vault.client_key("a", "x")
    (first, second) = key.jwk_set()["keys"]
    assert [first["kid"], second["kid"]] == [key.key_id(1), key.key_id(2)]
    assert {"d", "p", "q", "dp", "dq", "qi", "k"} & (first | second).keys() == set()
    assert first["use"] == "sig"
    assert first.get("alg") == ("ES256" if kind == "ecdsa-p256" else None)  # where there is a choice it is left open


def test_other_clients_need_no_key_of_vaults():
    for way in ("basic", "post", "none"):
        assert Assertions.of(None, "a", X.model_copy(update={"client_auth": way}), lambda: NOW) is None


# --- several proofs ---

SECRETS = {"client_secret": SecretStr("old"), "other_client_secrets": (SecretStr("new: +%é"), SecretStr("newest"))}


def secrets(there: Peer, how: str) -> list[str]:
    """The secrets that were shown, in order."""
    if how == "post":
        return [form["client_secret"] for form in forms(there)]
    found = []
    for request in there.requests:
        (line,) = [line for line in request.split(b"\r\n") if line.lower().startswith(b"authorization: ")]
        found.append(unquote_plus(base64.b64decode(line.split()[2]).decode().partition(":")[2]))
    return found


both = pytest.mark.parametrize("how", ["basic", "post"])


@both
def test_a_refused_secret_is_followed_by_the_next_and_what_works_is_first_from_then_on(http, answering, how):
    there = answering(REFUSED, GOOD, GOOD, GOOD)
    client = endpoint(http, provider(there.url, client_auth=how), **SECRETS)
    assert [refresh(client), refresh(client)] == ["a", "a"]
    client.revoke(SecretStr("r"), hint="refresh_token", seconds=5)
    assert secrets(there, how) == ["old", "new: +%é", "new: +%é", "new: +%é"]
    assert {form.get("refresh_token") or form["token"] for form in forms(there)} == {"r"}


@both
def test_where_the_old_one_is_put_away_its_memory_is_of_no_account(http, answering, how):
    there = answering(REFUSED, GOOD, GOOD, GOOD)
    profile = provider(there.url, client_auth=how)
    refresh(endpoint(http, profile, **SECRETS))
    refresh(endpoint(http, profile, client_secret=SecretStr("new: +%é")))
    refresh(endpoint(http, profile, client_secret=SecretStr("another")))
    assert secrets(there, how) == ["old", "new: +%é", "new: +%é", "another"]


@both
def test_if_all_are_refused_the_client_is(http, answering, how):
    there = answering(REFUSED, REFUSED, REFUSED)
    with pytest.raises(ClientRefused):
        refresh(endpoint(http, provider(there.url, client_auth=how), **SECRETS))
    assert secrets(there, how) == ["old", "new: +%é", "newest"]


def test_who_has_given_tokens_is_not_asked_again_whatever_else_is_said(http, answering):
    """A refresh token that was for one use is used up."""
    there = answering(http_reply(200, b'{"access_token": "a", "error": "invalid_client"}'), REFUSED, REFUSED)
    assert refresh(endpoint(http, provider(there.url, client_auth="post"), **SECRETS)) == "a"
    assert len(there.requests) == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (lambda connection: connection.close(), NoReply),
        (http_reply(400, b'{"error": "invalid_grant"}'), GrantDead),
        (http_reply(400, b'{"error": "invalid_scope"}'), TokenEndpointError),
    ],
    ids=["no reply", "a dead grant", "another refusal"],
)
def test_whatever_is_no_refusal_of_the_client_is_not_repeated(http, answering, reply, error):
    """Above all not after a lost reply: what was asked for may have been done, and the token be used."""
    there = answering(reply, GOOD)
    with pytest.raises(error):
        refresh(endpoint(http, provider(there.url, client_auth="basic"), **SECRETS))
    assert len(there.requests) == 1


@pytest.mark.parametrize(
    ("status", "code"), [(401, "unauthorized_client"), (400, "invalid_client"), (200, "incorrect_client_credentials")]
)
def test_a_client_is_refused_in_several_words(http, answering, status, code):
    """The last are GitHub's, and come with 200."""
    there = answering(http_reply(status, json.dumps({"error": code}).encode()), GOOD)
    assert refresh(endpoint(http, provider(there.url, client_auth="post"), **SECRETS)) == "a"


def test_all_tries_share_the_time_and_the_next_request_goes_on_where_it_ended(http, answering, monkeypatch):
    there = answering(REFUSED, GOOD)
    clock = iter([0.0, 1.0, 5.0, 0.0, 1.0])  # the refusal came when five seconds were over
    monkeypatch.setattr("actas.oauth.time", SimpleNamespace(monotonic=lambda: next(clock)))
    client = endpoint(http, provider(there.url, client_auth="post"), **SECRETS)
    with pytest.raises(NotSent):
        refresh(client)
    assert refresh(client) == "a"
    assert secrets(there, "post") == ["old", "new: +%é"]


def test_while_a_key_takes_anothers_place_the_older_one_is_tried_first(http, answering):
    """It is the one that the provider surely has; and when it is taken off there, the new one is used at once."""
    vault = Vault("ecdsa-p256", versions=2)
    there = answering(GOOD, REFUSED, GOOD, GOOD)
    client = endpoint(http, provider(there.url), vault)
    assert [refresh(client), refresh(client), refresh(client)] == ["a", "a", "a"]
    kids = [read(form["client_assertion"], vault)[0]["kid"] for form in forms(there)]
    old, new = (vault.keys[version].thumbprint() for version in (1, 2))
    assert kids == [old, old, new, new]


def test_what_one_client_was_taken_by_says_nothing_of_another():
    taken, a, b = Taken(), Way("a", lambda: None), Way("b", lambda: None)
    taken.note("https://x/token", "c", b)
    assert taken.first("https://x/token", "c", [a, b]) == [b, a]
    assert taken.first("https://x/token", "d", [a, b]) == [a, b]
    assert taken.first("https://y/token", "c", [a, b]) == [a, b]


def test_what_tells_secrets_apart_does_not_let_anybody_guess_them():
    """It stands in frames that error reporters print; a plain digest is guessed as soon as the secret is."""
    client = ClientCredentials(client_id="c", client_secret=SecretStr("summer2026"))
    (way,) = ways(BUILT_IN["x"], client, None)
    assert len(way.mark) == 64
    for name in sorted(hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}):
        assert hashlib.new(name, b"summer2026").hexdigest() not in repr(way)


def test_doctor_says_that_a_proof_could_not_be_signed(http, peer):
    """It is what the role may do, or Vault, that must be mended; nobody has asked the provider."""
    vault = Vault("ecdsa-p256")
    client = endpoint(http, provider(peer(200).url), vault)
    vault.away = True
    found = token_endpoint(client, NOW)
    assert (found.state, found.name) == ("wrong", "client")
    assert "x's token endpoint: Vault" in found.text
