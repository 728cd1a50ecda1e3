"""What an app asks of the blacklist, checked before anything is asked of MongoDB."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from actas.errors import InvalidRequest
from actas.refusing import AppBlacklist

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
NUMERIC = NOW.timestamp()


class Store:
    """Stands where MongoDB's does, and writes down what it is asked."""

    def __init__(self) -> None:
        self.added: list[dict[str, Any]] = []
        self.asked: list[list[str]] = []
        self.entries: list[dict[str, Any]] = []

    def add_jti(self, app: str, jti: str, **entry: Any) -> bool:
        self.added.append({"app": app, "jti": jti, **entry})
        return True

    def find(self, ids: list[str]) -> list[dict[str, Any]]:
        self.asked.append(ids)
        return [entry for entry in self.entries if entry["_id"] in ids]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def blacklist(store) -> AppBlacklist:
    return AppBlacklist("shop", SimpleNamespace(room=SimpleNamespace(blacklist=store)), lambda: NOW)


@pytest.mark.parametrize(
    "expires_at",
    [NOW, NOW.astimezone(timezone(timedelta(hours=5))), int(NUMERIC), NUMERIC],
    ids=["aware", "another zone", "exp", "exp with a fraction"],
)
def test_when_a_jwt_expires_is_said_as_a_datetime_or_as_its_exp(blacklist, store, expires_at):
    assert blacklist.add("id", expires_at=expires_at, reason="stolen") is True
    assert store.added == [{"app": "shop", "jti": "id", "expires_at": NOW, "reason": "stolen", "now": NOW}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expires_at": datetime(2027, 1, 1)}, "expires_at has no time zone"),  # noqa: DTZ001 - the mistake to be caught
        ({"expires_at": None}, "expires_at must be an aware datetime"),
        ({"expires_at": "2027-01-01"}, "expires_at must be an aware datetime"),
        ({"expires_at": timedelta(hours=1)}, "expires_at must be an aware datetime"),
        ({"expires_at": True}, "expires_at must be an aware datetime"),
        ({"expires_at": float("nan")}, "expires_at must be an aware datetime"),
        ({"expires_at": 10**400}, "expires_at is no time"),
        ({"expires_at": 1e18}, "expires_at is no time"),
        ({"expires_at": datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))}, "expires_at is no time"),
        ({"jti": ""}, "jti must be a string"),
        ({"jti": None}, "jti must be a string"),
        ({"jti": 7}, "jti must be a string"),
        ({"jti": {"$ne": ""}}, "jti must be a string"),
        ({"jti": "\ud800"}, "jti must be a string"),
        ({"jti": "x" * 201}, "jti must be a string"),
        ({"reason": ""}, "reason must be a string"),
        ({"reason": None}, "reason must be a string"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:40].encode("ascii", "replace").decode(),
)
def test_what_cannot_be_refused_is_an_early_error(blacklist, store, change, words):
    entry = {"jti": "id", "expires_at": NOW, "reason": "stolen"} | change
    with pytest.raises(InvalidRequest, match=f"^{words}"):
        blacklist.add(entry.pop("jti"), **entry)
    assert store.added == []


@pytest.mark.parametrize(
    ("claims", "ids"),
    [
        ({"jti": "id", "sub": "alice", "iat": NUMERIC}, ["jti:shop/id", "user:shop/alice"]),
        ({"jti": "id"}, ["jti:shop/id"]),
        ({"sub": "alice", "exp": 1, "scope": ["a"]}, ["user:shop/alice"]),
    ],
)
def test_a_check_is_one_question(blacklist, store, claims, ids):
    assert blacklist.refuses(claims) is None
    assert store.asked == [ids]


@pytest.mark.parametrize(
    ("iat", "refused"),
    [
        ({"iat": int(NUMERIC)}, "password changed"),
        ({"iat": NUMERIC + 5}, "password changed"),
        ({"iat": NUMERIC + 5.001}, None),
        ({"iat": NOW}, "password changed"),
        ({"iat": NOW + timedelta(seconds=6)}, None),
        ({"iat": (NOW + timedelta(seconds=6)).astimezone(timezone(timedelta(hours=-7)))}, None),
        ({}, "password changed"),
    ],
)
def test_when_a_jwt_was_issued_is_read_as_decoders_give_it(blacklist, store, iat, refused):
    store.entries = [{"_id": "user:shop/alice", "not_before": NOW, "keep": None, "reason": "password changed"}]
    assert blacklist.refuses({"sub": "alice", "jti": "id", **iat}) == refused


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        (None, "claims must be"),
        ("header.payload.signature", "claims must be"),
        ({}, "claims has neither jti nor sub"),
        ({"iat": NUMERIC, "exp": NUMERIC}, "claims has neither jti nor sub"),
        ({"jti": None, "sub": "alice"}, "jti must be a string"),
        ({"jti": 7}, "jti must be a string"),
        ({"jti": "", "sub": "alice"}, "jti must be a string"),
        ({"jti": "id", "sub": {"$ne": ""}}, "sub must be a string"),
        ({"jti": "id", "sub": None}, "sub must be a string"),
        ({"jti": "id", "iat": None}, "iat must be"),
        ({"jti": "id", "iat": "1700000000"}, "iat must be"),
        ({"jti": "id", "iat": False}, "iat must be"),
        ({"jti": "id", "iat": datetime(2026, 1, 1)}, "iat has no time zone"),  # noqa: DTZ001
        ({"jti": "id", "iat": float("inf")}, "iat must be"),
        ({"jti": "id", "iat": 1e300}, "iat is no time"),
    ],
    ids=str,
)
def test_claims_that_nothing_could_refuse_are_an_early_error(blacklist, store, claims, words):
    with pytest.raises(InvalidRequest, match=f"^{words}"):
        blacklist.refuses(claims)
    assert store.asked == []
