"""github.create_issue and github.comment: what they take and send, and how they look for what they may have made."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from actas.actions import BUILT_IN, Refused, Result, Search
from actas.actions.github.looking import MOST_PAGES, PAGE
from actas.http import NoReply
from tests.unit.recorded import NOW, api, reply
from tests.unit.refusing import check_refused

ISSUE, COMMENT = BUILT_IN["github.create_issue"], BUILT_IN["github.comment"]
BUG = {"repository": "octocat/Hello-World", "title": "A bug", "body": "It\nbites"}
REMARK = {"repository": "octocat/Hello-World", "issue": 1347, "body": "Me\ntoo"}
AT = "2026-11-27T09:00:00Z"
REPO = "https://api.github.com/repos/octocat/Hello-World"


def test_an_issue_is_one_request_and_its_result_is_where_it_is():
    http, sent = api("github", reply(201, {"id": 1, "number": 5}))
    payload = BUG | {"labels": ["bug", "x y"], "assignees": ["octocat"], "milestone": 3}
    assert ISSUE.perform(http, ISSUE.parse(payload), "job") == Result("octocat/hello-world/issues/5")
    (request,) = sent
    assert (request.method, request.url) == ("POST", f"{REPO}/issues")
    assert request.json == {key: value for key, value in payload.items() if key != "repository"}
    assert request.headers["accept"] == "application/vnd.github+json"


def test_what_is_not_said_is_not_sent():
    http, sent = api("github", reply(201, {"number": 5}))
    ISSUE.perform(http, ISSUE.parse({"repository": "o/r", "title": "t"}), "job")
    assert sent[0].json == {"title": "t"}


def test_a_comment_is_one_request_and_its_result_is_where_it_is():
    http, sent = api("github", reply(201, {"id": 7}))
    assert COMMENT.perform(http, COMMENT.parse(REMARK), "job") == Result("octocat/hello-world/issues/comments/7")
    (request,) = sent
    assert (request.method, request.url, request.json) == ("POST", f"{REPO}/issues/1347/comments", {"body": "Me\ntoo"})


def test_things_of_two_repositories_have_two_references_however_a_repository_is_written():
    """What a job has made is known by its reference: with numbers alone one job's issue would be another's."""

    def made(repository: str) -> str:
        http, _ = api("github", reply(201, {"number": 5}))
        return ISSUE.perform(http, ISSUE.parse({"repository": repository, "title": "t"}), "job").reference

    assert made("octocat/a") != made("octocat/b")
    assert made("Octocat/A") == made("octocat/a")


@pytest.mark.parametrize("body", [{}, {"number": None, "id": None}, {"number": "5", "id": "5"}, [], b""])
@pytest.mark.parametrize(("action", "payload"), [(ISSUE, BUG), (COMMENT, REMARK)])
def test_what_was_accepted_and_has_no_number_is_of_unknown_outcome(action, payload, body):
    http, _ = api("github", reply(201, body))
    with pytest.raises(NoReply):
        action.perform(http, action.parse(payload), "job")


def test_a_repository_that_has_moved_is_a_refusal_not_a_journey():
    http, sent = api("github", reply(307, {}, {"location": "https://api.github.com/repositories/1/issues"}))
    with pytest.raises(Refused):
        ISSUE.perform(http, ISSUE.parse(BUG), "job")
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        (ISSUE.name, {"title": ""}, "title: Value error, must not be blank"),
        (ISSUE.name, {"title": " \n"}, "title: Value error, must not be blank"),
        (ISSUE.name, {"title": "canary" * 43}, "title: String should have at most 256 characters"),
        (ISSUE.name, {"body": "c" * 65_537}, "body: String should have at most 65536 characters"),
        (ISSUE.name, {"labels": ["x"] * 101}, "labels: Tuple should have at most 100 items"),
        (ISSUE.name, {"labels": ["canary" * 9]}, "labels.0: String should have at most 50 characters"),
        (ISSUE.name, {"labels": [""]}, "labels.0: "),
        (ISSUE.name, {"assignees": ["a"] * 11}, "assignees: Tuple should have at most 10 items"),
        (ISSUE.name, {"assignees": ["canary canary"]}, "assignees.0: "),
        (ISSUE.name, {"assignees": ["a\n"]}, "assignees.0: "),
        (ISSUE.name, {"milestone": 0}, "milestone: Input should be greater than or equal to 1"),
        (ISSUE.name, {"state": "canary"}, "state: Extra inputs are not permitted"),
        (COMMENT.name, {"body": " "}, "body: Value error, must not be blank"),
        (COMMENT.name, {"body": "c" * 65_537}, "body: String should have at most 65536 characters"),
        (COMMENT.name, {"issue": 0}, "issue: Input should be greater than or equal to 1"),
        (COMMENT.name, {"issue": "canary"}, "issue: "),
        *(
            (name, {"repository": repository}, "repository: Value error, must be an owner and a repository, such as octocat/hello-world")
            for name in (ISSUE.name, COMMENT.name)
            for repository in ("", "canary", "canary/", "/canary", "o/canary/x", "o/..", "o/.", "../canary", "o/canary?x", "o/canary#x",
                               "o/canary%2fx", "o/can ary", "o/canary\n", "-o/canary", "o\\canary", "o/canär", "https://github.com/o/canary")
        ),
    ],
)  # fmt: skip
def test_what_github_would_refuse_is_refused_early(name, changed, words):
    check_refused(name, (BUG if name == ISSUE.name else REMARK) | changed, words)


@pytest.mark.parametrize(
    "repository", ["o/r", "octocat/Hello-World", "octo_corp/.github", "a-b/c.d_e-f", "o/...", "1/2"]
)
def test_a_repository_that_may_be_is_taken(repository):
    assert ISSUE.parse(BUG | {"repository": repository}).repository == repository


# --- looking ---


def issue(number: int = 5, **changed: Any) -> dict[str, Any]:
    known = {"number": number, "title": BUG["title"], "body": BUG["body"], "user": {"id": 42}, "created_at": AT}
    return known | changed


def comment(number: int = 7, **changed: Any) -> dict[str, Any]:
    return {"id": number, "body": REMARK["body"], "user": {"id": 42}, "created_at": AT, "updated_at": AT} | changed


def look(name: str, *pages: Any, account: str = "42", before: timedelta = timedelta(0)):
    action, payload = BUILT_IN[name], BUG if name == ISSUE.name else REMARK
    http, sent = api("github", *(page if not isinstance(page, list) else reply(200, page) for page in pages))
    return action.find(http, action.parse(payload), "job", Search(account, NOW - before)), sent


def test_a_look_asks_for_what_was_made_since():
    found, sent = look(ISSUE.name, [issue()], before=timedelta(seconds=10, microseconds=5))
    assert found == ["octocat/hello-world/issues/5"]
    (request,) = sent
    assert (request.method, request.path) == ("GET", "/repos/octocat/Hello-World/issues")
    assert request.query == {
        "state": "all", "sort": "created", "direction": "asc", "since": "2026-11-27T08:59:49Z", "per_page": "100", "page": "1",
    }  # fmt: skip
    found, sent = look(COMMENT.name, [comment()])
    assert found == ["octocat/hello-world/issues/comments/7"]
    assert sent[0].path == "/repos/octocat/Hello-World/issues/1347/comments"
    assert sent[0].query == {"since": "2026-11-27T09:00:00Z", "per_page": "100", "page": "1"}


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], []),
        ([issue()], [5]),
        ([issue(7), issue(5), issue(7)], [5, 7]),
        ([issue(body="It\r\nbites\r\n")], [5]),  # as GitHub's pages send it
        ([issue(title=" A bug ")], [5]),
        ([issue(created_at="2026-11-27T10:00:00+01:00")], [5]),
        # somebody else's, an older one, a pull request, another one
        ([issue(user={"id": 43})], []),
        ([issue(user=None)], []),
        ([issue(created_at="2026-11-27T08:59:59Z")], []),
        ([issue(pull_request={"url": "x"})], []),
        ([issue(title="Another bug")], []),
        # that may be it, and may not
        ([issue(body="It bites")], None),
        ([issue(body=None)], None),
        ([issue(), issue(6, body="edited")], None),
    ],
)
def test_an_issue_is_known_by_its_title_and_text_and_who_has_opened_it(there, found):
    assert look(ISSUE.name, there)[0] == (found and [f"octocat/hello-world/issues/{number}" for number in found])


def test_an_issue_without_a_text_is_one_whose_text_is_null():
    http, _ = api("github", reply(200, [issue(body=None)]))
    payload = ISSUE.parse({"repository": "octocat/Hello-World", "title": "A bug"})
    assert ISSUE.find(http, payload, "job", Search("42", NOW)) == ["octocat/hello-world/issues/5"]


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], []),
        ([comment()], [7]),
        ([comment(9), comment(8)], [8, 9]),
        ([comment(body="Me\r\ntoo ")], [7]),
        ([comment(user={"id": 43})], []),
        ([comment(body="Another")], []),
        # older, and edited since: so it is on the list
        ([comment(created_at="2026-11-27T08:00:00Z")], []),
        ([comment(body="edited", updated_at="2026-11-27T09:00:07Z")], None),
    ],
)
def test_a_comment_is_known_by_its_text_and_who_has_written_it(there, found):
    assert look(COMMENT.name, there)[0] == (
        found and [f"octocat/hello-world/issues/comments/{number}" for number in found]
    )


@pytest.mark.parametrize(("name", "other"), [(ISSUE.name, issue), (COMMENT.name, comment)])
def test_it_is_looked_for_on_all_pages(name, other):
    full = [other(number, user={"id": 1}) for number in range(PAGE)]
    found, sent = look(name, full, full, [other(5)])
    assert [reference.rpartition("/")[2] for reference in found] == ["5"]
    assert [request.query["page"] for request in sent] == ["1", "2", "3"]
    found, sent = look(name, full, [])
    assert (found, len(sent)) == ([], 2)


@pytest.mark.parametrize(("name", "other"), [(ISSUE.name, issue), (COMMENT.name, comment)])
def test_where_there_is_too_much_to_look_through_there_is_no_answer(name, other):
    found, sent = look(name, *[[other(number, user={"id": 1}) for number in range(PAGE)]] * MOST_PAGES)
    assert (found, len(sent)) == (None, MOST_PAGES)


@pytest.mark.parametrize("name", [ISSUE.name, COMMENT.name])
@pytest.mark.parametrize(
    "answer",
    [
        reply(200, {"message": "x"}),
        reply(200, b""),
        reply(200, ["x"]),
        reply(200, [{}]),
        reply(200, [{"user": {"id": "42"}, "created_at": AT}]),
        reply(200, [{"user": {"id": 42}, "created_at": None}]),
        reply(200, [{"user": {"id": 42}, "created_at": "yesterday"}]),
        reply(200, [{"user": {"id": 42}, "created_at": "2026-11-27T09:00:00"}]),
        reply(200, [{"title": "A bug", "body": "It\nbites", "user": {"id": 42}, "created_at": AT}]) ,
        reply(500),
        NoReply(),
    ],
)  # fmt: skip
def test_what_is_no_list_is_not_taken_for_an_empty_one(name, answer):
    if name == COMMENT.name and answer == reply(
        200, [{"title": "A bug", "body": "It\nbites", "user": {"id": 42}, "created_at": AT}]
    ):
        answer = reply(200, [{"body": "Me\ntoo", "user": {"id": 42}, "created_at": AT}])
    with pytest.raises(NoReply):
        look(name, answer)


def test_whose_account_it_is_is_asked_for_where_an_import_did_not_tell():
    found, sent = look(
        ISSUE.name,
        reply(200, {"login": "octocat", "id": 42}),
        [issue(), issue(6, user={"id": 4})],
        account="import:alice",
    )
    assert found == ["octocat/hello-world/issues/5"]
    assert [request.path for request in sent] == ["/user", "/repos/octocat/Hello-World/issues"]
    with pytest.raises(NoReply):
        look(ISSUE.name, reply(200, {"login": "octocat"}), account="import:alice")


def test_they_are_not_idempotent_and_ask_for_no_scopes():
    """A GitHub App has permissions instead, and its users' tokens no scopes."""
    for action in (ISSUE, COMMENT):
        assert not action.idempotent
        assert action.scopes == frozenset()
