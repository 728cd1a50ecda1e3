"""A client of what tests may do with one persona of a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from actas.sandbox.remote import Parameters, SandboxControl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actas.sandbox.misbehaviour import How
    from actas.sandbox.playing import PersonaLedger


class PersonaControl(SandboxControl):
    """One persona's ``SandboxControl``; ``account`` is an account's id there. Every call may raise SandboxError."""

    def __init__(self, sandbox_url: str, name: str) -> None:
        super().__init__(sandbox_url)
        self.name = name
        #: Its own address.
        self.url = f"{self.base_url}/p/{name}"

    def play(self, persona: Mapping[str, Any]) -> None:
        """Begin anew as this (``actas.sandbox.personas.Persona``)."""
        super()._call("PUT", f"personas/{self.name}", persona)

    def seen(self, account: str | None = None) -> PersonaLedger:
        """What happened here, or to one account."""
        ledger: PersonaLedger = self._call("POST", "ledger", {"account": account})
        return ledger

    def go_wrong(
        self,
        endpoint: str,
        how: How,
        *,
        times: int | None = 1,
        account: str | None = None,
        **parameters: Unpack[Parameters],
    ) -> None:
        """Put a rule in force: at token, revoke, me (whose account it is), or makes, lists, looks, says of its API."""
        rule = {"endpoint": endpoint, "how": how, "times": times, "account": account, **parameters}
        self._call("POST", "misbehave", rule)

    def backdate(self, account: str, seconds: float) -> int:
        """Let all that an account has made be so much older; how many that are."""
        moved: int = self._call("POST", "backdate", {"account": account, "seconds": seconds})["moved"]
        return moved

    def accept_secrets(self, secrets: Sequence[str]) -> None:
        """Accept these client secrets from now on, and no others."""
        self._call("POST", "secrets", {"client_secrets": list(secrets)})

    def _call(self, method: str, name: str, body: object = None) -> Any:
        return super()._call(method, f"personas/{self.name}/{name}", body)
