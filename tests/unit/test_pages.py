"""The pages keep up with the files: links lead somewhere, and operators find what they are told to look for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actas.actions import BUILT_IN, Action
from actas.http import NoReply, NotSent, NotWritten, ReplyTooLarge
from actas.webhooks import BadWebhook

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    page.relative_to(REPOSITORY)
    for pages in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/**/*.md", "tests/**/*.md")
    for page in sorted(REPOSITORY.glob(pages))
]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_to_a_file(page):
    text, folder = (REPOSITORY / page).read_text(), (REPOSITORY / page).parent
    targets = re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (folder / target).exists()] == []


def test_the_example_apps_show_the_same_pages():
    """Three frameworks, one page: they are used by the same tests, and who compares them shall see what differs."""

    def shown(app: str, page: str) -> str:
        text = (REPOSITORY / "examples" / app / "templates" / page).read_text()
        text = re.sub(r"{% macro .*?endmacro -?%}\n", "", text)
        return re.sub(r"{{.*?}}|{%.*?%}|FastAPI|Flask|Django", "", text)

    for page in ("page.html", "error.html"):
        assert len({shown(app, page) for app in ("fastapi", "flask", "django")}) == 1


def test_the_page_of_actions_says_of_each_what_the_code_says():
    page, readme = (REPOSITORY / "docs/actions.md").read_text(), (REPOSITORY / "README.md").read_text()
    said = {
        name: (twice, looked) for name, twice, looked in re.findall(r"\| `([\w.]+)` \| (.*?) \| (yes|no) \| ", page)
    }
    assert said.pop("http.request") == ("by its method, or as the payload says", "no")
    truth = {
        name: ("yes" if action.idempotent else "no", "no" if type(action).find is Action.find else "yes")
        for name, action in BUILT_IN.items()
    }
    del truth["http.request"]
    assert said == truth
    for name, action in BUILT_IN.items():
        assert f"| `{name}` | `{{" in page
        assert f"`{name}`" in readme
        assert [scope for scope in action.scopes if scope not in page] == []


def sources(*parts: str) -> str:
    return "\n".join(file.read_text() for part in parts for file in sorted((REPOSITORY / part).rglob("*.py")))


def test_what_operators_are_told_to_look_for_in_the_log_is_what_is_logged():
    page, code = (REPOSITORY / "docs/operations.md").read_text(), sources("worker", "scheduler")
    words = {match[0]: match[1] for match in re.finditer(r"`(\w+\.\w+) (?:\w+=)?\S", page)}
    logged = {name.partition(" ")[0] for name in re.findall(r'log\.\w+\((?:level, )?"([^"]+)"', code)}
    skipped = {f"{tick}.skipped" for tick in re.findall(r"return tick\((\w+)\)", code)}
    assert {"gate.closed", "event.failed", "dispatch.skipped"} <= set(words.values())
    assert set(words.values()) - logged - skipped == set()


def test_however_the_last_try_of_an_event_ended_the_page_says_what_that_is():
    page, code = (REPOSITORY / "docs/operations.md").read_text(), (REPOSITORY / "scheduler/deliver.py").read_text()
    ends = set(re.findall(r'(?:bury|_not_arrived)\(row, "(\w+)"', code))
    ends |= {error.code for error in (NotSent, NotWritten, NoReply, ReplyTooLarge, BadWebhook)}
    assert "unsendable" in ends
    assert {end for end in ends if not re.search(rf"`(last=)?{end}`", page)} == set()
