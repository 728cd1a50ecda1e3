"""Issues and comments on GitHub.

Sources: docs.github.com/rest/issues/issues ("Create an issue", "List repository issues"), docs.github.com/rest/issues/
comments ("Create an issue comment", "List issue comments"); of lengths, its refusals: "title is too long (maximum is
256 characters)", "body is too long (maximum is 65536 characters)".

Nothing here asks for scopes: a GitHub App has permissions instead (for these, "Issues: write"), and token replies name
no scopes. Who uses an OAuth app instead adds ``repo`` to ``default_scopes``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from actas.actions.base import Action, ActionHttp, Result, Search
from actas.actions.github.looking import find_comment, find_issue
from actas.http import NoReply
from actas.payload import Payload

MOST_TITLE, MOST_BODY = 256, 65_536
#: "Adds up to 10 assignees to an issue" (docs.github.com/rest/issues/assignees).
MOST_ASSIGNEES = 10
#: docs.github.com, "Managing labels": a label's name has at most 50 characters, an issue at most 100 of them.
MOST_LABEL, MOST_LABELS = 50, 100

#: An owner's login, and a repository's name; of dots alone there is none.
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,100}")


def _repository(name: str) -> str:
    if not REPOSITORY.fullmatch(name):
        raise ValueError("must be an owner and a repository, such as octocat/hello-world")
    return name


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Repository = Annotated[str, AfterValidator(_repository)]
Login = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
Label = Annotated[str, Field(min_length=1, max_length=MOST_LABEL), AfterValidator(_not_blank)]


class IssuePayload(Payload):
    repository: Repository
    title: Annotated[str, Field(max_length=MOST_TITLE), AfterValidator(_not_blank)]
    body: Annotated[str, Field(max_length=MOST_BODY)] = ""
    #: For these three GitHub wants push access, and leaves them out silently of who has none.
    labels: Annotated[tuple[Label, ...], Field(max_length=MOST_LABELS)] = ()
    assignees: Annotated[tuple[Login, ...], Field(max_length=MOST_ASSIGNEES)] = ()
    milestone: Annotated[int, Field(ge=1)] | None = None


class CommentPayload(Payload):
    repository: Repository
    #: The number of an issue or a pull request.
    issue: Annotated[int, Field(ge=1)]
    body: Annotated[str, Field(max_length=MOST_BODY), AfterValidator(_not_blank)]


class CreateIssue(Action[IssuePayload]):
    """A new issue. GitHub makes one more each time it is asked.

    It is looked for among the repository's newest: by its title and text, and who has opened it. A hidden mark in its
    text would be surer, and would be in what the user has written.
    """

    name = "github.create_issue"
    provider = "github"
    scopes = frozenset()
    idempotent = False
    payload_type = IssuePayload

    def perform(self, http: ActionHttp, payload: IssuePayload, job_id: str) -> Result:  # noqa: ARG002
        body: dict[str, Any] = {"title": payload.title}
        for field in ("body", "milestone"):
            if value := getattr(payload, field):
                body[field] = value
        for field in ("labels", "assignees"):
            if values := getattr(payload, field):
                body[field] = list(values)
        match http.request("POST", f"/repos/{payload.repository}/issues", json=body):
            case {"number": int(number)}:
                return Result(issue_reference(payload.repository, number))
        raise NoReply("GitHub accepted the issue but named no number")

    def find(self, http: ActionHttp, payload: IssuePayload, job_id: str, search: Search) -> Sequence[str] | None:  # noqa: ARG002
        found = find_issue(http, payload.repository, payload.title, payload.body, search)
        return None if found is None else [issue_reference(payload.repository, number) for number in found]


class Comment(Action[CommentPayload]):
    """A comment on an issue or a pull request. GitHub makes one more each time it is asked."""

    name = "github.comment"
    provider = "github"
    scopes = frozenset()
    idempotent = False
    payload_type = CommentPayload

    def perform(self, http: ActionHttp, payload: CommentPayload, job_id: str) -> Result:  # noqa: ARG002
        path = f"/repos/{payload.repository}/issues/{payload.issue}/comments"
        match http.request("POST", path, json={"body": payload.body}):
            case {"id": int(number)}:
                return Result(comment_reference(payload.repository, number))
        raise NoReply("GitHub accepted the comment but named no id")

    def find(self, http: ActionHttp, payload: CommentPayload, job_id: str, search: Search) -> Sequence[str] | None:  # noqa: ARG002
        found = find_comment(http, payload.repository, payload.issue, payload.body, search)
        return None if found is None else [comment_reference(payload.repository, number) for number in found]


def issue_reference(repository: str, number: int) -> str:
    """Where it is, as the API has it: a number alone would be another issue in another repository."""
    return f"{repository.lower()}/issues/{number}"


def comment_reference(repository: str, number: int) -> str:
    return f"{repository.lower()}/issues/comments/{number}"
