"""Whose account an access token is for: the last question when connecting."""

from __future__ import annotations

from pydantic import SecretStr

from actas.errors import ConnectError
from actas.http import Http, NoReply, NotSent, Reply
from actas.oauth import Tokens
from actas.providers import Provider
from actas.requests import is_short_text

#: For each of two tries: asking changes nothing, and the code that led here is used up.
SECONDS = 5.0


def account_of(http: Http, provider: Provider, tokens: Tokens) -> str:
    """The account's id at a complete provider.

    Raises:
        NotSent, NoReply.
        ConnectError: the provider does not say.
    """
    reply = _asked(http, provider, tokens)
    found = reply.json()
    for name in provider.account_id:
        found = found.get(name) if isinstance(found, dict) else None
    if reply.status < 300 and isinstance(found, str | int) and not isinstance(found, bool):
        account = str(found)
        # It becomes part of an index, is told to apps, and shown on terminals.
        if is_short_text(account) and account.isprintable():
            return account
    raise ConnectError(f"{provider.name} did not tell whose account it is: it answered {reply.status}, {reply.kind}")


def _asked(http: Http, provider: Provider, tokens: Tokens) -> Reply:
    bearer = SecretStr(f"Bearer {tokens.access_token.get_secret_value()}")
    headers: dict[str, str | SecretStr] = {
        "Accept": "application/json",
        **provider.api_headers,
        "Authorization": bearer,
    }

    def ask() -> Reply:
        assert provider.whose_url is not None  # of a complete provider
        return http.send("GET", provider.whose_url, headers=headers, seconds=SECONDS)

    try:
        reply = ask()
    except (NotSent, NoReply):
        return ask()
    return ask() if reply.status >= 500 else reply
