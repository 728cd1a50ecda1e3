"""actas in a Flask app: connect an account, schedule a post, look, cancel, disconnect."""

import os
import secrets
from datetime import datetime

from flask import Flask, abort, flash, redirect, render_template, request, session
from flask_wtf import CSRFProtect
from werkzeug.wrappers import Response

from actas import ActasError, Client, GrantStatus
from actas.errors import AccessDenied, InvalidRequest, InvalidState, InvalidTime, NotFound, Unavailable

#: Where browsers find this app: a setting, because the provider must know the callback's address beforehand.
APP_URL = os.environ.get("APP_URL", "http://127.0.0.1:8000")
CALLBACK = f"{APP_URL}/callback"
SHOWN = {GrantStatus.ACTIVE, GrantStatus.REAUTHORIZATION_REQUIRED}

client = Client.from_env()  # one per process; safe in threads, and after a fork
app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_hex(),  # several processes need the same one
    SESSION_COOKIE_SECURE=APP_URL.startswith("https:"),
    SESSION_COOKIE_SAMESITE="Lax",  # with "Strict", a browser that comes back from the provider would not be signed in
)
CSRFProtect(app)  # every POST needs the token that our forms hold: csrf_token() in the template


def signed_in() -> str:
    if "user" not in session:
        abort(redirect("/"))
    return str(session["user"])


def home(message: str) -> Response:
    flash(message)
    return redirect("/", 303)  # a GET: loading it again posts nothing again


def page(*, error: str = "", text: str = "") -> str:
    context: dict[str, object] = {"error": error}
    if user := session.get("user"):
        accounts = [grant for grant in client.grants(user=user) if grant.status in SHOWN]
        context |= {"user": user, "accounts": accounts, "jobs": client.jobs(user=user, limit=20)}
        context |= {"text": text, "key": secrets.token_urlsafe()}  # a form that is sent twice is still one job
    return render_template("page.html", **context)


@app.errorhandler(ActasError)
def show_error(error: ActasError) -> tuple[str, int]:
    """Say what is wrong; the texts of actas are made for strangers, and hold no secret."""
    app.logger.warning("%s: %s", error.code, error)
    return render_template("error.html", error=error), 503 if isinstance(error, Unavailable) else 400


@app.get("/")
def show() -> str:
    return page()


@app.post("/sign-in")
def sign_in() -> Response:
    """A stub for your own: whoever says a name is believed."""
    session.clear()
    session["user"] = request.form["user"][:40]
    return redirect("/", 303)


@app.post("/connect")
def connect() -> Response:
    begun = client.begin_connect(user=signed_in(), provider="x", redirect_uri=CALLBACK, actions=["x.post"])
    return redirect(begun.url, 303)


@app.get("/callback")
def callback() -> Response:
    """Where the provider sends the browser back to; actas makes sure that this user asked for it."""
    try:
        grant = client.finish_connect(request.url, user=signed_in())
    except AccessDenied:
        return home("You said no, so nothing was connected.")
    except InvalidState:
        return home("That answer was used before, came too late, or is another user's. Please connect again.")
    return home(f"Connected: account {grant.account}.")


@app.post("/schedule")
def schedule() -> Response | tuple[str, int]:
    user = signed_in()
    text = request.form["text"].replace("\r\n", "\n")  # as browsers send the lines of a textarea
    try:
        job = client.schedule(
            "x.post",
            user=user,
            payload={"text": text},
            at=moment(request.form.get("when")),
            account=request.form["account"],
            idempotency_key=f"{user}:{request.form['key']}",
        )
    except InvalidRequest as error:
        return page(error=str(error), text=text), 400
    return home(f"Scheduled for {job.run_at:%Y-%m-%d %H:%M:%S} UTC.")


def moment(when: str | None) -> datetime | None:
    """A time with its zone, as the page sends it; actas refuses one without. None is now."""
    try:
        return datetime.fromisoformat(when) if when else None
    except ValueError:
        raise InvalidTime("that is no time") from None


@app.post("/cancel")
def cancel() -> Response:
    user, job = signed_in(), client.job(request.form["job"])
    if job.user != user:  # the client sees all jobs of this app: whose they are is for the app to check
        raise NotFound
    done = client.cancel(job.id)
    return home("Cancelled." if done.outcome == "cancelled" else f"Too late: it is {done.job.status}.")


@app.post("/disconnect")
def disconnect() -> Response:
    stopped = client.disconnect(user=signed_in(), provider="x", account=request.form["account"])
    return home(f"Disconnected. Posts that will not go out: {stopped.jobs_cancelled + stopped.jobs_stopping}.")
