"""Storing a grant: tokens are encrypted where they arrive, under a key that only a worker can have unwrapped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import SecretBytes, SecretStr

from actas.clock import Clock
from actas.connecting import Connected
from actas.envelope import Purpose, encrypt, new_data_key
from actas.errors import ConnectError
from actas.ids import new_id
from actas.importing.mapping import placeholder
from actas.providers import Providers
from actas.records import AccessToken, DataKey, Grant, GrantStatus
from actas.refresh_life import RefreshLife, refresh_life
from actas.stores.grants import Grants, TokenWrite
from actas.vault.room import VaultRoom, key_version

#: How often two connections of one account at the same moment may get into each other's way.
TRIES = 5


def encrypt_tokens(
    grant: Grant,
    key: SecretBytes,
    key_id: str,
    *,
    refresh_token: SecretStr,
    access: tuple[SecretStr, datetime] | None,
    life: RefreshLife,
    exchange_id: str,
) -> TokenWrite:
    """A grant's next generation, encrypted; a refresh token that was kept is encrypted anew, for its new place.

    ``access``: the access token and when it expires, if there is one yet.
    """
    generation = grant.generation + 1
    refresh_context = grant.context(Purpose.REFRESH, generation=generation, data_key_id=key_id)
    access_context = grant.context(Purpose.ACCESS, generation=generation, data_key_id=key_id)
    return TokenWrite(
        generation=generation,
        refresh_token=encrypt(key, refresh_token, refresh_context),
        access_token=access and AccessToken(encrypt(key, access[0], access_context), access[1]),
        exchange_id=exchange_id,
        life=life,
    )


def wrapped_key(vault: VaultRoom, app: str, grant_id: str, now: datetime) -> tuple[SecretBytes, DataKey]:
    """A new data key for a grant, in clear and wrapped under its app's KEK.

    Raises:
        VaultUnavailable, VaultDenied.
    """
    key = new_data_key()
    wrapped = vault.wrap(app, [(grant_id, key)])[0]
    return key, DataKey(new_id(), wrapped, key_version(wrapped), now)


@dataclass(frozen=True, slots=True)
class GrantWriter:
    """Writes the tokens of a connection into the account's grant, new or old."""

    app: str
    grants: Grants
    vault: VaultRoom
    providers: Providers
    clock: Clock

    def store(self, user: str, done: Connected) -> Grant:
        """Store a connection under a new data key; an exchange that is in flight finds itself outrun.

        Raises:
            ConnectError: there is no refresh token, or another user of the app has connected this account.
            VaultUnavailable, MongoUnavailable.
        """
        refresh_token = done.tokens.refresh_token
        if refresh_token is None:
            raise ConnectError(
                f"{done.provider} gave no refresh token, so nothing could be done while the user is away;"
                " ask for the scope that allows it"
            )
        for _ in range(TRIES):
            now = self.clock()
            there = self._find(done.provider, done.account) or self._imported(user, done.provider)
            if there is None:
                old = Grant(
                    id=new_id(),
                    app=self.app,
                    user=user,
                    provider=done.provider,
                    account=done.account,
                    client_id=done.client_id,
                    scopes=done.scopes,
                    status=GrantStatus.ACTIVE,
                    generation=0,
                    created_at=now,
                    updated_at=now,
                )
            elif there.user == user or there.status is GrantStatus.REVOKED:
                old = replace(there, user=user, account=done.account, client_id=done.client_id, scopes=done.scopes)
            else:
                raise ConnectError("another user of this app has connected this account, and must disconnect it first")
            key, data_key = wrapped_key(self.vault, self.app, old.id, now)
            write = encrypt_tokens(
                old,
                key,
                data_key.id,
                refresh_token=refresh_token,
                access=(done.tokens.access_token, done.tokens.access_expires_at),
                life=self._life(old.id, done, now),
                exchange_id=new_id(),
            )
            write = replace(write, data_key=data_key, scopes=done.scopes)
            stored = self.grants.insert(old, write, now) if there is None else self.grants.reconnect(old, write, now)
            if stored:
                return replace(old, status=GrantStatus.ACTIVE, generation=write.generation, updated_at=now)
        raise ConnectError("this account is being connected elsewhere at the same moment; try again")

    def _life(self, grant_id: str, done: Connected, now: datetime) -> RefreshLife:
        return refresh_life(
            self.providers[done.provider].refresh,
            grant_id,
            now,
            renewed=True,
            said_seconds=done.tokens.refresh_expires_in,
            previous_absolute_at=None,
        )

    def _find(self, provider: str, account: str) -> Grant | None:
        return next(iter(self.grants.find(app=self.app, provider=provider, account=account)), None)

    def _imported(self, user: str, provider: str) -> Grant | None:
        """The user's grant that was imported without its account, which a connection tells."""
        found = self._find(provider, placeholder(user))
        return found if found is not None and found.user == user else None
