"""What a worker process is called."""

from __future__ import annotations

import os
import socket

from worker.room import process_name


def test_a_process_that_starts_again_under_the_same_host_and_pid_has_another_name():
    first, again = process_name(), process_name()
    assert first != again
    assert first.split(":")[:2] == again.split(":")[:2] == [socket.gethostname(), str(os.getpid())]
