"""The demo, step by step. Read ``tell`` top to bottom."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from actas.client import Client
from actas.clock import utc_now
from actas.embedded import EmbeddedError
from actas.embedded.demo.flower import FlowerApi, Tasks
from actas.embedded.demo.places import View, left_over, views
from actas.embedded.demo.plan import PLAN, USERS, Ending, Post, the
from actas.embedded.demo.screen import Screen
from actas.embedded.demo.search import Finding, search
from actas.embedded.demo.verdict import STATES, Evidence, ran
from actas.embedded.stack import APP, PROVIDER, Stack
from actas.records import GrantStatus, Job
from actas.requests import JobRequest
from actas.sandbox.remote import SandboxControl
from actas.settings import PREFIX
from actas.states import FINAL

ACTION = "x.post"

#: Where the browser would come back to; nobody listens there, the demo reads the address it was sent to.
CALLBACK = "http://127.0.0.1/callback"

#: For the sandbox's configuration: the access token that comes with connecting does not last until the first job, so
#: that each user's first job needs an exchange.
SANDBOX: Mapping[str, Any] = {"first_access_seconds": 10}

#: How long the post that must expire may take; its exchange is held up for longer.
DEADLINE = timedelta(seconds=2)

#: Whatever is not done this long after it should be is reported as it stands.
PATIENCE_SECONDS = 60.0

#: How long what goes from process to process (events for Flower, a revocation) may take.
SETTLING_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Told:
    """The story's end, and what is needed to search once more when all has stopped."""

    evidence: Evidence
    tokens: Sequence[str] = field(repr=False)
    #: Harmless, and certainly written somewhere.
    control: str


def tell(stack: Stack, screen: Screen) -> Told:
    """Run the demo on a stack that is not started yet, and leave it running.

    Raises:
        ActasError: it could not be run to its end.
    """
    screen.say("starting valkey (for Redis), mongod, OpenBao (for Vault), a sandbox that stands in for the provider X,")
    screen.say("two workers, the scheduler, beat and Flower")
    stack.start()
    client, sandbox = client_of(stack), SandboxControl(stack.sandbox_url)
    posts = Posts(client, screen)
    with closing(FlowerApi(stack)) as flower:
        # Events are not kept for those who come later.
        wait_for(lambda: flower.workers() >= {"worker1", "worker2"}, SETTLING_SECONDS)
        with screen.watching():
            connect_users(client, sandbox, screen)
            let_one_expire(posts, sandbox, screen)
            schedule_the_others(posts, screen)
            cancel_one(posts, client, screen)
            disconnect_one(posts, client, screen)
            screen.say("waiting until all posts have been made, or their time has passed")
            jobs = posts.follow(until=all_over)
        tasks = look_into_flower(flower, jobs, screen)
        return gather(stack, sandbox, flower, jobs, tasks, screen)


def search_what_is_left(told: Told, directory: Path, screen: Screen) -> Evidence:
    """Search everything that is left when all has stopped: what was written while stopping, and whatever lies about."""
    view = View("what is left", "all files", told.control, lambda: left_over(directory))
    places, blind = look_into([view], told.tokens, screen)
    evidence = told.evidence
    return replace(evidence, places={**evidence.places, **places}, blind=[*evidence.blind, *blind])


# --- the steps --------------------------------------------------------------------------------------------------------


def client_of(stack: Stack) -> Client:
    """Return the app's door to actas, configured as any app is: from its environment."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update(stack.role_env(f"app-{APP}"))
    return Client.from_env()


def connect_users(client: Client, sandbox: SandboxControl, screen: Screen) -> None:
    screen.say(f"connecting {listed(USERS)} through the sandbox's own authorization page")
    for user in USERS:
        request = client.begin_connect(user=user, provider=PROVIDER, redirect_uri=CALLBACK)
        client.finish_connect(sandbox.authorize(request.url, user), user=user)


def let_one_expire(posts: Posts, sandbox: SandboxControl, screen: Screen) -> None:
    """Hold the only way to an access token until the deadline has passed: whoever waits there must not post then."""
    post = the(Ending.EXPIRED)
    seconds = DEADLINE.total_seconds()
    screen.say(f"{post.name} may take {seconds:g} s, and the provider holds up {post.user}'s exchange for longer")
    sandbox.misbehave("token", "hold_before", account=post.user)
    deadline = utc_now() + DEADLINE
    posts.schedule([post], deadline=deadline)
    posts.follow(until=lambda _: utc_now() > deadline)
    screen.say("its deadline has passed; the provider answers again")
    sandbox.behave()
    sandbox.release()


def schedule_the_others(posts: Posts, screen: Screen) -> None:
    others = [post for post in PLAN if post.ending is not Ending.EXPIRED]
    last = max(post.due for post in others)
    at_once = sum(post.due == 0 for post in others)
    screen.say(f"scheduling {len(others)} more posts: {at_once} at once, the others over the next {last:g} s")
    posts.schedule(others)


def cancel_one(posts: Posts, client: Client, screen: Screen) -> None:
    post = the(Ending.CANCELLED)
    screen.say(f"the app cancels {post.name}")
    client.cancel(posts.job(post).id)


def disconnect_one(posts: Posts, client: Client, screen: Screen) -> None:
    """Let a user go while a post of hers is still to come; her other posts are not at stake."""
    left = the(Ending.REFUSED)
    posts.follow(
        until=lambda jobs: all(job.status in FINAL for post, job in jobs.items() if is_hers(post, left)),
    )
    screen.say(f"{left.user} disconnects, with {left.name} still to come; a worker revokes her grant at the provider")
    client.disconnect(user=left.user, provider=PROVIDER)
    revoked = wait_for(
        lambda: all(grant.status is GrantStatus.REVOKED for grant in client.grants(user=left.user)), SETTLING_SECONDS
    )
    if not revoked:
        screen.say(f"{left.user}'s grant is not revoked after {SETTLING_SECONDS:g} s")


def is_hers(post: Post, left: Post) -> bool:
    return post.user == left.user and post != left


def all_over(jobs: Mapping[Post, Job]) -> bool:
    """Has every job ended, and every job's time come? A post that must not be made could still have been made then."""
    now = utc_now() - timedelta(seconds=1)
    return len(jobs) == len(PLAN) and all(job.status in FINAL and job.run_at < now for job in jobs.values())


def look_into_flower(flower: FlowerApi, jobs: Mapping[Post, Job], screen: Screen) -> Tasks:
    """Events travel to Flower on their own way, so it is given a moment to hear of the last ones."""
    screen.say(
        f"looking into Flower for the {sum(map(ran, jobs.values()))} jobs that ran: true id, true state, no content"
    )

    def agrees() -> bool:
        tasks = flower.jobs()
        return all(tasks.get(job.id, {}).get("state") == STATES.get(job.status) for job in jobs.values() if ran(job))

    wait_for(agrees, SETTLING_SECONDS)
    return flower.jobs()


def gather(
    stack: Stack, sandbox: SandboxControl, flower: FlowerApi, jobs: Mapping[Post, Job], tasks: Tasks, screen: Screen
) -> Told:
    """Take the provider's books and its list of tokens, and search every place for them.

    Raises:
        EmbeddedError: nothing was posted, so there is nothing to compare.
    """
    posted = next(((post, job) for post, job in jobs.items() if job.result is not None), None)
    if posted is None:
        raise EmbeddedError("nothing was posted")
    post, job = posted
    tokens = sandbox.tokens()
    looking = views(stack, flower, job_id=job.id, text=post.text)
    screen.say(f"searching for {len(tokens)} codes, tokens and client secrets: raw, hex, base64 and URL-encoded, in")
    places, blind = look_into(looking, tokens, screen)
    shown = search([post.text for post in jobs], flower.answers())
    evidence = Evidence(
        jobs=jobs,
        ledger=sandbox.ledger(),
        tasks=tasks,
        tokens=len(tokens),
        places=places,
        blind=blind,
        shown=[finding.where for finding in shown],
    )
    return Told(evidence, tokens, control=job.id)


def look_into(
    looking: Sequence[View], tokens: Sequence[str], screen: Screen
) -> tuple[dict[str, list[Finding]], list[str]]:
    """Search these views: what was found, by place, and which of them cannot see what is certainly there."""
    places: dict[str, list[Finding]] = {}
    blind: list[str] = []
    for view in looking:
        found, sees, size = look(view, tokens)
        places.setdefault(view.place, []).extend(found)
        screen.say(f"  {view!s:<30} {size:>12,} bytes, {len(found)} found")
        if not sees:
            blind.append(str(view))
    return places, blind


def look(view: View, tokens: Sequence[str]) -> tuple[list[Finding], bool, int]:
    """Search one view: what was found, whether the control was, and how many bytes that took."""
    control = len(tokens)
    pieces = list(view.read())
    found = search([*tokens, view.control], pieces)
    leaks = [finding for finding in found if finding.secret != control]
    return leaks, len(found) > len(leaks), sum(len(data) for _, data in pieces)


# --- the posts and their jobs -----------------------------------------------------------------------------------------


class Posts:
    """The plan's posts, as far as they are scheduled."""

    def __init__(self, client: Client, screen: Screen) -> None:
        self._client = client
        self._screen = screen
        self._posts: dict[str, Post] = {}  # by job id

    def schedule(self, posts: Sequence[Post], *, deadline: datetime | None = None) -> None:
        start = utc_now()
        requests = [
            JobRequest(
                ACTION,
                post.user,
                {"text": post.text},
                at=start + timedelta(seconds=post.due),
                deadline=deadline,
                idempotency_key=post.name,
            )
            for post in posts
        ]
        jobs = self._client.schedule_many(requests)
        self._posts.update({job.id: post for job, post in zip(jobs, posts, strict=True)})

    def job(self, post: Post) -> Job:
        return self.jobs()[post]

    def jobs(self) -> dict[Post, Job]:
        found = self._client.jobs(limit=len(PLAN) + 1)
        return {self._posts[job.id]: job for job in reversed(found)}

    def follow(self, *, until: Callable[[Mapping[Post, Job]], bool]) -> dict[Post, Job]:
        """Show what happens to the jobs until this is so, or patience ends; return them."""
        latest = max((post.due for post in self._posts.values()), default=0)
        gives_up_at = time.monotonic() + latest + PATIENCE_SECONDS
        while True:
            jobs = self.jobs()
            self._screen.show(jobs)
            if until(jobs) or time.monotonic() > gives_up_at:
                return jobs
            time.sleep(0.2)


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; False if it does not in this time."""
    gives_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > gives_up_at:
            return False
        time.sleep(0.2)
    return True


def listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
