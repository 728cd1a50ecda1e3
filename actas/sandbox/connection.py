"""Closing a connection without a reply, which ASGI has no words for.

An application that raises makes uvicorn answer 500; one that begins a reply has sent its status line. So the protocol
hands its transport to the application, through the state that ASGI's lifespan defines, and ``Dropped`` closes it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class DroppableConnection(H11Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in H11Protocol
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Dropped(Response):
    """No reply: the client finds the connection closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is sent
        scope["state"]["transport"].close()
        # uvicorn answers 500 for an application that returns with nothing said, until it has noticed the closing.
        while (await receive())["type"] != "http.disconnect":
            pass
