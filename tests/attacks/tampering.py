"""What several attackers do: write jobs as nobody may, bring forward what is not due, sign with what is at hand."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from actas import Client, Grant, Job, JobStatus, jws
from actas.clock import utc_now
from actas.ids import new_id
from actas.sandbox.remote import SandboxControl
from tests.support import REDIRECT, eventually

#: Signs bytes; base64url (RFC 7515).
Sign = Callable[[bytes], str]


def connect_user(client: Client, sandbox: SandboxControl, user: str | None = None) -> Grant:
    """A user nobody else has, connected."""
    user = user or f"u{uuid4().hex[:12]}"
    request = client.begin_connect(user=user, provider="x", redirect_uri=REDIRECT)
    return client.finish_connect(sandbox.authorize(request.url, user), user=user)


def waiting_job(client: Client, user: str, text: str = "as signed") -> Job:
    """A job that is signed, and not due."""
    at = datetime.now(UTC) + timedelta(hours=1)
    return client.schedule("x.post", user=user, payload={"text": text}, at=at)


def make_due(documents: Any, job_id: str, **changes: Any) -> None:
    documents["jobs"].update_one({"_id": job_id}, {"$set": {"next_at": utc_now(), **changes}})


def ended(documents: Any, job_id: str) -> dict[str, Any]:
    """The document of a job that has come to its end, whoever it now says that it belongs to."""
    finished = {"_id": job_id, "finished_at": {"$exists": True}}
    found: dict[str, Any] = eventually(lambda: documents["jobs"].find_one(finished), what="the job has ended")
    return found


def each_ended(client: Client, jobs: Iterable[Job]) -> list[Job]:
    """How each has ended; one that does not is told as it then is, so that it spoils nobody else's verdict."""
    ends_at = time.monotonic() + 30
    told = []
    for job in jobs:
        with contextlib.suppress(TimeoutError):
            client.wait(job.id, timeout=max(0, ends_at - time.monotonic()))
        told.append(client.job(job.id))
    return told


def refused(client: Client, job_id: str, code: str) -> None:
    job = client.wait(job_id)
    assert job.error is not None
    assert (job.status, job.error.code) == (JobStatus.FAILED, code)


def still_works(client: Client, user: str, posts: Callable[[str], list[str]]) -> None:
    """The same way, with nothing wrong about it: or what fails before this could fail for any reason."""
    job = client.schedule("x.post", user=user, payload={"text": "still works"})
    assert client.wait(job.id).status is JobStatus.SUCCEEDED
    assert "still works" in posts(user)


def claims_of(app: str, user: str, grant: str, text: str = "forged") -> jws.Claims:
    """A job that is due now."""
    now = utc_now()
    return jws.Claims(new_id(), app, user, grant, "x", "x.post", {"text": text}, now, now + timedelta(hours=1), now)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def body_of(claims: jws.Claims) -> Any:
    return decoded(jws.signing_input(claims, key_version=1).split(b".")[1].decode())


def token(header: Any, claims: jws.Claims, sign: Sign) -> str:
    data = f"{encoded(header)}.{encoded(body_of(claims))}"
    return f"{data}.{sign(data.encode())}"


def insert_job(documents: Any, claims: jws.Claims, token: str) -> str:
    """Put a job where a worker finds it, its copies just as the claims say."""
    now = utc_now()
    job = Job(jws=token, status=JobStatus.SCHEDULED, next_at=now, created_at=now, **claims.copies())
    documents["jobs"].insert_one(job.to_doc())
    return claims.id
