"""Stands before a server and counts the HTTP requests that go to it; where they go is said later, and may change."""

from __future__ import annotations

import contextlib
import socket
import threading

CHUNK = 65_536


class CountingProxy:
    """Passes bytes on, both ways. A request is counted by its first line, which no client of ours splits."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.target: tuple[str, int] | None = None
        self.requests = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        if self.target is None:
            client.close()
            return
        try:
            server = socket.create_connection(self.target, timeout=5)
        except OSError:
            with self._lock:
                self.requests += 1  # it was asked, and nobody was there
            client.close()
            return
        server.settimeout(None)
        back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
        with client, server:
            back.start()
            self._pass_on(client, server, counted=True)
            back.join()

    def _pass_on(self, source: socket.socket, sink: socket.socket, *, counted: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if counted:
                    with self._lock:
                        self.requests += data.count(b" HTTP/1.1\r\n")
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
