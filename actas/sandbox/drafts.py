"""What the API is asked to make: the bodies of its requests, as much of them as the sandbox has a use for.

Anything else is refused. The limits are those of X's published OpenAPI document (v2.167), and what excludes what is as
its documents up to v2.166 say.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

Id = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,19}$")]


class _Body(BaseModel, extra="forbid", strict=True):
    pass


class ReplyTo(_Body):
    in_reply_to_tweet_id: Id
    exclude_reply_user_ids: list[Id] = []
    auto_populate_reply_metadata: bool = False


class PollDraft(_Body):
    options: list[Annotated[str, Field(min_length=1, max_length=25)]] = Field(min_length=2, max_length=4)
    duration_minutes: int = Field(ge=5, le=10_080)


class MediaDraft(_Body):
    media_ids: list[Id] = Field(min_length=1, max_length=4)
    tagged_user_ids: list[Id] = Field(default=[], max_length=10)


class Draft(_Body):
    """The body of POST /2/tweets."""

    text: str = ""
    reply: ReplyTo | None = None
    quote_tweet_id: Id | None = None
    poll: PollDraft | None = None
    media: MediaDraft | None = None
    reply_settings: Literal["following", "mentionedUsers", "subscribers", "verified"] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.text and self.media is None:
            raise ValueError("text is required unless media is provided")
        if sum(each is not None for each in (self.quote_tweet_id, self.poll, self.media)) > 1:
            raise ValueError("quote_tweet_id, poll and media are mutually exclusive")
        return self


class Target(_Body):
    """The body of POST /2/users/{id}/retweets and /likes."""

    tweet_id: Id
