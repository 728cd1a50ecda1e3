"""What the books hold, and what they say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal, TypedDict

from actas.providers.model import RefreshProfile


class Reason(Enum):
    """Why the books say no."""

    CODE = "the authorization code is unknown, used, too old, or another client's"
    REDIRECT_URI = "the redirect URI is not the one of the authorization"
    VERIFIER = "the code verifier does not fit the challenge"
    TOKEN = "the token is unknown, dead, or another client's"  # noqa: S105 - a sentence
    UNAUTHORIZED = "the access token is unknown, dead or expired"
    SCOPE = "the grant lacks a scope"
    DUPLICATE = "the account said the same a moment ago"
    REPLY = "the post to reply to is not there"
    QUOTE = "the post to quote is not there"
    NO_POST = "there is no such post"
    REPOSTED = "the account has reposted it already"
    NOT_YOURS = "the post is another account's"


class Refused(Exception):
    """The books say no, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class PollEntry(TypedDict):
    options: list[str]
    duration_minutes: int


class PostEntry(TypedDict):
    id: str
    account: str
    account_id: str
    text: str
    at: str
    family: str
    #: The id of the post it replies to.
    reply_to: str | None
    deleted_at: str | None
    #: The id of the post it quotes.
    quote: str | None
    poll: PollEntry | None
    media_ids: list[str]
    reply_settings: str | None


class EngagementEntry(TypedDict):
    """A repost or a like: there is one of each for an account and a post, however often it was asked for."""

    account: str
    account_id: str
    #: The id of the post.
    post: str
    at: str
    family: str
    #: How many requests wanted it; those after the first changed nothing.
    asked: int


class Counts(TypedDict):
    """How often what happened.

    codes: issued; exchanges: refreshes that succeeded; reuse: used refresh tokens presented, their reuse window being
    over; revocations: living families revoked by a client, or single tokens where revocation takes no more along;
    refused: requests that the token endpoint refused of its own accord; duplicates: posts refused because they said
    again what the account had just said.
    """

    codes: int
    exchanges: int
    reuse: int
    revocations: int
    refused: int
    duplicates: int


class FamilyEntry(TypedDict):
    """generation counts the family's refresh tokens, from 1; living, all those tokens that would be accepted now.

    alive is false once all of it was revoked, killed or lost to reuse; kind is that of its refresh tokens.
    """

    family: str
    account: str
    kind: Literal["rotating", "sliding", "static"]
    alive: bool
    living: int
    generation: int
    exchanges: int
    reuse: int


class Ledger(TypedDict):
    """Everything that happened here, oldest first; deleted posts stay in it."""

    posts: list[PostEntry]
    reposts: list[EngagementEntry]
    likes: list[EngagementEntry]
    counts: Counts
    families: list[FamilyEntry]


@dataclass(frozen=True, slots=True)
class Authorization:
    """What a user allowed: who, to whom, and where the answer goes."""

    client_id: str
    redirect_uri: str
    scopes: frozenset[str]
    challenge: str
    username: str


@dataclass(frozen=True, slots=True)
class Issued:
    """What a token request earned; refresh_token is None without offline.access, or when the old one stays.

    refresh_expires_in: seconds until the refresh token in force, new or old, ends if nobody uses it; None: it does not.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: int
    refresh_expires_in: int | None
    scopes: frozenset[str]


@dataclass(slots=True)
class Family:
    id: str
    client_id: str
    username: str
    scopes: frozenset[str]
    profile: RefreshProfile
    alive: bool = True
    generation: int = 0
    exchanges: int = 0
    reuse: int = 0

    def entry(self, living: int) -> FamilyEntry:
        return FamilyEntry(
            family=self.id,
            account=self.username,
            kind=self.profile.kind,
            alive=self.alive,
            living=living,
            generation=self.generation,
            exchanges=self.exchanges,
            reuse=self.reuse,
        )


@dataclass(slots=True)
class Code:
    authorization: Authorization
    expires_at: datetime
    family: Family | None = None


@dataclass(slots=True)
class Token:
    kind: Literal["access", "refresh"]
    family: Family
    issued_at: datetime
    #: An access token's end; a refresh token's follows from its profile.
    expires_at: datetime | None = None
    #: A rotating refresh token's first use, which begins its reuse window.
    used_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked: bool = False

    def ends_at(self) -> datetime | None:
        """When it is over if nobody uses it; None: never."""
        if self.kind == "access":
            return self.expires_at
        profile, ends = self.family.profile, []
        if profile.lifetime_seconds is not None:
            ends.append(self.issued_at + timedelta(seconds=profile.lifetime_seconds))
        if profile.idle_seconds is not None:
            ends.append((self.last_used_at or self.issued_at) + timedelta(seconds=profile.idle_seconds))
        return min(ends, default=None)

    def retired(self, now: datetime) -> bool:
        """Whether presenting it is reuse."""
        window = timedelta(seconds=self.family.profile.reuse_window_seconds or 0)
        return self.used_at is not None and now >= self.used_at + window

    def works(self, now: datetime) -> bool:
        ends_at = self.ends_at()
        over = self.revoked or self.retired(now) or (ends_at is not None and now >= ends_at)
        return self.family.alive and not over


@dataclass(frozen=True, slots=True)
class Poll:
    options: tuple[str, ...]
    duration_minutes: int


@dataclass(frozen=True, slots=True)
class Attached:
    """What a post has besides its text; X takes one of quote, poll and media."""

    quote: str | None = None
    poll: Poll | None = None
    media_ids: tuple[str, ...] = ()


NOTHING = Attached()


@dataclass(slots=True)
class Post:
    id: str
    username: str
    text: str
    at: datetime
    family: str
    reply_to: str | None = None
    deleted_at: datetime | None = None
    attached: Attached = NOTHING
    reply_settings: str | None = None
    #: It is a repost of that post; then it is no post of its own, and only on its account's timeline.
    repost_of: str | None = None

    @property
    def poll(self) -> Poll | None:
        return self.attached.poll

    @property
    def poll_id(self) -> str:
        return str(int(self.id) + 1)

    def attachments(self) -> dict[str, list[str]]:
        """What is attached, in X's words: the keys of media end in their ids."""
        media = [f"3_{media_id}" for media_id in self.attached.media_ids]
        return ({"media_keys": media} if media else {}) | ({"poll_ids": [self.poll_id]} if self.poll else {})

    def references(self) -> list[dict[str, str]]:
        """What it refers to, in X's words."""
        kinds = {"replied_to": self.reply_to, "quoted": self.attached.quote, "retweeted": self.repost_of}
        return [{"type": kind, "id": target} for kind, target in kinds.items() if target is not None]

    def appended(self) -> str | None:
        """The link that X shows behind the text: to what is quoted, or to the media; a poll has none."""
        if self.attached.media_ids:
            return f"https://x.com/{self.username}/status/{self.id}/photo/1"
        return f"https://x.com/i/status/{self.attached.quote}" if self.attached.quote else None

    def entry(self, account_id: str) -> PostEntry:
        return PostEntry(
            id=self.id,
            account=self.username,
            account_id=account_id,
            text=self.text,
            at=self.at.isoformat(),
            family=self.family,
            reply_to=self.reply_to,
            deleted_at=self.deleted_at.isoformat() if self.deleted_at else None,
            quote=self.attached.quote,
            poll=PollEntry(options=list(self.poll.options), duration_minutes=self.poll.duration_minutes)
            if self.poll
            else None,
            media_ids=list(self.attached.media_ids),
            reply_settings=self.reply_settings,
        )


@dataclass(slots=True)
class Engagement:
    """A repost or a like."""

    username: str
    post: str
    at: datetime
    family: str
    asked: int = 1

    def entry(self, account_id: str) -> EngagementEntry:
        return EngagementEntry(
            account=self.username,
            account_id=account_id,
            post=self.post,
            at=self.at.isoformat(),
            family=self.family,
            asked=self.asked,
        )


@dataclass(frozen=True, slots=True)
class Quota:
    """An account's rate-limit window: how many posts it may ask for, how many it has, and when it begins anew."""

    limit: int
    asked: int
    reset: datetime

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.asked)

    @property
    def exceeded(self) -> bool:
        return self.asked > self.limit
