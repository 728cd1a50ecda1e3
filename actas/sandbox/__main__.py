"""``python -m actas.sandbox --config FILE``: run until told to stop."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from pathlib import Path

import uvicorn

from actas.errors import SettingsError
from actas.sandbox.app import build
from actas.sandbox.config import read_config
from actas.sandbox.connection import DroppableConnection

BACKLOG = 2048
#: Longer than any client keeps an idle connection (httpx: 5 s): it must be the client that closes first, or a request
#: could meet the closing and look as if the provider had dropped it.
KEEP_ALIVE_SECONDS = 120


def main() -> None:
    if os.environ.get("ACTAS_ENV") != "development":
        raise SystemExit("the sandbox gives tokens to whoever asks; it starts only with ACTAS_ENV=development")
    parser = argparse.ArgumentParser(
        prog="python -m actas.sandbox", description="An X-shaped provider for development."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="JSON, mode 0600")
    try:
        config = read_config(parser.parse_args().config)
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    try:
        listener = socket.create_server((str(config.host), config.port), backlog=BACKLOG)
    except OSError as error:
        raise SystemExit(f"cannot listen on {config.host}:{config.port}: {error.strerror}") from None
    server = uvicorn.Server(
        uvicorn.Config(
            build(config),
            http=DroppableConnection,
            ws="none",
            lifespan="off",
            backlog=BACKLOG,
            # Access logs hold codes, tracebacks may hold tokens; app.py reports faults itself.
            access_log=False,
            log_config=None,
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=0,  # requests held on purpose must not hold up the end
        )
    )
    sys.stdout.write(f"sandbox: http://{config.host}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


if __name__ == "__main__":
    main()
