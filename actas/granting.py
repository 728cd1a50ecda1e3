"""Storing a grant: tokens are encrypted where they arrive, under a key that only a worker can have unwrapped."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import SecretBytes, SecretStr

from actas.clock import Clock
from actas.connecting import Connected
from actas.envelope import Purpose, encrypt, new_data_key
from actas.errors import ConnectError
from actas.ids import new_id
from actas.importing.mapping import placeholder
from actas.oauth import Tokens
from actas.records import AccessToken, DataKey, Grant, GrantStatus
from actas.stores.grants import Grants, TokenWrite
from actas.vault.room import VaultRoom, key_version

#: How often two connections of one account at the same moment may get into each other's way.
TRIES = 5


def encrypt_tokens(
    grant: Grant, key: SecretBytes, data_key: DataKey, tokens: Tokens, refresh_token: SecretStr
) -> TokenWrite:
    """A grant's next generation, encrypted; a refresh token that was kept is encrypted anew, for its new place."""
    generation = grant.generation + 1
    refresh_context = grant.context(Purpose.REFRESH, generation=generation, data_key_id=data_key.id)
    access_context = grant.context(Purpose.ACCESS, generation=generation, data_key_id=data_key.id)
    return TokenWrite(
        generation=generation,
        refresh_token=encrypt(key, refresh_token, refresh_context),
        access_token=AccessToken(encrypt(key, tokens.access_token, access_context), tokens.access_expires_at),
        exchange_id=new_id(),
    )


@dataclass(frozen=True, slots=True)
class GrantWriter:
    """Writes the tokens of a connection into the account's grant, new or old."""

    app: str
    grants: Grants
    vault: VaultRoom
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
            key, key_id = new_data_key(), new_id()
            wrapped = self.vault.wrap(self.app, [(old.id, key)])[0]
            data_key = DataKey(key_id, wrapped, key_version(wrapped), now)
            write = replace(
                encrypt_tokens(old, key, data_key, done.tokens, refresh_token), data_key=data_key, scopes=done.scopes
            )
            if there is None:
                stored = self.grants.insert(old, write, now)
            elif there.account == old.account:
                stored = self.grants.reconnect(old, write, now)
            else:
                stored = self.grants.adopt(old, write, now, placeholder=there.account)
            if stored:
                return replace(old, status=GrantStatus.ACTIVE, generation=write.generation, updated_at=now)
        raise ConnectError("this account is being connected elsewhere at the same moment; try again")

    def _find(self, provider: str, account: str) -> Grant | None:
        return next(iter(self.grants.find(app=self.app, provider=provider, account=account)), None)

    def _imported(self, user: str, provider: str) -> Grant | None:
        """The user's grant that was imported without its account, which a connection tells."""
        found = self._find(provider, placeholder(user))
        return found if found is not None and found.user == user else None
