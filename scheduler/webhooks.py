"""The webhooks of apps, as Vault has them; asked again after a little while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from actas.errors import ActasError
from actas.stores.wrapped_keys import app_names
from actas.webhooks import BadWebhook, Webhook

#: So long may a new webhook, or a new secret, take to count.
SECONDS = 10


class Vault(Protocol):
    """Implemented by ``actas.vault.room.VaultRoom``."""

    def webhook(self, app: str) -> Webhook | None: ...


class Webhooks:
    def __init__(self, vault: Vault, *, plain_allowed: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._vault = vault
        self._plain_allowed = plain_allowed
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, Webhook | BadWebhook | None]] = {}

    def of(self, app: str) -> Webhook | None:
        """Where an app wants its events; None: nowhere.

        Raises:
            BadWebhook: what is stored is of no use.
            VaultUnavailable, VaultDenied.
        """
        if not app_names([app]):
            return None  # apps write such names, and this one becomes part of a path in Vault
        until, webhook = self._known.get(app, (0.0, None))
        if self._monotonic() >= until:
            webhook = self._read(app)
            self._known[app] = (self._monotonic() + SECONDS, webhook)
        if isinstance(webhook, BadWebhook):
            raise BadWebhook(str(webhook))
        if webhook is not None and webhook.is_plain and not self._plain_allowed:
            raise BadWebhook("a webhook without TLS is for ACTAS_ENV=development")
        return webhook

    def _read(self, app: str) -> Webhook | BadWebhook | None:
        try:
            return self._vault.webhook(app)
        except BadWebhook as error:
            return error
        except ActasError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever one app has there, it is not to end the others' tick
            return BadWebhook(f"the webhook of {app} cannot be read ({type(error).__name__})")

    def wanted(self, app: str) -> bool:
        """Whether an app has a webhook, be it of use or not: one that is not will be mended."""
        try:
            return self.of(app) is not None
        except BadWebhook:
            return True
