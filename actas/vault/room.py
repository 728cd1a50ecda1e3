"""The vault room: all dealings of a running process with Vault (or OpenBao), under the one role it was given.

The key-encryption keys and the signing keys never leave Vault. What this process may ask for is decided there, by the
policies under ``deploy/roles/vault``; this file only asks.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import hvac
import hvac.exceptions
import requests
from pydantic import SecretBytes, SecretStr, ValidationError
from requests.adapters import HTTPAdapter

from actas.client_keys import ClientKey
from actas.errors import (
    ActasError,
    EnvelopeError,
    NoClientKey,
    NotFound,
    SettingsError,
    VaultDenied,
    VaultUnavailable,
)
from actas.settings import ClientCredentials, Settings
from actas.unshown import Unshown, in_clear
from actas.webhooks import BadWebhook, Webhook

TRANSIT, KV, APPROLE = "transit", "kv", "approle"

#: OpenBao refuses requests with more than 1000 JSON strings; a wrapped key is a few.
BATCH = 100

#: Seconds for one request; Vault answers in milliseconds or is in trouble.
TIMEOUT = 5

#: Sign in again after this part of a token's life (Vault's own agent renews at two thirds, too).
RENEW_AT = 2 / 3

#: The policies of a token this young are those of a new one: what it is refused, a new one would be refused, too.
YOUNG_SECONDS = 60

#: RFC 7518 section 3.5: the salt is as long as the hash.
_PSS = {"signature_algorithm": "pss", "salt_length": "hash"}

_NOT_VAULT = "what answers for Vault is not Vault"

T = TypeVar("T")


def kek_name(app: str) -> str:
    return f"actas-kek-{app}"


def signing_key_name(app: str) -> str:
    return f"actas-app-{app}"


def client_key_name(app: str, provider: str) -> str:
    """The dot parts them: neither name can have one, so no app's keys can be taken for another's ("a", "a-b")."""
    return f"actas-client-{app}.{provider}"


def webhook_path(app: str) -> str:
    return f"actas/{app}/webhook"


def key_version(wrapped: str) -> int:
    """The version in a transit ciphertext, ``vault:v<version>:...``.

    Raises:
        EnvelopeError: it is none.
    """
    match wrapped.split(":", 2):
        case ["vault", version, _] if version[:1] == "v" and version[1:].isdigit():
            return int(version[1:])
    raise EnvelopeError("a stored wrapped key is not a transit ciphertext")


class VaultRoom:
    """Thread-safe; make one per process, after any fork. Nothing is sent before the first call."""

    def __init__(
        self, settings: Settings, *, clock: Callable[[], float] = time.monotonic, connections: int = 64
    ) -> None:
        session = requests.Session()
        session.trust_env = False  # no .netrc, no proxy may come between us and Vault
        session.verify = str(settings.vault_ca_file) if settings.vault_ca_file else True
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        # No token, and not None: hvac would then take one from VAULT_TOKEN or ~/.vault-token and send it along.
        self._client = hvac.Client(url=settings.vault_addr, token="", session=session, timeout=TIMEOUT)
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._sign_ins = 0
        self._failures = 0
        self._failure: ActasError = VaultUnavailable()
        self._lease = 0.0
        self._signed_in_at = 0.0
        self._renew_at = 0.0  # on the monotonic clock; 0: sign in first
        if settings.vault_token is not None:
            self._client.token = settings.vault_token.get_secret_value()
            self._renew_at = float("inf")

    def close(self) -> None:
        self._client.session.close()

    # --- data keys ---

    def wrap(self, app: str, keys: Sequence[tuple[str, SecretBytes]]) -> list[str]:
        """Wrap data keys under an app's KEK, each bound to its grant: pairs of (grant id, key), in order.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        items = [
            Unshown({"plaintext": _b64(key.get_secret_value()), "context": _b64(grant.encode())}) for grant, key in keys
        ]
        results = self._batches("encrypt_data", kek_name(app), items)
        with _understood():
            return [str(item["ciphertext"]) for item in results]

    def unwrap(self, app: str, wrapped: Sequence[tuple[str, str]]) -> list[SecretBytes]:
        """Unwrap data keys: pairs of (grant id, wrapped key), in order.

        Raises:
            EnvelopeError: one was wrapped for another grant or app, is damaged, or its key version is retired.
            VaultUnavailable, VaultDenied.
        """
        items = [Unshown({"ciphertext": ciphertext, "context": _b64(grant.encode())}) for grant, ciphertext in wrapped]
        results = self._batches("decrypt_data", kek_name(app), items)
        with _understood():
            return [SecretBytes(base64.b64decode(item["plaintext"])) for item in results]

    def _batches(self, operation: str, key: str, items: list[Unshown]) -> list[Mapping[str, Any]]:
        results: list[Mapping[str, Any]] = []
        for start in range(0, len(items), BATCH):
            chunk = items[start : start + BATCH]
            try:
                reply = self._ask(
                    lambda client, chunk=chunk: getattr(client.secrets.transit, operation)(  # type: ignore[misc]
                        key, None, batch_input=[in_clear(item) for item in chunk], mount_point=TRANSIT
                    )
                )
            except _Malformed:
                raise EnvelopeError("Vault refused a data key: damaged, retired, or bound to another grant") from None
            with _understood():
                results += map(Unshown, reply["data"]["batch_results"])
        # Vault answers some batches with 200 and an error inside an item.
        if len(results) != len(items) or any(item.get("error") for item in results):
            raise EnvelopeError("Vault refused a data key: damaged, retired, or bound to another grant")
        return results

    # --- signatures ---

    def sign(self, app: str, inputs: Sequence[bytes], *, version: int) -> list[str]:
        """Sign with an app's Ed25519 key; returns base64url signatures (RFC 7515), in order.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        signatures: list[str] = []
        for start in range(0, len(inputs), BATCH):
            items = [{"input": _b64(data)} for data in inputs[start : start + BATCH]]
            reply = self._ask(
                lambda client, items=items: client.secrets.transit.sign_data(  # type: ignore[misc]
                    signing_key_name(app),
                    key_version=version,
                    marshaling_algorithm="jws",
                    batch_input=items,
                    mount_point=TRANSIT,
                )
            )
            with _understood():
                signatures += [item["signature"].rsplit(":", 1)[1] for item in reply["data"]["batch_results"]]
        return signatures

    def public_keys(self, key_name: str) -> dict[int, bytes]:
        """The raw Ed25519 public keys of a signing key by version; empty if there is no such key.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        try:
            reply = self._ask(lambda client: client.secrets.transit.read_key(key_name, mount_point=TRANSIT))
        except NotFound:
            return {}
        with _understood():
            data = Unshown(reply["data"])
            retired = data.get("min_decryption_version", 1)  # Vault's own name for the oldest version still honoured
            keys = {int(version): base64.b64decode(key["public_key"]) for version, key in data["keys"].items()}
            return {version: key for version, key in keys.items() if version >= retired}

    # --- client credentials ---

    def client_credentials(self, app: str, provider: str) -> ClientCredentials:
        """What the app is at the provider: from the settings, else from KV ``kv/actas/<app>/<provider>``.

        Raises:
            NotFound: nobody has stored them, or not in the way they are read.
            VaultUnavailable, VaultDenied.
        """
        if (given := self._settings.clients.get(f"{app}/{provider}")) is not None:
            return given
        path = f"actas/{app}/{provider}"
        # Whatever is wrong there, an operator must mend it, and until then the app's jobs wait.
        missing = (
            f"app {app} has no client credentials for {provider};"
            f" store client_id and client_secret in Vault at {KV}/{path}"
        )
        try:
            data = self._kept(path)
        except NotFound:
            raise NotFound(missing) from None
        client_id = data.get("client_id")
        if not isinstance(client_id, str) or not client_id:
            raise NotFound(f"{missing} (client_id is missing there, or is no text)")
        if not isinstance(data.get("client_secret"), str | None):
            raise NotFound(f"{missing} (client_secret there is no text)")
        others = data.get("other_client_secrets") or []
        others = [others] if isinstance(others, str) else others  # what a shell can write is one
        if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
            raise NotFound(f"{missing} (other_client_secrets there is neither a text nor a list of texts)")
        # An empty one is none: a public client.
        secret = SecretStr(data["client_secret"]) if data.get("client_secret") else None
        return ClientCredentials(
            client_id=client_id, client_secret=secret, other_client_secrets=tuple(map(SecretStr, filter(None, others)))
        )

    # --- client keys ---

    def client_key(self, app: str, provider: str) -> ClientKey:
        """The public half of the key that an app proves itself with at a provider.

        Raises:
            NoClientKey: it has none.
            VaultUnavailable, VaultDenied.
        """
        name = client_key_name(app, provider)
        try:
            reply = self._ask(lambda client: client.secrets.transit.read_key(name, mount_point=TRANSIT))
        except NotFound:
            raise NoClientKey(
                f"app {app} has no key for {provider}, whose client_auth is private_key_jwt; make one, and register it"
                f" there: actas keys client {app} {provider}"
            ) from None
        with _understood():
            data = reply["data"]
            retired = data.get("min_decryption_version", 1)
            versions = {int(version): found for version, found in data["keys"].items()}
            # Of a symmetric key Vault shows times.
            public = {
                version: str(found["public_key"])
                for version, found in versions.items()
                if version >= retired and isinstance(found, dict)
            }
            return ClientKey(name, str(data["type"]), public)

    def sign_as_client(self, key: ClientKey, data: bytes, *, version: int, algorithm: str) -> str:
        """Sign a client assertion; a signature in base64url (RFC 7515).

        Raises:
            VaultUnavailable, VaultDenied.
        """
        how = {"RS256": {"signature_algorithm": "pkcs1v15"}, "PS256": _PSS}.get(algorithm, {})
        reply = self._ask(
            lambda client: client.secrets.transit.sign_data(
                key.name,
                _b64(data),
                key_version=version,
                hash_algorithm="sha2-256",  # Ed25519 has its own, and passes over this
                marshaling_algorithm="jws",
                mount_point=TRANSIT,
                **how,
            )
        )
        with _understood():
            return str(reply["data"]["signature"].rsplit(":", 1)[1])

    # --- webhooks ---

    def webhook(self, app: str) -> Webhook | None:
        """Where an app wants its events: from the settings, else from KV ``kv/actas/<app>/webhook``; None: nowhere.

        Raises:
            BadWebhook: what is stored is of no use.
            VaultUnavailable, VaultDenied.
        """
        if (given := self._settings.webhooks.get(app)) is not None:
            return given
        try:
            data = self._kept(webhook_path(app))
        except NotFound:
            return None
        fields = ("url", "secret", "previous")
        try:
            return Webhook.model_validate({name: _secret(data[name]) for name in fields if data.get(name)})
        except (ValidationError, TypeError):
            raise BadWebhook(f"the webhook stored at {KV}/{webhook_path(app)} is of no use") from None

    def _kept(self, path: str) -> Unshown:
        """What KV keeps there.

        Raises:
            NotFound: nothing.
            VaultUnavailable, VaultDenied.
        """
        reply = self._ask(
            lambda client: client.secrets.kv.v2.read_secret_version(path, mount_point=KV, raise_on_deleted_version=True)
        )
        with _understood():
            return Unshown(reply["data"]["data"])

    # --- signing in ---

    def check(self) -> None:
        """Make sure Vault is there, unsealed, and knows us.

        Raises:
            VaultUnavailable: unreachable or sealed.
            SettingsError: the credentials are wrong.
        """
        try:
            self._ask(lambda client: client.auth.token.lookup_self())
        except VaultDenied as error:
            raise SettingsError(f"Vault does not accept this process's credentials: {error}") from None

    def _ask(self, call: Callable[[hvac.Client], T]) -> T:
        """Make one call, signed in; after a 403 sign in anew and repeat it once, if that can make a difference.

        A 403 is either an expired token or a refusal by policy, and only a fresh token tells which. If that has ended,
        too (somebody is just revoking all there are, which takes its time), it is no refusal.
        """
        self._signed_in(lambda: self._clock() >= self._renew_at, renew=True)
        seen = self._sign_ins
        try:
            return _translated(lambda: call(self._client))
        except _Malformed:
            raise
        except VaultDenied:
            if self._settings.vault_token is not None or self._is_refusal(seen):
                raise
            asked_with = seen  # another thread may have seen the same 403, and been faster
            self._signed_in(lambda: self._sign_ins == asked_with, renew=False)
        seen = self._sign_ins
        try:
            return _translated(lambda: call(self._client))
        except _Malformed:
            raise
        except VaultDenied:
            if self._is_known() and self._sign_ins == seen:
                raise
            raise VaultUnavailable("Vault ended this process's token right after it had signed in") from None

    def _signed_in(self, due: Callable[[], bool], *, renew: bool) -> None:
        """Sign in, or renew, if that is due: one thread tries, and those who waited for it share its failure, too.

        A Vault that hangs would else keep them for a timeout each, one after the other.
        """
        if not due():
            return
        seen = self._failures
        with self._lock:
            if not due():
                return
            if self._failures != seen:
                raise type(self._failure)(str(self._failure))
            try:
                if not renew or not self._renewed():
                    self._sign_in()
            except ActasError as error:
                self._failures, self._failure = self._failures + 1, error
                raise

    def _is_refusal(self, seen: int) -> bool:
        """Whether a 403 is the policy's word already; else each refusal would cost Vault a sign-in."""
        young = self._clock() - self._signed_in_at < YOUNG_SECONDS
        return young and self._is_known() and self._sign_ins == seen

    def _is_known(self) -> bool:
        try:
            _translated(self._client.auth.token.lookup_self)
        except VaultDenied:
            return False
        return True

    def _renewed(self) -> bool:
        """Renew; near its maximum a token's renewal silently returns a shorter lease, and then a new one is due."""
        if not self._sign_ins:
            return False
        try:
            reply = _translated(self._client.auth.token.renew_self)
        except VaultDenied:
            return False
        with _understood():
            if reply["auth"]["lease_duration"] < self._lease:
                return False
        self._renew_at = self._clock() + self._lease * RENEW_AT
        return True

    def _sign_in(self) -> None:
        role, secret = self._settings.vault_role_id, self._settings.vault_secret_id
        assert role is not None
        assert secret is not None
        login = self._client.auth.approle.login
        try:
            reply = _translated(lambda: login(role, secret.get_secret_value(), use_token=False, mount_point=APPROLE))
        except VaultDenied:
            raise _CannotSignIn("the AppRole's role id or secret id is wrong or was withdrawn") from None
        with _understood():
            self._client.token = reply["auth"]["client_token"]
            self._lease = float(reply["auth"]["lease_duration"])
        self._renew_at = self._clock() + (self._lease * RENEW_AT or float("inf"))
        self._signed_in_at = self._clock()
        self._sign_ins += 1


class _CannotSignIn(VaultDenied):
    """Vault does not know this process, whatever it wants."""


class _Malformed(VaultDenied):
    """Vault refused what was asked (400): it is damaged, or does not fit the key."""


@contextmanager
def _understood() -> Iterator[None]:
    """Reading a reply: one that has another shape than Vault's is somebody else's."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError):
        raise VaultUnavailable(_NOT_VAULT) from None


def _translated(call: Callable[[], T]) -> T:
    """Let only errors out whose text we wrote: hvac's repeat what was sent, and requests' leak unwrapped."""
    try:
        reply = call()
    except hvac.exceptions.Forbidden:
        raise VaultDenied from None
    except hvac.exceptions.InvalidPath:
        raise NotFound from None
    except hvac.exceptions.InvalidRequest:
        raise _Malformed from None
    # requests' own errors are OSErrors; but it also raises plain ones, and urllib3's are ValueErrors
    except (hvac.exceptions.VaultError, OSError, ValueError) as error:
        raise VaultUnavailable(f"Vault is unreachable, sealed or in trouble ({type(error).__name__})") from None
    # Whatever is asked for here is in one of the two. Else it is a proxy's page, or another service.
    if not isinstance(reply, dict) or not (isinstance(reply.get("data"), dict) or isinstance(reply.get("auth"), dict)):
        del reply  # it is not to be seen in this frame
        raise VaultUnavailable(_NOT_VAULT)
    return cast("T", Unshown(reply))  # it may hold a data key, a client secret, our own token


def _secret(value: Any) -> SecretStr:
    if not isinstance(value, str):  # what stands there is what somebody typed
        raise TypeError
    return SecretStr(value)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
