"""Actions on X (API v2)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from actas.actions.base import Action, ActionHttp, Payload, Result
from actas.actions.counting import LIMIT, misfit
from actas.http import NoReply


def _fits(text: str) -> str:
    if (counted := misfit(text)) is not None:
        raise ValueError(f"must be 1 to {LIMIT} characters as X counts them; this is {counted}")
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
