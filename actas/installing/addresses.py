"""Addresses with passwords in them (``mongodb://``, ``redis://``): taken apart, and given to another user."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr

from actas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection


def new_password() -> SecretStr:
    """256 random bits, in characters that need no quoting in an address."""
    return SecretStr(secrets.token_urlsafe(32))


def password_in(url: SecretStr) -> SecretStr | None:
    """Return the password of an address, if it has one.

    Raises:
        SettingsError: it is no address.
    """
    try:
        password = urlsplit(url.get_secret_value()).password
    except ValueError:
        raise SettingsError(
            "an address in an env file is damaged; move that file away to get new credentials"
        ) from None
    return SecretStr(unquote(password)) if password else None


def given_to(
    url: SecretStr, user: str, password: SecretStr, *, without: Collection[str], path: str | None = None, **more: str
) -> SecretStr:
    """Return an address with another user's credentials: same hosts, same options.

    Args:
        url: the address to start from.
        user: whom the new one is for.
        password: that user's.
        without: options, in lower case, that tell how the old user signs in and must not reach the new one.
        path: replaces the old one; None keeps it.
        more: options to add.
    """
    parts = urlsplit(url.get_secret_value())
    options = [(name, value) for name, value in parse_qsl(parts.query) if name.lower() not in without]
    netloc = f"{quote(user)}:{quote(password.get_secret_value(), safe='')}@{parts.netloc.rpartition('@')[2]}"
    query = urlencode([*options, *more.items()])
    return SecretStr(urlunsplit((parts.scheme, netloc, parts.path if path is None else path, query, "")))
