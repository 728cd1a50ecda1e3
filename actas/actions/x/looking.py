"""Looking through an account's timeline for a post that may have been made: ``GET /2/users/{id}/tweets``.

Both mistakes are bad: to call another post ours loses one, to overlook ours makes it twice. So what is not certain is
no answer (None), and a person decides. Certain is a post with the same text, made since, that replies to what it
should, or to nothing. Not certain is one that may be it while X does not say enough of it: what a short link stands
for, what a reply replies to, how a text that is cut off ends. What its user deleted or edited meanwhile is not there.

The names are those of X's published OpenAPI document (v2.167): ``post.fields``, where references are an expansion. A
request in the older words (``tweet.fields``) is answered in these, and they are understood, too. What X does not
understand it leaves out without a word. It bills for each post: so it is asked for those since then only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from actas.actions.base import ActionHttp, Search
from actas.actions.x.likeness import Likeness, likeness
from actas.http import NoReply

PAGE = 100
#: X shows an account's latest 3,200 posts.
MOST_PAGES = 32
ID = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class _Post:
    id: str
    text: str
    at: datetime
    #: What its short links stand for.
    links: Mapping[str, str]
    #: What it refers to, by kind: replied_to, quoted, retweeted.
    references: Mapping[str, str]


def find_posts(http: ActionHttp, text: str, search: Search) -> list[str] | None:
    """The posts with this text that reply to the last of ``search.made``, or, if there is none, to nothing.

    Raises:
        NoReply: what X answers is not a timeline, or not an account.
    """
    since = search.since.astimezone(UTC).replace(microsecond=0)  # X tells a post's time to the second
    parent = search.made[-1] if search.made else None
    found = set()
    for post in _posts(http, _account(http, search.account), since):
        if post is None:
            return None
        if post.at < since or post.id in search.made:
            continue
        match _of_post(post, text, parent):
            case Likeness.SAME:
                found.add(post.id)
            case Likeness.UNCLEAR:
                return None
    return sorted(found, key=int)


def _of_post(post: _Post, text: str, parent: str | None) -> Likeness:
    replied_to = post.references.get("replied_to")
    if "retweeted" in post.references or (replied_to is not None and replied_to != parent):
        return Likeness.OTHER
    result = likeness(text, post.text, post.links, reply=parent is not None)
    if result is Likeness.SAME and replied_to != parent:
        return Likeness.UNCLEAR
    return result


def _account(http: ActionHttp, account: str) -> str:
    """The account's id at X, which the grant of an import may not know."""
    if ID.fullmatch(account):
        return account
    match http.request("GET", "/2/users/me"):
        case {"data": {"id": str(known)}} if ID.fullmatch(known):
            return known
    raise NoReply("X did not say whose access token it is")


def _posts(http: ActionHttp, account: str, since: datetime) -> Iterator[_Post | None]:
    """An account's posts back to that time, the newest first; a None at the end if X does not show that far back."""
    query = {
        "max_results": str(PAGE),
        "post.fields": "created_at,entities",
        "expansions": "referenced_posts",
        "start_time": f"{since:%Y-%m-%dT%H:%M:%SZ}",
    }
    for _ in range(MOST_PAGES):
        match http.request("GET", f"/2/users/{account}/tweets?{urlencode(query)}"):
            case {"data": list(shown), "meta": Mapping() as meta}:
                posts = [_read(post) for post in shown]
            case {"meta": {"result_count": 0} as meta}:
                posts = []
            case _:
                raise NoReply("X did not answer with a timeline")
        yield from posts
        token = meta.get("next_token")
        if token is None or (posts and posts[-1].at < since):
            return
        query["pagination_token"] = str(token)
    yield None


def _read(post: object) -> _Post:
    match post:
        case {"id": str(post_id), "text": str(text), "created_at": str(at)} if ID.fullmatch(post_id):
            return _Post(post_id, text, _time(at), dict(_links(post)), dict(_references(post)))
    raise NoReply("X's timeline has something in it that is no post")


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise NoReply("X's timeline has a post without a time")
    return at


def _links(post: Any) -> Iterator[tuple[str, str]]:
    match post:
        case {"entities": {"urls": list(urls)}}:
            for url in urls:
                match url:
                    case {"url": str(short), "expanded_url": str(long)}:
                        yield short, long


def _references(post: Any) -> Iterator[tuple[str, str]]:
    references = post.get("referenced_posts", post.get("referenced_tweets"))
    for reference in references if isinstance(references, list) else []:
        match reference:
            case {"type": str(kind), "id": str(target)}:
                yield kind, target
