"""The installer: what `actas init` and `actas apps add` do. Root-equivalent, rarely run, and nobody's dependency.

Least privilege is made here and enforced elsewhere: by Vault, MongoDB and Redis, from the files under deploy/roles.
Each role gets one env file with the credentials of that role only. Those files are the memory of the installer: a
credential whose file is there and works stays as it is, one whose file is gone is replaced.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from pydantic import SecretStr, TypeAdapter, ValidationError

from actas.errors import NotFound, SettingsError
from actas.installing import env_files
from actas.installing.redis_roles import RedisInstaller
from actas.providers.model import NAME
from actas.settings import AppName, ClientCredentials
from actas.stores.installing import MongoInstaller
from actas.vault.installing import VaultInstaller
from actas.webhooks import Webhook
from actas.webhooks import new_secret as new_webhook_secret

if TYPE_CHECKING:
    from pathlib import Path


#: Flower looks on, producers hand over signed jobs; neither has business in Vault or MongoDB.
BROKER_ONLY = ("flower", "producer")


def install(
    *, vault_addr: str, vault_token: SecretStr, mongodb_url: SecretStr, redis_url: SecretStr, out: Path
) -> list[Path]:
    """Install actas in Vault, MongoDB and Redis, and write an env file for each role; return the files.

    Nothing is changed before all of these were found in order.

    Args:
        vault_addr: where Vault is, for the installer and for the roles.
        vault_token: the root token, or one with its rights.
        mongodb_url: with the credentials of a user with the role root; the path names the database, default actas.
        redis_url: with the credentials of an administrator.
        out: the directory for the env files; made, mode 0700.

    Raises:
        SettingsError: something given, or something found, does not fit; the text says what to do.
        Unavailable: Vault, MongoDB or Redis.
        ActasError: one of them refused.
    """
    env_files.make_folder(out)
    files = {role: out / f"{role}.env" for role in ("worker", "scheduler", "operator", *BROKER_ONLY)}
    envs = {role: env_files.read(file) for role, file in files.items()}
    vault = VaultInstaller(vault_addr, vault_token)
    with closing(MongoInstaller(mongodb_url)) as mongo, closing(RedisInstaller(redis_url)) as redis:
        vault.prepare()
        mongo.prepare()
        redis.prepare()
        for role, env in envs.items():
            if role in BROKER_ONLY:
                env["ACTAS_BROKER_URL"] = redis.user_url(role, _kept(env, "ACTAS_BROKER_URL")).get_secret_value()
            else:
                _sign_in_to_vault(env, vault, vault_addr, role)
                _sign_in_to_mongo(env, mongo, role, role)
                env["ACTAS_REDIS_URL"] = redis.user_url(role, _kept(env, "ACTAS_REDIS_URL")).get_secret_value()
            env_files.write(files[role], env)
        redis.keep()
    return list(files.values())


def add_app(name: str, *, vault_addr: str, vault_token: SecretStr, mongodb_url: SecretStr, out: Path) -> Path:
    """Make an app's keys, policy, AppRole and MongoDB user, and write its env file; return that file.

    Args:
        name: 1 to 40 of a-z, 0-9 and -; it becomes the ``iss`` of the app's jobs.
        vault_addr: as for :func:`install`.
        vault_token: the same.
        mongodb_url: the same.
        out: the same.

    Raises:
        SettingsError: the name, or something given or found, does not fit; the text says what to do.
        NotFound: actas is not installed there yet.
        Unavailable: Vault or MongoDB.
        ActasError: one of them refused.
    """
    checked_name("app", name)
    env_files.make_folder(out)
    role = f"app-{name}"
    file = out / f"{role}.env"
    env = env_files.read(file)
    vault = VaultInstaller(vault_addr, vault_token)
    with closing(MongoInstaller(mongodb_url)) as mongo:
        vault.add_app(name)
        env["ACTAS_APP"] = name
        _sign_in_to_vault(env, vault, vault_addr, role)
        _sign_in_to_mongo(env, mongo, role, "app")
        env_files.write(file, env)
    return file


def list_apps(*, vault_addr: str, vault_token: SecretStr) -> list[str]:
    """Names of the apps that were added.

    Raises:
        NotFound: actas is not installed there yet.
        VaultUnavailable, VaultDenied.
    """
    return VaultInstaller(vault_addr, vault_token).apps()


def set_client_credentials(
    *,
    app: str,
    provider: str,
    client_id: str,
    client_secret: SecretStr | None,
    vault_addr: str,
    vault_token: SecretStr,
) -> None:
    """Store what an app is at a provider (RFC 6749 section 2.3); a public client has no secret.

    Raises:
        SettingsError: a name does not fit.
        NotFound: there is no such app.
        VaultUnavailable, VaultDenied.
    """
    checked_name("app", app)
    checked_provider(provider)
    vault = VaultInstaller(vault_addr, vault_token)
    if app not in vault.apps():
        raise NotFound(f"there is no app {app}; add it first: actas apps add {app}")
    credentials = ClientCredentials(client_id=client_id, client_secret=client_secret)
    vault.store_client_credentials(app, provider, credentials)


def set_webhook(
    app: str,
    url: SecretStr,
    *,
    new_secret: bool,
    development: bool,
    vault_addr: str,
    vault_token: SecretStr,
) -> tuple[Webhook, bool]:
    """Store where an app wants its events; return that, and whether its secret is new.

    Args:
        app: its name.
        url: https; in development also http, to this machine.
        new_secret: make one, and keep the old one beside it until the next call without this.
        development: see ``url``.
        vault_addr: as for :func:`install`.
        vault_token: the same.

    Raises:
        SettingsError: the name or the address does not fit.
        NotFound: there is no such app.
        VaultUnavailable, VaultDenied.
    """
    checked_name("app", app)
    vault = VaultInstaller(vault_addr, vault_token)
    if app not in vault.apps():
        raise NotFound(f"there is no app {app}; add it first: actas apps add {app}")
    there = vault.webhook(app)
    made = there is None or new_secret
    try:
        webhook = Webhook(
            url=url,
            secret=new_webhook_secret() if there is None or new_secret else there.secret,
            previous=there.secret if there is not None and new_secret else None,
        )
    except ValidationError:
        raise SettingsError("a webhook must be an https:// address without user, password and fragment") from None
    if webhook.is_plain and not development:
        raise SettingsError("a webhook must begin with https://; http:// to this machine needs ACTAS_ENV=development")
    vault.store_webhook(app, webhook)
    return webhook, made


def remove_webhook(app: str, *, vault_addr: str, vault_token: SecretStr) -> None:
    """An app wants no events any more.

    Raises:
        SettingsError, VaultUnavailable, VaultDenied.
    """
    VaultInstaller(vault_addr, vault_token).remove_webhook(checked_name("app", app))


def checked_name(what: str, name: str) -> str:
    """Return a name that is fit for paths and key names.

    Raises:
        SettingsError: it is not.
    """
    try:
        return TypeAdapter(AppName).validate_python(name)
    except ValidationError:
        raise SettingsError(f"{name!r} cannot be the name of this {what}; use 1 to 40 of a-z, 0-9 and -") from None


def checked_provider(name: str) -> str:
    """Return a provider's name that is fit for paths and key names.

    Raises:
        SettingsError: it is not.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(f"{name!r} cannot be the name of a provider; use 1 to 40 of a-z, 0-9, - and _")
    return name


def _sign_in_to_vault(env: dict[str, str], vault: VaultInstaller, addr: str, role: str) -> None:
    role_id, secret_id = vault.credentials(role, env.get("ACTAS_VAULT_ROLE_ID"), _kept(env, "ACTAS_VAULT_SECRET_ID"))
    env.update(ACTAS_VAULT_ADDR=addr, ACTAS_VAULT_ROLE_ID=role_id, ACTAS_VAULT_SECRET_ID=secret_id.get_secret_value())


def _sign_in_to_mongo(env: dict[str, str], mongo: MongoInstaller, user: str, role: str) -> None:
    env["ACTAS_MONGODB_URL"] = mongo.user_url(user, role, _kept(env, "ACTAS_MONGODB_URL")).get_secret_value()


def _kept(env: dict[str, str], name: str) -> SecretStr | None:
    return SecretStr(env[name]) if env.get(name) else None
