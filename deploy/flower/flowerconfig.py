"""Flower: to look, not to act, and with a password. Its /metrics and /healthcheck answer without one."""
# ruff: noqa: INP001 - read by Flower (--conf), never imported

from pathlib import Path

address = "0.0.0.0"  # noqa: S104 - in its container; docker-compose.yml publishes it on loopback only
port = 5555
basic_auth = ["admin:" + Path("/run/secrets/flower-admin").read_text().strip()]
read_only = True
# A replaced container comes back under another name; the old one's is forgotten.
purge_offline_workers = 300
