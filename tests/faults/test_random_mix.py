"""Random mixes of faults: processes killed and stopped at named steps, servers killed, wiped, sealed, a provider that errs.

`SEEDS=50 make test-faults` tries so many; a seed always draws the same script, whose times are the machine's.
"""

from __future__ import annotations

import os

import pytest

from tests.faults.every_step import World
from tests.faults.mixing import Mix

SEEDS = int(os.environ.get("SEEDS", "2"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_after_a_random_mix_of_faults_the_books_balance(world: World, posts, seed):
    mix = Mix(seed, world)
    try:
        mix.run()
        mix.check(posts)
    except BaseException:
        print("\n".join(mix.script))  # noqa: T201
        raise
