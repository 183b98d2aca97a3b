"""recv_into on sockets, with no library: the limit of what Python can do."""

from __future__ import annotations

import socket
import ssl
from queue import LifoQueue
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from .peer import Arrays
from .ranges import STREAMS, Ranges, bytes_of, parts_of

SMALL_PART = 1 << 20
SMALL_STREAMS = 32


class Raw(Ranges):
    """HTTP spoken by hand, on connections that stay open."""

    def connect(self) -> None:
        """Prepare; connections are made when they are needed."""
        place = self.job.place
        url = urlsplit(self.job.signed_url)
        self._address = (url.hostname, url.port)
        self._request = f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n"
        self._tls = ssl.create_default_context(cafile=place.ca) if place.ca else None
        self._idle: LifoQueue[socket.socket] = LifoQueue()

    def load(self, names: list[str]) -> Arrays:
        """Read all from the first to the last tensor into one fresh piece of memory."""
        spans = [self.job.layout[name] for name in names]
        first, last = min(start for start, _ in spans), max(sum(span) for span in spans)
        memory = np.empty(last - first, np.uint8)
        small = self.job.dataset.tensor_bytes < SMALL_PART
        size = SMALL_PART if small else -(-len(memory) // STREAMS)
        parts = list(parts_of(first, memoryview(memory), size))
        self._side_by_side(parts, SMALL_STREAMS if small else STREAMS)
        return {name: self._view(memory, name, first) for name in names}

    def into(self, arrays: Arrays) -> None:
        """Read a quarter of the tensors on each connection, one request for each."""
        lanes = [list(arrays.items())[i::STREAMS] for i in range(STREAMS)]
        self._in_threads(self._lane, lanes)

    def _lane(self, items: list[tuple[str, Any]]) -> None:
        for name, array in items:
            self.fetch(self.job.layout[name][0], bytes_of(array))

    def _view(self, memory: Any, name: str, first: int) -> Any:
        offset, length = self.job.layout[name]
        part = memory[offset - first : offset - first + length]
        return part.view(self.job.dataset.dtype).reshape(self.job.dataset.shape)

    def fetch(self, offset: int, view: memoryview) -> None:
        """Send one request and receive its body where it belongs."""
        connection = self._connection()
        head = f"Range: bytes={offset}-{offset + len(view) - 1}\r\n\r\n"
        connection.sendall((self._request + head).encode())
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            if not (data := connection.recv(1024)):
                raise ConnectionError("no answer")
            received += data
        if not received.startswith((b"HTTP/1.1 206", b"HTTP/1.1 200")):
            raise OSError(received[:60].decode())
        position = len(received) - end - 4
        view[:position] = received[end + 4 :]
        while position < len(view):
            count = connection.recv_into(view[position:])
            if not count:
                raise ConnectionError("the body is short")
            position += count
        self._idle.put(connection)

    def _connection(self) -> socket.socket:
        if not self._idle.empty():
            return self._idle.get()
        connection = socket.create_connection(self._address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return connection
        return self._tls.wrap_socket(connection, server_hostname=self._address[0])
