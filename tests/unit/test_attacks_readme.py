"""The list of attacks keeps its word: each test that it names is there, and each that is there is named."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ATTACKS = Path(__file__).parents[1] / "attacks"
README = (ATTACKS / "README.md").read_text()
FILES = sorted(ATTACKS.glob("test_*.py"))
ROWS = [line for line in README.splitlines() if line.startswith("| ") and not line.startswith("| variant ")]


def functions_of(file: Path) -> set[str]:
    functions = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
    return {f"{file.name}::{function.name}" for function in functions if function.name.startswith("test_")}


def test_the_tests_that_are_named_are_those_that_are_there():
    named = set(re.findall(r"`(test_\w+\.py::test_\w+)`", README))
    there = set[str]().union(*map(functions_of, FILES))
    assert sorted(named - there) == []
    assert sorted(there - named) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:60].strip())
def test_every_row_says_what_is_tried_by_what_and_what_must_come_of_it(row):
    variant, tests, outcome = row.removeprefix("| ").removesuffix(" |").split(" | ")
    assert variant
    assert "::test_" in tests
    assert outcome


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_says_at_its_top_who_attacks_and_with_what(file):
    top = ast.get_docstring(ast.parse(file.read_text())) or ""
    assert "The attacker " in top
    assert re.search(r"\b(May|Has|Holds|Knows|Can|Reads|Signs)\b", top), "what powers?"
