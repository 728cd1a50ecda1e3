"""The pages keep up with the files: links lead somewhere."""

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
