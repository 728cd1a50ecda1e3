"""Every built-in action through the whole battery."""

from __future__ import annotations

from actas.actions.x import Post, Thread
from actas.providers import BUILT_IN
from actas.testing import ActionBattery, Lists, Made, Reply

X = BUILT_IN["x"]

#: docs.x.com, "Create Post"; "Get Posts" of a user (v2.167 of the published document).
CREATED = Reply(201, {"data": {"id": "{id}", "text": "{json.text}"}})
POST = Made("POST", "/2/tweets", CREATED, scopes=("tweet.read", "tweet.write", "users.read"))
TIMELINE = Lists(
    "GET",
    "/2/users/{id}/tweets",
    Reply(200, {"data": "{items}", "meta": {"result_count": "{count}"}}),
    {
        "id": "{id}",
        "text": "{json.text}",
        "created_at": "{at}",
        "edit_history_post_ids": ["{id}"],
        # Of a post that is no reply, its id is null here, where X leaves it out.
        "referenced_posts": [{"type": "replied_to", "id": "{json.reply.in_reply_to_tweet_id}"}],
    },
    empty=Reply(200, {"meta": {"result_count": 0}}),
)
DUPLICATE = Reply(
    403,
    {
        "detail": "You are not allowed to create a Tweet with duplicate content.",
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
    },
)
LIMIT = Reply(
    429,
    {"title": "Too Many Requests", "status": 429, "type": "about:blank", "detail": "Too Many Requests"},
    {"x-rate-limit-limit": "100", "x-rate-limit-remaining": "0", "x-rate-limit-reset": "{reset}"},
    pause=600,
)


class TestXPost(ActionBattery):
    provider = X
    action = Post()
    payload = {"text": "hello from afar"}
    bad_payloads = [("text", {"text": ""}), ("text", {"text": "x" * 281}), ("text", {})]
    similar = {"text": "hello from afar!"}
    api = [POST, TIMELINE]
    limits = [LIMIT]
    refusals = [(DUPLICATE, "duplicate"), (Reply(403, {"title": "Forbidden"}), "http_403")]


class TestXThread(ActionBattery):
    provider = X
    action = Thread()
    payload = {"posts": ["one", "two", "three"]}
    bad_payloads = [("posts", {"posts": ["alone"]}), ("posts.1", {"posts": ["one", ""]})]
    similar = {"posts": ["one more", "two"]}
    api = [POST, TIMELINE]
    limits = [LIMIT]
