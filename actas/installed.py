"""What other packages bring along: providers and actions, by the entry points of their distributions.

Who installs a package into a worker's environment lets its code run there, with all that a worker may do; an action
itself is given an access token and a payload only. See docs/writing-a-provider.md and docs/writing-an-action.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from actas.errors import SettingsError

T = TypeVar("T")


@functools.cache
def _loaded(group: str) -> tuple[tuple[str, Any], ...]:
    return tuple((_where(point, group), _load(point, group)) for point in entry_points(group=group))


def installed(
    group: str, built_in: Mapping[str, T], check: Callable[[Any], T], name_of: Callable[[T], str]
) -> dict[str, T]:
    """What is built in, and what is installed, by name.

    Raises:
        SettingsError: an entry point cannot be loaded, is no such thing, or takes a name that is there already.
    """
    known = dict(built_in)
    for where, loaded in _loaded(group):
        try:
            each = check(loaded)
        except Exception as error:  # noqa: BLE001 - it may have been somebody's constructor
            raise SettingsError(f"{where}: {error}") from None
        name = name_of(each)
        if name in known:
            raise SettingsError(f"{where}: {name} is there already")
        known[name] = each
    return known


def _where(point: EntryPoint, group: str) -> str:
    return f"{point.dist.name if point.dist else 'a package'}'s entry point {point.name!r} of {group}"


def _load(point: EntryPoint, group: str) -> Any:
    try:
        return point.load()
    except Exception as error:  # noqa: BLE001 - whatever somebody's module does while it is imported
        raise SettingsError(f"{_where(point, group)} cannot be loaded: {type(error).__name__}: {error}") from None
