"""Whose jobs come next, whatever is due and in flight."""

from __future__ import annotations

import math
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from actas.stores.dispatching import Pair
from scheduler.turns import turns

pairs = st.builds(Pair, st.sampled_from("abc"), st.sampled_from("xyz"))
in_flights = st.dictionaries(pairs, st.integers(0, 12))
caps = st.one_of(st.integers(1, 20), st.just(math.inf))


def dealt(free, due, in_flight=None, *, app_cap=math.inf, provider_cap=math.inf):
    """By name, where all are equal."""
    due = sorted(Pair(*pair) for pair in due)
    return turns(free, due, in_flight or {}, app_cap=app_cap, provider_cap=provider_cap, lot=lambda: 0)


def counted(pairs, field) -> Counter[str]:
    return Counter(getattr(pair, field) for pair in pairs)


def test_apps_take_turns_and_an_apps_providers_within_its_turns():
    taken = dealt(8, ["ax", "ay", "bx"])
    assert ["".join(pair) for pair in taken] == ["ax", "bx", "ay", "bx", "ax", "bx", "ay", "bx"]


def test_who_has_much_in_flight_waits_until_the_others_have_as_much():
    taken = dealt(6, ["ax", "bx"], {Pair("a", "x"): 5})
    assert ["".join(pair) for pair in taken] == ["bx"] * 5 + ["ax"]


def test_nobody_gets_more_than_the_cap_and_what_is_left_stays_free():
    assert counted(dealt(100, ["ax", "ay", "bx"], app_cap=10), "app") == {"a": 10, "b": 10}
    assert counted(dealt(100, ["ax", "bx", "by"], provider_cap=10), "provider") == {"x": 10, "y": 10}
    assert dealt(100, ["ax"], {Pair("a", "y"): 10}, app_cap=10) == []
    assert dealt(100, ["ax"], {Pair("b", "x"): 10}, provider_cap=10) == []


def test_nothing_is_due_or_nothing_is_free():
    assert dealt(5, []) == dealt(0, ["ax"]) == []


@given(st.integers(1, 3), st.sets(pairs, min_size=1), st.integers())
def test_where_quick_jobs_are_over_at_each_look_everybody_comes_even_if_there_are_too_few_places(places, due, seed):
    lot = random.Random(seed).random
    taken = [
        pair for _ in range(300) for pair in turns(places, due, {}, app_cap=math.inf, provider_cap=math.inf, lot=lot)
    ]
    assert set(taken) == due
    apps = counted(due, "app")
    assert min(counted(taken, "app")[app] for app in apps) > 0.6 * len(taken) / len(apps), "and all about as often"


@given(st.integers(0, 40), st.sets(pairs), in_flights, caps, caps, st.randoms())
def test_turns_are_fair_bounded_and_none_is_left_that_somebody_could_take(
    free, due, in_flight, app_cap, provider_cap, lots
):
    taken = turns(free, due, in_flight, app_cap=app_cap, provider_cap=provider_cap, lot=lots.random)
    assert len(taken) <= free
    assert set(taken) <= due
    before = [pair for pair, count in in_flight.items() for _ in range(count)]
    apps, providers = counted(before + taken, "app"), counted(before + taken, "provider")
    assert all(apps[pair.app] <= app_cap and providers[pair.provider] <= provider_cap for pair in taken)
    could = {pair for pair in due if apps[pair.app] < app_cap and providers[pair.provider] < provider_cap}
    assert len(taken) == free or not could
    for pair in could:  # of two that had work left, the one with more in flight got nothing while it had more
        poorer = [other for other in set(taken) if apps[other.app] > apps[pair.app] + 1]
        assert poorer == []
