"""How long refresh tokens live, and that care comes where it gains something, in time, and spread out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actas.ids import new_id
from actas.providers.model import RefreshProfile
from actas.refresh_life import FIRST_CARE_WITHIN, RefreshLife, imported_life, refresh_life

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
DAY = 86400

LINKEDIN = RefreshProfile(kind="static", lifetime_seconds=365 * DAY)
GOOGLE = RefreshProfile(kind="sliding", idle_seconds=180 * DAY)
GITHUB = RefreshProfile(kind="rotating", lifetime_seconds=180 * DAY)
KEYCLOAK = RefreshProfile(kind="rotating", idle_seconds=1800)
X = RefreshProfile(kind="rotating")

spans = st.integers(1, 10 * 365 * DAY)
kinds = st.sampled_from(["rotating", "sliding", "static"])
moments = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@st.composite
def profiles(draw: st.DrawFn) -> RefreshProfile:
    kind = draw(kinds)
    idle = None if kind == "static" else draw(st.none() | spans)
    return RefreshProfile(kind=kind, lifetime_seconds=draw(st.none() | spans), idle_seconds=idle)


@st.composite
def computations(draw: st.DrawFn) -> tuple[RefreshProfile, dict[str, object]]:
    now = draw(moments)
    offset = st.none() | st.integers(-10, 10 * 365 * DAY)
    previous = draw(offset)
    return draw(profiles()), {
        "grant_id": draw(st.text(min_size=1, max_size=40)),
        "now": now,
        "renewed": draw(st.booleans()),
        "said_seconds": draw(st.none() | st.floats(1, 10.0 * 365 * DAY)),
        "previous_absolute_at": None if previous is None else now + timedelta(seconds=previous),
    }


def life(
    profile: RefreshProfile,
    *,
    grant_id: str = "g",
    now: datetime = NOW,
    renewed: bool = True,
    said: float | None = None,
    previous: datetime | None = None,
) -> RefreshLife:
    return refresh_life(profile, grant_id, now, renewed=renewed, said_seconds=said, previous_absolute_at=previous)


def days(number: float) -> datetime:
    return NOW + timedelta(days=number)


# --- when it ends ---


@pytest.mark.parametrize(
    ("profile", "reply", "absolute_at", "expires_at"),
    [
        # nothing is known of X
        (X, {}, None, None),
        # a new token lives as long as its provider's tokens do
        (GITHUB, {}, days(180), days(180)),
        (LINKEDIN, {}, days(365), days(365)),
        # what the reply says is truer
        (GITHUB, {"said": 90.0 * DAY}, days(90), days(90)),
        (X, {"said": 90.0 * DAY}, days(90), days(90)),
        # a kept token keeps its end, and does not get one
        (LINKEDIN, {"renewed": False, "previous": days(100)}, days(100), days(100)),
        (LINKEDIN, {"renewed": False}, None, None),
        # unless the reply says it
        (LINKEDIN, {"renewed": False, "previous": days(100), "said": 99.0 * DAY}, days(99), days(99)),
        # idle time begins anew with each use
        (GOOGLE, {}, None, days(180)),
        (GOOGLE, {"renewed": False}, None, days(180)),
        # the earlier end is the end
        (GOOGLE, {"renewed": False, "previous": days(20)}, days(20), days(20)),
        (GOOGLE, {"renewed": False, "previous": days(200)}, days(200), days(180)),
        (GITHUB.model_copy(update={"idle_seconds": 30 * DAY}), {}, days(180), days(30)),
    ],
)
def test_a_token_ends_as_the_reply_says_or_the_profile_knows(profile, reply, absolute_at, expires_at):
    found = life(profile, **reply)
    assert (found.absolute_at, found.expires_at) == (absolute_at, expires_at)


# --- when it is cared for ---


@pytest.mark.parametrize(
    ("profile", "reply", "due"),
    [
        (GITHUB, {}, True),
        (KEYCLOAK, {}, True),
        (GOOGLE, {}, True),
        (GOOGLE, {"renewed": False, "previous": days(181)}, True),
        # said only by the reply, and it moves with each exchange
        (X, {"said": 90.0 * DAY}, True),
        (X, {"said": 90.0 * DAY, "previous": days(90) - timedelta(seconds=60)}, True),
        # nobody knows of an end
        (X, {}, False),
        (RefreshProfile(kind="static"), {}, False),
        (RefreshProfile(kind="sliding"), {}, False),
        # the end is fixed
        (LINKEDIN, {}, False),
        (LINKEDIN, {"said": 5.0}, False),
        (GOOGLE, {"renewed": False, "previous": days(180)}, False),
        (GOOGLE, {"renewed": False, "previous": days(2)}, False),
        # Keycloak says the idle time begun anew, and only that, until the session's end is nearer
        (KEYCLOAK, {"said": 1800.0}, True),
        (GOOGLE, {"renewed": False, "said": 180.0 * DAY}, True),
        (GOOGLE, {"renewed": False, "said": 180.0 * DAY - 1}, True),
        (GOOGLE, {"renewed": False, "said": 179.0 * DAY}, False),
        # a session's end stands still while its tokens rotate; whole seconds may make it waver
        (X, {"said": 90.0 * DAY, "previous": days(90)}, False),
        (GITHUB, {"said": 90.0 * DAY, "previous": days(90) - timedelta(seconds=1)}, False),
        # within a session an idle time can still begin anew
        (KEYCLOAK, {"said": 90.0 * DAY, "previous": days(90)}, True),
        # the token stayed although its kind rotates: so does its end
        (GITHUB, {"renewed": False, "previous": days(3)}, False),
    ],
)
def test_care_comes_only_where_an_exchange_would_lengthen_a_life(profile, reply, due):
    assert (life(profile, **reply).care_at is not None) is due


@given(computations())
def test_care_comes_in_time_and_not_at_once(computation):
    profile, arguments = computation
    found, now = refresh_life(profile, **arguments), arguments["now"]
    if found.care_at is not None:
        left = found.expires_at - now
        assert found.care_at < found.expires_at
        assert now + 0.7 * left - timedelta(milliseconds=1) <= found.care_at <= now + 0.9 * left


@given(computations())
def test_a_life_holds_together(computation):
    profile, arguments = computation
    found = refresh_life(profile, **arguments)
    ends = [end for end in (found.absolute_at, found.expires_at) if end is not None]
    assert found.expires_at == (min(ends) if ends else None)
    if profile.kind == "static" or found.expires_at is None:
        assert found.care_at is None
    if profile.idle_seconds is None and not arguments["renewed"]:
        assert found.care_at is None
    assert refresh_life(profile, **arguments) == found  # no chance is involved


@given(computations())
def test_the_exchange_that_care_asks_for_lengthens_the_life(computation):
    """Done at ``care_at``, and answered in the way of its kind, it moves the end."""
    profile, arguments = computation
    found = refresh_life(profile, **arguments)
    if found.care_at is not None:
        renewed = profile.rotates and arguments["renewed"]
        later = {"now": found.care_at, "renewed": renewed, "previous_absolute_at": found.absolute_at}
        assert refresh_life(profile, **arguments | later).expires_at > found.expires_at


@given(st.sampled_from([GITHUB, GOOGLE, KEYCLOAK]), st.integers(1, 100 * DAY), st.integers(1, 100 * DAY))
def test_a_later_exchange_is_cared_for_later(profile, first, second):
    earlier, later = sorted((first, second))
    one, other = (life(profile, now=NOW + timedelta(seconds=seconds)) for seconds in (earlier, later))
    assert one.care_at <= other.care_at
    assert (one.care_at < other.care_at) is (earlier < later)


@given(spans, spans)
def test_a_longer_life_is_cared_for_later(one, other):
    shorter, longer = sorted((one, other))
    cares = [life(RefreshProfile(kind="rotating", lifetime_seconds=span)).care_at for span in (shorter, longer)]
    assert cares[0] <= cares[1]


def test_grants_of_one_day_are_cared_for_on_many():
    """Ten thousand grants connected at once: each tenth of the span gets its tenth of them."""
    cares = [life(GITHUB, grant_id=new_id()).care_at for _ in range(10_000)]
    span = timedelta(days=180) * 0.2
    tenths = [int((care - days(180 * 0.7)) / span * 10) for care in cares]
    counts = [tenths.count(tenth) for tenth in range(10)]
    assert sum(counts) == 10_000
    assert all(800 < count < 1200 for count in counts)


def test_a_token_that_is_over_is_not_cared_for():
    over = life(GOOGLE, renewed=False, previous=NOW - timedelta(seconds=1))
    assert over.expires_at == NOW - timedelta(seconds=1)
    assert over.care_at is None
    assert life(X, said=0.0001).care_at is None


def test_caring_for_a_session_that_counts_down_comes_to_an_end():
    """Each reply says what is left of one fixed time: an exchange gains nothing, and is not asked for again and again."""
    end, now, previous, exchanges = days(30), NOW, None, 0
    while exchanges < 5:
        left = int((end - now).total_seconds())
        found = life(X, now=now, said=float(left), previous=previous)
        if found.care_at is None:
            break
        now, previous, exchanges = found.care_at, found.absolute_at, exchanges + 1
    assert exchanges == 1


# --- a token that somebody else has kept ---


@given(profiles(), st.text(min_size=1, max_size=40), moments)
def test_an_imported_token_is_cared_for_within_days_if_that_helps_and_else_never(profile, grant_id, now):
    found, new = imported_life(profile, grant_id, now), life(profile, grant_id=grant_id, now=now)
    assert found.expires_at == new.expires_at
    assert (found.care_at is None) is (new.care_at is None)
    if found.care_at is not None:
        assert now <= found.care_at <= min(now + FIRST_CARE_WITHIN, new.care_at)


@pytest.mark.parametrize("said_days", [10, 90, 179, 180, 200])
@pytest.mark.parametrize("after", [timedelta(seconds=1), timedelta(days=2)])
def test_the_first_care_of_an_imported_token_is_not_its_last(said_days, after):
    """Its end is a guess until the provider has said one; a shorter one is then no session that counts down."""
    profile = RefreshProfile(kind="rotating", lifetime_seconds=180 * 86_400)
    imported = imported_life(profile, "g", NOW)
    said = float(said_days * 86_400)
    found = refresh_life(
        profile, "g", NOW + after, renewed=True, said_seconds=said, previous_absolute_at=imported.absolute_at
    )
    assert found.care_at is not None


def test_the_tokens_of_one_import_are_cared_for_one_after_the_other():
    """Ten thousand at once: each tenth of the first days gets its tenth of them, and of each grant always the same."""
    ids = [new_id() for _ in range(10_000)]
    cares = [imported_life(GITHUB, id_, NOW).care_at for id_ in ids]
    tenths = [int((care - NOW) / FIRST_CARE_WITHIN * 10) for care in cares]
    counts = [tenths.count(tenth) for tenth in range(10)]
    assert sum(counts) == 10_000
    assert all(800 < count < 1200 for count in counts)
    assert [imported_life(GITHUB, id_, NOW).care_at for id_ in ids] == cares
