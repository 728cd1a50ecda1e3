"""Looking for an issue or a comment that may have been made.

Certain is one that the account has made since, with the same text. Not certain is an issue of the same title with
another text, and a comment that was edited: it may have been ours. Then there is no answer (None), and a person
decides. What was deleted meanwhile, renamed, or moved to another repository, is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from actas.actions.base import ActionHttp, Search
from actas.http import NoReply

#: docs.github.com/rest, "Using pagination": the largest page.
PAGE = 100
#: Of what a repository has seen since the request so much is looked through.
MOST_PAGES = 20


def find_issue(http: ActionHttp, repository: str, title: str, body: str, search: Search) -> list[int] | None:
    """The numbers of the issues with this title and text.

    Raises:
        NoReply: what GitHub answers is no list of issues, or no account.
    """
    query = {"state": "all", "sort": "created", "direction": "asc"}
    found = set()
    for issue in _ours(http, f"/repos/{repository}/issues", query, search):
        if issue is None:
            return None
        if "pull_request" in issue or _plain(issue.get("title")) != _plain(title):
            continue
        if _plain(issue.get("body")) != _plain(body):
            return None
        found.add(_number(issue, "number"))
    return sorted(found)


def find_comment(http: ActionHttp, repository: str, issue: int, body: str, search: Search) -> list[int] | None:
    """The ids of the comments with this text.

    Raises:
        NoReply: what GitHub answers is no list of comments, or no account.
    """
    found = set()
    for comment in _ours(http, f"/repos/{repository}/issues/{issue}/comments", {}, search):
        if comment is None:
            return None
        if _plain(comment.get("body")) == _plain(body):
            found.add(_number(comment, "id"))
        elif comment.get("updated_at") != comment.get("created_at"):
            return None
    return sorted(found)


def _ours(http: ActionHttp, path: str, query: Mapping[str, str], search: Search) -> Iterator[Mapping[str, Any] | None]:
    """What the account has made there since; a None at the end if there is too much to look through."""
    since = search.since.astimezone(UTC).replace(microsecond=0)  # GitHub tells times to the second
    account = _account(http, search.account)
    # "Only show results that were last updated after the given time": whatever was made since then is among them.
    asked = {**query, "since": f"{since:%Y-%m-%dT%H:%M:%SZ}", "per_page": str(PAGE)}
    for page in range(1, MOST_PAGES + 1):
        shown = http.send("GET", path, query={**asked, "page": str(page)}).body
        if not isinstance(shown, list):
            raise NoReply("GitHub did not answer with a list")
        for each in shown:
            match each:
                case {"user": {"id": int(whose)}, "created_at": str(at)}:
                    if str(whose) == account and _time(at) >= since:
                        yield each
                case {"user": None}:  # an account that is no more
                    pass
                case _:
                    raise NoReply("GitHub's list has something in it that is nobody's")
        if len(shown) < PAGE:
            return
    yield None


def _account(http: ActionHttp, account: str) -> str:
    """The account's id, which the grant of an import may not know."""
    if account.isascii() and account.isdecimal():
        return account
    match http.request("GET", "/user"):
        case {"id": int(known)}:
            return str(known)
    raise NoReply("GitHub did not say whose access token it is")


def _plain(text: object) -> str:
    """A text, however its lines end, and without the blanks around it, which GitHub does not keep everywhere."""
    return "\n".join(text.split("\r\n")).strip() if isinstance(text, str) else ""


def _number(made: Mapping[str, Any], field: str) -> int:
    number = made.get(field)
    if not isinstance(number, int):
        raise NoReply("GitHub's list has something in it without a number")
    return number


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise NoReply("GitHub's list has something in it without a time")
    return at
