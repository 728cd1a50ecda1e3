"""Which gate an error closes, and how gates move: the rules, without Redis."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actas.actions import Refused
from actas.errors import (
    ClientRefused,
    GrantDead,
    MongoUnavailable,
    ProviderBusy,
    ProviderUnavailable,
    TokenEndpointError,
    VaultUnavailable,
)
from actas.gates import LONGEST, Standing
from actas.http import NoReply, NotSent, NotWritten, ReplyTooLarge
from actas.ids import new_id
from actas.oauth import MALFORMED
from worker.closing import OPERATOR, TROUBLE, Pauses, Whose, busy, closings, openings
from worker.errors import (
    AccessTokenRefused,
    NeedsUser,
    OutOfCredits,
    RateLimited,
    Redirected,
    TokenPending,
    UsageCapped,
)
from worker.outage import PAUSES as OURS
from worker.probing import failed, given_back, half_open, kept_until, shut, taken

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LATER, MUCH_LATER = NOW + timedelta(minutes=15), NOW + timedelta(hours=20)

POST = Whose("blog", "x", "g1", "x.post")
EXCHANGE = Whose("blog", "x", "g1")

API, TOKENS = ["provider:x"], ["token:x"]

# What came of a request to the API; what it closes, what it opens.
AT_THE_API = [
    (None, [], ["provider:x", "client:blog:x"]),
    (Refused("no", refusal="duplicate"), [], ["provider:x", "client:blog:x"]),
    (AccessTokenRefused(), [], API),
    (NotSent(), API, []),
    (NoReply(), API, []),
    (ProviderUnavailable(), API, []),
    (NotWritten(), [], []),
    (ReplyTooLarge(), [], []),  # an app may ask for as much as it likes, and that is no other app's affair
    (Redirected(), [], API),  # it answers, and an action may be one that it always redirects
    (RateLimited(LATER, gate="", user_until=LATER), ["grant:g1:x.post"], API),
    (RateLimited(LATER, gate="", app_until=LATER), ["client:blog:x"], API),
    (RateLimited(LATER, gate="", user_until=LATER, app_until=LATER), ["client:blog:x", "grant:g1:x.post"], API),
    (UsageCapped(LATER, gate="", app_until=LATER), ["client:blog:x"], API),
    (OutOfCredits(LATER, gate=""), ["client:blog:x"], API),
    # nothing of the provider's
    (VaultUnavailable(), [], []),
    (MongoUnavailable(), [], []),
    (TokenPending(), [], []),
]

AT_THE_TOKEN_ENDPOINT = [
    (None, [], ["token:x", "exchange:blog:x"]),
    (GrantDead(provider_code="invalid_grant"), [], ["token:x", "exchange:blog:x"]),
    (TokenEndpointError(provider_code="invalid_scope"), [], ["token:x", "exchange:blog:x"]),
    (TokenEndpointError(provider_code=MALFORMED), [], []),
    (ClientRefused(provider_code="invalid_client"), ["exchange:blog:x"], TOKENS),
    (ProviderBusy(), [], TOKENS),
    (NotSent(), TOKENS, []),
    (NoReply(), TOKENS, []),
    (ReplyTooLarge(), TOKENS, []),
    (ProviderUnavailable(), TOKENS, []),
    (NeedsUser(), [], []),
    (VaultUnavailable(), [], []),
]


@pytest.mark.parametrize(
    ("whose", "error", "closed", "opened"),
    [(POST, *row) for row in AT_THE_API] + [(EXCHANGE, *row) for row in AT_THE_TOKEN_ENDPOINT],
)
def test_an_error_closes_the_narrowest_gate_that_explains_it(whose, error, closed, opened):
    assert [closing.gate for closing in closings(error, whose)] == closed
    assert openings(error, whose) == opened


@pytest.mark.parametrize("error", [row[0] for row in AT_THE_API + AT_THE_TOKEN_ENDPOINT])
@pytest.mark.parametrize("whose", [POST, EXCHANGE])
def test_nothing_opens_what_it_closes(whose, error):
    assert not {closing.gate for closing in closings(error, whose)} & set(openings(error, whose))


def test_one_users_own_affairs_never_close_more_than_that_users_gate():
    """Whatever is his alone: refusals, his limits, his dead token, a request that cannot be written."""
    own = [Refused(), AccessTokenRefused(), NotWritten(), RateLimited(LATER, gate="", user_until=LATER)]
    assert {closing.gate for error in own for closing in closings(error, POST)} == {"grant:g1:x.post"}
    assert closings(GrantDead(provider_code="invalid_grant"), EXCHANGE) == []


def test_each_limit_lasts_as_long_as_it_was_said_to():
    both = RateLimited(MUCH_LATER, gate="", user_until=LATER, app_until=MUCH_LATER)
    assert {closing.gate: (closing.until, closing.probe) for closing in closings(both, POST)} == {
        "grant:g1:x.post": (LATER, False),
        "client:blog:x": (MUCH_LATER, True),
    }


def test_a_token_endpoints_limit_is_the_apps_and_guessed_at_shortly_where_it_says_nothing():
    said, unsaid = busy(ProviderBusy(until=LATER), EXCHANGE), busy(ProviderBusy(), EXCHANGE)
    assert {said.gate, unsaid.gate} == {"exchange:blog:x"}
    assert (said.until, said.probe, unsaid.until, unsaid.probe) == (LATER, False, None, True)


# --- how gates move ---

OPEN = Standing()
kinds = st.sampled_from([TROUBLE, OPERATOR, OURS])


def run(count: int, pauses: Pauses, gate: Standing = OPEN, now: datetime = NOW) -> Standing:
    """So many failures, each of another request."""
    for n in range(count):
        gate = failed(gate, now, pauses, f"{n:08x}")
    return gate


def test_a_run_of_failures_closes_and_a_shorter_one_does_not():
    assert not run(TROUBLE.run - 1, TROUBLE).closed(NOW)
    assert run(TROUBLE.run, TROUBLE) == Standing(NOW + TROUBLE.first, level=1)


def test_a_request_that_fails_again_and_again_is_no_run():
    gate = OPEN
    for _ in range(100):
        for by in range(TROUBLE.run - 1):
            gate = failed(gate, NOW, TROUBLE, f"{by:08x}")
    assert not gate.closed(NOW)
    assert failed(gate, NOW, TROUBLE, "another").closed(NOW)


def test_a_run_is_of_jobs_and_not_of_users():
    """Else, where there is one user only, a provider that is down would be asked by all his jobs."""
    whoses = [POST, *(replace(POST, asked_by=f"j{n}") for n in range(3)), replace(POST, grant="g2"), EXCHANGE]
    assert len({whose.mark for whose in whoses}) == len(whoses)
    assert {closing.by for whose in whoses for closing in closings(NoReply(), whose)} == {each.mark for each in whoses}
    assert replace(POST, asked_by="j1").mark == replace(POST, asked_by="j1").mark
    assert Whose("a", "x", "\udc80, \n", "x.post").mark.isalnum()


def test_those_who_had_asked_before_it_closed_do_not_close_it_for_longer():
    closed = run(TROUBLE.run, TROUBLE)
    assert run(60, TROUBLE, closed, NOW + timedelta(seconds=1)) == closed


@given(kinds, st.integers(2, 40))
def test_each_probe_that_fails_doubles_the_pause_up_to_the_longest(pauses, times):
    now, gate, before = NOW, run(pauses.run, pauses), pauses.first
    for _ in range(times):
        now = gate.until
        gate = failed(taken(gate, now, 50), now, pauses, "same")
        assert gate.until - now == min(before * 2, pauses.longest)
        assert gate.closed(now)
        before = gate.until - now
    assert before <= pauses.longest


def test_only_one_is_the_probe_until_its_time_is_over():
    gate = run(TROUBLE.run, TROUBLE)
    assert not half_open(gate, NOW)
    over = gate.until
    assert half_open(gate, over)
    probed = taken(gate, over, 50)
    assert not half_open(probed, over + timedelta(seconds=49))
    assert half_open(probed, over + timedelta(seconds=50)), "a probe that died is replaced"
    back = given_back(probed, over + timedelta(seconds=1))
    assert half_open(back, over + timedelta(seconds=1))
    assert back.level == gate.level, "who had nothing to ask has learned nothing"


def test_the_latest_time_that_was_said_holds():
    gate = shut(OPEN, NOW, MUCH_LATER, probe=False)
    assert shut(gate, NOW, LATER, probe=False) == gate
    assert shut(shut(OPEN, NOW, LATER, probe=False), NOW, MUCH_LATER, probe=False) == gate
    assert not half_open(gate, MUCH_LATER), "a window is over when it is over"
    assert half_open(shut(OPEN, NOW, LATER, probe=True), LATER), "a cap may not be"


def test_a_cap_that_its_probe_still_finds_is_closed_anew():
    probed = taken(shut(OPEN, NOW, LATER, probe=True), LATER, 50)
    assert shut(probed, LATER, LATER + timedelta(seconds=10), probe=True).until == LATER + timedelta(seconds=10)


def test_what_nobody_believes_is_replaced():
    forged = Standing(NOW + LONGEST * 2, level=7)
    assert shut(forged, NOW, LATER, probe=False).until == LATER


@given(st.integers(0, 60), kinds, st.lists(st.sampled_from(["fail", "take", "back", "shut", "wait"]), max_size=30))
def test_however_a_gate_is_moved_it_is_never_closed_for_ever(start, pauses, moves):
    """And what is kept of it ends, too: a gate that nobody asks for is open in the end."""
    now, gate = NOW, run(start, pauses)
    for move in moves:
        match move:
            case "fail":
                gate = failed(gate, now, pauses, new_id())
            case "take" if half_open(gate, now):
                gate = taken(gate, now, 50)
            case "back" if gate.probing:
                gate = given_back(gate, now)
            case "shut":
                gate = shut(gate, now, now + timedelta(hours=25), probe=True)
            case "wait":
                now += timedelta(minutes=7)
        assert gate.until <= now + LONGEST
        assert kept_until(gate, now) >= gate.until
        assert kept_until(gate, now) <= now + LONGEST + timedelta(hours=1)
        assert not (gate.closed(now) and half_open(gate, now))
