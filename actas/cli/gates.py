"""`actas gates`: what jobs wait for, as an operator sees it."""

from __future__ import annotations

import typer

from actas.cli.looking import AsJson, show
from actas.clock import utc_now
from actas.errors import SettingsError
from actas.gates import GateReader
from actas.settings import Settings


def list_gates(as_json: AsJson = False, every: bool = typer.Option(False, "--all", help="Open ones, too.")) -> None:
    """List the gates that are closed, and until when; takes the operator's Redis user."""
    settings, now = Settings.from_env(), utc_now()
    if settings.redis_url is None:
        raise SettingsError("ACTAS_REDIS_URL is needed: gates are kept there (source the operator's env file)")
    reader = GateReader(settings.redis_url, utc_now)
    standings = sorted(reader.standings(reader.names()).items())
    rows = [
        {
            "gate": gate,
            "until": f"{standing.until:%Y-%m-%dT%H:%M:%SZ}" if standing.closed(now) else None,
            "times": standing.level,
            "failures": len(standing.failures),
            "probe": "under way" if standing.probing and standing.closed(now) else None,
        }
        for gate, standing in standings
        if every or standing.closed(now)
    ]
    reader.close_connections()
    show(["gate", "until", "times", "failures", "probe"], rows, as_json=as_json)
