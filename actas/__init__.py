"""Act as your users while they are away: what apps import."""

from __future__ import annotations

from actas.client import Client
from actas.connecting import ConnectRequest
from actas.device import DeviceRequest
from actas.errors import ActasError
from actas.files import FileReference
from actas.records import Grant, GrantStatus, Job, JobError
from actas.requests import JobRequest
from actas.settings import Settings
from actas.states import JobStatus
from actas.stopping import Cancellation, Disconnection, UserRevocation

__all__ = [
    "ActasError",
    "Cancellation",
    "Client",
    "ConnectRequest",
    "DeviceRequest",
    "Disconnection",
    "FileReference",
    "Grant",
    "GrantStatus",
    "Job",
    "JobError",
    "JobRequest",
    "JobStatus",
    "Settings",
    "UserRevocation",
]
