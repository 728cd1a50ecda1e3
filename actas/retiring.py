"""Retiring old versions of keys: only what nothing needs any more. Vault hides them then; they are never trimmed."""

from __future__ import annotations

from datetime import datetime, timedelta

from actas.errors import ActasError
from actas.stores.signed_jobs import SignedJobs
from actas.stores.wrapped_keys import WrappedKeys
from actas.vault.keys import KeyInfo, VaultKeys

#: After a rotation, what was wrapped or signed before it may still be on its way into MongoDB; apps believe a signing
#: key's newest version for five minutes.
SETTLING = timedelta(minutes=10)


class NotRetired(ActasError):
    """Old versions of a key are still needed, or may be."""

    code = "not_retired"


class TooEarly(NotRetired):
    """The key was rotated less than ten minutes ago."""

    code = "too_early"


def check_settled(key: KeyInfo, now: datetime) -> None:
    """Make sure the rotation is long enough ago. Pure.

    Raises:
        TooEarly: it is not.
    """
    if now < (ready_at := settled_at(key)):
        raise TooEarly(
            f"{key.name} was rotated at {key.latest_at:%H:%M:%S} UTC, and what was begun before may still arrive;"
            f" nothing can be retired before {ready_at:%H:%M:%S} UTC"
        )


def settled_at(key: KeyInfo) -> datetime:
    """From when on old versions may be retired. Pure."""
    return key.latest_at + SETTLING


def retire_kek(app: str, keys: WrappedKeys, vault: VaultKeys, now: datetime) -> KeyInfo | None:
    """Retire all versions of an app's KEK but the latest; None if there are no others. Looks at every grant first.

    Raises:
        NotRetired: too early, or data keys are left under older versions.
        NotFound: the app has no KEK.
        VaultUnavailable, VaultDenied, MongoUnavailable, MongoRefused.
    """
    key = vault.kek(app)
    if key.min_decryption_version >= key.latest:
        return None
    check_settled(key, now)
    if left := keys.count_not_under(app, key.latest):
        examples = ", ".join(str(each.grant) for each in keys.not_under(app, key.latest, None, 5))
        raise NotRetired(
            f"{left} data key(s) of {app} are not under version {key.latest} of its KEK yet: grants {examples}"
            f"{', ...' if left > 5 else ''}; the scheduler rewraps within minutes, `actas keys rewrap` says what"
            " hinders it; a grant whose key is damaged must be connected again, or disconnected"
        )
    vault.retire_before(key.name, key.latest)
    return vault.kek(app)


def retire_signing_key(app: str, jobs: SignedJobs, vault: VaultKeys, now: datetime) -> KeyInfo | None:
    """Retire all versions of an app's signing key but the latest; None if there are no others.

    Raises:
        NotRetired: too early, or unfinished jobs were signed by older versions.
        NotFound: the app has no signing key.
        VaultUnavailable, VaultDenied, MongoUnavailable, MongoRefused.
    """
    key = vault.signing_key(app)
    if key.min_decryption_version >= key.latest:
        return None
    check_settled(key, now)
    older = {version: count for version, count in jobs.unfinished(app).items() if version < key.latest}
    if older:
        each = ", ".join(f"{count} by version {version}" for version, count in sorted(older.items()))
        raise NotRetired(
            f"unfinished jobs of {app} were signed by older versions of {key.name} ({each}), and workers would refuse"
            " them; wait for them, or cancel them"
        )
    vault.retire_before(key.name, key.latest)
    return vault.signing_key(app)
