"""What both batteries are made of: promises that concern a class, and cases of a promise that its fields list."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

import pytest

from actas.errors import ActasError
from actas.testing.bench import Bench, bench
from actas.testing.world import World, failed

T = TypeVar("T", bound=Callable[..., Any])


def only_if(concerned: Callable[[Any], bool]) -> Callable[[T], T]:
    """A promise that is tried only of the batteries it concerns; others do not have it, rather than skip it."""

    def mark(test: T) -> T:
        test.only_if = concerned  # type: ignore[attr-defined]
        return test

    return mark


class Battery:
    """Inherit ``ProviderBattery`` or ``ActionBattery``."""

    #: What must be said.
    needed: ClassVar[Sequence[str]] = ()
    #: By a test's argument: the field that lists its cases.
    cases: ClassVar[dict[str, str]] = {}

    _world: ClassVar[World | None] = None
    #: All tests by name, and which of them there is nothing to try for; who does not want one sets it to None.
    _tests: ClassVar[dict[str, Callable[..., Any]]] = {}
    _hidden: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._world = None
        cls._tests = cls._tests | {name: test for name, test in vars(cls).items() if name.startswith("test_") and test}
        hidden = {name for name in cls._tests if getattr(cls, name) is not None and not cls._concerns(name)}
        shown = {name for name in cls._hidden - vars(cls).keys() if cls._concerns(name)}
        for name, test in cls._tests.items():  # in their order, which all processes of a run must have in common
            if name in hidden | shown:
                setattr(cls, name, None if name in hidden else test)
        cls._hidden = frozenset(cls._hidden - shown | hidden)

    @classmethod
    def _concerns(cls, name: str) -> bool:
        """Whether there is something to try: what a test is only for, and a case for each of its arguments."""
        test = cls._tests[name]
        if cls._missing():
            return test is Battery.test_says_what_is_needed
        with suppress(ActasError):  # a payload that is none: other tests fail by it, and say so
            if not getattr(test, "only_if", lambda _: True)(cls):
                return False
        fields = [cls.cases[name] for name in inspect.signature(test).parameters if name in cls.cases]
        return all(getattr(cls, field) for field in fields)

    @classmethod
    def _missing(cls) -> list[str]:
        return [name for name in cls.needed if not hasattr(cls, name)]

    def test_says_what_is_needed(self) -> None:
        """Nothing can be tried before all of it is said."""
        if missing := self._missing():
            failed(f"{type(self).__name__} does not say {', '.join(missing)}; see help(actas.testing)")

    @pytest.fixture
    def world(self, request: pytest.FixtureRequest) -> Iterator[World]:
        """The provider at the sandbox, with an app and a worker."""
        cls = type(self)
        if cls._world is None:
            cls._world = self.make_world(bench(request.config))
        with cls._world.bench.at_its_own_time():
            cls._world.begin()
            yield cls._world
            cls._world.end()

    def make_world(self, at: Bench) -> World:
        """The provider as it is described."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each case."""
        for argument, field in self.cases.items():
            if argument in metafunc.fixturenames and not self._missing():
                cases = list(getattr(type(self), field))
                metafunc.parametrize(argument, cases, ids=[_called(case, n) for n, case in enumerate(cases)])


def _called(case: Any, number: int) -> str:
    """A case in a test's id: short, and with nothing that a shell minds."""
    text = " ".join(map(str, case)) if isinstance(case, tuple) else str(case)
    words = "".join(letter if letter.isalnum() else " " for letter in text).split()
    return "-".join([str(number), *words])[:60].rstrip("-")
