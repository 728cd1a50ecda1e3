"""A child process: leashed to us, its output in a log file, waited for by condition, and killable on purpose."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING

from actas.embedded import EmbeddedError, Interrupted, leash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from actas.embedded.place import Place

#: Whoever takes longer than this to start is broken, also on a busy machine.
READY_SECONDS = 60.0
#: Who has not stopped by then is killed. A worker uses it to finish the requests that are on the wire.
STOP_SECONDS = 15.0
TAIL_LINES = 8

# All children are born of this thread, because the leash is tied to the thread that started them (see leash.py): a
# caller's thread may end long before the process does.
_nursery = ThreadPoolExecutor(max_workers=1, thread_name_prefix="leash")


class Child:
    """One process; subclasses say when it is ready."""

    def __init__(
        self,
        place: Place,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        address: str = "",
    ) -> None:
        """``argv`` is for everybody to see (ps): no secrets in it. ``address``: host:port, if it listens."""
        self.name = name
        self.address = address
        self.log = place.folder("logs") / f"{name}.log"
        self._argv = [str(part) for part in argv]
        self._place = place
        #: What it is started with; change it before a restart.
        self.env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        #: The last process that was ended from here.
        self._let_go: subprocess.Popen[bytes] | None = None
        _nursery.submit(int)  # so that its one thread is there: interrupted while making it, a start would make another

    def start(self) -> None:
        """Start and wait until ready.

        Raises:
            EmbeddedError: it died, or was not ready in time; with the end of its log.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start without waiting, so that several can start side by side."""
        if self.alive:
            raise EmbeddedError(f"{self.name} is running already")
        _nursery.submit(self._spawn).result()

    def _spawn(self) -> None:
        self.log.touch(0o600)
        with self.log.open("ab") as log:
            self._log_start = log.seek(0, os.SEEK_END)
            self._open(self._place.path, output=log)

    def _open(self, directory: Path, *, output: IO[bytes] | None) -> None:
        leashed = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *self._argv]
        # A session of its own: Ctrl-C in the terminal reaches the supervisor only, which stops all in order.
        # Kept here: whoever waits for us may be interrupted, and must still know of it.
        self._process = subprocess.Popen(
            leashed,
            cwd=directory,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_ready(self) -> None:
        self.wait_until(self.is_ready)

    def is_ready(self) -> bool:
        raise NotImplementedError

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition while the process lives.

        Raises:
            EmbeddedError: it died, or the condition did not come true within READY_SECONDS.
            Interrupted: the stack is to stop.
        """
        deadline = time.monotonic() + READY_SECONDS
        while True:
            if self._place.stopping:
                raise Interrupted
            if not self.alive:  # asked first: whoever answers at its port then is not it
                raise EmbeddedError(f"{self.name} stopped while starting: {self.obituary()}")
            if condition():
                return
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.name} was not ready after {READY_SECONDS:.0f} s: {self.obituary()}")
            time.sleep(0.02)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def died(self) -> bool:
        """Is it gone although nobody here stopped or killed it? May be asked from any thread."""
        process = self._process  # once: the answer is about one process, also while another takes its place
        return process is not None and process.poll() is not None and process is not self._let_go

    @property
    def pid(self) -> int:
        """The process id, also after its end; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def status(self) -> int | None:
        """Its exit status, negative for the signal that killed it; None while it runs, or has not been started."""
        return self._process.poll() if self._process else None

    @property
    def state(self) -> str:
        if self._process is None:
            return "not started"
        code = self.status
        if code is None:
            return "running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"

    def output(self) -> str:
        """Everything it wrote since its last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def obituary(self) -> str:
        """Its state and the last lines of its log."""
        tail = "\n".join(f"    {line}" for line in self.output().splitlines()[-TAIL_LINES:])
        return f"{self.state}; the end of {self.log}:\n{tail or '    (nothing written)'}"

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """SIGTERM, and SIGKILL after so many seconds."""
        stop_all([self], seconds)

    def restart(self) -> None:
        self.stop()
        self.start()

    def terminate(self) -> None:
        """Ask it to stop; without waiting."""
        self._end(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a paused process hears nothing else

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when it is gone."""
        self._end(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and leases, and stands still; returns when it does, or is gone."""
        self._signal(signal.SIGSTOP)
        if self._process is None:
            return
        # A signal takes its time on a busy machine, and whoever pauses a process counts on it from then on.
        with contextlib.suppress(ChildProcessError):  # it was gone before
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def wait(self, seconds: float) -> None:
        """Wait for its end, and SIGKILL it if that does not come."""
        if self._process is None:
            return
        try:
            self._process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            self.kill()

    def _end(self, number: signal.Signals) -> None:
        _nursery.submit(int).result()  # a start that is under way comes first: its caller may have been interrupted
        self._let_go = self._process
        self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        # Not yet reaped means that the id is still its own, and nobody else's.
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)


def plain_environment() -> dict[str, str]:
    """What a process needs to run at all, and nothing that tells it what to do."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR") if name in os.environ}


def stop_all(children: Iterable[Child], seconds: float = STOP_SECONDS) -> None:
    """Stop them side by side: SIGTERM to all, and SIGKILL to who is left after so many seconds."""
    children = list(children)
    for child in children:
        child.terminate()
    deadline = time.monotonic() + seconds
    for child in children:
        child.wait(deadline - time.monotonic())
