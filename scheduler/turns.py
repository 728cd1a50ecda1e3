"""Whose jobs come next: whoever has the fewest in flight. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from actas.stores.dispatching import Pair


def turns(
    free: int,
    due: Iterable[Pair],
    in_flight: Mapping[Pair, int],
    *,
    app_cap: float,
    provider_cap: float,
    lot: Callable[[], float],
) -> list[Pair]:
    """Deal out free places one by one, as if each pair had jobs enough: apps first, then providers within an app.

    ``app_cap`` and ``provider_cap``: no more than this of one app, or of one provider, may be in flight. ``lot`` is
    drawn for each of them, and decides between equals: quick jobs are over at the next look, and if there are more apps
    than free places, the same ones would come first each time.
    """
    of_app, of_provider = Counter[str](), Counter[str]()
    for pair, count in in_flight.items():
        of_app[pair.app] += count
        of_provider[pair.provider] += count
    providers: dict[str, list[tuple[int, float, str]]] = {}
    for pair in due:
        heapq.heappush(providers.setdefault(pair.app, []), (in_flight.get(pair, 0), lot(), pair.provider))
    apps = [(of_app[app], lot(), app) for app in providers]
    heapq.heapify(apps)
    taken: list[Pair] = []
    while apps and len(taken) < free:
        of_this_app, app_lot, app = heapq.heappop(apps)
        if of_this_app >= app_cap:
            continue
        of_this_pair, provider_lot, provider = heapq.heappop(providers[app])
        if of_provider[provider] < provider_cap:
            taken.append(Pair(app, provider))
            of_provider[provider] += 1
            of_this_app += 1
            heapq.heappush(providers[app], (of_this_pair + 1, provider_lot, provider))
        if providers[app]:
            heapq.heappush(apps, (of_this_app, app_lot, app))
    return taken
