"""What the sandbox is told, from one JSON file that only its owner can read."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, NonNegativeInt, PositiveInt, SecretStr, ValidationError

from actas.errors import SettingsError
from actas.providers.model import RefreshProfile
from actas.sandbox.personas import Persona, PersonaName
from actas.sandbox.state import DUPLICATE_WINDOW

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def _loopback(host: IPv4Address) -> IPv4Address:
    if not host.is_loopback:
        raise ValueError("the sandbox listens on loopback only, such as 127.0.0.1")
    return host


class Client(BaseModel, frozen=True, extra="forbid"):
    """A registered client (RFC 6749 section 2); without a secret and keys it is a public one."""

    secret: SecretStr | None = None
    #: The public keys it signs assertions with (RFC 7523): a JWK set.
    jwks: dict[str, Any] | None = None
    #: The one way in which it may prove who it is; None: private_key_jwt with keys, basic with a secret, else none.
    auth: Literal["basic", "post", "none", "private_key_jwt"] | None = None
    #: A ``*`` in the place of the port stands for any port (RFC 8252 section 7.3). None: any loopback address.
    redirect_uris: tuple[str, ...] | None = None
    #: What becomes of its refresh tokens: the sandbox stands in for a provider with this profile.
    refresh: RefreshProfile = RefreshProfile(kind="rotating")
    #: Whether token replies say how long the refresh token lives on without being used (refresh_token_expires_in).
    say_refresh_expiry: bool = False

    @property
    def authenticates_by(self) -> Literal["basic", "post", "none", "private_key_jwt"]:
        if self.auth is not None:
            return self.auth
        return "private_key_jwt" if self.jwks else "basic" if self.secret else "none"

    def accepts(self, redirect_uri: str) -> bool:
        """May the browser be sent there?"""
        if self.redirect_uris is not None:
            return any(_pattern(known).fullmatch(redirect_uri) for known in self.redirect_uris)
        try:
            parts = urlsplit(redirect_uri)
        except ValueError:
            return False
        return parts.scheme == "http" and parts.hostname in LOOPBACK and "#" not in redirect_uri


def _pattern(redirect_uri: str) -> re.Pattern[str]:
    return re.compile(re.escape(redirect_uri).replace(r":\*", r":[0-9]{1,5}"))


class Config(BaseModel, frozen=True, extra="forbid"):
    host: Annotated[IPv4Address, AfterValidator(_loopback)] = IPv4Address("127.0.0.1")
    #: 0: any free port; the line printed at the start says which.
    port: int = Field(default=0, ge=0, le=65535)
    clients: dict[str, Client]
    #: What stands in for other providers, at /p/<name>.
    personas: dict[PersonaName, Persona] = {}
    access_seconds: PositiveInt = 7200
    #: Lifetime of the access token that comes with the code exchange, where it is to differ from the later ones.
    first_access_seconds: PositiveInt | None = None
    code_seconds: PositiveInt = 30
    #: Posts per user and 15 minutes; None: no limit, and no x-rate-limit headers.
    post_limit: PositiveInt | None = None
    #: A text is refused as a duplicate if it equals one of the account's last so many posts; 0: never.
    duplicate_window: NonNegativeInt = DUPLICATE_WINDOW


def read_config(path: Path) -> Config:
    """Read and check the file.

    Raises:
        SettingsError: it is missing, readable by others, or wrong. The message never contains a value.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} holds client secrets and others may read it; chmod 600 it")
        return Config.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        wrong = (f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}" for item in found)
        raise SettingsError(f"{path}: {'; '.join(wrong)}") from None
