"""actas in a Django app: connect an account, schedule a post, look, cancel, disconnect.

One file, settings included, and no database. In a project, what stands between settings and urlpatterns is your views.
"""

import logging
import os
import secrets
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from actas import ActasError, Client, GrantStatus
from actas.errors import AccessDenied, InvalidRequest, InvalidState, InvalidTime, NotFound, Unavailable

#: Where browsers find this app: a setting, because the provider must know the callback's address beforehand.
APP_URL = os.environ.get("APP_URL", "http://127.0.0.1:8000")
CALLBACK = f"{APP_URL}/callback"
SHOWN = {GrantStatus.ACTIVE, GrantStatus.REAUTHORIZATION_REQUIRED}

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_hex(),  # several processes need the same one
    ALLOWED_HOSTS=[urlsplit(APP_URL).hostname],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        f"{__name__}.ShowActasErrors",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    SESSION_COOKIE_SECURE=APP_URL.startswith("https:"),
    CSRF_COOKIE_SECURE=APP_URL.startswith("https:"),
    CSRF_TRUSTED_ORIGINS=[APP_URL],  # a proxy ends TLS, and what comes here looks like http
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [Path(__file__).parent / "templates"],
            "OPTIONS": {"context_processors": ["django.contrib.messages.context_processors.messages"]},
        }
    ],
    TIME_ZONE="UTC",
)
client = Client.from_env()  # one per process; safe in threads, and after a fork

View = Callable[[HttpRequest], HttpResponse]
UserView = Callable[[HttpRequest, str], HttpResponse]


class ShowActasErrors:
    """Says what is wrong; the texts of actas are made for strangers, and hold no secret."""

    def __init__(self, get_response: View) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, ActasError):
            return None
        logging.getLogger(__name__).warning("%s: %s", error.code, error)
        status = 503 if isinstance(error, Unavailable) else 400
        return render(request, "error.html", {"error": error}, status=status)


def signed_in(view: UserView) -> View:
    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponse:
        user = request.session.get("user")
        return view(request, user) if user else redirect("/")

    return checked


def home(request: HttpRequest, message: str) -> HttpResponse:
    messages.info(request, message)
    return redirect("/")  # a GET: loading it again posts nothing again


def page(request: HttpRequest, *, error: str = "", text: str = "", status: int = 200) -> HttpResponse:
    context: dict[str, object] = {"error": error}
    if user := request.session.get("user"):
        accounts = [grant for grant in client.grants(user=user) if grant.status in SHOWN]
        context |= {"user": user, "accounts": accounts, "jobs": client.jobs(user=user, limit=20)}
        context |= {"text": text, "key": secrets.token_urlsafe()}  # a form that is sent twice is still one job
    return render(request, "page.html", context, status=status)


@require_GET
def show(request: HttpRequest) -> HttpResponse:
    return page(request)


@require_POST
def sign_in(request: HttpRequest) -> HttpResponse:
    """A stub for your own (django.contrib.auth): whoever says a name is believed."""
    request.session.flush()
    request.session["user"] = request.POST.get("user", "")[:40]
    return redirect("/")


@require_POST
@signed_in
def connect(_request: HttpRequest, user: str) -> HttpResponse:
    return redirect(client.begin_connect(user=user, provider="x", redirect_uri=CALLBACK, actions=["x.post"]).url)


@require_GET
@signed_in
def callback(request: HttpRequest, user: str) -> HttpResponse:
    """Where the provider sends the browser back to; actas makes sure that this user asked for it."""
    try:
        grant = client.finish_connect(request.build_absolute_uri(), user=user)
    except AccessDenied:
        return home(request, "You said no, so nothing was connected.")
    except InvalidState:
        return home(request, "That answer was used before, came too late, or is another user's. Please connect again.")
    return home(request, f"Connected: account {grant.account}.")


@require_POST
@signed_in
def schedule(request: HttpRequest, user: str) -> HttpResponse:
    text = request.POST.get("text", "").replace("\r\n", "\n")  # as browsers send the lines of a textarea
    try:
        job = client.schedule(
            "x.post",
            user=user,
            payload={"text": text},
            at=moment(request.POST.get("when")),
            account=request.POST.get("account", ""),
            idempotency_key=f"{user}:{request.POST.get('key', '')}",
        )
    except InvalidRequest as error:
        return page(request, error=str(error), text=text, status=400)
    return home(request, f"Scheduled for {job.run_at:%Y-%m-%d %H:%M:%S} UTC.")


def moment(when: str | None) -> datetime | None:
    """A time with its zone, as the page sends it; actas refuses one without. None is now."""
    try:
        return datetime.fromisoformat(when) if when else None
    except ValueError:
        raise InvalidTime("that is no time") from None


@require_POST
@signed_in
def cancel(request: HttpRequest, user: str) -> HttpResponse:
    job = client.job(request.POST.get("job", ""))
    if job.user != user:  # the client sees all jobs of this app: whose they are is for the app to check
        raise NotFound
    done = client.cancel(job.id)
    return home(request, "Cancelled." if done.outcome == "cancelled" else f"Too late: it is {done.job.status}.")


@require_POST
@signed_in
def disconnect(request: HttpRequest, user: str) -> HttpResponse:
    stopped = client.disconnect(user=user, provider="x", account=request.POST.get("account", ""))
    return home(request, f"Disconnected. Posts that will not go out: {stopped.jobs_cancelled + stopped.jobs_stopping}.")


urlpatterns = [
    path("", show),
    path("sign-in", sign_in),
    path("connect", connect),
    path("callback", callback),
    path("schedule", schedule),
    path("cancel", cancel),
    path("disconnect", disconnect),
]

if __name__ == "__main__":
    execute_from_command_line()
else:
    application = get_wsgi_application()  # gunicorn --chdir examples/django app
