"""The sandbox as one ASGI application."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from actas.clock import utc_now
from actas.sandbox import pages
from actas.sandbox.api import Api
from actas.sandbox.connection import Dropped
from actas.sandbox.control import Control
from actas.sandbox.device import DeviceFlow, Devices
from actas.sandbox.media import Shelf
from actas.sandbox.misbehaviour import Misbehaviour
from actas.sandbox.oauth import OAuth
from actas.sandbox.stage import NoPersona, Stage
from actas.sandbox.state import Books
from actas.sandbox.steered_clock import SteeredClock

if TYPE_CHECKING:
    from actas.clock import Clock
    from actas.sandbox.config import Config

POSTS_ON_THE_PAGE = 100


def build(config: Config, clock: Clock = utc_now) -> Starlette:
    clock = SteeredClock(clock)
    books = Books(
        clock,
        access_seconds=config.access_seconds,
        first_access_seconds=config.first_access_seconds,
        code_seconds=config.code_seconds,
        post_limit=config.post_limit,
        duplicate_window=config.duplicate_window,
        refresh={client_id: client.refresh for client_id, client in config.clients.items()},
    )
    devices = Devices(clock)
    misbehaviour = Misbehaviour()
    clients = dict(config.clients)  # the control surface may register others
    oauth = OAuth(clients, books, devices, misbehaviour, clock)
    stage = Stage(config.personas, clock)

    async def home(_: Request) -> Response:
        return HTMLResponse(pages.timeline_page(books.latest(POSTS_ON_THE_PAGE)), headers=pages.HEADERS)

    return Starlette(
        routes=[
            Route("/", home),
            *oauth.routes(),
            *DeviceFlow(devices, oauth, misbehaviour).routes(),
            *Api(books, Shelf(clock), misbehaviour).routes(),
            *stage.routes(),
            *Control(clients, books, devices, misbehaviour, clock, stage.credentials).routes(),
        ],
        exception_handlers={
            ValidationError: _misasked,
            ClientDisconnect: _left,
            NoPersona: _unknown,
            Exception: _crashed,
        },
    )


async def _misasked(_: Request, error: Exception) -> Response:
    """The control surface was asked for something it does not know."""
    assert isinstance(error, ValidationError)
    found = error.errors(include_input=False, include_url=False, include_context=False)
    wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found)
    return JSONResponse({"error": wrong}, 400)


async def _unknown(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)


async def _left(_: Request, __: Exception) -> Response:
    """The client hung up in the middle of its request."""
    return Dropped()


async def _crashed(_: Request, error: Exception) -> Response:
    """Say where, but not what: the text of an exception may hold a token."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    sys.stderr.write(f"sandbox: {type(error).__name__} in {place.name}, line {place.lineno} of {place.filename}\n")
    return Response("the sandbox has a fault of its own", 500)
