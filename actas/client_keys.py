"""The keys that apps prove themselves with at providers (private_key_jwt), as Vault shows them. Pure.

The private half never leaves Vault. The public half is what a provider is told once: a JWK set (RFC 7517).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey

from actas.errors import NoClientKey

_RSA = ("RS256", "PS256")

#: What each kind of transit key can sign with (RFC 7518 section 3.1; RFC 8037, RFC 9864); the first if nothing is said.
ALGORITHMS: Mapping[str, tuple[str, ...]] = {
    "ecdsa-p256": ("ES256",),
    "rsa-2048": _RSA,
    "rsa-3072": _RSA,
    "rsa-4096": _RSA,
    "ed25519": ("EdDSA", "Ed25519"),
}


@dataclass(frozen=True, slots=True)
class ClientKey:
    """One app's key at one provider."""

    name: str
    kind: str
    #: The versions that are still honoured, as Vault writes public keys: PEM, and base64 where it is Ed25519.
    public: Mapping[int, str]

    def algorithm(self, wanted: str | None) -> str:
        """What to sign with, if the provider's profile wants this; None: as the key is.

        Raises:
            NoClientKey: the key cannot do that; the message says what to do.
        """
        can = ALGORITHMS.get(self.kind, ())
        if not can:
            raise NoClientKey(f"Vault's key {self.name} is of type {self.kind}, which signs no JWT: make another")
        if wanted is None:
            return can[0]
        if wanted not in can:
            raise NoClientKey(
                f"the provider's assertion_algorithm is {wanted}, and Vault's key {self.name} ({self.kind}) signs"
                f" {' or '.join(can)}: change the one or make the other anew"
            )
        return wanted

    def key_id(self, version: int) -> str:
        """The ``kid``: the key's own thumbprint (RFC 7638), which says nothing of us and means one key everywhere."""
        return self._import(version).thumbprint()

    def jwk_set(self) -> dict[str, list[dict[str, Any]]]:
        """All of it that a provider is to know."""
        return {"keys": [self._jwk(version) for version in sorted(self.public)]}

    def _jwk(self, version: int) -> dict[str, Any]:
        can = ALGORITHMS[self.kind]
        more = {"alg": can[0]} if len(can) == 1 else {}
        return {**self._import(version).as_dict(private=False), "kid": self.key_id(version), "use": "sig", **more}

    def _import(self, version: int) -> ECKey | OKPKey | RSAKey:
        public = self.public[version]
        if self.kind == "ed25519":
            x = base64.urlsafe_b64encode(base64.b64decode(public)).rstrip(b"=").decode()
            return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})
        return (ECKey if self.kind.startswith("ecdsa") else RSAKey).import_key(public)
