"""actas in a FastAPI app: connect an account, schedule a post, look, cancel, disconnect.

Endpoints are plain ``def``: actas' Client waits for servers, so FastAPI runs them in its thread pool.
"""

import logging
import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates
from starlette.middleware.sessions import SessionMiddleware

from actas import ActasError, Client, GrantStatus
from actas.errors import AccessDenied, InvalidRequest, InvalidState, NotFound, Unavailable

#: Where browsers find this app: a setting, because the provider must know the callback's address beforehand.
APP_URL = os.environ.get("APP_URL", "http://127.0.0.1:8000")
CALLBACK = f"{APP_URL}/callback"
SHOWN = {GrantStatus.ACTIVE, GrantStatus.REAUTHORIZATION_REQUIRED}
Field = Annotated[str, Form()]
When = Annotated[datetime | None, Form()]

client = Client.from_env()  # one per process; safe in threads, and after a fork
templates = Jinja2Templates(Path(__file__).parent / "templates")


def check_csrf(request: Request, csrf: Field = "") -> None:
    """Refuse what another site's page sends with our user's cookie: each of our forms holds the session's token."""
    mine = request.session.get("csrf", "")
    if request.method == "POST" and not (mine and secrets.compare_digest(csrf.encode(), mine.encode())):
        raise HTTPException(403, "this form is too old, or not from this site: go back and load the page again")


def signed_in(request: Request) -> str:
    if "user" not in request.session:
        raise HTTPException(303, headers={"Location": "/"})
    return str(request.session["user"])


User = Annotated[str, Depends(signed_in)]
app = FastAPI(openapi_url=None, dependencies=[Depends(check_csrf)])
app.add_middleware(
    SessionMiddleware,
    secret_key=os.environ.get("SECRET_KEY") or secrets.token_hex(),  # several processes need the same one
    https_only=APP_URL.startswith("https:"),
    same_site="lax",  # with "strict", a browser that comes back from the provider would not be signed in
)


def home(request: Request, message: str = "") -> Response:
    request.session["message"] = message
    return RedirectResponse("/", 303)  # a GET: loading it again posts nothing again


def page(request: Request, *, error: str = "", text: str = "", status: int = 200) -> Response:
    request.session.setdefault("csrf", secrets.token_urlsafe())
    context = {"csrf": request.session["csrf"], "message": request.session.pop("message", ""), "error": error}
    if user := request.session.get("user"):
        accounts = [grant for grant in client.grants(user=user) if grant.status in SHOWN]
        context |= {"user": user, "accounts": accounts, "jobs": client.jobs(user=user, limit=20)}
        context |= {"text": text, "key": secrets.token_urlsafe()}  # a form that is sent twice is still one job
    return templates.TemplateResponse(request, "page.html", context, status)


@app.exception_handler(ActasError)
def show_error(request: Request, error: ActasError) -> Response:
    """Say what is wrong; the texts of actas are made for strangers, and hold no secret."""
    logging.getLogger(__name__).warning("%s: %s", error.code, error)
    status = 503 if isinstance(error, Unavailable) else 400
    return templates.TemplateResponse(request, "error.html", {"error": error}, status)


@app.get("/")
def show(request: Request) -> Response:
    return page(request)


@app.post("/sign-in")
def sign_in(request: Request, user: Annotated[str, Form(max_length=40)]) -> Response:
    """A stub for your own: whoever says a name is believed."""
    request.session.clear()
    request.session["user"] = user
    return home(request)


@app.post("/connect")
def connect(user: User) -> Response:
    begun = client.begin_connect(user=user, provider="x", redirect_uri=CALLBACK, actions=["x.post"])
    return RedirectResponse(begun.url, 303)


@app.get("/callback")
def callback(request: Request, user: User) -> Response:
    """Where the provider sends the browser back to; actas makes sure that this user asked for it."""
    try:
        grant = client.finish_connect(str(request.url), user=user)
    except AccessDenied:
        return home(request, "You said no, so nothing was connected.")
    except InvalidState:
        return home(request, "That answer was used before, came too late, or is another user's. Please connect again.")
    return home(request, f"Connected: account {grant.account}.")


@app.post("/schedule")
def schedule(request: Request, user: User, text: Field, account: Field, key: Field, when: When = None) -> Response:
    text = text.replace("\r\n", "\n")  # as browsers send the lines of a textarea
    try:
        job = client.schedule(
            "x.post",
            user=user,
            payload={"text": text},
            at=when,  # with its zone, as the page sends it; actas refuses one without
            account=account,
            idempotency_key=f"{user}:{key}",
        )
    except InvalidRequest as error:
        return page(request, error=str(error), text=text, status=400)
    return home(request, f"Scheduled for {job.run_at:%Y-%m-%d %H:%M:%S} UTC.")


@app.post("/cancel")
def cancel(request: Request, user: User, job: Field) -> Response:
    if client.job(job).user != user:  # the client sees all jobs of this app: whose they are is for the app to check
        raise NotFound
    done = client.cancel(job)
    return home(request, "Cancelled." if done.outcome == "cancelled" else f"Too late: it is {done.job.status}.")


@app.post("/disconnect")
def disconnect(request: Request, user: User, account: Field) -> Response:
    stopped = client.disconnect(user=user, provider="x", account=account)
    return home(request, f"Disconnected. Posts that will not go out: {stopped.jobs_cancelled + stopped.jobs_stopping}.")
