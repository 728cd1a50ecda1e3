"""Public signing keys are asked for seldom, and a key that was just made or rotated is still known in time."""

from __future__ import annotations

from typing import Any, cast

import pytest

from actas.errors import SettingsError
from actas.signing import CACHE_NAMES, CACHE_SECONDS, UNKNOWN_SECONDS, KeyVersions
from actas.vault.room import VaultRoom

NAME = "actas-app-blog"


class Vault:
    def __init__(self) -> None:
        self.keys: dict[str, dict[int, bytes]] = {NAME: {1: b"one"}}
        self.asked: list[str] = []

    def public_keys(self, key_name: str) -> dict[int, bytes]:
        self.asked.append(key_name)
        return dict(self.keys.get(key_name, {}))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def versions(vault: Vault, clock: Clock) -> KeyVersions:
    return KeyVersions(cast("VaultRoom", cast("Any", vault)), clock=clock)


def test_a_known_version_is_asked_for_once_in_five_minutes(vault: Vault, clock: Clock, versions: KeyVersions) -> None:
    for _ in range(100):
        assert versions.get(NAME, 1) == b"one"
    clock.now += CACHE_SECONDS - 1
    assert versions.get(NAME, 1) == b"one"
    assert len(vault.asked) == 1
    clock.now += 1
    assert versions.get(NAME, 1) == b"one"
    assert len(vault.asked) == 2


def test_a_rotated_key_s_new_version_is_known_although_the_old_ones_are_still_believed(
    vault: Vault, clock: Clock, versions: KeyVersions
) -> None:
    assert versions.get(NAME, 1) == b"one"
    vault.keys[NAME][2] = b"two"
    clock.now += UNKNOWN_SECONDS
    assert versions.get(NAME, 2) == b"two"


def test_an_app_that_was_just_added_is_known(vault: Vault, clock: Clock, versions: KeyVersions) -> None:
    assert versions.get("actas-app-new", 1) is None
    with pytest.raises(SettingsError, match="actas apps add new"):
        versions.newest("new")
    vault.keys["actas-app-new"] = {1: b"new"}
    clock.now += UNKNOWN_SECONDS
    assert versions.newest("new") == 1
    assert versions.get("actas-app-new", 1) == b"new"


def test_a_retired_version_is_not_honoured_after_five_minutes(
    vault: Vault, clock: Clock, versions: KeyVersions
) -> None:
    assert versions.get(NAME, 1) == b"one"
    vault.keys[NAME] = {2: b"two"}
    clock.now += CACHE_SECONDS
    assert versions.get(NAME, 1) is None


def test_a_made_up_version_does_not_send_us_to_vault_each_time(vault: Vault, versions: KeyVersions) -> None:
    for version in range(2, 1000):
        assert versions.get(NAME, version) is None
    assert len(vault.asked) == 1


def test_made_up_names_do_not_fill_the_memory(versions: KeyVersions) -> None:
    for number in range(3 * CACHE_NAMES):
        assert versions.get(f"actas-app-{number}", 1) is None
    assert len(versions._known) <= CACHE_NAMES
