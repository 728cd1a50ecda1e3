"""The provider's books: accounts, codes, families of tokens, posts. Pure memory; no HTTP.

One lock makes each public call one step, so that a check and the change it permits are never apart. A *family* is all
the tokens that descend from one authorization. A rotating refresh token is single use; presenting a used one, once its
reuse window is over, is *reuse* and kills the family (RFC 9700 section 4.14.2), and so does presenting a used
authorization code (RFC 6749 section 4.1.2).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from actas.providers.model import RefreshProfile
from actas.sandbox.records import (
    NOTHING,
    Attached,
    Authorization,
    Code,
    Counts,
    Engagement,
    Family,
    Issued,
    Ledger,
    Post,
    Quota,
    Reason,
    Refused,
    Token,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actas.clock import Clock

RATE_WINDOW = timedelta(minutes=15)
#: An account's text is refused as a duplicate if it equals one of its last so many posts.
DUPLICATE_WINDOW = 50
#: X's ids hold the milliseconds since this instant, so they grow with time, across restarts too.
ID_EPOCH_MS = 1_288_834_974_657
ROTATING = RefreshProfile(kind="rotating")


def account_id(username: str) -> str:
    """A username's numeric id: 18 digits, always the same."""
    return str(10**17 + int.from_bytes(hashlib.sha256(username.encode()).digest()[:7]))


def s256(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Books:
    """All the sandbox remembers; every method is safe to call from any thread."""

    def __init__(
        self,
        clock: Clock,
        *,
        access_seconds: int = 7200,
        first_access_seconds: int | None = None,
        code_seconds: int = 30,
        post_limit: int | None = None,
        duplicate_window: int = DUPLICATE_WINDOW,
        refresh: Mapping[str, RefreshProfile] | None = None,
    ) -> None:
        """``refresh`` says by client id what becomes of refresh tokens, where they do not just rotate."""
        self._clock = clock
        self._access_life = timedelta(seconds=access_seconds)
        self._first_access_life = timedelta(seconds=first_access_seconds or access_seconds)
        self._code_life = timedelta(seconds=code_seconds)
        self._post_limit = post_limit
        self._duplicate_window = duplicate_window
        self._refresh = dict(refresh or {})
        self._lock = threading.Lock()
        self._codes: dict[str, Code] = {}
        self._tokens: dict[str, Token] = {}
        self._families: list[Family] = []
        self._posts: dict[str, Post] = {}
        self._timelines: dict[str, list[Post]] = {}  # by account id, oldest first; reposts are on them, too
        self._reposts: dict[tuple[str, str], Engagement] = {}  # by username and post id
        self._likes: dict[tuple[str, str], Engagement] = {}
        self._quotas: dict[str, Quota] = {}  # by username
        self._accounts: set[str] = set()  # the ids of all who ever allowed a client anything
        self._settling: dict[str | None, timedelta] = {}  # by username; None: for everybody else
        self._last_post_id = 0
        self._counts = Counts(codes=0, exchanges=0, reuse=0, revocations=0, refused=0, duplicates=0)

    # --- authorization and tokens --------------------------------------------------------------------------------

    def issue_code(self, authorization: Authorization) -> str:
        with self._lock:
            code = secrets.token_urlsafe(32)
            self._codes[code] = Code(authorization, self._clock() + self._code_life)
            self._counts["codes"] += 1
            return code

    def redeem_code(self, code: str, *, client_id: str, redirect_uri: str, verifier: str) -> Issued:
        """Trade a code for tokens (RFC 6749 section 4.1.3, RFC 7636 section 4.6).

        Raises:
            Refused: CODE, REDIRECT_URI or VERIFIER. A code presented twice costs the family it had begun.
        """
        with self._lock:
            found = self._codes.get(code)
            if found is None or found.authorization.client_id != client_id:
                raise Refused(Reason.CODE)
            if found.family is not None:
                found.family.alive = False
                raise Refused(Reason.CODE)
            if self._clock() >= found.expires_at:
                raise Refused(Reason.CODE)
            allowed = found.authorization
            if redirect_uri != allowed.redirect_uri:
                raise Refused(Reason.REDIRECT_URI)
            if not secrets.compare_digest(s256(verifier).encode(), allowed.challenge.encode()):
                raise Refused(Reason.VERIFIER)
            found.family = self._begin(client_id, allowed.username, allowed.scopes)
            return self._issue_first(found.family)

    def make_grants(self, client_id: str, usernames: Sequence[str], scopes: frozenset[str]) -> list[Issued]:
        """What a code exchange for each of these users would have earned, without codes and browsers."""
        with self._lock:
            return [self._issue_first(self._begin(client_id, username, scopes)) for username in usernames]

    def refresh(self, token: str, *, client_id: str, keep: bool = False) -> Issued:
        """Trade a refresh token for an access token (RFC 6749 section 6) and, if it rotates, its successor unless kept.

        Raises:
            Refused: TOKEN. If that was reuse, its whole family is dead from now on.
        """
        with self._lock:
            found = self._tokens.get(token)
            if found is None or found.kind != "refresh" or found.family.client_id != client_id:
                raise Refused(Reason.TOKEN)
            family, now = found.family, self._clock()
            if found.retired(now):
                family.reuse += 1
                self._counts["reuse"] += 1
                family.alive = False
            if not found.works(now):
                raise Refused(Reason.TOKEN)
            rotate = family.profile.rotates and not keep
            found.last_used_at = now
            if rotate:
                found.used_at = found.used_at or now
            family.exchanges += 1
            self._counts["exchanges"] += 1
            return self._issue(family, self._access_life, now, with_refresh=rotate, in_force=found)

    def lengthen(self, issued: Issued, characters: int) -> Issued:
        """The same tokens, so many characters long; the shorter ones were never given to anybody."""
        with self._lock:
            return replace(
                issued,
                access_token=self._lengthened(issued.access_token, characters),
                refresh_token=issued.refresh_token and self._lengthened(issued.refresh_token, characters),
            )

    def _lengthened(self, token: str, characters: int) -> str:
        longer = token + secrets.token_urlsafe(characters)[: characters - len(token)]
        self._tokens[longer] = self._tokens.pop(token)
        return longer

    def revoke(self, token: str, *, client_id: str) -> None:
        """End the family of a token, or it alone, by its client's profile (RFC 7009 section 2.1).

        An unknown token counts as revoked (section 2.2).

        Raises:
            Refused: TOKEN, if it was issued to another client.
        """
        with self._lock:
            found = self._tokens.get(token)
            if found is None:
                return
            if found.family.client_id != client_id:
                raise Refused(Reason.TOKEN)
            if found.family.profile.revocation == "token":
                self._counts["revocations"] += found.works(self._clock())
                found.revoked = True
            elif found.family.alive:
                found.family.alive = False
                self._counts["revocations"] += 1

    def note_refusal(self) -> None:
        """Count a refusal by the token endpoint."""
        with self._lock:
            self._counts["refused"] += 1

    def username_of(self, credential: str) -> str | None:
        """Whose code or token this is, dead or alive; None for nobody's."""
        with self._lock:
            if token := self._tokens.get(credential):
                return token.family.username
            if code := self._codes.get(credential):
                return code.authorization.username
            return None

    def _begin(self, client_id: str, username: str, scopes: frozenset[str]) -> Family:
        profile = self._refresh.get(client_id, ROTATING)
        family = Family(f"f{len(self._families) + 1}", client_id, username, scopes, profile)
        self._families.append(family)
        self._accounts.add(account_id(username))
        return family

    def _issue_first(self, family: Family) -> Issued:
        with_refresh = "offline.access" in family.scopes
        return self._issue(family, self._first_access_life, self._clock(), with_refresh=with_refresh)

    def _issue(
        self, family: Family, life: timedelta, now: datetime, *, with_refresh: bool, in_force: Token | None = None
    ) -> Issued:
        access = secrets.token_urlsafe(40)
        self._tokens[access] = Token("access", family, now, now + life)
        refresh = None
        if with_refresh:
            refresh = secrets.token_urlsafe(40)
            in_force = self._tokens[refresh] = Token("refresh", family, now)
            family.generation += 1
        ends_at = in_force.ends_at() if in_force else None
        left = None if ends_at is None else int((ends_at - now).total_seconds())
        return Issued(access, refresh, int(life.total_seconds()), left, family.scopes)

    # --- the API -------------------------------------------------------------------------------------------------

    def authenticate(self, access_token: str, scopes: Iterable[str]) -> Family:
        """Whose access token this is.

        Raises:
            Refused: UNAUTHORIZED or SCOPE.
        """
        with self._lock:
            found = self._tokens.get(access_token)
            if found is None or found.kind != "access" or not found.works(self._clock()):
                raise Refused(Reason.UNAUTHORIZED)
            if not found.family.scopes.issuperset(scopes):
                raise Refused(Reason.SCOPE)
            return found.family

    def spend(self, username: str) -> Quota | None:
        """Count one request to post; the account's window with it in, or None if there is no limit."""
        if self._post_limit is None:
            return None
        with self._lock:
            now = self._clock()
            quota = self._quotas.get(username)
            if quota is None or now >= quota.reset:
                quota = Quota(self._post_limit, 0, now + RATE_WINDOW)
            quota = replace(quota, asked=quota.asked + 1)
            self._quotas[username] = quota
            return quota

    def post(
        self,
        family: Family,
        text: str,
        *,
        reply_to: str | None = None,
        attached: Attached = NOTHING,
        reply_settings: str | None = None,
    ) -> Post:
        """Publish.

        Raises:
            Refused: DUPLICATE, REPLY or QUOTE.
        """
        with self._lock:
            timeline = self._timelines.setdefault(account_id(family.username), [])
            recent = islice(reversed(timeline), self._duplicate_window)
            said = (text, attached, None)  # that X looks at what is attached, too, is a guess
            if any((post.text, post.attached, post.repost_of) == said and self._is_there(post) for post in recent):
                self._counts["duplicates"] += 1
                raise Refused(Reason.DUPLICATE)
            for target, reason in ((reply_to, Reason.REPLY), (attached.quote, Reason.QUOTE)):
                if target is not None and not self._is_there(self._posts.get(target)):
                    raise Refused(reason)
            post = Post(
                self._next_id(),
                family.username,
                text,
                self._clock(),
                family.id,
                reply_to,
                attached=attached,
                reply_settings=reply_settings,
            )
            self._posts[post.id] = post
            timeline.append(post)
            return post

    def _is_there(self, post: Post | None) -> bool:
        """Whether it is not deleted; a repost goes with its post."""
        if post is not None and post.repost_of is not None:
            post = self._posts.get(post.repost_of)
        return post is not None and post.deleted_at is None

    def _next_id(self) -> str:
        now = self._clock()
        self._last_post_id = max(self._last_post_id + 1, (int(now.timestamp() * 1000) - ID_EPOCH_MS) << 22)
        return str(self._last_post_id)

    def find(self, post_id: str) -> Post | None:
        """A post that is there."""
        with self._lock:
            post = self._posts.get(post_id)
            return post if self._is_there(post) else None

    def repost(self, family: Family, post_id: str) -> None:
        """Repost a post, which shows on the account's timeline.

        Raises:
            Refused: NO_POST, or REPOSTED: once is all.
        """
        with self._lock:
            target = self._target(post_id)
            if not self._engage(self._reposts, family, target):
                raise Refused(Reason.REPOSTED)
            text = f"RT @{target.username}: {target.text}"
            repost = Post(self._next_id(), family.username, text, self._clock(), family.id, repost_of=post_id)
            self._timelines.setdefault(account_id(family.username), []).append(repost)

    def like(self, family: Family, post_id: str) -> None:
        """Like a post; liking it again is no error.

        Raises:
            Refused: NO_POST.
        """
        with self._lock:
            self._engage(self._likes, family, self._target(post_id))

    def _target(self, post_id: str) -> Post:
        post = self._posts.get(post_id)
        if post is None or post.deleted_at is not None:
            raise Refused(Reason.NO_POST)
        return post

    def _engage(self, engagements: dict[tuple[str, str], Engagement], family: Family, target: Post) -> bool:
        """Note it; whether this is the first time that the account does so."""
        there = engagements.get((family.username, target.id))
        if there is not None:
            there.asked += 1
            return False
        engagements[family.username, target.id] = Engagement(family.username, target.id, self._clock(), family.id)
        return True

    def delete(self, family: Family, post_id: str) -> None:
        """Delete a post; deleting it again is no error.

        Raises:
            Refused: NO_POST or NOT_YOURS.
        """
        with self._lock:
            post = self._posts.get(post_id)
            if post is None:
                raise Refused(Reason.NO_POST)
            if post.username != family.username:
                raise Refused(Reason.NOT_YOURS)
            post.deleted_at = post.deleted_at or self._clock()

    def timeline(self, account: str) -> list[Post] | None:
        """The posts of one account, by its id, that are there and not deleted, newest first; None: no such account."""
        with self._lock:
            if account not in self._accounts:
                return None
            posts, now = self._timelines.get(account, []), self._clock()
            return [post for post in reversed(posts) if self._is_there(post) and self._has_settled(post, now)]

    def _has_settled(self, post: Post, now: datetime) -> bool:
        lag = self._settling.get(post.username, self._settling.get(None))
        return not lag or now >= post.at + lag

    def latest(self, count: int) -> list[Post]:
        """The newest posts of all accounts that are not deleted, newest first."""
        with self._lock:
            return list(islice((post for post in reversed(self._posts.values()) if post.deleted_at is None), count))

    # --- for tests: looking in, and meddling ---------------------------------------------------------------------

    def ledger(self) -> Ledger:
        with self._lock:
            now = self._clock()
            living = Counter(token.family.id for token in self._tokens.values() if token.works(now))
            return Ledger(
                posts=[post.entry(account_id(post.username)) for post in self._posts.values()],
                reposts=[each.entry(account_id(each.username)) for each in self._reposts.values()],
                likes=[each.entry(account_id(each.username)) for each in self._likes.values()],
                counts=self._counts.copy(),
                families=[family.entry(living[family.id]) for family in self._families],
            )

    def credentials(self) -> list[str]:
        """Every authorization code, access token and refresh token ever issued."""
        with self._lock:
            return [*self._codes, *self._tokens]

    def expire_access(self, username: str | None = None) -> int:
        """Let an account's access tokens, or all, expire now; how many."""
        with self._lock:
            now = self._clock()
            living = [
                token
                for token in self._tokens.values()
                if token.expires_at is not None and token.expires_at > now and username in {None, token.family.username}
            ]
            for token in living:
                token.expires_at = now
            return len(living)

    def settle(self, seconds: float, username: str | None = None) -> None:
        """Let an account's timeline, or everybody's, show a post only so long after it was made."""
        with self._lock:
            self._settling[username] = timedelta(seconds=seconds)

    def kill(self, username: str) -> int:
        """The user withdraws what was allowed to all clients; how many families died."""
        with self._lock:
            living = [family for family in self._families if family.alive and family.username == username]
            for family in living:
                family.alive = False
            return len(living)
