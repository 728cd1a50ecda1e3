"""Settings: read once, and answered with a hint and without a value when wrong."""

from __future__ import annotations

import os
import traceback

import pytest
from pydantic import SecretStr

from actas.clock import utc_now
from actas.errors import SettingsError
from actas.settings import LEASE_MARGIN_SECONDS, BrokerSettings, Settings
from actas.stores.database import connect
from worker.gates import Gates

CANARY = "canary-secret"

ENOUGH = {
    "MONGODB_URL": "mongodb://user:password@localhost/actas",
    "VAULT_ADDR": "http://127.0.0.1:8200",
    "VAULT_ROLE_ID": "role",
    "VAULT_SECRET_ID": "secret",
}


LEASES = ("JOB_LEASE", "EXCHANGE_LEASE", "EXCHANGE_BUDGET", "HTTP_TIMEOUT")

#: Passwords that break an address apart at another place than meant.
UNQUOTED = ("canary/ss", "12/canary", "canary?ss", "12?canary", "canary#ss", "12#canary", "can[ary", "12;canary")


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in os.environ:
        if name.upper().startswith("ACTAS_"):
            monkeypatch.delenv(name)


@pytest.fixture
def env(monkeypatch):
    def set_(without: tuple[str, ...] = (), **values: str) -> None:
        for name, value in {**ENOUGH, **values}.items():
            if name not in without:
                monkeypatch.setenv(f"ACTAS_{name}", value)

    return set_


def refusal(read=Settings.from_env) -> str:
    with pytest.raises(SettingsError) as caught:
        read()
    assert "canary" not in "".join(traceback.format_exception(caught.value)).lower()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_enough_is_enough(env):
    env()
    settings = Settings.from_env()
    assert settings.mongodb_url.get_secret_value() == ENOUGH["MONGODB_URL"]
    assert (settings.app, settings.env, settings.clients) == (None, "production", {})


@pytest.mark.parametrize("name", ["MONGODB_URL", "VAULT_ADDR"])
def test_what_is_missing_is_named(env, name):
    env(without=(name,))
    assert f"ACTAS_{name}: Field required" in refusal()


def test_everything_that_is_missing_is_said_at_once():
    said = refusal()
    assert "ACTAS_MONGODB_URL" in said
    assert "ACTAS_VAULT_ADDR" in said


def test_an_empty_value_is_no_value(env):
    env(APP="", REDIS_URL="", PROVIDERS_FILE="")
    settings = Settings.from_env()
    assert (settings.app, settings.redis_url, settings.providers_file) == (None, None, None)
    env(MONGODB_URL="")
    assert "ACTAS_MONGODB_URL: Field required" in refusal()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ACTAS_MONGO_URL", "did you mean ACTAS_MONGODB_URL?"),
        ("ACTAS_MONGODB_URI", "did you mean ACTAS_MONGODB_URL?"),
        ("ACTAS_VAULT_ADDRESS", "did you mean ACTAS_VAULT_ADDR?"),
        ("ACTAS_JOB_LEASE", "did you mean ACTAS_JOB_LEASE_SECONDS?"),
        ("ACTAS_" + 20 * "Q", "valid names: ACTAS_APP, "),
    ],
)
@pytest.mark.parametrize("kind", [Settings, BrokerSettings])
def test_an_unknown_name_is_refused_with_the_nearest_valid_one(env, monkeypatch, name, hint, kind):
    env(REDIS_URL="redis://localhost")
    monkeypatch.setenv(name, CANARY)
    said = refusal(kind.from_env)
    assert said.startswith(f"unknown setting {name}; ")
    assert hint in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP", "Canary"),
        ("APP", "canary/../x"),
        ("APP", "canary\n"),
        ("APP", "c" * 41),
        ("ENV", CANARY),
        ("ENV", "Production"),
        *((f"{name}_SECONDS", value) for name in LEASES for value in (CANARY, "-1", "0", "nan", "inf", "1h")),
        *(("DATA_KEY_CACHE_SECONDS", value) for value in (CANARY, "-1", "nan")),
        *(("DATA_KEY_MAX_AGE_DAYS", value) for value in (CANARY, "0", "nan", "1e9")),
        ("CLIENTS", "{canary"),
        ("CLIENTS", "canary"),
        ("CLIENTS", '["canary"]'),
        ("CLIENTS", '"canary"'),
        ("CLIENTS", '{"shop/x": "canary"}'),
        ("CLIENTS", '{"shop/x": {"client_secret": "canary"}}'),
        ("CLIENTS", '{"shop/x": {"client_id": {"canary": 1}, "client_secret": "canary"}}'),
        ("CLIENTS", '{"shop/x": {"client_id": "c", "client_secret": ["canary"]}}'),
        ("CLIENTS", '{"shop/x": {"client_id": "c", "client_secret": "canary", "secret": "canary"}}'),
        ("VAULT_ADDR", "canary:8200"),
        ("VAULT_ADDR", "canary"),
        ("VAULT_ADDR", "ftp://canary"),
        ("REDIS_URL", "canary:6379"),
        ("REDIS_URL", "http://canary"),
        ("REDIS_URL", "sentinel://canary"),  # a broker may be that; what keeps the gates may not
        *(("REDIS_URL", f"redis://u:{password}@h") for password in UNQUOTED),
        *(("BROKER_URL", f"amqp://u:{password}@h/v") for password in UNQUOTED),
        ("BROKER_URL", "sentinel://h:1;sentinel://u:canary/ss@h:2"),
        ("VAULT_CA_FILE", "/nowhere/canary.pem"),
        ("VAULT_CA_FILE", "/"),
        ("VAULT_CA_FILE", __file__),  # is there, and is no certificate
    ],
)  # fmt: skip
def test_a_bad_value_stops_the_start_is_named_and_not_shown(env, name, value):
    env(**{name: value})
    assert f"ACTAS_{name}" in refusal()


def test_a_bad_field_of_a_client_is_found_by_its_name(env):
    env(CLIENTS='{"shop/x": {"client_id": "c", "client_secrets": "canary"}}')
    assert "ACTAS_CLIENTS.SHOP/X.CLIENT_SECRETS" in refusal()


def test_clients_are_read_from_json(env):
    env(CLIENTS='{"shop/x": {"client_id": "c", "client_secret": "canary"}, "shop/y": {"client_id": "public"}}')
    clients = Settings.from_env().clients
    assert clients["shop/x"].client_secret.get_secret_value() == "canary"
    assert clients["shop/y"].client_secret is None
    assert "canary" not in repr(clients)


@pytest.mark.parametrize(
    "url",
    [
        "http://canary",
        "mongodb://",
        "mongodb://u:canary@",
        "mongodb://u:can%ary@h/d",
        "mongodb://u:canary@h:x/d",
        "mongodb://u:canary@h/d?tls=true&tlsCAFile=/nowhere/canary.pem",
        "mongodb://u:canary@h/d?tls=true&tlsCAFile=/",
        f"mongodb://u:canary@h/d?tls=true&tlsCAFile={__file__}",
        "mongodb://u:canary@h/d?tls=true&tlsCertificateKeyFile=/nowhere/canary.pem",
        f"mongodb://u:canary@h/d?tls=true&tlsCertificateKeyFile={__file__}",
    ],
)
def test_an_address_of_mongodb_that_is_none_is_refused_without_showing_it(url):
    assert "ACTAS_MONGODB_URL" in refusal(lambda: connect(SecretStr(url)))


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:canary/ss@h",
        "redis://u:can[ary@h",
        "redis://u:canary@h?db=canary",
        "redis://u:canary@h?canary=1",
        "rediss://u:canary@h?ssl_cert_reqs=canary",
        "http://canary",
    ],
)
def test_an_address_of_redis_that_is_none_is_refused_without_showing_it(url):
    assert "ACTAS_REDIS_URL is not a Redis address" in refusal(lambda: Gates(SecretStr(url), utc_now))


# --- Vault ---


@pytest.mark.parametrize("without", [("VAULT_ROLE_ID",), ("VAULT_SECRET_ID",), ("VAULT_ROLE_ID", "VAULT_SECRET_ID")])
def test_half_an_approle_is_none(env, without):
    env(without=without)
    assert "ACTAS_VAULT_ROLE_ID and VAULT_SECRET_ID are needed" in refusal()


@pytest.mark.parametrize("more", [{}, {"ENV": "production"}])
def test_a_plain_vault_token_is_refused_outside_development(env, more):
    env(VAULT_TOKEN=CANARY, **more)
    assert "VAULT_TOKEN is for ACTAS_ENV=development" in refusal()


def test_a_plain_vault_token_is_enough_in_development(env):
    env(without=("VAULT_ROLE_ID", "VAULT_SECRET_ID"), VAULT_TOKEN=CANARY, ENV="development")
    assert Settings.from_env().vault_token.get_secret_value() == CANARY


# --- leases ---

M = LEASE_MARGIN_SECONDS


@pytest.mark.parametrize(
    ("job", "exchange", "budget", "timeout", "blamed"),
    [
        (90, 45, 20, 20, None),  # the defaults
        (40 + M, 20 + M, 20, 20, None),  # just enough
        (40 + M, 19 + M, 20, 20, "EXCHANGE_LEASE_SECONDS"),
        (39 + M, 20 + M, 20, 20, "JOB_LEASE_SECONDS"),
        (90, 45, 20, 61, "JOB_LEASE_SECONDS"),
        (900, 45, 36, 20, "EXCHANGE_LEASE_SECONDS"),
    ],
)
def test_leases_that_do_not_cover_their_work_stop_the_start(env, job, exchange, budget, timeout, blamed):
    env(
        JOB_LEASE_SECONDS=str(job),
        EXCHANGE_LEASE_SECONDS=str(exchange),
        EXCHANGE_BUDGET_SECONDS=str(budget),
        HTTP_TIMEOUT_SECONDS=str(timeout),
    )
    if blamed is None:
        Settings.from_env()
    else:
        assert f"ACTAS_{blamed} must be at least" in refusal()


def test_the_defaults_nest(env):
    env()
    settings = Settings.from_env()
    assert settings.exchange_lease_seconds >= settings.exchange_budget_seconds + M
    assert settings.job_lease_seconds >= settings.exchange_budget_seconds + settings.http_timeout_seconds + M


# --- the broker ---


@pytest.mark.parametrize(
    ("redis", "broker", "used"),
    [
        ("redis://r", None, "redis://r"),
        ("redis://r", "amqp://a", "amqp://a"),
        (None, "amqp://a", "amqp://a"),
    ],
)
def test_flower_needs_a_broker_and_nothing_else(monkeypatch, redis, broker, used):
    for name, value in (("REDIS", redis), ("BROKER", broker)):
        if value is not None:
            monkeypatch.setenv(f"ACTAS_{name}_URL", value)
    assert BrokerSettings.from_env().broker.get_secret_value() == used


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:p@ss@h:6379/0",
        "redis://u:p%2Fss%40@[::1]:6379/0?health_check_interval=5",
        "rediss://:pass@h",
        "unix://u@/run/redis.sock?db=1",
        "unix:///run/u@h.sock",
    ],
)
def test_an_address_that_can_be_taken_apart_is_taken_as_it_stands(monkeypatch, url):
    monkeypatch.setenv("ACTAS_REDIS_URL", url)
    assert BrokerSettings.from_env().broker.get_secret_value() == url


@pytest.mark.parametrize(
    "url", ["amqp://u:p%2Fss@h:5672/%2Fv", "sentinel://h1:1;sentinel://h2:2", "sentinel://h1:1;h2:2", "memory://"]
)
def test_so_is_one_of_a_broker_that_is_not_redis(monkeypatch, url):
    monkeypatch.setenv("ACTAS_BROKER_URL", url)
    assert BrokerSettings.from_env().broker.get_secret_value() == url


def test_without_a_broker_it_is_said_which_name_is_missing():
    assert "ACTAS_REDIS_URL (or ACTAS_BROKER_URL) is needed" in refusal(lambda: BrokerSettings.from_env().broker)


def test_settings_cannot_be_changed(env):
    env()
    with pytest.raises(ValueError, match="frozen"):
        Settings.from_env().vault_addr = "http://elsewhere"
