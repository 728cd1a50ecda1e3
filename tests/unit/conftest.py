"""For the unit tests."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.unit.peer import Peer, http_reply

# How long an example takes is the machine's affair: standing still for a fifth of a second is no mistake of ours. All
# else as it is, also where hypothesis has seen that this is CI.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Make a peer: ``peer(answer)``, or ``peer(status, body, *headers)`` for one that behaves."""
    peers: list[Peer] = []

    def make(answer: Callable[[socket.socket], None] | int, body: bytes = b"", *headers: str) -> Peer:
        if isinstance(answer, int):
            whole = http_reply(answer, body, *headers)
            peers.append(Peer(lambda connection: connection.sendall(whole)))
        else:
            peers.append(Peer(answer))
        return peers[-1]

    yield make
    for each in peers:
        each.close()
