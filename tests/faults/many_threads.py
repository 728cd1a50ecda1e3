"""A process whose threads all want one grant's access token at the same moment: ``many_threads GRANT THREADS``.

For each line on standard input one round, and for each round one line of JSON on standard output: digests of the tokens
that the threads got.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from actas.settings import Settings
from worker.errors import TokenPending
from worker.room import Room


def main(grant: str, threads: int) -> None:
    room = Room.open(Settings.from_env())
    barrier = threading.Barrier(threads)
    with ThreadPoolExecutor(threads) as pool:
        say({"ready": True})
        for _ in sys.stdin:
            wanted = [pool.submit(digest_of_token, room, grant, barrier) for _ in range(threads)]
            errors = [type(error).__name__ for one in wanted if (error := one.exception()) is not None]
            tokens = {one.result() for one in wanted if one.exception() is None}
            say({"threads": threads, "tokens": sorted(tokens), "errors": errors})


def digest_of_token(room: Room, grant_id: str, barrier: threading.Barrier) -> str:
    barrier.wait()
    while True:
        grant = room.grants.get(grant_id)
        assert grant is not None
        try:
            token = room.exchange.access_token(grant).token
        except TokenPending:
            continue  # somebody else's exchange takes its time
        return hashlib.sha256(token.get_secret_value().encode()).hexdigest()


def say(what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - it is heard on standard output


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
