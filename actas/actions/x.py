"""Actions on X (API v2)."""

from __future__ import annotations

import re
from typing import Annotated
from unicodedata import normalize

from pydantic import AfterValidator

from actas.actions.base import Action, ActionHttp, Payload, Result
from actas.actions.counting import parse_tweet
from actas.http import NoReply

LIMIT = 280

#: A link counts 23 however long it is, so what follows its host need not be looked at: a path and a query, each ending
#: in a character that X lets one end in.
LONG_LINK = re.compile(
    r"(https?://[a-z0-9-]+(?:\.[a-z0-9-]+)+/)(?:[a-z0-9/._%=&+~-]*[a-z0-9/_=+-])?(?:\?[a-z0-9/?._%=&+~-]*[a-z0-9/_=&-])?",
    re.IGNORECASE,
)

#: What joins and styles emojis adds nothing to a count; so do the single people of a family.
WEIGHTLESS = frozenset("\u200d\ufe0f\u20e3")

#: The longest emojis have seven code points, and count 2.
MOST_CODE_POINTS = LIMIT * 5


def _fits(text: str) -> str:
    """X counts weighted characters: a link is 23, an emoji 2 (docs.x.com, "Counting characters").

    The counting library looks for links in a time that grows with the cube of a word's length, holding Python's lock: a
    hostile text could stop a whole process. So it gets only what could fit by a lower bound of its own rules.
    """
    shown = LONG_LINK.sub(r"\1", normalize("NFC", text))
    least = sum(character < "\U00010000" and character not in WEIGHTLESS for character in shown)
    if least > LIMIT or len(shown) > MOST_CODE_POINTS:
        raise ValueError(f"must be 1 to {LIMIT} characters as X counts them; this is {max(least, LIMIT + 1)}")
    counted = parse_tweet(shown)
    if not counted.valid:
        raise ValueError(f"must be 1 to {LIMIT} characters as X counts them; this is {counted.weightedLength}")
    return text


class PostPayload(Payload):
    text: Annotated[str, AfterValidator(_fits)]


class Post(Action[PostPayload]):
    """One post: ``POST /2/tweets``. X has no idempotency header, so it is never repeated after an unknown outcome."""

    name = "x.post"
    provider = "x"
    scopes = frozenset({"tweet.read", "tweet.write", "users.read"})
    idempotent = False
    payload_type = PostPayload

    def perform(self, http: ActionHttp, payload: PostPayload, job_id: str) -> Result:  # noqa: ARG002
        match http.request("POST", "/2/tweets", json={"text": payload.text}):
            case {"data": {"id": str(post_id)}}:  # depend on nothing but the id
                return Result(post_id)
        raise NoReply("X accepted the post but named no id")
