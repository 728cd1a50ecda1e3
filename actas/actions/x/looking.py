"""Looking through an account's timeline for what may have been made: ``GET /2/users/{id}/tweets``.

Both mistakes are bad: to call another post ours loses one, to overlook ours makes it twice. So what is not certain is
no answer (None), and a person decides; ``sameness`` says which post is ours. What its user deleted or edited meanwhile
is not there.

The names are those of X's published OpenAPI document (v2.167): ``post.fields``, where references are an expansion. A
request in the older words (``tweet.fields``) is answered in these, and they are understood, too. What X does not
understand it leaves out without a word. It bills for each post: so it is asked for those since then only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from actas.actions.base import ActionHttp, Search
from actas.actions.x.ids import ID, account_id
from actas.actions.x.likeness import Likeness
from actas.actions.x.sameness import ShownPost, Wanted, sameness
from actas.http import NoReply

PAGE = 100
#: X shows an account's latest 3,200 posts.
MOST_PAGES = 32
#: A repost's text is that of the post, behind this; so says the data dictionary of docs.x.com.
REPOST = "RT @"


def find_posts(http: ActionHttp, wanted: Wanted, search: Search) -> list[str] | None:
    """The posts that are as wanted, made since, oldest first.

    Raises:
        NoReply: what X answers is not a timeline, or not an account.
    """
    found = set()
    for post in _posts_since(http, search, polls=bool(wanted.poll)):
        if post is None:
            return None
        if post.id in search.made:
            continue
        match sameness(post, wanted):
            case Likeness.SAME:
                found.add(post.id)
            case Likeness.UNCLEAR:
                return None
    return sorted(found, key=int)


def find_repost(http: ActionHttp, target: str, search: Search) -> bool | None:
    """Whether the account has reposted a post since then.

    Raises:
        NoReply: what X answers is not a timeline, or not an account.
    """
    unclear = False
    for post in _posts_since(http, search):
        if post is None:
            return None
        if post.references.get("retweeted") == target:
            return True
        unclear = unclear or (post.text.startswith(REPOST) and "retweeted" not in post.references)
    return None if unclear else False


def _posts_since(http: ActionHttp, search: Search, *, polls: bool = False) -> Iterator[ShownPost | None]:
    """An account's posts since the search's beginning, the newest first; a None if X does not show that far back."""
    since = search.since.astimezone(UTC).replace(microsecond=0)  # X tells a post's time to the second
    for post in _posts(http, account_id(http, search.account), since, polls=polls):
        if post is None or post.at >= since:
            yield post


def _posts(http: ActionHttp, account: str, since: datetime, *, polls: bool) -> Iterator[ShownPost | None]:
    """An account's posts back to that time, the newest first; a None at the end if X does not show that far back."""
    query = {
        "max_results": str(PAGE),
        "post.fields": "created_at,entities,attachments",
        "expansions": "referenced_posts,attachments.poll_ids" if polls else "referenced_posts",
        "start_time": f"{since:%Y-%m-%dT%H:%M:%SZ}",
    }
    for _ in range(MOST_PAGES):
        page = http.request("GET", f"/2/users/{account}/tweets", query=query)
        match page:
            case {"data": list(shown), "meta": Mapping() as meta}:
                polled = dict(_polls(page))
                posts = [_read(post, polled) for post in shown]
            case {"meta": {"result_count": 0} as meta}:
                posts = []
            case _:
                raise NoReply("X did not answer with a timeline")
        yield from posts
        token = meta.get("next_token")
        if token is None or (posts and posts[-1].at < since):
            return
        query = {**query, "pagination_token": str(token)}
    yield None


def _read(post: object, polls: Mapping[str, tuple[str, ...]]) -> ShownPost:
    match post:
        case {"id": str(post_id), "text": str(text), "created_at": str(at)} if ID.fullmatch(post_id):
            poll_ids = _attached(post, "poll_ids")
            return ShownPost(
                id=post_id,
                text=text,
                at=_time(at),
                links=dict(_links(post)),
                references=dict(_references(post)),
                media=_attached(post, "media_keys"),
                has_poll=bool(poll_ids),
                poll=next((polls[poll] for poll in poll_ids if poll in polls), None),
            )
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


def _attached(post: Any, kind: str) -> tuple[str, ...]:
    match post:
        case {"attachments": Mapping() as attachments}:
            ids = attachments.get(kind)
            return tuple(each for each in ids if isinstance(each, str)) if isinstance(ids, list) else ()
    return ()


def _polls(page: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What can be chosen in the polls of a page, by their ids."""
    match page:
        case {"includes": {"polls": list(polls)}}:
            for poll in polls:
                match poll:
                    case {"id": str(poll_id), "options": list(options)}:
                        labels = [option.get("label") for option in options if isinstance(option, Mapping)]
                        chosen = tuple(label for label in labels if isinstance(label, str))
                        if len(chosen) == len(options):
                            yield poll_id, chosen
