"""What the books hold, and what they say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Literal, TypedDict


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
    NO_POST = "there is no such post"
    NOT_YOURS = "the post is another account's"


class Refused(Exception):
    """The books say no, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class PostEntry(TypedDict):
    id: str
    account: str
    account_id: str
    text: str
    at: str
    family: str
    deleted_at: str | None


class Counts(TypedDict):
    """How often what happened.

    codes: issued; exchanges: refreshes that succeeded; reuse: used refresh tokens presented; revocations: living
    families revoked by a client; refused: requests that the token endpoint refused of its own accord; duplicates: posts
    refused because they said again what the account had just said.
    """

    codes: int
    exchanges: int
    reuse: int
    revocations: int
    refused: int
    duplicates: int


class FamilyEntry(TypedDict):
    """generation counts the family's refresh tokens, from 1."""

    family: str
    account: str
    alive: bool
    generation: int
    exchanges: int
    reuse: int


class Ledger(TypedDict):
    """Everything that happened here, oldest first; deleted posts stay in it."""

    posts: list[PostEntry]
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
    """What a token request earned; refresh_token is None without offline.access, or when the old one stays."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: int
    scopes: frozenset[str]


@dataclass(slots=True)
class Family:
    id: str
    client_id: str
    username: str
    scopes: frozenset[str]
    alive: bool = True
    generation: int = 0
    exchanges: int = 0
    reuse: int = 0


@dataclass(slots=True)
class Code:
    authorization: Authorization
    expires_at: datetime
    family: Family | None = None


@dataclass(slots=True)
class Token:
    kind: Literal["access", "refresh"]
    family: Family
    expires_at: datetime | None = None
    used: bool = False


@dataclass(slots=True)
class Post:
    id: str
    username: str
    text: str
    at: datetime
    family: str
    reply_to: str | None = None
    deleted_at: datetime | None = None


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
