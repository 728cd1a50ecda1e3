"""X's actions but for their texts: what they take, what they send, and what they make of the answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from actas.actions import BUILT_IN, Refused, Result, Search
from actas.clock import utc_now
from actas.errors import InvalidPayload
from actas.http import NoReply, Reply
from actas.providers import BUILT_IN as PROVIDERS
from worker.provider_api import ProviderApi

POST, DELETE, REPOST, LIKE = (BUILT_IN[f"x.{name}"] for name in ("post", "delete_post", "repost", "like"))
ACCOUNT = "2244994945"
LONGEST = "9" * 19
SEARCH = Search(ACCOUNT, datetime(2026, 11, 26, 12, tzinfo=UTC))


class X:
    """X, with these answers, each a status and a body, behind the API as a worker gives it to an action."""

    def __init__(self, *answers: tuple[int, Any], account: str = ACCOUNT) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any]] = []
        self.api = ProviderApi(self, PROVIDERS["x"], SecretStr("t"), 1, utc_now, account=account)

    def send(self, method: str, url: str, *, json_body: Any, **_: Any) -> Reply:
        self.asked.append((method, url.removeprefix("https://api.x.com"), json_body))
        status, body = self.answers[len(self.asked) - 1]
        return Reply(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def sent(payload: dict[str, Any]) -> Any:
    there = X((201, {"data": {"id": "7", "text": "hi"}}))
    assert POST.perform(there.api, POST.parse(payload), "job") == Result("7")
    [(method, url, body)] = there.asked
    assert (method, url) == ("POST", "/2/tweets")
    return body


# --- posts ---


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        ({"text": "hi"}, {"text": "hi"}),
        (
            {"text": "hi", "quote": None, "poll": None, "media_ids": None, "reply": None, "reply_settings": None},
            {"text": "hi"},
        ),
        ({"text": "hi", "reply": {"in_reply_to": "1"}}, {"text": "hi", "reply": {"in_reply_to_tweet_id": "1"}}),
        (
            {"text": "hi", "reply": {"in_reply_to": LONGEST, "exclude_user_ids": ["2", "3"]}},
            {"text": "hi", "reply": {"in_reply_to_tweet_id": LONGEST, "exclude_reply_user_ids": ["2", "3"]}},
        ),
        ({"text": "hi", "quote": "1"}, {"text": "hi", "quote_tweet_id": "1"}),
        (
            {"text": "hi", "poll": {"options": ["a", "b" * 25], "duration_minutes": 5}},
            {"text": "hi", "poll": {"options": ["a", "b" * 25], "duration_minutes": 5}},
        ),
        ({"media_ids": ["1"]}, {"media": {"media_ids": ["1"]}}),
        (
            {"text": "hi", "media_ids": ["1", "2", "3", "4"], "tagged_user_ids": ["5"]},
            {"text": "hi", "media": {"media_ids": ["1", "2", "3", "4"], "tagged_user_ids": ["5"]}},
        ),
        ({"text": "hi", "reply_settings": "mentionedUsers"}, {"text": "hi", "reply_settings": "mentionedUsers"}),
        (
            {"text": "hi", "reply": {"in_reply_to": "1"}, "quote": "2", "reply_settings": "verified"},
            {
                "text": "hi",
                "reply": {"in_reply_to_tweet_id": "1"},
                "quote_tweet_id": "2",
                "reply_settings": "verified",
            },
        ),
    ],
)
def test_a_post_says_in_xs_words_what_was_asked_for_and_nothing_else(payload, body):
    assert sent(payload) == body


POLL = {"options": ["yes", "no"], "duration_minutes": 60}
AN_ID = "must be an id of X, as a text of 1 to 19 digits"


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"text": "canary", "quote": "1", "poll": POLL}, "X takes one of quote, poll and media_ids, not quote and poll"),
        ({"text": "canary", "quote": "1", "media_ids": ["1"]}, "not quote and media_ids"),
        ({"text": "canary", "poll": POLL, "media_ids": ["1"]}, "not poll and media_ids"),
        ({"quote": "1"}, "text: Value error, required, unless there are media_ids"),
        ({"poll": POLL}, "text: Value error, required, unless there are media_ids"),
        ({"reply": {"in_reply_to": "1"}}, "text: Value error, required, unless there are media_ids"),
        ({"text": "", "media_ids": ["1"]}, "text: Value error, must be 1 to 280 characters"),
        ({"text": "canary", "media_ids": []}, "media_ids: Tuple should have at least 1 item"),
        ({"text": "canary", "media_ids": ["1"] * 5}, "media_ids: Tuple should have at most 4 items"),
        ({"text": "canary", "media_ids": ["canary"]}, f"media_ids.0: Value error, {AN_ID}"),
        ({"media_ids": ["canary"]}, f"media_ids.0: Value error, {AN_ID}"),
        ({"text": "canary", "tagged_user_ids": ["1"]}, "tagged_user_ids are tagged in media, and there are no media_ids"),
        ({"media_ids": ["1"], "tagged_user_ids": ["1"] * 11}, "tagged_user_ids: Tuple should have at most 10 items"),
        ({"text": "canary", "quote": "canary"}, f"quote: Value error, {AN_ID}"),
        ({"text": "canary", "quote": ""}, f"quote: Value error, {AN_ID}"),
        ({"text": "canary", "quote": "1" * 20}, f"quote: Value error, {AN_ID}"),
        ({"text": "canary", "quote": "1\n"}, f"quote: Value error, {AN_ID}"),
        ({"text": "canary", "quote": "\u0661"}, f"quote: Value error, {AN_ID}"),
        ({"text": "canary", "quote": 1}, "quote: "),
        ({"text": "canary", "reply": "1"}, "reply: "),
        ({"text": "canary", "reply": {}}, "reply.in_reply_to: Field required"),
        ({"text": "canary", "reply": {"in_reply_to": "1", "canary": 1}}, "reply.canary: Extra inputs are not permitted"),
        ({"text": "canary", "reply": {"in_reply_to": "1", "exclude_user_ids": ["@canary"]}}, f"exclude_user_ids.0: Value error, {AN_ID}"),
        ({"text": "canary", "reply_settings": "everyone"}, "reply_settings: Input should be 'following', 'mentionedUsers', 'subscribers' or 'verified'"),
        ({"text": "canary", "poll": POLL | {"options": ["canary"]}}, "poll.options: Tuple should have at least 2 items"),
        ({"text": "canary", "poll": POLL | {"options": ["canary"] * 5}}, "poll.options: Tuple should have at most 4 items"),
        ({"text": "canary", "poll": POLL | {"options": ["", "canary"]}}, "poll.options.0: String should have at least 1 character"),
        ({"text": "canary", "poll": POLL | {"options": ["a", "canary" * 5]}}, "poll.options.1: String should have at most 25 characters"),
        ({"text": "canary", "poll": POLL | {"options": "canary"}}, "poll.options: "),
        ({"text": "canary", "poll": POLL | {"duration_minutes": 4}}, "poll.duration_minutes: Input should be greater than or equal to 5"),
        ({"text": "canary", "poll": POLL | {"duration_minutes": 10081}}, "poll.duration_minutes: Input should be less than or equal to 10080"),
        ({"text": "canary", "poll": POLL | {"duration_minutes": "60"}}, "poll.duration_minutes: Input should be a valid integer"),
        ({"text": "canary", "poll": POLL | {"duration_minutes": True}}, "poll.duration_minutes: Input should be a valid integer"),
        ({"text": "canary", "poll": {"options": ["a", "b"]}}, "poll.duration_minutes: Field required"),
    ],
)  # fmt: skip
def test_what_x_would_refuse_is_refused_with_the_fields_name_and_without_its_content(payload, words):
    with pytest.raises(InvalidPayload) as caught:
        POST.parse(payload)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value).replace("reply.canary: Extra", "")
    assert "text: Value error, required" in words or "text: Value error, required" not in str(caught.value)


def test_an_option_counts_its_characters_whatever_they_are_made_of():
    options = ["é" * 25, "日" * 25, "😀" * 25]
    assert sent({"text": "hi", "poll": {"options": options, "duration_minutes": 10080}})["poll"]["options"] == options


# --- deleting, reposting, liking ---

GONE = {"title": "Not Found Error", "type": "https://api.twitter.com/2/problems/resource-not-found", "detail": "canary"}
ELSEWHERE = GONE | {"type": "https://api.x.com/2/problems/resource-not-found"}
ESCAPED = json.dumps(GONE).replace("/", "\\/").encode()
PROTECTED = GONE | {"type": "https://api.x.com/2/problems/not-authorized-for-resource"}
REPOSTED = {
    "errors": [{"parameters": {}, "message": "You cannot retweet a Tweet that you have already retweeted."}],
    "title": "Invalid Request",
    "detail": "One or more parameters to your request was invalid.",
    "type": "https://api.twitter.com/2/problems/invalid-request",
}
V1_REPOSTED = {"errors": [{"code": 327, "message": "You have already retweeted this Tweet."}]}
V1_LIKED = {"errors": [{"code": 139, "message": "You have already favorited this status."}]}
FORBIDDEN = {"title": "Forbidden", "type": "about:blank", "status": 403, "detail": "canary"}

DOES = [
    (DELETE, ("DELETE", "/2/tweets/7", None), {"data": {"deleted": True}}, "deleted:7"),
    (
        REPOST,
        ("POST", f"/2/users/{ACCOUNT}/retweets", {"tweet_id": "7"}),
        {"data": {"rest_id": "7", "retweeted": True}},
        "repost:7",
    ),
    (LIKE, ("POST", f"/2/users/{ACCOUNT}/likes", {"tweet_id": "7"}), {"data": {"liked": True}}, "like:7"),
]


@pytest.mark.parametrize(("action", "asked", "answer", "reference"), DOES)
def test_what_is_done_with_one_post_is_one_request(action, asked, answer, reference):
    there = X((200, answer))
    assert action.perform(there.api, action.parse({"post_id": "7"}), "job") == Result(reference)
    assert there.asked == [asked]
    assert action.idempotent


@pytest.mark.parametrize(
    "payload", [{}, {"post_id": ""}, {"post_id": "canary"}, {"post_id": 7}, {"post_id": "7", "canary": 1}]
)
@pytest.mark.parametrize("action", [DELETE, REPOST, LIKE])
def test_a_post_has_an_id(action, payload):
    with pytest.raises(InvalidPayload, match=r"x\.\w+: (post_id|canary): ") as caught:
        action.parse(payload)
    assert "canary" not in str(caught.value).replace("canary: Extra", "")


@pytest.mark.parametrize(("action", "asked", "answer", "reference"), DOES[1:])
def test_an_account_that_is_not_known_is_asked_for_first(action, asked, answer, reference):
    there = X((200, {"data": {"id": ACCOUNT}}), (200, answer), account="import:alice")
    assert action.perform(there.api, action.parse({"post_id": "7"}), "job") == Result(reference)
    assert there.asked == [("GET", "/2/users/me", None), asked]


@pytest.mark.parametrize("answer", [{}, {"data": {}}, {"data": {"id": "../8"}}, {"errors": [GONE]}])
@pytest.mark.parametrize("action", [REPOST, LIKE])
def test_without_an_account_nothing_is_asked_for(action, answer):
    there = X((200, answer), account="import:alice")
    with pytest.raises(NoReply):
        action.perform(there.api, action.parse({"post_id": "7"}), "job")
    assert len(there.asked) == 1


@pytest.mark.parametrize(
    ("action", "status", "answer"),
    [
        (DELETE, 404, GONE),
        (DELETE, 404, ELSEWHERE),
        (DELETE, 404, ESCAPED),
        (DELETE, 200, {"errors": [GONE]}),
        (DELETE, 200, {"data": None, "errors": [ELSEWHERE]}),
        (REPOST, 400, REPOSTED),
        (REPOST, 403, V1_REPOSTED),
        (LIKE, 403, V1_LIKED),
    ],
)
def test_what_is_there_already_counts_as_done(action, status, answer):
    reference = next(reference for does, _, _, reference in DOES if does is action)
    assert action.perform(X((status, answer)).api, action.parse({"post_id": "7"}), "job") == Result(reference)


@pytest.mark.parametrize(
    ("action", "status", "answer", "refusal"),
    [
        (DELETE, 403, FORBIDDEN, "http_403"),
        (DELETE, 404, b"<h1>Not Found</h1>", "http_404"),  # of a proxy, say: that the post is gone it does not know
        (DELETE, 200, {"data": {"deleted": False}}, "not_deleted"),
        (DELETE, 200, {"data": {"deleted": False}, "errors": [GONE]}, "not_deleted"),
        (DELETE, 200, {"errors": [PROTECTED]}, "not_authorized"),
        (DELETE, 400, REPOSTED, "already_done"),
        (REPOST, 404, GONE, "not_found"),
        (REPOST, 200, {"errors": [GONE]}, "not_found"),
        (REPOST, 200, {"data": {"retweeted": False}}, "not_retweeted"),
        (REPOST, 403, FORBIDDEN, "http_403"),
        (LIKE, 404, GONE, "not_found"),
        (LIKE, 200, {"errors": [GONE]}, "not_found"),
        (LIKE, 200, {"errors": [{"type": "canary"}]}, "problem"),
        (LIKE, 200, {"data": {"liked": False}}, "not_liked"),
        (LIKE, 400, b"{}", "http_400"),
    ],
)
def test_a_refusal_has_its_name_and_ends_it(action, status, answer, refusal):
    with pytest.raises(Refused) as caught:
        action.perform(X((status, answer)).api, action.parse({"post_id": "7"}), "job")
    assert caught.value.refusal == refusal
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        {},
        {"data": None},
        {"data": []},
        {"data": {}},
        {"data": {"deleted": 1}},
        {"errors": []},
        {"errors": ["x"]},
    ],
)
@pytest.mark.parametrize("action", [DELETE, REPOST, LIKE])
def test_what_says_nothing_leaves_it_open(action, answer):
    with pytest.raises(NoReply):
        action.perform(X((200, answer)).api, action.parse({"post_id": "7"}), "job")


@pytest.mark.parametrize(
    ("status", "answer", "found"),
    [
        (200, {"data": {"id": "7", "text": "hi"}}, []),
        (200, {"errors": [GONE]}, ["deleted:7"]),
        (404, ELSEWHERE, ["deleted:7"]),
        (200, {"errors": [PROTECTED]}, None),
        (200, {"data": {"id": "8"}}, None),
        (200, {"data": {"id": "8"}, "errors": [GONE]}, None),  # X tells so what a post refers to and is gone
        (200, {}, None),
    ],
)
def test_whether_a_post_is_deleted_can_be_looked_up(status, answer, found):
    there = X((status, answer))
    assert DELETE.find(there.api, DELETE.parse({"post_id": "7"}), "job", SEARCH) == found
    assert there.asked == [("GET", "/2/tweets/7", None)]


def test_a_refused_look_says_nothing_of_the_post():
    with pytest.raises(Refused):
        DELETE.find(X((403, FORBIDDEN)).api, DELETE.parse({"post_id": "7"}), "job", SEARCH)


def test_likes_cannot_be_looked_up_without_another_scope():
    there = X()
    assert LIKE.find(there.api, LIKE.parse({"post_id": "7"}), "job", SEARCH) is None
    assert there.asked == []


def test_what_x_would_show_in_another_way_is_no_id():
    """Looked for, what quotes 007 would not be found where X says 7, and it would be made twice."""
    for payload in ({"text": "hi", "quote": "007"}, {"text": "hi", "reply": {"in_reply_to": "007"}}):
        with pytest.raises(InvalidPayload, match=AN_ID):
            POST.parse(payload)
    assert POST.parse({"text": "hi", "quote": "700"}).quote == "700"
