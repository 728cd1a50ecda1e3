"""What the demo schedules, and how each post has to end. Data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    POSTED = "posted"
    EXPIRED = "expired"  # its deadline passed first, so it was not posted late
    CANCELLED = "cancelled"  # the app thought better of it
    REFUSED = "refused"  # its user disconnected first


@dataclass(frozen=True, slots=True)
class Post:
    user: str
    number: int
    #: Seconds after the start; 0: at once.
    due: float
    ending: Ending = Ending.POSTED

    @property
    def name(self) -> str:
        return f"{self.user} {self.number}"

    @property
    def text(self) -> str:
        """What is posted: different for each, and plain enough to read the same in JSON and HTML."""
        return f"Post {self.number} of {self.user}, due {self.due:g} s after the start"


_DUE = {
    "alice": (0, 0, 0, 0, 4, 8, 12, 16),
    # The one that is cancelled, and the one whose user disconnects, are far enough ahead for a machine that stalls.
    "bob": (0, 0, 0, 3, 6, 9, 28, 20),
    "carol": (0, 0, 0, 2, 4, 5, 6, 30),
}
_ENDINGS = {("alice", 1): Ending.EXPIRED, ("bob", 7): Ending.CANCELLED, ("carol", 8): Ending.REFUSED}

USERS = tuple(_DUE)
PLAN = tuple(
    Post(user, number, due, _ENDINGS.get((user, number), Ending.POSTED))
    for user, times in _DUE.items()
    for number, due in enumerate(times, start=1)
)


def the(ending: Ending) -> Post:
    """Return the one post of the plan that has to end this way."""
    (post,) = (post for post in PLAN if post.ending is ending)
    return post
