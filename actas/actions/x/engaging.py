"""What a user does with one post on X: delete it, repost it, like it.

Each may be done twice: what is there already is there once. So each is repeated after an unknown outcome, and what X
says the second time counts as done (``already_done`` and ``not_found`` in its profile, with their sources).

None makes anything that has an id of its own, but its journal needs a name for it: the post's id alone would look as if
the job had made that post.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from actas.actions.base import Action, ActionHttp, Refused, Result, Search
from actas.actions.x.ids import Id, account_id
from actas.actions.x.looking import find_repost
from actas.actions.x.posting import SCOPES
from actas.http import NoReply
from actas.payload import Payload

#: How the types of X's problems end (RFC 9457; what comes before is one of several hosts), and our words for them.
PROBLEMS = {
    "/resource-not-found": "not_found",
    "/not-authorized-for-resource": "not_authorized",
    "/resource-unavailable": "unavailable",
}


class OnePost(Payload):
    post_id: Id


class DeletePost(Action[OnePost]):
    """Delete a post of the user's own: ``DELETE /2/tweets/{id}``. One that is gone counts as deleted."""

    name = "x.delete_post"
    provider = "x"
    scopes = SCOPES
    idempotent = True
    payload_type = OnePost

    def perform(self, http: ActionHttp, payload: OnePost, job_id: str) -> Result:  # noqa: ARG002
        deleted = Result(f"deleted:{payload.post_id}")
        try:
            answer = http.request("DELETE", f"/2/tweets/{payload.post_id}")
        except Refused as refused:
            if refused.refusal == "not_found":
                return deleted
            raise
        if problem_in(answer) == "not_found":
            return deleted
        check_done(answer, "deleted")
        return deleted

    def find(self, http: ActionHttp, payload: OnePost, job_id: str, search: Search) -> Sequence[str] | None:  # noqa: ARG002
        try:
            answer = http.request("GET", f"/2/tweets/{payload.post_id}")
        except Refused as refused:
            if refused.refusal == "not_found":
                return [f"deleted:{payload.post_id}"]
            raise
        match answer:
            case {"data": {"id": payload.post_id}}:
                return []
        return [f"deleted:{payload.post_id}"] if problem_in(answer) == "not_found" else None


class _ToPost(Action[OnePost]):
    """``POST /2/users/{id}/...`` with a post's id: the account must be the user's own."""

    provider = "x"
    idempotent = True
    payload_type = OnePost
    where: ClassVar[str]
    #: What X says of it when it is done.
    done: ClassVar[str]
    mark: ClassVar[str]

    def perform(self, http: ActionHttp, payload: OnePost, job_id: str) -> Result:  # noqa: ARG002
        account, done = account_id(http, http.account), Result(f"{self.mark}:{payload.post_id}")
        try:
            answer = http.request("POST", f"/2/users/{account}/{self.where}", json={"tweet_id": payload.post_id})
        except Refused as refused:
            if refused.refusal == "already_done":
                return done
            raise
        check_done(answer, self.done)
        return done


class Repost(_ToPost):
    """Repost a post: ``POST /2/users/{id}/retweets``. X refuses to repost what is reposted: so it is done."""

    name = "x.repost"
    scopes = SCOPES
    where, done, mark = "retweets", "retweeted", "repost"

    def find(self, http: ActionHttp, payload: OnePost, job_id: str, search: Search) -> Sequence[str] | None:  # noqa: ARG002
        match find_repost(http, payload.post_id, search):
            case True:
                return [f"{self.mark}:{payload.post_id}"]
            case False:
                return []
        return None


class Like(_ToPost):
    """Like a post: ``POST /2/users/{id}/likes``. X cannot be asked for it: reading likes is another scope."""

    name = "x.like"
    scopes = frozenset({"tweet.read", "users.read", "like.write"})
    where, done, mark = "likes", "liked", "like"


def check_done(answer: Mapping[str, Any], what: str) -> None:
    """Make sure that X says that it is so.

    Raises:
        Refused: X says that it is not.
        NoReply: X does not say.
    """
    data = answer.get("data")
    said = data.get(what) if isinstance(data, Mapping) else None
    if said is True:
        return
    if said is False:
        raise Refused(f"X answered that it is not {what}", refusal=f"not_{what}")
    if (problem := problem_in(answer)) is not None:
        raise Refused(f"X found a problem: {problem}", refusal=problem)
    raise NoReply(f"X accepted it and did not say whether it is {what}")


def problem_in(answer: Mapping[str, Any]) -> str | None:
    """Our word for what X answers 200 with where others answer 404: a problem, and no data; None if there is none."""
    match answer:
        case {"errors": [Mapping() as error, *_]} if not answer.get("data"):
            kind = str(error.get("type"))
            return next((word for end, word in PROBLEMS.items() if kind.endswith(end)), "problem")
    return None
