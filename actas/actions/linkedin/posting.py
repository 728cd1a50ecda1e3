"""Posting on LinkedIn as a member: ``POST /rest/posts``.

Sources: learn.microsoft.com/linkedin, "Posts API" (the fields; 201 with the post's URN in the header x-restli-id, and
no body; of a member's posts only who has the private permission r_member_social may read any), and "little Text
Format" (how a text is written there).
"""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from actas.actions.base import Action, ActionHttp, Result
from actas.errors import ProviderUnavailable
from actas.http import NoReply
from actas.payload import Payload

#: "ShareCommentary text length (...) exceeded the maximum allowed (3000 characters)", says its refusal (n8n #22899).
#: It runs on Java, which counts a character beyond U+FFFF as two.
LIMIT = 3000

#: All of these mean something in a commentary, unless a backslash stands before them ("little Text Format", Text).
RESERVED = re.compile(r"[\\|{}@\[\]()<>#*_~]")

#: What is a hashtag in LinkedIn's own editor is one here: a word of letters and digits, not all of them digits.
HASHTAG = re.compile(r"(?<![\w#&/])#(?=[0-9]*[^\W\d_])[^\W_]+(?!\w)")

#: Less than the time that a job's lease has left after its request, for writing down how that went.
QUICK_SECONDS = 2.0

PERSON = re.compile(r"[A-Za-z0-9_-]{1,64}")
POST = re.compile(r"urn:li:(?:share|ugcPost):[0-9]{1,32}")


def _fits(text: str) -> str:
    counted = len(text.encode("utf-16-le")) // 2
    if not text.strip() or counted > LIMIT:
        raise ValueError(f"must be 1 to {LIMIT} characters, not all of them blank; this is {counted}")
    return text


def _link(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not url.isascii() or not url.isprintable():
        raise ValueError("must be an http:// or https:// address in ASCII")
    if " " in url:
        raise ValueError("must have no spaces; write them as %20")
    return url


class Article(Payload):
    """A link with its card. LinkedIn does not look at the page: what the card shows is said here ("Article Post API").

    How long a title and a description may be it does not publish: what is too long, it refuses.
    """

    url: Annotated[str, Field(max_length=2000), AfterValidator(_link)]
    title: Annotated[str, Field(min_length=1)]
    description: str = ""


class PostPayload(Payload):
    text: Annotated[str, AfterValidator(_fits)]
    visibility: Literal["PUBLIC", "CONNECTIONS", "LOGGED_IN"] = "PUBLIC"
    article: Article | None = None


class Post(Action[PostPayload]):
    """One post on the member's own feed. LinkedIn has no idempotency header, so it is never repeated blindly.

    It refuses the same text soon after (422 DUPLICATE_POST), but not so reliably that one could lean on it. What
    became of a post whose outcome is unknown only a person can see: reading posts is for approved partners.
    """

    name = "linkedin.post"
    provider = "linkedin"
    scopes = frozenset({"w_member_social"})
    idempotent = False
    payload_type = PostPayload

    def perform(self, http: ActionHttp, payload: PostPayload, job_id: str) -> Result:  # noqa: ARG002
        body: dict[str, Any] = {
            "author": f"urn:li:person:{_person(http)}",
            "commentary": commentary(payload.text),
            "visibility": payload.visibility,
            "distribution": {
                "feedDistribution": "MAIN_FEED",
                "targetEntities": [],
                "thirdPartyDistributionChannels": [],
            },
            "lifecycleState": "PUBLISHED",
            "isReshareDisabledByAuthor": False,
        }
        if payload.article is not None:
            article = {"source": payload.article.url, "title": payload.article.title}
            if payload.article.description:
                article["description"] = payload.article.description
            body["content"] = {"article": article}
        made = unquote(http.send("POST", "/rest/posts", json=body).headers.get("x-restli-id", ""))
        if not POST.fullmatch(made):
            raise NoReply("LinkedIn accepted the post but named no URN")
        return Result(made)


def commentary(text: str) -> str:
    """A plain text in LinkedIn's "little" format: nothing in it means anything but hashtags. Pure."""
    parts, end = [], 0
    for tag in HASHTAG.finditer(text):
        parts += [RESERVED.sub(r"\\\g<0>", text[end : tag.start()]), tag[0]]
        end = tag.end()
    return "".join([*parts, RESERVED.sub(r"\\\g<0>", text[end:])])


def _person(http: ActionHttp) -> str:
    """The member's id, which the grant of an import may not know ("Sign In with LinkedIn using OpenID Connect").

    A slow answer is of no use: the job's lease has room for one request, and a post must not begin after it.
    """
    if PERSON.fullmatch(http.account):
        return http.account
    began = time.monotonic()
    try:
        said = http.request("GET", "/v2/userinfo")
    except NoReply:  # to a question: so nothing was posted
        said = {}
    match said:
        case {"sub": str(known)} if PERSON.fullmatch(known) and time.monotonic() - began < QUICK_SECONDS:
            return known
    raise ProviderUnavailable("LinkedIn did not say, or not in time, whose access token it is")
