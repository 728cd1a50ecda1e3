"""When a provider that answered 429 is asked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actas.rate_limits import (
    CAP_PAUSE,
    DEFAULT_PAUSE,
    GITHUB_WINDOWS,
    LONGEST,
    X_APPS_WINDOWS,
    X_USERS_WINDOWS,
    limits,
    retry_at,
    says_limit,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    """A reset in so many seconds, as X writes it."""
    return str(int(NOW.timestamp() + seconds))


def seconds(headers: dict[str, str], dialect: str = "x") -> float:
    until = limits(received(headers), dialect, NOW).latest
    assert retry_at(received(headers), dialect, NOW) in {until, None}
    return (until - NOW).total_seconds()


def received(headers: dict[str, str]) -> httpx.Headers:
    """Headers as they come from the wire, where they are bytes."""
    return httpx.Headers([(name.encode(), value.encode("latin-1")) for name, value in headers.items()])


DEFAULT = DEFAULT_PAUSE.total_seconds()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, DEFAULT),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": at(300)}, 300),
        ({"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": at(300)}, 300),
        # a limit with something left is not the one we ran into
        ({"x-rate-limit-remaining": "7", "x-rate-limit-reset": at(300)}, DEFAULT),
        (
            {
                "x-rate-limit-remaining": "7", "x-rate-limit-reset": at(300),
                "x-user-limit-24hour-remaining": "0", "x-user-limit-24hour-reset": at(20_000),
            },
            20_000,
        ),
        # of several exhausted ones the latest counts
        (
            {
                "x-rate-limit-remaining": "0", "x-rate-limit-reset": at(300),
                "x-user-limit-24hour-remaining": "0", "x-user-limit-24hour-reset": at(20_000),
                "x-app-limit-24hour-remaining": "0", "x-app-limit-24hour-reset": at(10_000),
            },
            20_000,
        ),
        (
            {
                "x-rate-limit-remaining": "0", "x-rate-limit-reset": at(300),
                "x-app-limit-24hour-remaining": "12", "x-app-limit-24hour-reset": at(20_000),
            },
            300,
        ),
        # a reset that does not say of what, a limit that does not say until when
        ({"x-rate-limit-reset": at(300)}, DEFAULT),
        ({"x-rate-limit-remaining": "0"}, DEFAULT),
        # what cannot be read is not there
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "soon"}, DEFAULT),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "-5"}, DEFAULT),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "1e9"}, DEFAULT),
        ({"x-rate-limit-remaining": "none", "x-rate-limit-reset": at(300)}, DEFAULT),
        # X's own headers do not silence Retry-After
        ({"retry-after": "120"}, 120),
        ({"retry-after": "120", "x-rate-limit-remaining": "0", "x-rate-limit-reset": at(300)}, 300),
        ({"retry-after": "400", "x-rate-limit-remaining": "0", "x-rate-limit-reset": at(300)}, 400),
    ],
)  # fmt: skip
def test_x_is_asked_again_at_the_latest_reset_among_its_exhausted_limits(headers, expected):
    assert seconds(headers) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, DEFAULT),
        ({"retry-after": "120"}, 120),
        ({"Retry-After": "120"}, 120),
        ({"retry-after": "soon"}, DEFAULT),
        ({"retry-after": "-1"}, DEFAULT),
        ({"retry-after": "¹²"}, DEFAULT),  # digits, but not those of RFC 9110
        # X's dialect is not read where it is not spoken
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": at(300)}, DEFAULT),
        # RFC 9110 section 10.2.3: a date is as good as a number
        ({"retry-after": format_datetime(NOW + timedelta(seconds=600), usegmt=True)}, 600),
    ],
)
def test_others_are_asked_again_when_retry_after_says(headers, expected):
    assert seconds(headers, "retry-after") == expected


HOURS = {"x-ratelimit-limit": "5000", "x-ratelimit-used": "5000", "x-ratelimit-resource": "core"}


@pytest.mark.parametrize(
    ("headers", "expected", "limit"),
    [
        ({}, DEFAULT, False),
        ({**HOURS, "x-ratelimit-remaining": "0", "x-ratelimit-reset": at(300)}, 300, True),
        ({**HOURS, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": at(300)}, 300, True),
        # it says with each reply how much is left
        ({**HOURS, "x-ratelimit-remaining": "4999", "x-ratelimit-reset": at(300)}, DEFAULT, False),
        ({"x-ratelimit-remaining": "0"}, DEFAULT, False),
        ({"x-ratelimit-reset": at(300)}, DEFAULT, False),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, DEFAULT, False),
        # a secondary limit, alone and with an exhausted hour
        ({"retry-after": "120"}, 120, True),
        ({"Retry-After": "120", "x-ratelimit-remaining": "17", "x-ratelimit-reset": at(300)}, 120, True),
        ({"retry-after": "120", "x-ratelimit-remaining": "0", "x-ratelimit-reset": at(300)}, 300, True),
        ({"retry-after": "400", "x-ratelimit-remaining": "0", "x-ratelimit-reset": at(300)}, 400, True),
        # another's words
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": at(300)}, DEFAULT, False),
    ],
)
def test_github_is_asked_again_when_its_hour_is_over_or_it_says(headers, expected, limit):
    """And whether a 403 of its is a limit is told by the same headers."""
    assert seconds(headers, "github") == expected
    assert says_limit(received(headers), "github") is limit


@pytest.mark.parametrize("dialect", ["x", "retry-after"])
def test_with_others_no_header_makes_a_403_a_limit(dialect):
    both = {"retry-after": "120", "x-ratelimit-remaining": "0", "x-ratelimit-reset": at(300), **WINDOW}
    assert not says_limit(received(both), dialect)


@pytest.mark.parametrize(
    "headers", [{"retry-after": "999999999"}, {"x-rate-limit-remaining": "0", "x-rate-limit-reset": at(10**9)}]
)
def test_a_header_that_asks_for_too_much_is_believed_for_a_day(headers):
    assert seconds(headers) == LONGEST.total_seconds()


@pytest.mark.parametrize(
    "headers", [{"retry-after": "0"}, {"x-rate-limit-remaining": "0", "x-rate-limit-reset": at(-30)}]
)
def test_a_limit_that_is_over_already_is_no_invitation_to_storm(headers):
    """A clock that is behind ours would have every job come back at once, again and again, without an attempt counted."""
    assert seconds(headers) >= 1


CAPPED = "https://api.twitter.com/2/problems/usage-capped"


def whose(headers: dict[str, str], problem: object = None, dialect: str = "x") -> tuple[float | None, float | None]:
    """Seconds until the user may come again, and until the app may."""
    said = limits(received(headers), dialect, NOW, problem=problem)
    user, app = ((until and (until - NOW).total_seconds()) for until in (said.user, said.app))
    return user, app


WINDOW = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": at(300)}
USERS_DAY = {"x-user-limit-24hour-remaining": "0", "x-user-limit-24hour-reset": at(20_000)}
APPS_DAY = {"x-app-limit-24hour-remaining": "0", "x-app-limit-24hour-reset": at(10_000)}
QUOTA_LEFT = {"x-rate-limit-remaining": "57", "x-rate-limit-reset": at(300)}


@pytest.mark.parametrize(
    ("headers", "problem", "user", "app"),
    [
        ({}, None, DEFAULT, None),
        (WINDOW, "about:blank", 300, None),
        (WINDOW | USERS_DAY, None, 20_000, None),
        # the app's day is over, and this user has nothing to do with it
        (QUOTA_LEFT | APPS_DAY, None, None, 10_000),
        (WINDOW | APPS_DAY, None, 300, 10_000),
        # a cap: with quota left in all windows, under any of X's hosts
        (QUOTA_LEFT, CAPPED, None, CAP_PAUSE.total_seconds()),
        (QUOTA_LEFT, "https://api.x.com/2/problems/usage-capped", None, CAP_PAUSE.total_seconds()),
        (QUOTA_LEFT | {"retry-after": "120"}, CAPPED, None, 120),
        (WINDOW, CAPPED, 300, CAP_PAUSE.total_seconds()),
        (WINDOW, "https://api.x.com/2/problems/usage-capped/no", 300, None),
        (WINDOW, 17, 300, None),
        (WINDOW, {"a": 1}, 300, None),
    ],
)
def test_it_is_told_whose_limit_was_reached(headers, problem, user, app):
    assert whose(headers, problem) == (user, app)


@pytest.mark.parametrize(
    ("headers", "dialect", "expected"),
    [
        ({}, "x", None),
        (QUOTA_LEFT, "x", None),
        (WINDOW | APPS_DAY, "x", 10_000),
        (WINDOW | {"retry-after": "400"}, "x", 400),
        (WINDOW, "retry-after", None),
        ({"retry-after": "400"}, "retry-after", 400),
    ],
)
def test_a_token_endpoint_that_does_not_say_when_is_not_taken_to_have(headers, dialect, expected):
    until = retry_at(received(headers), dialect, NOW)
    assert (until and (until - NOW).total_seconds()) == expected


def test_other_providers_limit_the_user():
    assert whose(APPS_DAY | {"retry-after": "120"}, CAPPED, "retry-after") == (120, None)


values = st.sampled_from(["", "0", "7", at(300), at(-300), "9" * 20, "9" * 5000, "NaN", "²", " 1 "]) | st.text(
    st.characters(min_codepoint=32, max_codepoint=255), max_size=20
)
names = st.sampled_from(
    [
        "retry-after",
        *(
            f"{window}-{what}"
            for window in X_USERS_WINDOWS + X_APPS_WINDOWS + GITHUB_WINDOWS
            for what in ("remaining", "reset")
        ),
    ]
)


@example({"retry-after": "9" * 5000}, "retry-after")
@example({"retry-after": "¹²"}, "retry-after")
@example({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "9" * 5000}, "x")
@example({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9" * 10}, "github")
@given(st.dictionaries(names, values), st.sampled_from(["x", "github", "retry-after"]))
def test_whatever_a_provider_writes_there_is_a_time_to_come_back(headers, dialect):
    until = retry_at(received(headers), dialect, NOW)
    assert until is None or NOW < until <= NOW + LONGEST
    for problem in (None, CAPPED):
        said = limits(received(headers), dialect, NOW, problem=problem)
        assert all(NOW < until <= NOW + LONGEST for until in (said.user, said.app) if until is not None)
        assert said.latest in (said.user, said.app)
