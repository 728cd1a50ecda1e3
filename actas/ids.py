"""Identifiers: UUIDv7 (RFC 9562 section 5.7) as strings, so that ids sort by the time they were made."""

from __future__ import annotations

from uuid_utils import uuid7


def new_id() -> str:
    return str(uuid7())
