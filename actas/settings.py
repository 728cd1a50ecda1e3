"""Settings: read once from ``ACTAS_*``, checked, and answered with a hint when wrong."""

from __future__ import annotations

import difflib
import os
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from actas.errors import SettingsError
from actas.webhooks import Webhook

PREFIX = "ACTAS_"

AppName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")]


def _scheme(*schemes: str) -> AfterValidator:
    """An address of one of these kinds; the message shows none of it, because it may hold a password."""

    def check(url: Any) -> Any:
        text = url.get_secret_value() if isinstance(url, SecretStr) else url
        if text.partition("://")[0] not in schemes or not text.partition("://")[2]:
            raise ValueError(f"must be an address that begins with {' or '.join(f'{name}://' for name in schemes)}")
        return url

    return AfterValidator(check)


def _parts_are_clear(url: SecretStr) -> SecretStr:
    """A broker's address that everybody takes apart in the same way.

    Celery would take ``redis://user:pa/ss@host`` for a host ``user`` with a port ``pa``, and say so: half a password in
    a traceback, or in the log for as long as it tries to connect.
    """
    for one in url.get_secret_value().split(";"):  # Celery's way of naming several
        try:
            parts = urlsplit(one)
            _ = parts.port  # raises where that is no number
            no_host = one.partition("://")[2].startswith("/")
            clear = no_host or "@" not in parts.path + parts.query + parts.fragment
        except ValueError:
            clear = False
        if not clear:
            raise ValueError("is not a clear address; write ; / ? # @ [ ] in user and password as %3B and so on")
    return url


def holds_certificates(file: Path) -> bool:
    """Whether this is a PEM file of certificates that we can read, as requests and urllib3 will in each connection."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (OSError, ValueError):
        return False
    return True


def _certificates(file: Path) -> Path:
    if not holds_certificates(file):
        raise ValueError("must name a PEM file of certificates that can be read")
    return file


class ClientCredentials(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """What an app is at a provider (RFC 6749 section 2.3); a public client has no secret."""

    client_id: str
    client_secret: SecretStr | None = None
    #: While it is being changed at the provider: tried, in this order, where the first is refused.
    other_client_secrets: tuple[SecretStr, ...] = ()


class BrokerSettings(BaseSettings):
    """What it takes to speak Celery: all that Flower is told, and part of what workers and schedulers are."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # whoever makes settings without from_env gets pydantic's own errors
    )

    #: Apps do not need Redis; workers, schedulers and Flower do.
    redis_url: Annotated[SecretStr, _scheme("redis", "rediss", "unix"), AfterValidator(_parts_are_clear)] | None = None
    #: Defaults to ``redis_url``; ``amqp://`` works too.
    broker_url: Annotated[SecretStr, AfterValidator(_parts_are_clear)] | None = None

    @property
    def broker(self) -> SecretStr:
        url = self.broker_url or self.redis_url
        if url is None:
            raise SettingsError(f"{PREFIX}REDIS_URL (or {PREFIX}BROKER_URL) is needed by workers and schedulers")
        return url

    @classmethod
    def from_env(cls) -> Self:
        """Read ``ACTAS_*`` from the environment.

        Raises:
            SettingsError: a name is unknown (with the nearest valid one), a value is bad or missing. The message never
                contains a value.
        """
        valid = {PREFIX + name.upper() for name in Settings.model_fields}
        for name in os.environ:
            if name.startswith(PREFIX) and name not in valid:
                near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"valid names: {', '.join(sorted(valid))}"
                raise SettingsError(f"unknown setting {name}; {hint}")
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError(_without_values(error)) from None
        except UnreadableSetting:
            raise SettingsError(f"{PREFIX}CLIENTS or {PREFIX}WEBHOOKS: not valid JSON") from None


class Settings(BrokerSettings):
    """Everything a process of actas is told from outside.

    URLs may carry passwords and are therefore secrets. Each process gets the credentials of its own role only.
    """

    mongodb_url: Annotated[SecretStr, _scheme("mongodb", "mongodb+srv")]
    vault_addr: Annotated[str, _scheme("http", "https")]

    vault_role_id: str | None = None
    vault_secret_id: SecretStr | None = None
    #: PEM file of the authority that vouches for Vault's certificate, where the system's own do not.
    vault_ca_file: Annotated[Path, AfterValidator(_certificates)] | None = None
    #: A plain Vault token: in development only, because nothing renews it and nothing bounds what it may do.
    vault_token: SecretStr | None = None

    #: The enqueueing application this process speaks for; None for operators and for the workers, who serve all.
    app: AppName | None = None
    env: Literal["production", "development"] = "production"
    #: TOML with [providers.<name>] tables that add providers or change fields of built-in ones.
    providers_file: Path | None = None
    #: Client credentials by "app/provider", as JSON, for those who do not keep them in Vault's KV.
    clients: dict[str, ClientCredentials] = {}
    #: Webhooks by app, as JSON, for those who do not keep them in Vault's KV.
    webhooks: dict[str, Webhook] = {}

    #: How long a worker owns a job; a job that outlives it is rescued. Must cover an exchange and a request.
    job_lease_seconds: float = Field(default=90, gt=0, allow_inf_nan=False)
    #: How long a worker owns the right to exchange one grant's token.
    exchange_lease_seconds: float = Field(default=45, gt=0, allow_inf_nan=False)
    #: All tries of one exchange together.
    exchange_budget_seconds: float = Field(default=20, gt=0, allow_inf_nan=False)
    #: One request to a provider's API, from connect to the last byte.
    http_timeout_seconds: float = Field(default=20, gt=0, allow_inf_nan=False)
    #: Unwrapped data keys live this long in a worker's memory; 0 = never kept.
    data_key_cache_seconds: float = Field(default=300, ge=0, allow_inf_nan=False)
    #: A grant's data key is made anew when it is older than this.
    data_key_max_age_days: float = Field(default=90, gt=0, le=36_500, allow_inf_nan=False)

    #: How long finished jobs are kept, at least until their deadline; failed ones for ever, if nothing is said.
    keep_succeeded_days: float = Field(default=30, ge=0, le=36_500, allow_inf_nan=False)
    keep_cancelled_days: float = Field(default=30, ge=0, le=36_500, allow_inf_nan=False)
    keep_expired_days: float = Field(default=30, ge=0, le=36_500, allow_inf_nan=False)
    keep_failed_days: Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _vault_login(self) -> Self:
        if self.vault_token is not None:
            if self.env != "development":
                raise ValueError("VAULT_TOKEN is for ACTAS_ENV=development; use VAULT_ROLE_ID and VAULT_SECRET_ID")
        elif self.vault_role_id is None or self.vault_secret_id is None:
            raise ValueError(
                "VAULT_ROLE_ID and VAULT_SECRET_ID are needed (an AppRole; `actas init` makes one per role)"
            )
        return self

    @model_validator(mode="after")
    def _leases_nest(self) -> Self:
        if self.exchange_lease_seconds < self.exchange_budget_seconds + LEASE_MARGIN_SECONDS:
            raise ValueError(
                f"EXCHANGE_LEASE_SECONDS must be at least EXCHANGE_BUDGET_SECONDS + {LEASE_MARGIN_SECONDS}"
            )
        needed = self.exchange_budget_seconds + self.http_timeout_seconds + LEASE_MARGIN_SECONDS
        if self.job_lease_seconds < needed:
            raise ValueError(
                "JOB_LEASE_SECONDS must be at least EXCHANGE_BUDGET_SECONDS + HTTP_TIMEOUT_SECONDS"
                f" + {LEASE_MARGIN_SECONDS}"
            )
        return self


#: A lease must outlast the work it covers by this much, so that a holder at its deadline has surely let go of the wire
#: before anybody else may begin (design: "the remaining lease must be >= that + 10 s").
LEASE_MARGIN_SECONDS = 10


def _without_values(error: ValidationError) -> str:
    """Say what is wrong and where, leaving out pydantic's copy of the input, which may be a password."""
    lines = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        name = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{PREFIX}{name.upper()}: {message}" if name else f"{PREFIX}{message}")
    return "; ".join(lines)
