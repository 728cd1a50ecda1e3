"""linkedin.post: what it takes, what it sends, what it makes of the answer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actas.actions import BUILT_IN, Refused, Result
from actas.actions.linkedin.posting import RESERVED, commentary
from actas.errors import ProviderUnavailable
from actas.http import NoReply
from tests.unit.recorded import api, reply
from tests.unit.refusing import check_refused

POST = BUILT_IN["linkedin.post"]
URN = "urn:li:share:6844785523593134080"
MADE = reply(201, None, {"x-restli-id": URN})


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Hello, world. 100 % - it's 1 + 1 = 2; & so on: a/b?", "Hello, world. 100 % - it's 1 + 1 = 2; & so on: a/b?"),
        ("a|b{c}d@e[f](g)<h>*i_j~k\\l", r"a\|b\{c\}d\@e\[f\]\(g\)\<h\>\*i\_j\~k\\l"),
        # nobody is mentioned, and no template is filled in, because somebody wrote so
        ("@[Devtestco](urn:li:organization:2414183)", r"\@\[Devtestco\]\(urn:li:organization:2414183\)"),
        (r"{hashtag|\#|x}", r"\{hashtag\|\\\#\|x\}"),
        # hashtags stay, as LinkedIn's own editor makes them
        ("#Technology and #Zürich2026, #日本", "#Technology and #Zürich2026, #日本"),
        ("(#one)", r"\(#one\)"),
        ("#one#two", r"#one\#two"),
        ("# one", r"\# one"),
        ("C# and F#.", r"C\# and F\#."),
        ("No. #1, #2026", r"No. \#1, \#2026"),
        ("#snake_case", r"\#snake\_case"),
        ("##two", r"\#\#two"),
        ("https://a.example/x#part", r"https://a.example/x\#part"),
        ("https://a.example/#part", r"https://a.example/\#part"),
        ("&#x41;", r"&\#x41;"),
        ("two\nlines\r\n👨‍👩‍👧‍👦", "two\nlines\r\n👨‍👩‍👧‍👦"),
        ("", ""),
    ],
)
def test_a_text_means_nothing_but_its_hashtags(text, written):
    assert commentary(text) == written


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\\|{}@[]()<>#*_~ a1"), max_size=50))
def test_what_linkedin_reads_is_the_text(text):
    """Reading it back as "little Text Format" says: a backslash takes away a reserved character's meaning."""
    written = commentary(text)
    assert re.sub(r"\\(.)", r"\1", written, flags=re.DOTALL) == text
    live = re.sub(r"\\.", "", written, flags=re.DOTALL)
    assert set(RESERVED.findall(live)) <= {"#"}
    assert re.fullmatch(r"[^#]*(#\w+[^#]*)*", live)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({}, "text: Field required"),
        ({"text": ""}, "text: Value error, must be 1 to 3000 characters"),
        ({"text": " \n\u3000"}, "text: Value error, must be 1 to 3000 characters, not all of them blank; this is 3"),
        ({"text": "canary" * 501}, "text: Value error, must be 1 to 3000 characters, not all of them blank; this is 3006"),
        ({"text": "😀" * 1501}, "this is 3002"),
        ({"text": ["canary"]}, "text: "),
        ({"text": "x", "visibility": "canary"}, "visibility: Input should be 'PUBLIC', 'CONNECTIONS' or 'LOGGED_IN'"),
        ({"text": "x", "mention": "canary"}, "mention: Extra inputs are not permitted"),
        ({"text": "x", "article": "https://a.example"}, "article: "),
        ({"text": "x", "article": {"url": "https://a.example"}}, "article.title: Field required"),
        ({"text": "x", "article": {"url": "https://a.example", "title": ""}}, "article.title: String should have at least 1"),
        ({"text": "x", "article": {"url": "canary", "title": "t"}}, "article.url: Value error, must be an http:// or https:// address"),
        ({"text": "x", "article": {"url": "javascript:canary", "title": "t"}}, "article.url: "),
        ({"text": "x", "article": {"url": "https://", "title": "t"}}, "article.url: "),
        ({"text": "x", "article": {"url": "https://[canary", "title": "t"}}, "article.url: "),
        ({"text": "x", "article": {"url": "https://a.example/é", "title": "t"}}, "article.url: "),
        ({"text": "x", "article": {"url": "https://a.example/a b", "title": "t"}}, "spaces"),
        ({"text": "x", "article": {"url": "https://a.example/\n", "title": "t"}}, "article.url: "),
        ({"text": "x", "article": {"url": "https://a.example/" + "a" * 2000, "title": "t"}}, "article.url: "),
    ],
)  # fmt: skip
def test_what_linkedin_would_refuse_is_refused_early(payload, words):
    check_refused(POST.name, payload, words)


@pytest.mark.parametrize("text", ["a" * 3000, "😀" * 1500, "#" * 3000, " x ", "\\"])
def test_a_text_is_counted_as_linkedin_counts_it(text):
    """Its characters, not those that only keep others from meaning something."""
    assert POST.parse({"text": text}).text == text


def test_a_post_is_one_request_by_the_member_and_its_result_is_the_urn():
    http, sent = api("linkedin", MADE, account="AbC-1_x")
    assert POST.perform(http, POST.parse({"text": "Hi (there)"}), "job") == Result(URN)
    (request,) = sent
    assert (request.method, request.url) == ("POST", "https://api.linkedin.com/rest/posts")
    assert request.json == {
        "author": "urn:li:person:AbC-1_x",
        "commentary": r"Hi \(there\)",
        "visibility": "PUBLIC",
        "distribution": {"feedDistribution": "MAIN_FEED", "targetEntities": [], "thirdPartyDistributionChannels": []},
        "lifecycleState": "PUBLISHED",
        "isReshareDisabledByAuthor": False,
    }


def test_a_link_has_the_card_that_was_asked_for():
    http, sent = api("linkedin", MADE)
    article = {"url": "https://a.example/x", "title": "A (title)", "description": ""}
    POST.perform(http, POST.parse({"text": "x", "visibility": "CONNECTIONS", "article": article}), "job")
    assert sent[0].json["content"] == {"article": {"source": "https://a.example/x", "title": "A (title)"}}
    assert sent[0].json["visibility"] == "CONNECTIONS"


@pytest.mark.parametrize("account", ["import:alice", "", "a b", "x" * 65])
def test_who_the_member_is_is_asked_for_where_an_import_did_not_tell(account):
    http, sent = api("linkedin", reply(200, {"sub": "782bbtaQ"}), MADE, account=account)
    POST.perform(http, POST.parse({"text": "x"}), "job")
    assert [request.path for request in sent] == ["/v2/userinfo", "/rest/posts"]
    assert sent[1].json["author"] == "urn:li:person:782bbtaQ"


@pytest.mark.parametrize(
    "answer",
    [
        *(reply(200, body) for body in ({}, {"sub": None}, {"sub": 1}, {"sub": ""}, {"sub": "a),urn:li:x"}, [], None)),
        reply(500),
        NoReply(),
    ],
)
def test_nothing_is_posted_as_somebody_unknown(answer):
    """And as nothing was posted, nobody has to look for it."""
    http, sent = api("linkedin", answer, account="import:alice")
    with pytest.raises(ProviderUnavailable):
        POST.perform(http, POST.parse({"text": "x"}), "job")
    assert len(sent) == 1


def test_nothing_is_posted_after_a_slow_answer(monkeypatch):
    """Another worker may have the job by then."""
    ticks = iter([100.0, 102.5])
    monkeypatch.setattr("actas.actions.linkedin.posting.time.monotonic", lambda: next(ticks))
    http, sent = api("linkedin", reply(200, {"sub": "782bbtaQ"}), account="import:alice")
    with pytest.raises(ProviderUnavailable):
        POST.perform(http, POST.parse({"text": "x"}), "job")
    assert len(sent) == 1


@pytest.mark.parametrize("urn", [URN, "urn:li:ugcPost:1", "urn%3Ali%3Ashare%3A7"])
def test_the_urn_is_read_however_it_is_written(urn):
    http, _ = api("linkedin", reply(201, None, {"X-RestLi-Id": urn}))
    assert POST.perform(http, POST.parse({"text": "x"}), "job").reference.startswith("urn:li:")


@pytest.mark.parametrize(
    "headers", [{}, {"x-restli-id": ""}, {"x-restli-id": "canary text"}, {"x-restli-id": "urn:li:person:1"}]
)
def test_an_accepted_post_without_a_urn_is_of_unknown_outcome(headers):
    http, _ = api("linkedin", reply(201, {"id": "x"}, headers))
    with pytest.raises(NoReply):
        POST.perform(http, POST.parse({"text": "x"}), "job")


def test_a_repeated_text_is_a_duplicate():
    body = {"message": "Content is a duplicate of urn:li:share:7", "code": "DUPLICATE_POST", "status": 422}
    http, _ = api("linkedin", reply(422, body))
    with pytest.raises(Refused) as caught:
        POST.perform(http, POST.parse({"text": "x"}), "job")
    assert caught.value.refusal == "duplicate"


def test_it_is_not_idempotent_and_asks_for_what_it_needs_only():
    assert not POST.is_idempotent(POST.parse({"text": "x"}))
    assert POST.scopes == {"w_member_social"}
