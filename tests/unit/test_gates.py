"""How a gate is written in Redis, and that nothing else that may lie there closes one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actas.gates import LONGEST, Standing

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
times = st.integers(0, 4 * 10**12).map(
    lambda ms: datetime.fromtimestamp(ms // 1000, UTC) + timedelta(milliseconds=ms % 1000)
)
marks = st.from_regex("[0-9a-f]{8}", fullmatch=True)
standings = st.builds(Standing, times, st.integers(0, 100), st.lists(marks, max_size=4).map(tuple), st.booleans())


@given(standings)
def test_what_is_written_is_read_back(standing):
    assert Standing.from_text(standing.as_text()) == standing


@given(st.text())
def test_whatever_lies_there_is_a_standing(text):
    assert isinstance(Standing.from_text(text).closed(NOW), bool)


@pytest.mark.parametrize(
    "text", [None, "", "soon", "nan 0 0 0", "inf 1 0 0", "1e300 1 0 0", "9 9", "1 2 3 4 5", "9" * 5000]
)
def test_what_is_no_standing_closes_nothing(text):
    assert Standing.from_text(text) == Standing()
    assert not Standing.from_text(text).closed(NOW)


def test_no_gate_is_closed_for_ever():
    """A job whose deadline comes before the opening expires at once: a word in Redis must not do that to all of them."""
    assert Standing(NOW + LONGEST).closed(NOW)
    assert not Standing(NOW + LONGEST + timedelta(seconds=1)).closed(NOW)
