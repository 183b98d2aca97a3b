"""sendall on sockets, with no library: the limit of what Python can do."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from ..job import BUCKET, KEY_OF_OBJECT
from .peer import STREAMS, Peer, parts_of


class Raw(Peer):
    """PUTs of parts that nobody signs, on four connections."""

    def connect(self) -> None:
        """Open the connections."""
        url = urlsplit(self.job.url)
        self._connections = [
            socket.create_connection((url.hostname, url.port)) for _ in range(STREAMS)
        ]
        self._pool = ThreadPoolExecutor(STREAMS)

    def upload(self) -> None:
        """Send all parts, each connection every fourth."""
        for _ in self._pool.map(self._lane, range(STREAMS)):
            pass

    def _lane(self, first: int) -> None:
        connection = self._connections[first]
        for number, part in parts_of(self.view)[first::STREAMS]:
            target = f"/{BUCKET}/{KEY_OF_OBJECT}?partNumber={number}&uploadId=1"
            head = f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(part)}\r\n\r\n"
            connection.sendall(head.encode())
            connection.sendall(part)
            if not connection.recv(1 << 16).startswith(b"HTTP/1.1 200"):
                raise ConnectionError("the part was refused")
