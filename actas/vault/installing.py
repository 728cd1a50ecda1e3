"""What the installer does in Vault (or OpenBao): mounts, policies, AppRoles, keys. Root-equivalent, and rarely run.

Everything here looks first and changes only what is not yet so; run again, also after a half-done run, it ends in the
same state.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import requests
from pydantic import SecretStr, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from actas.errors import ActasError, NotFound, SettingsError, VaultDenied, VaultUnavailable
from actas.installing import role_files
from actas.settings import ClientCredentials, holds_certificates
from actas.vault.room import APPROLE, KV, TRANSIT, kek_name, signing_key_name, webhook_path
from actas.webhooks import Webhook

ROLES = ("worker", "scheduler", "operator")

#: Seconds for one request. Storage of a fresh Vault may still be busy electing its leader.
TIMEOUT = 15

#: A service token, renewed by its process (actas.vault.room) and replaced by a new login after a day at the latest.
TOKEN_TTL, TOKEN_MAX_TTL = "1h", "24h"

_APP = "app-"

_KEK = {"type": "aes256-gcm96", "derived": True}
_SIGNING_KEY = {"type": "ed25519", "derived": False}
#: No way for a key to leave Vault, now or by a later `config`: exportable cannot be undone, so it is checked, too.
_NEVER_LEAVES = {"exportable": False, "allow_plaintext_backup": False}


class VaultInstaller:
    """An open, checked connection with the installer's token."""

    def __init__(self, addr: str, token: SecretStr) -> None:
        """Connect and check.

        Raises:
            SettingsError: VAULT_CACERT is of no use.
            VaultUnavailable: unreachable, not initialised, or sealed.
            VaultDenied: the token is not valid.
        """
        session = requests.Session()
        session.trust_env = False  # no .netrc, no proxy may come between us and Vault
        session.verify = _authority()
        self._addr = addr
        self._vault = hvac.Client(url=addr, token=token.get_secret_value(), session=session, timeout=TIMEOUT)
        with _translated("answer"):
            status = self._vault.sys.read_seal_status()
        if not status["initialized"]:
            raise VaultUnavailable(f"Vault at {addr} is not initialised; run `vault operator init`")
        if status["sealed"]:
            raise VaultUnavailable(f"Vault at {addr} is sealed; run `vault operator unseal`")
        try:
            with _translated("look up the token"):
                self._vault.auth.token.lookup_self()
        except VaultDenied:
            raise VaultDenied("Vault does not accept VAULT_TOKEN: expired, revoked, or another Vault's") from None

    # --- once for all ---

    def prepare(self) -> None:
        """Mounts, policies and AppRoles of all roles, those of the apps that are there already included.

        Raises:
            SettingsError: a mount path is taken by something else.
            VaultUnavailable, VaultDenied.
        """
        self._mount(TRANSIT, "transit")
        self._mount(KV, "kv", {"version": "2"})
        with _translated("enable AppRole"):
            methods = self._vault.sys.list_auth_methods()["data"]
            if (taken := methods.get(f"{APPROLE}/")) is None:
                self._vault.sys.enable_auth_method("approle", path=APPROLE)
            elif taken["type"] != "approle":
                raise SettingsError(
                    f"Vault's auth/{APPROLE}/ is of type {taken['type']}, and actas needs AppRole there"
                )
        for role in ROLES:
            self._role(role, role_files.read("vault", f"{role}.hcl"))
        for app in self.apps():
            self._app_role(app)
        self._operator_policy()

    def _mount(self, path: str, kind: str, options: dict[str, str] | None = None) -> None:
        with _translated(f"mount {path}/"):
            taken = self._vault.sys.list_mounted_secrets_engines()["data"].get(f"{path}/")
            if taken is None:
                self._vault.sys.enable_secrets_engine(kind, path=path, options=options)
                return
        if taken["type"] != kind or (options and (taken["options"] or {}).get("version") != options["version"]):
            wanted = f"{kind} (version 2)" if options else kind
            raise SettingsError(f"Vault's {path}/ is something else, and actas needs the secrets engine {wanted} there")

    def _role(self, role: str, policy: str) -> None:
        name = f"actas-{role}"
        with _translated(f"write policy and AppRole {name}"):
            self._vault.sys.create_or_update_policy(name, policy)
            # The secret id lives until it is replaced (remove the role's env file and run `actas init`): services
            # restart and sign in again at any hour, and one that had expired would stop every job. What is bounded is
            # the token, in time; bind it to addresses by hand (token_bound_cidrs) where addresses are stable.
            self._vault.auth.approle.create_or_update_approle(
                name,
                token_policies=[name],
                token_type="service",  # noqa: S106 - a kind of token, not one
                token_ttl=TOKEN_TTL,
                token_max_ttl=TOKEN_MAX_TTL,
                bind_secret_id=True,
                secret_id_ttl="0",  # noqa: S106 - a duration
                secret_id_num_uses=0,
                mount_point=APPROLE,
            )

    # --- apps ---

    def apps(self) -> list[str]:
        """Names of the apps that have an AppRole.

        Raises:
            NotFound: actas is not installed here.
            VaultUnavailable, VaultDenied.
        """
        try:
            with _translated("list AppRoles"):
                names: list[str] = self._vault.auth.approle.list_roles(mount_point=APPROLE)["data"]["keys"]
        except NotFound:
            names = []
        if "actas-worker" not in names:
            raise NotFound("actas is not installed in this Vault yet; run `actas init` first")
        prefix = f"actas-{_APP}"
        return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))

    def add_app(self, app: str) -> None:
        """Make an app's KEK, signing key, policy and AppRole.

        Raises:
            NotFound: actas is not installed here.
            SettingsError: a key of that name exists and is of another kind.
            VaultUnavailable, VaultDenied.
        """
        self.apps()
        self._key(kek_name(app), _KEK)
        self._key(signing_key_name(app), _SIGNING_KEY)
        self._app_role(app)
        self._operator_policy()

    def _app_role(self, app: str) -> None:
        self._role(_APP + app, role_files.read("vault", "app.hcl", app=app))

    def _operator_policy(self) -> None:
        parts = [role_files.read("vault", "operator-app.hcl", app=app) for app in self.apps()]
        with _translated("write policy actas-operator"):
            text = role_files.read("vault", "operator.hcl") + "".join(parts)
            self._vault.sys.create_or_update_policy("actas-operator", text)

    def _key(self, name: str, wanted: dict[str, Any]) -> None:
        wanted = wanted | _NEVER_LEAVES
        transit = self._vault.secrets.transit
        try:
            with _translated(f"read key {name}"):
                there = transit.read_key(name, mount_point=TRANSIT)["data"]
        except NotFound:
            with _translated(f"make key {name}"):
                transit.create_key(
                    name,
                    key_type=wanted["type"],
                    mount_point=TRANSIT,
                    **{option: value for option, value in wanted.items() if option != "type"},
                )
            return
        wrong = [f"{option} is {there.get(option)}" for option, value in wanted.items() if there.get(option) != value]
        if wrong:
            raise SettingsError(f"Vault has a key {name} already, and it is not fit for actas: {', '.join(wrong)}")

    # --- credentials ---

    def credentials(self, role: str, role_id: str | None, secret_id: SecretStr | None) -> tuple[str, SecretStr]:
        """Return role id and secret id of a role: the given ones while they work, else new ones, and only those.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        if role_id and secret_id and self._can_sign_in(role_id, secret_id):
            return role_id, secret_id
        name = f"actas-{role}"
        approle = self._vault.auth.approle
        with _translated(f"make a secret id for {name}"):
            current: str = approle.read_role_id(name, mount_point=APPROLE)["data"]["role_id"]
            for accessor in self._secret_ids(name):  # whoever lost an env file does not know who has it now
                approle.destroy_secret_id_accessor(name, accessor, mount_point=APPROLE)
            made: str = approle.generate_secret_id(name, mount_point=APPROLE)["data"]["secret_id"]
        return current, SecretStr(made)

    def _secret_ids(self, name: str) -> list[str]:
        try:
            keys: list[str] = self._vault.auth.approle.list_secret_id_accessors(name, mount_point=APPROLE)["data"][
                "keys"
            ]
        except hvac.exceptions.InvalidPath:
            return []
        return keys

    def _can_sign_in(self, role_id: str, secret_id: SecretStr) -> bool:
        # No token, and not None: hvac would then send the installer's own along, from VAULT_TOKEN.
        as_role = hvac.Client(url=self._addr, token="", session=self._vault.session, timeout=TIMEOUT)
        with _translated("sign in"):
            try:
                as_role.auth.approle.login(role_id, secret_id.get_secret_value(), mount_point=APPROLE)
            except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
                return False
            as_role.auth.token.revoke_self()
        return True

    def store_client_credentials(self, app: str, provider: str, credentials: ClientCredentials) -> None:
        """Write what an app is at a provider (RFC 6749 section 2.3) to ``kv/actas/<app>/<provider>``.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        secret = {"client_id": credentials.client_id}
        if credentials.client_secret is not None:
            secret["client_secret"] = credentials.client_secret.get_secret_value()
        self._keep(f"actas/{app}/{provider}", secret, "store client credentials")

    def webhook(self, app: str) -> Webhook | None:
        """The app's webhook; None: there is none, or none that is of use.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        try:
            with _translated("read a webhook"):
                kept = self._vault.secrets.kv.v2.read_secret_version(
                    webhook_path(app), mount_point=KV, raise_on_deleted_version=True
                )
            return Webhook.model_validate(kept["data"]["data"])
        except (NotFound, ValidationError):
            return None

    def store_webhook(self, app: str, webhook: Webhook) -> None:
        """Write where an app wants its events to ``kv/actas/<app>/webhook``.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        secret = {"url": webhook.url.get_secret_value(), "secret": webhook.secret.get_secret_value()}
        if webhook.previous is not None:
            secret["previous"] = webhook.previous.get_secret_value()
        self._keep(webhook_path(app), secret, "store a webhook")

    def remove_webhook(self, app: str) -> None:
        """Forget where an app wanted its events, and all secrets they were signed with.

        Raises:
            VaultUnavailable, VaultDenied.
        """
        with _translated("remove a webhook"):
            self._vault.secrets.kv.v2.delete_metadata_and_all_versions(webhook_path(app), mount_point=KV)

    def _keep(self, path: str, secret: dict[str, str], doing: str) -> None:
        # A fresh KV mount answers 400 while it still sets itself up.
        patiently = Retrying(
            retry=retry_if_exception_type(_BadRequest), stop=stop_after_delay(10), wait=wait_fixed(0.2), reraise=True
        )
        for attempt in patiently:
            with attempt, _translated(doing):
                self._vault.secrets.kv.v2.create_or_update_secret(path, secret, mount_point=KV)


def _authority() -> str | bool:
    """Return the file of whoever vouches for Vault's certificate, named as vault's own console reads it.

    Raises:
        SettingsError: it is of no use.
    """
    file = os.environ.get("VAULT_CACERT")
    if file and not holds_certificates(Path(file)):
        raise SettingsError("VAULT_CACERT must name a PEM file of certificates that can be read")
    return file or True


class _BadRequest(ActasError):
    """Vault answered 400."""


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Let only errors leave whose text we wrote: hvac's and requests' may repeat what was sent."""
    try:
        yield
    except hvac.exceptions.Forbidden:
        raise VaultDenied(f"VAULT_TOKEN may not {doing}; use the root token or one with its rights") from None
    except hvac.exceptions.InvalidPath:
        raise NotFound(f"Vault knows nothing there: could not {doing}") from None
    except hvac.exceptions.InvalidRequest:
        raise _BadRequest(f"Vault refused to {doing} (400)") from None
    # requests' own errors are OSErrors; but it also raises plain ones, and urllib3's are ValueErrors
    except (hvac.exceptions.VaultError, OSError, ValueError) as error:
        raise VaultUnavailable(f"Vault is unreachable, sealed or in trouble: {type(error).__name__}") from None
