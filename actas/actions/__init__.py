"""Actions: the things that can be done as a user, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actas.actions import x
from actas.actions.base import Action, ActionHttp, Payload, Refused, Result, Search
from actas.errors import UnknownAction

BUILT_IN: Mapping[str, Action[Any]] = {action.name: action for action in (x.Post(), x.Thread())}


class Actions:
    """The actions this process knows, by name."""

    def __init__(self, actions: Mapping[str, Action[Any]] = BUILT_IN) -> None:
        self._actions = dict(actions)

    def __getitem__(self, name: str) -> Action[Any]:
        try:
            return self._actions[name]
        except KeyError:
            known = ", ".join(sorted(self._actions))
            raise UnknownAction(f"no action {name!r}; known: {known}") from None

    def scopes_for(self, provider: str) -> frozenset[str]:
        """All the scopes that the actions at a provider need together."""
        ours = (action.scopes for action in self._actions.values() if action.provider == provider)
        return frozenset[str]().union(*ours)


__all__ = ["BUILT_IN", "Action", "ActionHttp", "Actions", "Payload", "Refused", "Result", "Search"]
