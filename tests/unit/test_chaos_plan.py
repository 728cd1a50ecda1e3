"""A plan of faults: the same from the same seed, and such that something is left to work with."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.chaos.plan import FAULTS, MONGODB, drawn
from tests.chaos.strikes import BY_NAME

SECONDS = 1200


def plan(seed: int):
    return drawn(random.Random(seed), SECONDS)


def test_a_seed_always_draws_the_same_plan():
    assert plan(1) == plan(1)
    assert plan(1) != plan(2)


def test_every_fault_is_drawn_sooner_or_later_and_can_be_carried_out():
    seen = {(strike.fault, strike.target) for seed in range(5) for strike in plan(seed)}
    assert seen == {(fault.name, target) for fault in FAULTS for target in fault.targets}
    assert {fault for fault, _ in seen} == BY_NAME.keys()


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_hit_twice_at_once_and_one_member_of_mongodb_is_away_at_most(seed):
    ends: dict[str, float] = {}
    for strike in plan(seed):
        target = "mongodb" if strike.target in MONGODB else strike.target
        assert strike.at >= ends.get(target, 0), strike
        ends[target] = strike.at + strike.seconds
        assert ends[target] < SECONDS, "all is well in the end"


def test_there_are_always_several_things_wrong_and_never_only_one_kind():
    counts = Counter(strike.target for strike in plan(1))
    assert sum(counts.values()) > SECONDS / 5
    assert max(counts.values()) < sum(counts.values()) / 3
