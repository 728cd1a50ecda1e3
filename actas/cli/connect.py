"""`actas connect`: an account is connected by whoever sits at this terminal, for a user of the app."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from actas.cli.grants import grant_row
from actas.cli.looking import AsJson
from actas.cli.loopback import HOST, Loopback, brings, redirect_uri, state_of
from actas.client import Client
from actas.connecting import ConnectRequest
from actas.errors import InvalidRequest
from actas.records import Grant


def connect(
    provider: Annotated[str, typer.Argument(help="Where the account is.")],
    *,
    user: Annotated[str, typer.Option(help="For whom: the app's own, stable id of the user.")],
    actions: Annotated[
        str | None, typer.Option(help="What will be done with it, such as x.post,x.thread: their scopes are asked for.")
    ] = None,
    scopes: Annotated[str | None, typer.Option(help="Scopes to ask for; without either, the provider's usual.")] = None,
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            help="Be sent back to http://127.0.0.1:PORT/callback; 0: any free port. Providers that compare addresses"
            " exactly, as X does, must know this one.",
        ),
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open a browser here, if there is one.")] = True,
    paste: Annotated[
        bool, typer.Option("--paste", help="The browser is on another machine: paste here the address it ends up at.")
    ] = False,
    device: Annotated[
        bool, typer.Option("--device", help="Enter a code at the provider instead (RFC 8628), if it has that.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Connect a user's account from this terminal; speaks for ACTAS_APP."""
    if device and (paste or port):
        raise typer.BadParameter("nobody is sent back anywhere with --device: leave out --paste and --port")
    with Client.from_env() as client:
        ask = _Asked(client, user, provider, _listed(scopes), _listed(actions))
        if device:
            grant = ask.by_code()
        elif paste:
            grant = ask.by_paste(port or _free_port())
        else:
            grant = ask.by_browser(port, open_it=browser)
    if as_json:
        print(json.dumps(grant_row(grant) | {"scopes": sorted(grant.scopes)}))
    else:
        print(f"connected: {grant.provider} account {grant.account}, as {grant.user} (grant {grant.id})")
        print(f"granted: {' '.join(sorted(grant.scopes))}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be connected, in one of three ways; whatever is said on the way goes to standard error."""

    client: Client
    user: str
    provider: str
    scopes: Sequence[str] | None
    actions: Sequence[str] | None

    def by_browser(self, port: int, *, open_it: bool) -> Grant:
        with Loopback(port) as loopback:
            request = self._begin(loopback.redirect_uri)
            loopback.expect(request.url)
            _say(f"open this address in a browser here, and allow it\n\n{request.url}\n")
            if open_it:
                open_browser(request.url)
            _say(f"waiting at {loopback.redirect_uri} for {request.expires_in.seconds // 60} minutes; Ctrl-C gives up")
            if not port:
                _say(f"(if {self.provider} refuses that address, register one there, and name its --port)")
            return loopback.wait(self._finish, seconds=request.expires_in.total_seconds())

    def by_paste(self, port: int) -> Grant:
        request = self._begin(redirect_uri(port))
        state = state_of(request.url)
        _say(f"open this address in a browser, and allow it\n\n{request.url}\n")
        _say(f"it ends up at {redirect_uri(port)}?..., which does not open; copy that whole address from its bar")
        while True:
            pasted = typer.prompt("paste it here", err=True).strip()
            if not brings(state, pasted):
                _say("that is not the answer to this; copy all of it")
                continue
            try:
                return self._finish(pasted)
            except InvalidRequest as error:  # it is no callback, and has used up nothing
                _say(str(error))

    def by_code(self) -> Grant:
        request = self.client.begin_device_connect(
            user=self.user, provider=self.provider, scopes=self.scopes, actions=self.actions
        )
        _say(f"open {request.verification_uri} in any browser, and enter this code: {request.user_code}")
        if request.verification_uri_complete:
            _say(f"or open {request.verification_uri_complete}, and see that it shows the same code")
        _say(f"waiting for {request.expires_in.seconds // 60} minutes; Ctrl-C gives up")
        return self.client.finish_device_connect(request)

    def _begin(self, address: str) -> ConnectRequest:
        return self.client.begin_connect(
            user=self.user, provider=self.provider, redirect_uri=address, scopes=self.scopes, actions=self.actions
        )

    def _finish(self, callback_url: str) -> Grant:
        return self.client.finish_connect(callback_url, user=self.user)


def open_browser(url: str) -> None:
    """Open a browser, unless the only one there is would take over this terminal."""
    windows = sys.platform in {"win32", "darwin"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if windows:
        # Some stay until they are closed; who waited for that would not hear the answer they bring.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _listed(names: str | None) -> list[str] | None:
    return None if names is None else names.replace(",", " ").split()


def _free_port() -> int:
    """A port that nobody listens on here; the browser that is sent to it may be elsewhere."""
    with socket.create_server((HOST, 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _say(line: str) -> None:
    print(line, file=sys.stderr)
