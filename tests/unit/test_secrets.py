"""Whatever carries a secret does not show it, however it is looked at."""

from __future__ import annotations

import json
import logging
import pprint
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import Secret, SecretBytes, SecretStr, ValidationError

from actas.client_auth import ways
from actas.connecting import Connected, ConnectRequest, _parameters
from actas.envelope import Envelope, Purpose, encrypt, new_data_key
from actas.granting import encrypt_tokens
from actas.http import Http, Reply
from actas.installing.addresses import given_to, new_password, password_in
from actas.oauth import Pkce, TokenEndpoint, Tokens
from actas.providers import BUILT_IN
from actas.records import AccessToken, DataKey, Grant, GrantStatus, Job
from actas.refresh_life import RefreshLife
from actas.requests import JobRequest
from actas.settings import BrokerSettings, ClientCredentials, Settings
from actas.states import JobStatus
from actas.unshown import Unshown
from tests.attacks.faces import walked
from worker.decision import Decision
from worker.exchange import Access, Held
from worker.keys import DataKeys
from worker.provider_api import ProviderApi
from worker.rescue_slots import Answer
from worker.run import Outcome

CANARY = "canary-secret"
SECRET = SecretStr(CANARY)
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
KEY = SecretBytes(b"canary-canary-canary-canary-key!")

CREDENTIALS = ClientCredentials(client_id="c", client_secret=SECRET)
TOKENS = Tokens(SECRET, NOW, SECRET, frozenset({"a"}))
LIFE = RefreshLife(None, None, None)
GRANT = Grant(
    id="g",
    app="shop",
    user="alice",
    provider="x",
    account="1",
    client_id="c",
    scopes=frozenset(),
    status=GrantStatus.ACTIVE,
    generation=1,
    created_at=NOW,
    updated_at=NOW,
    data_key=DataKey("k", f"vault:v1:{CANARY}", 1, NOW),
    refresh_token=Envelope(1, b"canary-nonce", b"canary-ciphertext"),
    access_token=AccessToken(Envelope(1, b"canary-nonce", b"canary-ciphertext"), NOW),
)
JOB = Job(
    id="j",
    jws=f"e30.e30.{CANARY}",
    app="shop",
    user="alice",
    grant="g",
    provider="x",
    action="x.post",
    payload={"text": CANARY},
    run_at=NOW,
    deadline=NOW,
    rev=0,
    status=JobStatus.SCHEDULED,
    next_at=NOW,
    created_at=NOW,
    request_digest=CANARY,
    history=({"at": NOW, "owner": CANARY},),
)
URL = f"mongodb://user:{CANARY}@host/actas"


def settings() -> Settings:
    return Settings(
        mongodb_url=URL,
        redis_url=f"redis://:{CANARY}@host",
        broker_url=f"amqp://user:{CANARY}@host",
        vault_addr="http://127.0.0.1:8200",
        vault_role_id="role",
        vault_secret_id=CANARY,
        clients={"shop/x": {"client_id": "c", "client_secret": CANARY, "other_client_secrets": [CANARY]}},
    )


def data_keys() -> DataKeys:
    class Vault:
        def unwrap(self, app: str, wrapped: list[tuple[str, str]]) -> list[SecretBytes]:
            return [KEY]

    keys = DataKeys(Vault(), seconds=300)
    keys.get(GRANT)
    return keys


CARRIERS: dict[str, Callable[[], Any]] = {
    "client credentials": lambda: CREDENTIALS,
    "client credentials while a secret is changed": lambda: ClientCredentials(
        client_id="c", client_secret=SECRET, other_client_secrets=(SECRET,)
    ),
    "proofs of a client": lambda: [
        way.proof()
        for auth in ("basic", "post")
        for way in ways(BUILT_IN["x"].model_copy(update={"client_auth": auth}), CREDENTIALS, None)
    ],
    "settings": settings,
    "development settings": lambda: Settings(
        mongodb_url=URL, vault_addr="http://h", vault_token=CANARY, env="development"
    ),
    "broker settings": lambda: BrokerSettings(redis_url=f"redis://:{CANARY}@host"),
    "tokens": lambda: TOKENS,
    "PKCE": lambda: Pkce(SECRET),
    "connected": lambda: Connected("x", "1", "c", frozenset(), TOKENS),
    "connect request": lambda: ConnectRequest(f"https://x.com/i/oauth2/authorize?state={CANARY}"),
    "token endpoint": lambda: TokenEndpoint(Http(), BUILT_IN["x"], CREDENTIALS),
    "reply": lambda: Reply(200, {"Set-Cookie": CANARY}, CANARY.encode()),
    "reply's JSON": lambda: Reply(200, {}, json.dumps({"a": CANARY, "b": [{"c": CANARY}]}).encode()).json(),
    "parameters of a callback": lambda: _parameters(f"https://app/cb?code={CANARY}&state={CANARY}"),
    "what a library is given": lambda: [Unshown({"a": CANARY})],
    "data key": lambda: GRANT.data_key,
    "access token": lambda: GRANT.access_token,
    "grant": lambda: GRANT,
    "access": lambda: Access(SECRET, GRANT, exchanged=True),
    "provider API": lambda: ProviderApi(Http(), BUILT_IN["x"], SECRET, 5, lambda: NOW),
    "unwrapped keys": data_keys,
    "new data key": new_data_key,
    "token write": lambda: encrypt_tokens(
        GRANT, KEY, "k", refresh_token=SECRET, access=(SECRET, NOW), life=LIFE, exchange_id="e"
    ),
    "answer": lambda: Answer(TOKENS, "e", NOW),
    "held grant": lambda: Held(GRANT, "owner", 0.0, "job"),
    "envelope": lambda: encrypt(KEY, SECRET, GRANT.context(Purpose.ACCESS, generation=1, data_key_id="k")),
    "job": lambda: JOB,
    "outcome": lambda: Outcome(JOB, JobStatus.FAILED, decision=Decision(JobStatus.FAILED, "code", "message")),
    "job request": lambda: JobRequest("x.post", "alice", {"text": CANARY}),
    "password": lambda: password_in(SecretStr(URL)),
    "address": lambda: given_to(SecretStr(URL), "app", SECRET, without=()),
}


def in_a_traceback(value: Any) -> str:
    """As error reporters show it: with the locals of every frame."""

    def fail(value: Any) -> None:
        raise RuntimeError

    try:
        fail(value)
    except RuntimeError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "value = " in shown
    return shown


def logged(value: Any) -> str:
    record = logging.LogRecord("n", logging.INFO, __file__, 1, "%s %r", (value, value), None)
    return logging.Formatter().format(record)


WAYS: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "f-string": lambda value: f"{value} {value!r} {value!s}",
    "in a list": lambda value: str([value]),
    "as a key": lambda value: str({"value": (value,)}),
    "json": lambda value: json.dumps(value, default=str),
    "pprint": pprint.pformat,
    "logging": logged,
    "traceback": in_a_traceback,
    "walked through": lambda value: b"\n".join(walked({"value": [value]})).decode(),
    "as an error": lambda value: "".join(traceback.format_exception(ValueError(value))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_carrier_of_secrets_does_not_show_them(carrier, way):
    assert "canary" not in WAYS[way](CARRIERS[carrier]())


@pytest.mark.parametrize("carrier", ["client credentials", "settings", "broker settings"])
def test_a_model_dumped_as_json_does_not_show_its_secrets(carrier):
    assert "canary" not in CARRIERS[carrier]().model_dump_json()
    assert "canary" not in str(CARRIERS[carrier]().model_dump())


REFUSED: dict[str, Callable[[], Any]] = {
    "settings": lambda: Settings(mongodb_url=f"http://u:{CANARY}@h", vault_addr=CANARY, vault_secret_id=[CANARY]),
    "settings that lack something": lambda: Settings(mongodb_url=URL, vault_addr="http://h", vault_secret_id=CANARY),
    "settings with a name nobody knows": lambda: Settings(mongodb_urls=URL),
    "settings with bad clients": lambda: Settings(clients={"shop/x": {"client_secret": CANARY, "secret": CANARY}}),
    "a plain Vault token": lambda: Settings(mongodb_url=URL, vault_addr="http://h", vault_token=CANARY),
    "broker settings": lambda: BrokerSettings(redis_url=f"redis://u:{CANARY}/ss@h", broker_url=[CANARY]),
    "client credentials": lambda: ClientCredentials(client_id=[CANARY], client_secret={"secret": CANARY}),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_the_error_of_bad_settings_does_not_show_them(kind):
    with pytest.raises(ValidationError) as refusal:
        REFUSED[kind]()
    error = refusal.value
    assert "canary" in repr(error.errors())  # or this could not fail
    for shown in (str(error), repr(error), "".join(traceback.format_exception(error))):
        assert "canary" not in shown
    # All that ours ever print of errors(): settings._without_values.
    assert "canary" not in repr(error.errors(include_input=False, include_url=False, include_context=False))


@pytest.mark.parametrize(
    "carrier", [carrier for carrier in CARRIERS if carrier not in {"new data key", "envelope", "token write"}]
)
def test_what_must_not_be_shown_is_really_in_there(carrier):
    """Or the tests above could not fail."""
    assert "canary" in revealed(CARRIERS[carrier]())


def revealed(value: Any, depth: int = 0) -> str:
    if isinstance(value, (Secret, SecretStr, SecretBytes)):
        return str(value.get_secret_value())
    if isinstance(value, (str, bytes)):
        return str(value)
    if isinstance(value, dict):
        return "".join(revealed(each, depth + 1) for each in value.values())
    if isinstance(value, (list, tuple)):
        return "".join(revealed(each, depth + 1) for each in value)
    if depth > 6:
        return ""
    names = getattr(value, "__slots__", None) or getattr(value, "__dict__", {})
    return "".join(revealed(getattr(value, name, None), depth + 1) for name in names)


def test_what_differs_only_in_a_secret_looks_the_same():
    """Not even its length or its beginning is shown."""
    for other in ("x", "c" * 500):
        assert repr(replace(TOKENS, access_token=SecretStr(other))) == repr(TOKENS)
        assert repr(ClientCredentials(client_id="c", client_secret=SecretStr(other))) == repr(CREDENTIALS)


def test_passwords_are_long_and_never_the_same():
    made = {new_password().get_secret_value() for _ in range(100)}
    assert len(made) == 100
    assert {len(password) for password in made} == {43}  # 256 bits
