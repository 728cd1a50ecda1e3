"""The pages keep up with the code: links lead somewhere, and the tests that are named are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    page.relative_to(REPOSITORY)
    for pages in ("*.md", "docs/**/*.md", "deploy/**/*.md", "tests/**/*.md")
    for page in sorted(REPOSITORY.glob(pages))
]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_to_a_file(page):
    text, folder = (REPOSITORY / page).read_text(), (REPOSITORY / page).parent
    targets = re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (folder / target).exists()] == []


def test_each_attack_is_tried_by_the_tests_that_the_table_names_and_no_file_is_left_out():
    attacks = REPOSITORY / "tests" / "attacks"
    named, file = set(), ""
    for name in re.findall(r"`(test_\w+(?:\.py)?)`", (attacks / "README.md").read_text()):
        file = name if name.endswith(".py") else file
        named.add((file, name))
    there = {(path.name, path.name) for path in attacks.glob("test_*.py")}
    assert there <= named
    there |= {
        (path.name, name)
        for path in attacks.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert named <= there
