"""Moving in, as far as it is rules: which field is what, what a document is worth, what is to be done with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import SecretStr

from actas.importing.mapping import BadImport, Candidate, Reason, SourceDoc, fingerprint, judge, parse_map, value_at
from actas.importing.plan import Standing, Stored, standing
from actas.records import GrantStatus

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TOKEN = "canary-refresh-token"
SCOPES = frozenset({"assumed"})


def test_a_map_names_paths():
    assert parse_map("user=_id, refresh_token=x.tokens.0.refresh ,account=x.id") == {
        "user": "_id",
        "refresh_token": "x.tokens.0.refresh",
        "account": "x.id",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "what can be mapped"),
        ("user=u", "refresh_token must be there"),
        ("refresh_token=r", "user must be there"),
        ("user=u,refresh_token=r,email=e", "'email' is unknown"),
        ("user=u,user=v,refresh_token=r", "twice"),
        ("user=u,refresh_token", "needs the path"),
        ("user=u,refresh_token=", "needs the path"),
        ("user=u,refresh_token=a..b", "needs the path"),
        ("user=u,refresh_token=$where", "needs the path"),
        ("user=u,refresh_token=u", "is the field of"),
        ("user=u,refresh_token=u.r", "inside it"),
        ("user=r.u,refresh_token=r", "inside it"),
        ("user=u,refresh_token=_id", "_id"),
        ("user=u,refresh_token=r,access_token=_id.a", "_id"),
    ],
)
def test_a_wrong_map_says_what_is_wrong(text, words):
    with pytest.raises(BadImport, match=words):
        parse_map(text)


@pytest.mark.parametrize(
    ("doc", "path", "value"),
    [
        ({"a": {"b": 1}}, "a.b", 1),
        ({"a": [{"b": 1}, {"b": 2}]}, "a.1.b", 2),
        ({"a": {"1": 3}}, "a.1", 3),
        ({"a": [1]}, "a.1", None),
        ({"a": [{"b": 1}]}, "a.b", None),
        ({"a": None}, "a.b", None),
        ({}, "a", None),
    ],
)
def test_a_path_leads_through_documents_and_lists(doc, path, value):
    assert value_at(doc, path) == value


def judged(*, has_account=True, source_id="d1", **fields):
    given = {"user": "alice", "refresh_token": TOKEN} | ({"account": "42"} if has_account else {}) | fields
    secret = {
        name: SecretStr(value) if name.endswith("token") and isinstance(value, str) else value
        for name, value in given.items()
    }
    return judge(SourceDoc(source_id, secret), scopes=SCOPES, now=NOW)


def test_a_whole_document_becomes_a_candidate():
    found = judged(user=7, scopes="a b,c", access_token="at", expires_at=NOW + timedelta(hours=1))
    assert found == Candidate(
        source_id="d1",
        user="7",
        account="42",
        refresh_token=SecretStr(TOKEN),
        scopes=frozenset("abc"),
        access_token=SecretStr("at"),
        expires_at=NOW + timedelta(hours=1),
    )
    assert TOKEN not in repr(found)


def test_what_is_not_said_is_assumed():
    found = judged(has_account=False)
    assert (found.account, found.scopes, found.access_token) == ("imported:alice", SCOPES, None)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"refresh_token": None}, Reason.NO_TOKEN),
        ({"refresh_token": ""}, Reason.NO_TOKEN),
        ({"refresh_token": 7}, Reason.BAD_TOKEN),
        ({"refresh_token": "with\nline"}, Reason.BAD_TOKEN),
        ({"user": None}, Reason.NO_USER),
        ({"user": {"$ne": 1}}, Reason.BAD_USER),
        ({"user": ""}, Reason.BAD_USER),
        ({"user": True}, Reason.BAD_USER),
        ({"user": "x" * 201}, Reason.BAD_USER),
        ({"user": "x" * 195, "has_account": False}, Reason.BAD_USER),
        ({"account": None}, Reason.NO_ACCOUNT),
        ({"account": 1.5}, Reason.BAD_ACCOUNT),
        ({"scopes": 3}, Reason.BAD_SCOPES),
        ({"scopes": ["a b"]}, Reason.BAD_SCOPES),
        ({"source_id": f"x:{TOKEN}"}, Reason.TOKEN_ELSEWHERE),
        ({"user": TOKEN}, Reason.TOKEN_ELSEWHERE),
        ({"account": "canary-access", "access_token": "canary-access"}, Reason.TOKEN_ELSEWHERE),
    ],
)
def test_what_cannot_be_imported_has_its_reason(fields, reason):
    assert judged(**fields) is reason


@pytest.mark.parametrize(
    "expires_at",
    [
        datetime(2026, 11, 23, 10, tzinfo=UTC),
        datetime(2026, 11, 23, 10),  # noqa: DTZ001 - as somebody wrote it
        datetime(2026, 11, 23, 11, tzinfo=timezone(timedelta(hours=1))),
        "2026-11-23T10:00:00Z",
        1795428000,
        1795428000.0,
        1795428000000,
    ],
)
def test_an_access_tokens_end_is_read_as_it_may_stand_there(expires_at):
    assert judged(access_token="at", expires_at=expires_at).expires_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize("expires_at", [None, "soon", NOW, float("nan"), float("inf"), 1e300, True, [], "0001-01-01"])
def test_an_access_token_without_a_future_is_left_out(expires_at):
    found = judged(access_token="at", expires_at=expires_at)
    assert (found.access_token, found.expires_at) == (None, None)


def candidate(user="alice", account="42", token=TOKEN, source_id="d1"):
    return Candidate(source_id, user, account, SecretStr(token), SCOPES)


def stored(user="alice", account="42", *, token=TOKEN, generation=1, status=GrantStatus.ACTIVE, **origin):
    imported = {
        "source": "db.users",
        "source_id": "d1",
        "generation": 1,
        "fingerprint": fingerprint("g", SecretStr(token)) if token else None,
    } | origin
    return Stored("g", user, account, status, generation, imported)


def connected(user="alice", account="42"):
    return Stored("g", user, account, GrantStatus.ACTIVE, 1, None)


@pytest.mark.parametrize(
    ("each", "there", "expected"),
    [
        (candidate(), [], Standing.NEW),
        (candidate(), [stored()], Standing.SAME),
        (candidate(), [stored(generation=5)], Standing.SAME),
        (candidate(), [stored(token="older")], Standing.CHANGED),
        (candidate(), [stored(token="older", status=GrantStatus.REAUTHORIZATION_REQUIRED)], Standing.CHANGED),
        (candidate(), [stored(token="older", status=GrantStatus.REVOKED)], Standing.DIVERGED),
        (candidate(), [stored(token="older", generation=2)], Standing.DIVERGED),
        (candidate(), [stored(token=None)], Standing.CHANGED),
        (candidate(), [stored(source="db.others")], Standing.ELSEWHERE),
        (candidate(), [stored(source_id="d2")], Standing.ELSEWHERE),
        (candidate(), [connected()], Standing.ELSEWHERE),
        (candidate(), [connected(user="bob")], Standing.OTHER_USER),
        (candidate(), [stored(user="bob")], Standing.OTHER_USER),
        # the account is not said, here or there
        (candidate(account="imported:alice"), [connected()], Standing.ELSEWHERE),
        (candidate(account="imported:alice"), [stored()], Standing.SAME),
        (candidate(), [stored(account="imported:alice")], Standing.SAME),
        (candidate(), [connected(account="43")], Standing.NEW),
        (candidate(account="imported:alice"), [connected(user="bob")], Standing.NEW),
    ],
)
def test_what_is_stored_decides_what_is_done(each, there, expected):
    assert standing(each, there, "db.users")[0] is expected
