"""When old versions of a key may go, and what may be sent to Vault to be rewrapped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from actas.cli.leak_drill import told, watch
from actas.drilling import Progress, Report
from actas.retiring import SETTLING, NotRetired, TooEarly, check_settled, retire_kek, retire_signing_key
from actas.rewrapping import Rewrapped, rewrap
from actas.stores.drills import Drill
from actas.stores.wrapped_keys import Wrapped, app_names
from actas.vault.keys import KeyInfo

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def key(*, latest: int = 3, minimum: int = 1, age: timedelta = SETTLING) -> KeyInfo:
    return KeyInfo("k", {latest: NOW - age}, latest, minimum)


class Vault:
    def __init__(self, info: KeyInfo, refused: tuple[str, ...] = ()) -> None:
        self.info, self.refused = info, refused
        self.retired: list[int] = []
        self.sent: list[list[str]] = []

    def kek(self, _: str) -> KeyInfo:
        return self.info

    signing_key = kek

    def retire_before(self, _: str, version: int) -> None:
        self.retired.append(version)

    def rewrap(self, _: str, wrapped: list[tuple[str, str]], *, go_on: Any) -> list[str | None]:
        del go_on
        self.sent.append([grant for grant, _ in wrapped])
        return [None if grant in self.refused else f"vault:v{self.info.latest}:{grant}" for grant, _ in wrapped]


@pytest.mark.parametrize(("age", "early"), [(SETTLING - timedelta(milliseconds=1), True), (SETTLING, False)])
def test_ten_minutes_after_a_rotation_old_versions_may_go(age, early):
    if early:
        with pytest.raises(TooEarly, match="nothing can be retired before 09:00:00 UTC"):
            check_settled(key(age=age), NOW)
    else:
        check_settled(key(age=age), NOW)


@pytest.mark.parametrize(("left", "older"), [(0, {}), (1, {2: 5})])
def test_a_version_goes_when_nothing_needs_it(left, older):
    vault: Any = Vault(key())
    keys: Any = SimpleNamespace(count_not_under=lambda *_: left, not_under=lambda *_: [Wrapped("g", "", 2)])
    jobs: Any = SimpleNamespace(unfinished=lambda _: older | {3: 7})
    for retire in (lambda: retire_kek("demo", keys, vault, NOW), lambda: retire_signing_key("demo", jobs, vault, NOW)):
        if left:
            with pytest.raises(NotRetired):
                retire()
        else:
            retire()
    assert vault.retired == ([] if left else [3, 3])


def test_where_there_is_one_version_nothing_is_to_be_retired_however_young_it_is():
    vault: Any = Vault(key(minimum=3, age=timedelta(0)))
    assert retire_kek("demo", SimpleNamespace(), vault, NOW) is None
    assert retire_signing_key("demo", SimpleNamespace(), vault, NOW) is None


class Keys:
    """Grants whose keys are written back unless somebody was faster."""

    def __init__(self, wrapped: dict[str, Any], outrun: tuple[str, ...] = ()) -> None:
        self.wrapped, self.outrun = wrapped, outrun
        self.written: dict[str, tuple[str, int]] = {}

    def older(self, _: str, __: int, after: Wrapped | None, limit: int) -> list[Wrapped]:
        names = sorted(name for name in self.wrapped if name > (after.grant if after else ""))
        return [Wrapped(name, self.wrapped[name], 1) for name in names if name not in self.written][:limit]

    not_under = older

    def replace(self, rewrapped: list[tuple[Wrapped, str, int]]) -> int:
        mine = [(old.grant, (new, version)) for old, new, version in rewrapped if old.grant not in self.outrun]
        self.written |= dict(mine)
        return len(mine)


def test_each_key_is_tried_once_and_counted_once():
    sound = {f"g{n:04}": "vault:v1:x" for n in range(250)}
    bad = {"a": 7, "b": "nonsense", "c": "vault:v1:refused", "d": "vault:v1:x"}
    keys: Any = Keys(sound | bad, outrun=("g0007",))
    vault: Any = Vault(key(), refused=("c",))
    done = rewrap("demo", keys, vault)
    assert (done.rewrapped, done.outrun) == (250, 1)
    assert done.failed == {"a": "bad_envelope", "b": "bad_envelope", "c": "refused_by_vault"}
    sent = [grant for batch in vault.sent for grant in batch]
    assert len(sent) == len(set(sent))
    assert keys.written["d"] == ("vault:v3:d", 3)


def test_a_key_under_a_retired_version_is_not_sent():
    vault: Any = Vault(key(minimum=2))
    assert rewrap("demo", Keys({"g": "vault:v1:x"}), vault).failed == {"g": "version_retired"}  # type: ignore[arg-type]
    assert vault.sent in ([], [[]])


def test_what_was_done_is_told_after_each_batch():
    seen = []
    keys: Any = Keys({f"g{n:04}": "vault:v1:x" for n in range(150)})
    rewrap("demo", keys, Vault(key()), told=lambda done: seen.append(done.rewrapped))  # type: ignore[arg-type]
    assert seen == [100, 150]
    assert Rewrapped() == Rewrapped(0, 0, {})


@pytest.mark.parametrize("outrun_or_failed", ["outrun", "refused", "nonsense"])
def test_whatever_became_of_them_a_run_ends_after_so_many_and_the_next_one_goes_on(outrun_or_failed):
    names = [f"g{n:04}" for n in range(250)]
    keys: Any = Keys(
        dict.fromkeys(names, "nonsense" if outrun_or_failed == "nonsense" else "vault:v1:x"),
        outrun=tuple(names) if outrun_or_failed == "outrun" else (),
    )
    vault: Any = Vault(key(), refused=tuple(names) if outrun_or_failed == "refused" else ())
    looked_at, after = [], None
    for _ in range(3):
        done = rewrap("demo", keys, vault, most=100, after=after)
        looked_at.append((done.looked_at, done.rewrapped))
        after = done.left_off
    assert looked_at == [(100, 0), (100, 0), (50, 0)]
    assert after is None


def test_only_what_can_be_an_apps_name_becomes_part_of_a_path_in_vault():
    found = ["b", "a-1", "../../sys/seal", "A", "", None, 7, {"$gt": ""}, "x" * 41, "a\n"]
    assert app_names(found) == ["a-1", "b"]


# --- the leak drill's words ---

DRILL = Drill("d", "demo", NOW, 2, key_version=3, to_renew=10)


def report(**fields: Any) -> Report:
    plain: dict[str, Any] = {
        "rotated": {},
        "kept_refresh_token": {},
        "access_tokens_until": None,
        "failed": {},
        "untried": 0,
        "passed_over": {},
        "old_kek_retired": True,
    }
    return Report(**plain | fields)


def lines(**fields: Any) -> str:
    return "\n".join(told(report(**fields), DRILL, NOW))


def test_a_report_says_what_is_worthless_and_what_is_not():
    text = lines(
        rotated={"x": 3},
        kept_refresh_token={"google": 2},
        access_tokens_until=NOW + timedelta(hours=1),
        failed={"bad_envelope": [f"g{n}" for n in range(12)]},
        untried=1,
        passed_over={"revoking": 4},
        old_kek_retired=False,
    )
    for part in (
        "data keys replaced: 5",
        "versions before 3 still work",
        "old ones worthless: 3 x",
        "not known to rotate: 2 google; if a thief has decrypted them, they work until",
        "may work until 2026-11-23 10:00:00",
        "(bad_envelope): 12: g0, g1, g2, g3, g4, g5, g6, g7, g8, g9, ...",
        "not tried yet: 1",
        "not renewed: 4 revoking",
    ):
        assert part in text


def test_a_report_of_a_drill_that_left_nothing_says_only_good_news():
    text = lines(rotated={"x": 3}, access_tokens_until=NOW - timedelta(seconds=1))
    assert "versions before 3 are retired" in text
    assert "have all ended" in text
    assert not any(word in text for word in ("not tried", "could not", "not active", "not known to rotate"))


@pytest.mark.parametrize(("lefts", "nothing_left"), [([2, 1, 0], True), ([2, 2, 2, 2], False)])
def test_one_watches_until_nothing_is_left_or_nothing_moves(lefts, nothing_left, monkeypatch):
    now = 0.0

    def sleep(_: float) -> None:
        nonlocal now
        now += 60

    monkeypatch.setattr("actas.cli.leak_drill.time.monotonic", lambda: now)
    answers = iter([Progress(left, {}) for left in lefts] + [Progress(lefts[-1], {"x": ["g"]})] * 9)
    drilling: Any = SimpleNamespace(progress=lambda _: next(answers))
    assert watch(DRILL, drilling, Console(quiet=True), patience=180, sleep=sleep) is nothing_left


def test_what_was_tried_and_failed_is_not_untried():
    assert Progress(5, {"x": ["a", "b"], "y": ["c"]}).untried == 2
    assert Progress(1, {"x": ["a", "b"]}).untried == 0
