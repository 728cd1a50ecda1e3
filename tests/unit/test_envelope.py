"""The envelope: a token comes back only where it belongs, whole, under its own key."""

from __future__ import annotations

import dataclasses
import json
import traceback

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretBytes, SecretStr

from actas.envelope import KEY_BYTES, NONCE_BYTES, VERSION, Context, Envelope, Purpose, decrypt, encrypt, new_data_key
from actas.errors import EnvelopeError, EnvelopeVersionError

CANARY = "canary-token"
KEY = SecretBytes(bytes(range(KEY_BYTES)))
CONTEXT = Context(Purpose.REFRESH, "grant", "app", "user", "x", "12345", 7, "key")

#: What breaks careless encodings: quotes, separators, escapes, NUL, things that look like other types or like each other.
AWKWARD = [
    "", "\x00", '"', "\\", '\\"', ",", '","', "[", "]", "1", "1.0", "true", "null", " ", "a", "a ", "\\u0000", "\n",
    "é", "e\u0301", "ﬁ", "fi", "😀", "\\ud83d\\ude00", "\u2028", "\ufeff", "K", "\u212a",
]  # fmt: skip

# Lone surrogates are left out: neither MongoDB nor JSON in UTF-8 can carry them, so none can be in a stored grant.
texts = st.sampled_from(AWKWARD) | st.text() | st.lists(st.sampled_from(AWKWARD)).map("".join)
contexts = st.builds(
    Context, st.sampled_from(Purpose), texts, texts, texts, texts, texts, st.integers(min_value=0), texts
)
keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES).map(SecretBytes)


@given(keys, texts, contexts)
def test_what_goes_in_comes_out_where_it_belongs(key, token, context):
    stored = encrypt(key, SecretStr(token), context).to_doc()
    assert decrypt(key, Envelope.from_doc(stored), context).get_secret_value() == token


@given(contexts, contexts)
def test_two_places_never_have_the_same_name(one, other):
    assume(one != other)
    assert one.associated_data(VERSION) != other.associated_data(VERSION)


@given(st.lists(texts, min_size=6, max_size=6), st.permutations(range(6)))
def test_fields_that_change_places_make_another_name(values, order):
    assume([values[n] for n in order] != values)

    def name(fields):
        grant, app, user, provider, account, key_id = fields
        return Context(Purpose.ACCESS, grant, app, user, provider, account, 1, key_id).associated_data(VERSION)

    assert name(values) != name([values[n] for n in order])


def test_the_name_of_a_place_is_the_documented_encoding():
    context = Context(Purpose.ACCESS, "g", "a", 'é"', "x", "1", 7, "k")
    assert context.associated_data(1) == b'[1,"access","g","a","\\u00e9\\"","x","1",7,"k"]'


@given(contexts, st.data())
def test_any_changed_byte_is_noticed(context, data):
    envelope = encrypt(KEY, SecretStr(CANARY), context)
    field = data.draw(st.sampled_from(["nonce", "ciphertext"]))
    value = bytearray(getattr(envelope, field))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EnvelopeError):
        decrypt(KEY, dataclasses.replace(envelope, **{field: bytes(value)}), context)


@given(st.data())
def test_anything_cut_off_or_added_is_noticed(data):
    envelope = encrypt(KEY, SecretStr(CANARY), CONTEXT)
    field = data.draw(st.sampled_from(["nonce", "ciphertext"]))
    value = getattr(envelope, field)
    cut = st.integers(0, len(value) - 1).map(lambda n: value[:n])
    added = st.binary(min_size=1, max_size=40).map(lambda more: value + more)
    with pytest.raises(EnvelopeError):
        decrypt(KEY, dataclasses.replace(envelope, **{field: data.draw(cut | added)}), CONTEXT)


OTHER_VALUES = {
    "purpose": Purpose.ACCESS,
    "grant": "grant2",
    "app": "app2",
    "user": "User",
    "provider": "y",
    "account": "12346",
    "generation": 8,
    "data_key_id": "key2",
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Context)])
def test_a_token_moved_elsewhere_does_not_decrypt(field):
    envelope = encrypt(KEY, SecretStr(CANARY), CONTEXT)
    with pytest.raises(EnvelopeError):
        decrypt(KEY, envelope, dataclasses.replace(CONTEXT, **{field: OTHER_VALUES[field]}))


@given(contexts, contexts)
def test_a_token_of_one_place_is_nothing_in_another(one, other):
    assume(one != other)
    with pytest.raises(EnvelopeError):
        decrypt(KEY, encrypt(KEY, SecretStr(CANARY), one), other)


@given(st.binary(max_size=64))
def test_another_key_opens_nothing(key):
    assume(key != KEY.get_secret_value())
    with pytest.raises(EnvelopeError):
        decrypt(SecretBytes(key), encrypt(KEY, SecretStr(CANARY), CONTEXT), CONTEXT)


@given(st.integers().filter(lambda v: v != VERSION))
def test_another_format_version_says_so_and_what_to_do(version):
    envelope = dataclasses.replace(encrypt(KEY, SecretStr(CANARY), CONTEXT), v=version)
    with pytest.raises(EnvelopeVersionError, match=f"version {version}.*upgrade"):
        decrypt(KEY, envelope, CONTEXT)


def test_the_format_version_is_part_of_what_is_sealed():
    """Or a later release could be made to read an old envelope by other rules."""
    assert CONTEXT.associated_data(1) != CONTEXT.associated_data(2)


@pytest.mark.parametrize(
    "doc",
    [
        None,
        "text",
        [],
        {},
        {"v": 1, "nonce": b"n"},
        {"v": 1, "ciphertext": b"c"},
        {"nonce": b"n", "ciphertext": b"c"},
        {"v": "1", "nonce": b"n", "ciphertext": b"c"},
        {"v": 1.0, "nonce": b"n", "ciphertext": b"c"},
        {"v": None, "nonce": b"n", "ciphertext": b"c"},
        {"v": 1, "nonce": "n", "ciphertext": b"c"},
        {"v": 1, "nonce": b"n", "ciphertext": ["c"]},
        {"v": 1, "nonce": b"n", "ciphertext": None},
    ],
)
def test_an_incomplete_document_is_no_envelope(doc):
    with pytest.raises(EnvelopeError):
        Envelope.from_doc(doc)


def test_a_version_of_true_is_not_version_one():
    envelope = encrypt(KEY, SecretStr(CANARY), CONTEXT)
    with pytest.raises(EnvelopeError):
        decrypt(KEY, Envelope.from_doc(envelope.to_doc() | {"v": True}), CONTEXT)


def test_a_plaintext_that_is_no_text_is_refused(monkeypatch):
    envelope = encrypt(KEY, SecretStr(CANARY), CONTEXT)
    monkeypatch.setattr("actas.envelope.AESGCM.decrypt", lambda *_: b"\xff", raising=False)
    monkeypatch.setattr("actas.envelope.AESGCM", lambda _: type("Any", (), {"decrypt": lambda *_: b"\xff"}))
    with pytest.raises(EnvelopeError):
        decrypt(KEY, envelope, CONTEXT)


def test_the_same_token_never_looks_the_same_twice():
    envelopes = [encrypt(KEY, SecretStr(CANARY), CONTEXT) for _ in range(200)]
    assert len({envelope.nonce for envelope in envelopes}) == len({e.ciphertext for e in envelopes}) == 200
    assert {len(envelope.nonce) for envelope in envelopes} == {NONCE_BYTES}


def test_data_keys_are_256_random_bits():
    made = {new_data_key().get_secret_value() for _ in range(100)}
    assert len(made) == 100
    assert {len(key) for key in made} == {32}


@pytest.mark.parametrize("show", [repr, str, format, lambda value: json.dumps(value, default=str)])
def test_neither_the_envelope_nor_what_comes_out_shows_the_token(show):
    envelope = encrypt(KEY, SecretStr(CANARY), CONTEXT)
    shown = show(envelope) + show(decrypt(KEY, envelope, CONTEXT)) + show(KEY)
    assert "canary" not in shown
    assert repr(KEY.get_secret_value()) not in shown


def failed_encryption():
    encrypt(SecretBytes(b"too short"), SecretStr(CANARY), CONTEXT)


def failed_decryption():
    token = SecretStr(CANARY)
    decrypt(new_data_key(), encrypt(KEY, token, CONTEXT), CONTEXT)


@pytest.mark.parametrize("fail", [failed_encryption, failed_decryption])
def test_a_traceback_with_locals_shows_no_token(fail):
    """Some error reporters record the locals of every frame."""
    with pytest.raises((EnvelopeError, ValueError)) as caught:
        fail()
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "envelope.py" in shown
    assert "context" in shown  # locals are in it
    assert "canary" not in shown
