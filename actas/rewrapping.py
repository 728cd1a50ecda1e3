"""Rewrapping: wrapped data keys move to the newest version of their app's KEK, in batches, beside all other work.

May be ended at any moment and begun again: what is done is known by its version. Nobody sees a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from actas.errors import EnvelopeError
from actas.stores.wrapped_keys import Wrapped, WrappedKeys
from actas.vault.keys import KeyInfo, VaultKeys
from actas.vault.room import BATCH, key_version


@dataclass(slots=True)
class Rewrapped:
    """What one run did."""

    rewrapped: int = 0
    #: The grant got a newer data key, or another run was faster, between reading and writing back.
    outrun: int = 0
    #: Left as they are: grant id -> code.
    failed: dict[str, str] = field(default_factory=dict)
    #: Ended early, after this one; None: nothing more was there.
    left_off: Wrapped | None = None

    @property
    def looked_at(self) -> int:
        return self.rewrapped + self.outrun + len(self.failed)


def rewrap(
    app: str,
    keys: WrappedKeys,
    vault: VaultKeys,
    *,
    most: int | None = None,
    go_on: Callable[[], bool] = lambda: True,
    after: Wrapped | None = None,
    thorough: bool = False,
    told: Callable[[Rewrapped], None] = lambda _: None,
) -> Rewrapped:
    """Rewrap an app's data keys that are under older versions of its KEK; one that fails is passed over.

    Args:
        app: whose.
        keys: where they are stored.
        vault: with the scheduler's credentials.
        most: end after about so many, whatever became of them.
        go_on: asked after each request to Vault; end when it says no.
        after: where an earlier run left off.
        thorough: look at every grant in the end, for those whose ``key_version`` is not that of their key.
        told: after each batch, what was done so far.

    Raises:
        NotFound: the app has no KEK.
        VaultUnavailable, VaultDenied, MongoUnavailable, MongoRefused.
    """
    info, done = vault.kek(app), Rewrapped()
    for source in (keys.older, keys.not_under) if thorough else (keys.older,):
        while batch := source(app, info.latest, after, BATCH):
            after = _rewrap_batch(app, batch, keys, vault, info, done, go_on)
            told(done)
            if after is not batch[-1] or (most is not None and done.looked_at >= most) or not go_on():
                done.left_off = after
                return done
        after = None
    return done


def _rewrap_batch(
    app: str,
    batch: Sequence[Wrapped],
    keys: WrappedKeys,
    vault: VaultKeys,
    info: KeyInfo,
    done: Rewrapped,
    go_on: Callable[[], bool],
) -> Wrapped:
    """Rewrap these, or the first of them, at least one; returns the last that was looked at."""
    sendable: list[Wrapped] = []
    for each in batch:
        if (code := _hopeless(each, info)) is None:
            sendable.append(each)
        else:
            done.failed[each.grant] = code
    results = vault.rewrap(app, [(each.grant, each.wrapped) for each in sendable], go_on=go_on)
    rewrapped = []
    for each, result in zip(sendable, results, strict=False):  # fewer, where it had to end
        if result is None:
            done.failed[each.grant] = "refused_by_vault"
        else:
            rewrapped.append((each, result, key_version(result)))
    written = keys.replace(rewrapped)
    done.rewrapped += written
    done.outrun += len(rewrapped) - written
    return batch[-1] if len(results) == len(sendable) else sendable[len(results) - 1]


def _hopeless(each: Wrapped, info: KeyInfo) -> str | None:
    """Why Vault need not be asked; None if it must be."""
    if not isinstance(each.wrapped, str):
        return EnvelopeError.code
    try:
        version = key_version(each.wrapped)
    except EnvelopeError as error:
        return error.code
    return "version_retired" if version < info.min_decryption_version else None
