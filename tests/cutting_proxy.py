"""Stands between one process and a server, and can be cut: then whoever comes is refused, as where nobody listens."""

from __future__ import annotations

import contextlib
import socket
import threading

CHUNK = 65_536


class CuttingProxy:
    """Passes bytes on, both ways, until it is cut, and after it is mended."""

    def __init__(self, address: str) -> None:
        """``address``: host:port of the server."""
        host, _, port = address.rpartition(":")
        self._server = host, int(port)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.port = 0  # any; then always the same
        self.mend()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """End all connections and take no more; may be called again."""
        ended(self._listening)
        self._listening.close()
        with self._lock:
            for each in self._open:
                ended(each)

    def mend(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # cut
            while True:
                client, _ = listening.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self._server, timeout=5) as server:
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            if self._listening.fileno() == -1:
                return  # cut meanwhile
            back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
            back.start()
            self._pass_on(client, server)
            back.join()
            with self._lock:
                self._open -= {client, server}

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def ended(end: socket.socket) -> None:
    """Wake up whoever waits at it; whose it is closes it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
