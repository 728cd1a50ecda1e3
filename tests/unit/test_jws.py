"""Signed jobs: what the app said comes out, and everything else is refused with its code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from actas.clock import from_numeric_date, to_milliseconds, to_numeric_date
from actas.errors import InvalidTime, JobRefused
from actas.jws import Claims, signing_input, verify
from actas.requests import MAX_PAYLOAD_BYTES, JobRequest, window

NOW = datetime(2026, 11, 23, 9, 0, 0, 123000, tzinfo=UTC)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# RFC 8037 appendix A.1, A.2 and A.4: a private key, its public key, and a signature by it.
PRIVATE = Ed25519PrivateKey.from_private_bytes(unb64("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))
PUBLIC = unb64("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
RFC_8037_INPUT = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
RFC_8037_SIGNATURE = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

KEYS = {("actas-app-shop", 1): OTHER.public_key().public_bytes_raw(), ("actas-app-shop", 2): PUBLIC}
KEYS["actas-app-other", 2] = PUBLIC  # so that only the name can be what is refused

CLAIMS = Claims(
    id="01933e5a-0000-7000-8000-000000000000",
    app="shop",
    user='al"ice 😀',
    grant="g",
    provider="x",
    action="x.post",
    payload={"text": "é"},
    run_at=NOW + timedelta(days=1),
    deadline=NOW + timedelta(days=2),
    issued_at=NOW,
    rev=3,
)


def signed(claims: Claims, *, version: int = 2, key: Ed25519PrivateKey = PRIVATE) -> str:
    data = signing_input(claims, key_version=version)
    return f"{data.decode()}.{b64(key.sign(data))}"


TOKEN = signed(CLAIMS)
HEADER, BODY, SIGNATURE = TOKEN.split(".")
HEADER_OBJECT: dict[str, Any] = json.loads(unb64(HEADER))
BODY_OBJECT: dict[str, Any] = json.loads(unb64(BODY))


def forged(header: Any = HEADER_OBJECT, body: Any = BODY_OBJECT, key: Ed25519PrivateKey = PRIVATE) -> str:
    """A token with any header and body whatever, and a signature that holds."""
    parts = (part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, body))
    data = ".".join(b64(part) for part in parts)
    return f"{data}.{b64(key.sign(data.encode()))}"


def refusal(token: Any, now: datetime = NOW) -> str:
    with pytest.raises(JobRefused) as caught:
        verify(token, lambda name, version: KEYS.get((name, version)), now)
    assert "\n" not in str(caught.value)
    return caught.value.code


def accepted(token: str, now: datetime = NOW) -> Claims:
    return verify(token, lambda name, version: KEYS.get((name, version)), now)


# --- what holds ---


def test_the_key_signs_as_rfc_8037_appendix_a4_says():
    assert PRIVATE.public_key().public_bytes_raw() == PUBLIC
    assert b64(PRIVATE.sign(RFC_8037_INPUT.encode())) == RFC_8037_SIGNATURE


def test_what_the_app_signed_is_what_the_worker_reads():
    assert accepted(TOKEN) == CLAIMS


def test_the_header_is_the_documented_one():
    assert HEADER_OBJECT == {"alg": "Ed25519", "typ": "job+jwt", "kid": "actas-app-shop:v2"}


def test_the_claims_are_those_of_rfc_7519_and_the_times_are_numeric_dates():
    assert {name: BODY_OBJECT[name] for name in ("iss", "sub", "aud", "jti", "rev")} == {
        "iss": "shop", "sub": 'al"ice 😀', "aud": "actas", "jti": "01933e5a-0000-7000-8000-000000000000", "rev": 3,
    }  # fmt: skip
    assert [BODY_OBJECT[name] - NOW.timestamp() for name in ("iat", "nbf", "exp")] == [0, 86400, 172800]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(to_milliseconds)  # noqa: DTZ001 - hypothesis adds the zone


@given(st.text(), st.text(), st.dictionaries(st.text(), json_values, max_size=4), moments, moments)
def test_every_text_payload_and_time_survives_the_journey(user, grant, payload, run_at, deadline):
    claims = replace(CLAIMS, user=user, grant=grant, payload=payload, run_at=run_at, deadline=deadline)
    assert accepted(signed(claims)) == claims


@given(moments)
def test_a_time_in_milliseconds_survives_being_a_numeric_date(moment):
    assert from_numeric_date(to_numeric_date(moment)) == moment


@given(st.none() | st.datetimes(timezones=st.timezones()), st.timedeltas(timedelta(0), timedelta(days=400)))
def test_every_window_that_is_taken_can_be_verified(at, ahead):
    """Or the job would be refused when it is due, long after the app was told that all is well."""
    try:
        run_at, deadline = window(JobRequest("x.post", "alice", {}, at, NOW + ahead), NOW)
    except InvalidTime:
        return
    claims = replace(CLAIMS, run_at=run_at, deadline=deadline)
    assert accepted(signed(claims)) == claims


def test_the_window_is_not_judged_here():
    for moment in (CLAIMS.run_at - timedelta(days=1), CLAIMS.deadline + timedelta(days=1000)):
        assert accepted(TOKEN, moment) == CLAIMS


def test_a_job_signed_by_an_older_key_of_the_app_holds_while_vault_knows_that_key():
    assert accepted(signed(CLAIMS, version=1, key=OTHER)) == CLAIMS


def test_the_largest_payload_that_is_taken_is_not_too_large_to_be_verified():
    text = "x" * (MAX_PAYLOAD_BYTES - len(json.dumps({"text": ""})))
    claims = replace(CLAIMS, user="😀" * 200, payload={"text": text})
    assert len(json.dumps(claims.payload)) == MAX_PAYLOAD_BYTES
    assert accepted(signed(claims)) == claims


@pytest.mark.parametrize(("ahead", "holds"), [(0, True), (5, True), (5.001, False), (3600, False), (-3600, True)])
def test_a_signature_from_the_future_is_refused_beyond_five_seconds(ahead, holds):
    token = signed(replace(CLAIMS, issued_at=NOW + timedelta(seconds=ahead)))
    if holds:
        accepted(token)
    else:
        assert refusal(token) == "from_the_future"


# --- headers ---


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS256"},
        {"alg": "EdDSA"},  # RFC 9864: not fully specified
        {"alg": "ed25519"},
        {"alg": "Ed448"},
        {"alg": "RS256"},
        {"alg": None},
        {"alg": ["Ed25519"]},
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"typ": "job+JWT"},
        {"typ": "application/job+jwt"},
        {"typ": None},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"b64": False},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(PUBLIC)}},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["x"]},
        {"cty": "json"},
        {"iss": "shop"},
        {"kid": None},
        {"kid": 2},
        {"kid": ["actas-app-shop:v2"]},
        {"kid": ""},
        {"kid": "actas-app-shop"},
        {"kid": "actas-app-shop:2"},
        {"kid": "actas-app-shop:v"},
        {"kid": "actas-app-shop:vtwo"},
        {"kid": "actas-app-shop:v2.0"},
    ],
)
def test_a_header_that_is_not_exactly_ours_is_refused(change):
    assert refusal(forged(HEADER_OBJECT | change)) == "bad_header"


def test_a_job_that_names_no_connection_is_of_the_first():
    body = {name: value for name, value in BODY_OBJECT.items() if name != "connection"}
    assert accepted(forged(body=body)).connection == 0


@pytest.mark.parametrize("missing", ["alg", "typ", "kid"])
def test_a_header_with_something_missing_is_refused(missing):
    assert refusal(forged({name: value for name, value in HEADER_OBJECT.items() if name != missing})) == "bad_header"


@pytest.mark.parametrize(
    "header",
    [b"", b"{", b"null", b"1", b'"alg typ kid"', b"[]", b'["alg","typ","kid"]', b"[{}]", b"\xff\xfe", b"[" * 10**5],
)
def test_a_header_that_is_no_object_is_refused(header):
    assert refusal(forged(header)) == "bad_header"


@pytest.mark.parametrize("token", ["", ".", "..", "...", "nonsense", "é.é.é", "\x00", None, 1, b"a.b.c", {}])
def test_what_is_no_token_at_all_is_refused(token):
    assert refusal(token) == "bad_header"


def test_the_example_of_rfc_8037_is_no_job():
    assert refusal(f"{RFC_8037_INPUT}.{RFC_8037_SIGNATURE}") == "bad_header"


# --- keys ---


@pytest.mark.parametrize(
    ("kid", "why"),
    [
        ("actas-app-shop:v1", "another version's key"),
        ("actas-app-shop:v3", "a version that is not there"),
        ("actas-app-nobody:v2", "an app that is not there"),
        ("actas-app-other:v2", "another app's name, under which the signature does hold"),
    ],
)
def test_a_key_that_is_not_the_apps_own_is_refused(kid, why):
    assert refusal(forged(HEADER_OBJECT | {"kid": kid})) == "bad_signature", why


def test_an_app_cannot_sign_as_another():
    assert refusal(forged(body=BODY_OBJECT | {"iss": "other"})) == "bad_signature"


@pytest.mark.parametrize(
    "kid",
    [
        "../../kv/data/actas/shop/x:v1",
        "actas-app-../../../kv/data/actas/shop/x:v1",
        "actas-app-shop/../shop:v2",
        "actas-app-shop?x=:v2",
        "actas-app-:v2",
        "actas-app-Shop:v2",
        "actas-app-shop\n:v2",
        f"actas-app-{'a' * 41}:v2",
        "actas-kek-shop:v2",
        "actas-client-shop.x:v2",
        "actas-app-shop.x:v2",
        ":v2",
        "actas-app-shop:v-1",
        "actas-app-shop:v0",
        "actas-app-shop:v2 ",
        "actas-app-shop:v1_0",
        "actas-app-shop:v٢",
        f"actas-app-shop:v{'9' * 4000}",
    ],
)
def test_vault_is_not_asked_for_a_key_that_no_app_could_have(kid):
    """The header stands in MongoDB; whoever can write there must not choose what a worker reads from Vault."""
    asked = []
    with pytest.raises(JobRefused):
        verify(forged(HEADER_OBJECT | {"kid": kid}), lambda *key: asked.append(key), NOW)
    assert asked == []


# --- signatures ---


@pytest.mark.parametrize(
    "token",
    [
        f"{HEADER}.{BODY}.",
        f"{HEADER}.{BODY}",
        f"{HEADER}..{SIGNATURE}",
        f"{HEADER}.{BODY}.{SIGNATURE[:-1]}",
        f"{HEADER}.{BODY}.{SIGNATURE[:-2]}",
        f"{HEADER}.{BODY}.{SIGNATURE}A",
        f"{HEADER}.{BODY}.{SIGNATURE}==",
        f"{HEADER}.{BODY}.{SIGNATURE}\n",
        f"{HEADER}.{BODY}.{SIGNATURE}.",
        f"{HEADER}.{BODY}.{SIGNATURE}.{SIGNATURE}",
        f"{HEADER}.{BODY}.{BODY}.{SIGNATURE}",
        f"{HEADER}.{HEADER}.{BODY}.{SIGNATURE}",
        f"{HEADER}.{BODY}.{'A' * 86}",
        f"{HEADER}.{BODY}={'.'}{SIGNATURE}",
        f"{HEADER}.{b64(b'{}')}.{SIGNATURE}",
        f"{HEADER}.{b64(json.dumps(BODY_OBJECT | {'sub': 'bob'}).encode())}.{SIGNATURE}",
        f"{HEADER}.{b64(json.dumps(BODY_OBJECT, indent=1).encode())}.{SIGNATURE}",
        forged(key=OTHER),
        # What verifiers that trust the header's alg fall for: the public key as an HMAC secret.
        f"{HEADER}.{BODY}.{b64(hmac.digest(PUBLIC, f'{HEADER}.{BODY}'.encode(), hashlib.sha256))}",
    ],
)
def test_a_signature_that_does_not_hold_for_exactly_this_is_refused(token):
    assert refusal(token) == "bad_signature"


def test_a_signature_of_another_job_is_refused():
    other = signed(replace(CLAIMS, user="bob")).split(".")
    assert refusal(f"{HEADER}.{other[1]}.{SIGNATURE}") == "bad_signature"
    assert refusal(f"{HEADER}.{BODY}.{other[2]}") == "bad_signature"


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_no_changed_character_goes_unnoticed(at, character):
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    if changed != TOKEN:
        assert refusal(changed) in {"bad_signature", "bad_header"}


@given(st.text() | st.lists(st.sampled_from([HEADER, BODY, SIGNATURE, "", "e30", "bnVsbA"]), max_size=5).map(".".join))
def test_garbage_is_refused_and_raises_nothing_else(token):
    if token != TOKEN:
        refusal(token)


# --- claims: signed by the app itself, and still not believed blindly ---


@pytest.mark.parametrize("missing", sorted(BODY_OBJECT.keys() - {"connection"}))
def test_a_missing_claim_is_refused(missing):
    body = {name: value for name, value in BODY_OBJECT.items() if name != missing}
    assert refusal(forged(body=body)) == "bad_claims"


TEXTS = ("iss", "sub", "jti", "grant", "provider", "action")
TIMES = ("iat", "nbf", "exp")


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        *((name, value) for name in TEXTS for value in (None, 1, True, [], ["shop"], {})),
        *((name, value) for name in TIMES for value in (None, "1", True, False, [], {})),
        *(
            (name, value)
            for name in TIMES
            for value in (float("nan"), float("inf"), float("-inf"), 1e300, 10**20, -(10**20))
        ),
        *(("rev", value) for value in (None, "0", True, 1.5, 0.0, [])),
        *(("payload", value) for value in (None, "text", [], [["text", "hi"]], 1)),
        *(("aud", value) for value in (None, "Actas", "other", ["actas"], ["actas", "other"], "")),
    ],
)
def test_a_claim_of_another_kind_is_refused(claim, value):
    assert refusal(forged(body=BODY_OBJECT | {claim: value})) == "bad_claims"


@pytest.mark.parametrize("body", [b"null", b"[]", b"1", b'"text"', b"{}"])
def test_signed_claims_that_are_no_object_are_refused(body):
    assert refusal(forged(body=body)) == "bad_claims"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"{'iss': 'shop'}", b"[" * 90_000])
def test_signed_claims_that_are_no_json_are_refused(body):
    assert refusal(forged(body=body)) in {"bad_claims", "bad_signature"}


def test_claims_nobody_knows_are_ignored():
    """RFC 7519 section 4: unknown claims must be ignored."""
    assert accepted(forged(body=BODY_OBJECT | {"scope": "all", "act": {"sub": "bob"}})) == CLAIMS
