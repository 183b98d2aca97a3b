"""What our own servers share: HTTP/1.1 on a free port, a thread for each connection."""

from __future__ import annotations

import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self


class Listener(socketserver.ThreadingTCPServer):
    """A server on 127.0.0.1 from the start of a ``with`` block to its end.

    Nothing outlives the block: connections are cut, pauses end, and every thread is joined.
    """

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        handler: type[BaseHTTPRequestHandler],
        tls: ssl.SSLContext | None = None,
        *,
        port: int = 0,
    ) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self._tls = tls
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """The address that clients use."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self.server_address[1]}"

    def pause(self, seconds: float) -> None:
        """Sleep, but no longer than the server runs."""
        self._stopping.wait(seconds)

    @contextmanager
    def cut_at_exit(self, connection: socket.socket) -> Iterator[None]:
        """Wake a thread that waits for this socket when the server stops."""
        with self._lock:
            self._sockets.add(connection)
            if self._stopping.is_set():
                _cut(connection)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.remove(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.shutdown()
        self._thread.join()
        with self._lock:
            self._stopping.set()
            for connection in self._sockets:
                _cut(connection)
        self.server_close()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; its own thread shakes hands when it first reads."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        with self.cut_at_exit(request):
            super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away, as tests make them do; show everything else."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """A connection that is kept alive and not logged."""

    protocol_version = "HTTP/1.1"
    # Head and body are written separately; unless this is off, the body waits for the client's
    # delayed acknowledgement of the head, about 40 ms.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def _cut(connection: socket.socket) -> None:
    # The client may have cut it already.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
