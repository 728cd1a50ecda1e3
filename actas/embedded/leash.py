"""Run a command that dies with its parent: ``python -I -S leash.py PARENT_PID COMMAND [ARGUMENT...]``.

The kernel sends SIGKILL to the command when its parent is gone, also when that was killed and could clean up nothing
(prctl(2), PR_SET_PDEATHSIG, which survives exec). "Parent" there means the *thread* that started the child:
:mod:`actas.embedded.child` therefore starts all children from one thread that lives as long as the process.

A file of its own, run by path and importing almost nothing, because it stands before every child's start.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"leash: prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the leash was on
        sys.exit("leash: the parent is gone")
    os.umask(0o077)  # whatever a server writes (its log, its ACL file) is its owner's only
    try:
        os.execv(command[0], command)  # noqa: S606 - that is what it is for
    except OSError as error:
        sys.exit(f"leash: {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
