"""What the blacklist refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from actas.blacklist import Fate, fate, ids_for, refusal
from actas.jws import CLOCK_SKEW

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)

JTI = {"_id": "jti:shop/j1", "reason": "stolen"}
WATERMARK = {"_id": "user:shop/alice", "not_before": NOW, "keep": None, "reason": "password changed"}
KEEPING = WATERMARK | {"keep": "j1"}


@pytest.mark.parametrize(
    ("entries", "jti", "issued_at", "refused"),
    [
        ([], "j1", NOW, None),
        ([JTI], "j1", NOW + 1000 * SECOND, "stolen"),
        ([JTI], "j1", None, "stolen"),
        # a watermark refuses what was issued before it, and 5 s more, because clocks differ
        ([WATERMARK], "j1", NOW - 1000 * SECOND, "password changed"),
        ([WATERMARK], "j1", NOW, "password changed"),
        ([WATERMARK], "j1", NOW + CLOCK_SKEW, "password changed"),
        ([WATERMARK], "j1", NOW + CLOCK_SKEW + timedelta(milliseconds=1), None),
        ([WATERMARK], "j1", NOW + 1000 * SECOND, None),
        # what does not say when it was issued could be old
        ([WATERMARK], "j1", None, "password changed"),
        ([WATERMARK], None, None, "password changed"),
        # one session may be kept
        ([KEEPING], "j1", NOW - SECOND, None),
        ([KEEPING], "j1", None, None),
        ([KEEPING], "j2", NOW - SECOND, "password changed"),
        ([KEEPING], None, NOW - SECOND, "password changed"),
        # but only one that no earlier watermark refused
        ([KEEPING | {"keep_after": NOW - 9 * SECOND}], "j1", NOW - SECOND, None),
        ([KEEPING | {"keep_after": NOW - 9 * SECOND}], "j1", NOW - 9 * SECOND + CLOCK_SKEW, "password changed"),
        ([KEEPING | {"keep_after": NOW - 9 * SECOND}], "j1", None, "password changed"),
        ([KEEPING | {"keep_after": None}], "j1", NOW - 1000 * SECOND, None),
        # keeping none is not keeping those without an id
        ([WATERMARK], None, NOW - SECOND, "password changed"),
        ([{"_id": "user:shop/alice", "not_before": NOW}], None, NOW - SECOND, "revoked"),
        # being kept by a watermark is no pardon from an entry of one's own
        ([KEEPING, JTI], "j1", NOW + 1000 * SECOND, "stolen"),
        ([JTI, KEEPING], "j1", NOW - SECOND, "stolen"),
        ([WATERMARK, JTI], "j1", NOW + 1000 * SECOND, "stolen"),
        # a reason is always given
        ([{"_id": "jti:shop/j1"}], "j1", NOW, "revoked"),
        ([JTI | {"reason": None}], "j1", NOW, "revoked"),
        ([JTI | {"reason": ""}], "j1", NOW, "revoked"),
        ([WATERMARK | {"reason": None}], "j1", NOW, "revoked"),
    ],
)
def test_the_rule(entries, jti, issued_at, refused):
    assert refusal(entries, jti=jti, issued_at=issued_at) == refused


def test_the_entries_are_looked_for_by_id_and_by_user():
    assert ids_for("shop", jti="j1", user="alice") == ["jti:shop/j1", "user:shop/alice"]
    assert ids_for("shop", jti=None, user="alice") == ["user:shop/alice"]
    assert ids_for("shop", jti="j1", user=None) == ["jti:shop/j1"]
    assert ids_for("shop", jti=None, user=None) == []


def test_no_two_apps_users_or_ids_share_an_entry():
    names = ["a", "b", "a/b", "/", "a:b", "user:a", "jti:a/b", ""]
    apps = ["a", "b", "a-b"]  # an app's name has no slash
    entries = [entry for app, name in product(apps, names) for entry in ids_for(app, jti=name, user=name)]
    assert len(set(entries)) == len(entries) == 2 * len(apps) * len(names)


def test_an_entry_for_a_user_who_is_called_like_an_id_is_still_a_watermark():
    entry = WATERMARK | {"_id": "user:shop/jti:shop/j1"}
    assert refusal([entry], jti="j1", issued_at=NOW + 1000 * SECOND) is None


# --- jobs ---

CANCELLING = {"_id": "user:shop/alice", "not_before": NOW, "jobs_not_before": NOW, "keep": "j1"}
HOLDING = {"_id": "user:shop/alice", "not_before": NOW, "jobs_held_before": NOW, "keep": "j1"}
#: First cancelled, later held: each watermark says what becomes of those signed before it.
BOTH = CANCELLING | {"not_before": NOW + 60 * SECOND, "jobs_held_before": NOW + 60 * SECOND}
#: First held, later cancelled.
BOTH_TURNED = HOLDING | {"not_before": NOW + 60 * SECOND, "jobs_not_before": NOW + 60 * SECOND}

MS = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("entries", "issued_at", "expected"),
    [
        ([], NOW, Fate.KEEP),
        ([JTI], NOW + 1000 * SECOND, Fate.CANCEL),
        # a log-out that keeps jobs refuses JWTs only
        ([WATERMARK], NOW - 1000 * SECOND, Fate.KEEP),
        ([CANCELLING], NOW - 1000 * SECOND, Fate.CANCEL),
        ([CANCELLING], NOW + CLOCK_SKEW, Fate.CANCEL),
        ([CANCELLING], NOW + CLOCK_SKEW + MS, Fate.KEEP),
        ([HOLDING], NOW - 1000 * SECOND, Fate.HOLD),
        ([HOLDING], NOW + CLOCK_SKEW, Fate.HOLD),
        ([HOLDING], NOW + CLOCK_SKEW + MS, Fate.KEEP),
        ([BOTH], NOW, Fate.CANCEL),
        ([BOTH], NOW + 30 * SECOND, Fate.HOLD),
        ([BOTH], NOW + 66 * SECOND, Fate.KEEP),
        ([BOTH_TURNED], NOW, Fate.CANCEL),
        ([BOTH_TURNED], NOW + 30 * SECOND, Fate.CANCEL),
        ([BOTH_TURNED], NOW + 66 * SECOND, Fate.KEEP),
        # an id of its own on the blacklist is the harder word, whichever comes first
        ([HOLDING, JTI], NOW, Fate.CANCEL),
        ([JTI, HOLDING], NOW, Fate.CANCEL),
    ],
)
def test_what_becomes_of_a_job(entries, issued_at, expected):
    assert fate(entries, issued_at=issued_at) is expected


def test_what_becomes_of_jobs_is_decided_even_if_entries_can_be_read_only_once():
    assert fate(iter([HOLDING, JTI]), issued_at=NOW) is Fate.CANCEL
