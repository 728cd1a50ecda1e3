"""Payloads of the x actions: some of each kind, and as odd ones as X takes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from actas.actions.counting import misfit
from actas.actions.x.media import KINDS
from actas.files import CHUNK_BYTES

ids = st.from_regex(r"0|[1-9][0-9]{0,18}", fullmatch=True)
pieces = st.one_of(
    st.sampled_from(
        ["&", "<b>", "@bob", "#tag", "$TAG", "e\u0301", "\u200d", "\u202e", "\n\n", " ", "\x85", "\0", "{{x}}", "https://a.example/b?c=1", "a.com",
         "👍🏽", "👨‍👩‍👧‍👦", "日" * 140, "a" * 280, "ﷺ"]
    ),
    st.text(max_size=30),
)  # fmt: skip
texts = st.lists(pieces, min_size=1, max_size=10).map("".join).filter(lambda text: misfit(text) is None)
poll_options = st.lists(st.text(min_size=1, max_size=25) | st.just("日" * 25), min_size=2, max_size=4)
polls = st.builds(
    lambda options, minutes: {"options": options, "duration_minutes": minutes},
    poll_options,
    st.sampled_from([5, 10_080]) | st.integers(5, 10_080),
)
replies = st.fixed_dictionaries({"in_reply_to": ids}, optional={"exclude_user_ids": st.lists(ids, max_size=3)})
around = st.fixed_dictionaries(
    {},
    optional={
        "reply": replies,
        "reply_settings": st.sampled_from(["following", "mentionedUsers", "subscribers", "verified"]),
    },
)
media = st.fixed_dictionaries(
    {"media_ids": st.lists(ids, min_size=1, max_size=4)},
    optional={"tagged_user_ids": st.lists(ids, min_size=1, max_size=10)},
)
attached = st.one_of(
    st.just({}),
    st.builds(lambda quote: {"quote": quote}, ids),
    st.builds(lambda poll: {"poll": poll}, polls),
    media,
)
posts = st.one_of(
    st.builds(lambda text, more, rest: {"text": text, **more, **rest}, texts, attached, around),
    st.builds(lambda more, rest: {**more, **rest}, media, around),
)

#: Few bytes, a chunk and a little more or less, several chunks.
sizes = st.sampled_from([1, 2, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7])


def stored(size: int, media_type: str) -> dict[str, Any]:
    return {"sha256": "0" * 64, "size": size, "media_type": media_type}


uploads = st.sampled_from(sorted(KINDS)).flatmap(
    lambda category: st.fixed_dictionaries(
        {
            "file": st.builds(stored, sizes, st.sampled_from(sorted(KINDS[category][1]))),
            "category": st.just(category),
        },
        optional={} if category == "tweet_video" else {"alt_text": st.text(min_size=1, max_size=1000)},
    )
)

#: By the name of the action; each of X's has to be here.
PAYLOADS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "x.post": posts,
    "x.thread": st.builds(lambda posts: {"posts": posts}, st.lists(texts, min_size=2, max_size=4)),
    "x.delete_post": st.builds(lambda post_id: {"post_id": post_id}, ids),
    "x.repost": st.builds(lambda post_id: {"post_id": post_id}, ids),
    "x.like": st.builds(lambda post_id: {"post_id": post_id}, ids),
    "x.upload_media": uploads,
}

POLL = {"options": ["yes", "no"], "duration_minutes": 5}

#: Some of each, that together ask for all there is.
EXAMPLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("x.post", {"text": "hi"}),
    ("x.post", {"text": "hi", "reply": {"in_reply_to": "1", "exclude_user_ids": ["2"]}, "quote": "9" * 19}),
    ("x.post", {"text": "hi", "poll": POLL, "reply_settings": "verified"}),
    ("x.post", {"media_ids": ["1", "2", "3", "4"], "tagged_user_ids": ["5"]}),
    ("x.thread", {"posts": ["one", "two"]}),
    ("x.delete_post", {"post_id": "1"}),
    ("x.repost", {"post_id": "1"}),
    ("x.like", {"post_id": "1"}),
    ("x.upload_media", {"file": stored(CHUNK_BYTES + 1, "image/gif"), "category": "tweet_gif", "alt_text": "a cat"}),
    ("x.upload_media", {"file": stored(1, "video/mp4"), "category": "tweet_video"}),
)
