"""Actions: the things that can be done as a user, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actas.actions import github, google, http_request, linkedin, microsoft, x
from actas.actions.base import ANY_PROVIDER, Action, ActionHttp, Answer, NotReady, Refused, Result, Search
from actas.errors import UnknownAction
from actas.files import FileReference
from actas.installed import installed
from actas.payload import Payload
from actas.providers.model import Provider

BUILT_IN: Mapping[str, Action[Any]] = {
    action.name: action
    for action in (
        github.Comment(),
        github.CreateIssue(),
        google.CreateEvent(),
        google.Send(),
        http_request.Request(),
        linkedin.Post(),
        microsoft.SendMail(),
        x.DeletePost(),
        x.Like(),
        x.Post(),
        x.Repost(),
        x.Thread(),
        x.UploadMedia(),
    )
}


class Actions:
    """The actions this process knows, by name: those built in, and those installed (``actas.installed``)."""

    def __init__(self, actions: Mapping[str, Action[Any]] | None = None) -> None:
        """``actions``: just these.

        Raises:
            SettingsError: one that is installed cannot be used.
        """
        if actions is None:
            actions = installed("actas.actions", BUILT_IN, _action, lambda action: action.name)
        self._actions = dict(actions)

    def __getitem__(self, name: str) -> Action[Any]:
        try:
            return self._actions[name]
        except KeyError:
            known = ", ".join(sorted(self._actions))
            raise UnknownAction(f"no action {name!r}; known: {known}") from None

    def all(self) -> list[Action[Any]]:
        """All of them."""
        return list(self._actions.values())

    def scopes_for(self, provider: str) -> frozenset[str]:
        """All the scopes that the actions at a provider need together."""
        ours = (action.scopes for action in self._actions.values() if action.provider == provider)
        return frozenset[str]().union(*ours)

    def default_scopes(self, provider: Provider) -> frozenset[str]:
        """What to ask for when nobody says what for, besides the provider's base scopes."""
        default = provider.default_scopes
        return self.scopes_for(provider.name) if default is None else frozenset(default)


#: What an action must say of itself.
_SAYS = {"name": str, "provider": str, "scopes": frozenset, "idempotent": bool, "payload_type": type}


def _action(loaded: Any) -> Action[Any]:
    action = loaded() if isinstance(loaded, type) else loaded
    if not isinstance(action, Action):
        raise TypeError(f"is a {type(action).__name__}, and must be an actas.actions.Action")
    for field, kind in _SAYS.items():
        if not isinstance(getattr(action, field, None), kind):
            raise TypeError(f"{type(action).__name__}.{field} must be a {kind.__name__}")
    if not issubclass(action.payload_type, Payload):
        raise TypeError(f"{type(action).__name__}.payload_type must be a Payload")
    return action


__all__ = [
    "ANY_PROVIDER",
    "BUILT_IN",
    "Action",
    "ActionHttp",
    "Actions",
    "Answer",
    "FileReference",
    "NotReady",
    "Payload",
    "Refused",
    "Result",
    "Search",
]
