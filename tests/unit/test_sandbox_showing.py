"""How the sandbox shows posts: to the API's callers as X does, and to people with threads together."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from actas.sandbox.pages import timeline_page
from actas.sandbox.records import Attached, Poll, Post
from actas.sandbox.showing import shown

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("a & b <c> 'd' \"e\"", "a &amp; b &lt;c&gt; 'd' \"e\""),
        ("&amp;", "&amp;amp;"),
        ("  e\u0301\n", "é"),
        ("user@example.com, a.b, 3.14", "user@example.com, a.b, 3.14"),
    ],
)
def test_a_text_is_escaped_composed_and_trimmed(text, back):
    assert shown(text, "1") == (back, [])


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("see https://a.example/b?c=1&d=2.", ["https://a.example/b?c=1&d=2"]),
        ("(http://a.example/) & example.com/x!", ["http://a.example/", "http://example.com/x"]),
        ("https://a.example https://a.example", ["https://a.example", "https://a.example"]),
        ("https://例え.jp/ä", ["https://例え.jp/ä"]),
    ],
)
def test_links_become_short_and_are_explained(text, expanded):
    back, urls = shown(text, "1")
    assert [url["expanded_url"] for url in urls] == expanded
    assert len({url["url"] for url in urls}) == len(urls)
    for url in urls:
        assert re.fullmatch(r"https://t\.co/[0-9a-f]{10}", url["url"])
        assert back[url["start"] : url["end"]] == url["url"]
    assert "example" not in back
    assert shown(text, "2").text != back, "each post has links of its own"
    assert shown(text, "1") == (back, urls)


def test_what_is_displayed_of_a_long_link_breaks_off():
    [url] = shown("https://a.example/" + "b" * 99, "1").urls
    assert url["display_url"] == "a.example/" + "b" * 16 + "…"


def post(number: int, reply_to: int | None = None, text: str | None = None) -> Post:
    parent = None if reply_to is None else str(reply_to)
    return Post(str(number), "alice", text or f"post{number}", NOW + timedelta(seconds=number), "f1", parent)


def lines(*posts: Post) -> list[list[str]]:
    """The page's articles, each with its posts, replies marked."""
    articles = re.findall(r"<article>(.*?)</article>", timeline_page(posts), re.DOTALL)
    return [
        [
            mark.replace(' class="reply"', "> ") + text
            for mark, text in re.findall(r"<section(.*?)>.*?<p>(.*?)</p>", each)
        ]
        for each in articles
    ]


def test_the_page_shows_a_thread_together_from_its_beginning():
    newest_first = [post(7, 3), post(6), post(5, 2), post(4, 1), post(3), post(2, 1), post(1)]
    assert lines(*newest_first) == [
        ["post3", "> post7"],
        ["post6"],
        ["post1", "> post2", "> post5", "> post4"],  # post4 answers post1, too
    ]


def test_a_reply_whose_beginning_is_not_on_the_page_begins_there():
    assert lines(post(3, 2), post(2, 1)) == [["> post2", "> post3"]]
    assert lines() == []


def test_a_long_thread_is_shown_whole():
    count = 2000
    [thread] = lines(*[post(n, n - 1 if n else None) for n in reversed(range(count))])
    assert thread == ["post0", *(f"> post{n}" for n in range(1, count))]


def test_what_the_page_shows_is_escaped():
    assert "<b>" not in timeline_page([post(1, text="<b>bold</b>")])


@pytest.mark.parametrize(
    ("attached", "items"),
    [
        (Attached(), []),
        (Attached(poll=Poll(("yes", "<b>"), 60)), ["yes", "&lt;b&gt;"]),
        (Attached(media_ids=("5", "6")), ["media 5", "media 6"]),
        (Attached(quote="7"), ["quotes 7"]),
    ],
)
def test_the_page_shows_what_is_attached(attached, items):
    page = timeline_page([replace(post(1), attached=attached)])
    assert re.findall("<li>(.*?)</li>", page) == items


def test_what_is_attached_is_shown_by_a_link_behind_the_text():
    back, [url] = shown("look", "1", "https://x.com/i/status/7")
    assert back == f"look {url['url']}"
    assert back[url["start"] : url["end"]] == url["url"]
    assert url["expanded_url"] == "https://x.com/i/status/7"
    back, [url] = shown("", "1", "https://x.com/i/status/7")
    assert (back, url["start"]) == (url["url"], 0)
