"""A server that takes uploads as S3 does, and drops them: nothing that is sent is slow to arrive.

Bodies are dropped by the kernel (``MSG_TRUNC`` of Linux), without being copied. Objects of which it
was sent the parts are known by their sizes alone.

    python -m writing.sink PORT [BYTES_A_SECOND]
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

PIECE = 1 << 20
DROPPED = getattr(socket, "MSG_TRUNC", 0)
BEGUN = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
COMPLETED = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"


class Counter:
    """Requests and bytes of their bodies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.bytes = 0

    def add(self, nbytes: int) -> None:
        """Count a request."""
        with self._lock:
            self.requests += 1
            self.bytes += nbytes


class Line:
    """What all connections pass through.

    Parameters
    ----------
    rate
        Bytes a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free = 0.0

    def carry(self, nbytes: int) -> None:
        """Wait until these bytes are through."""
        with self._lock:
            self._free = max(self._free, time.monotonic()) + nbytes / self._rate
            wait = self._free - time.monotonic()
        time.sleep(max(0.0, wait))


def main(port: int, rate: float = math.inf) -> None:
    """Serve until killed."""
    with suppress(AttributeError, OSError):  # one core, so that the other is the client's
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    counter, line = Counter(), Line(rate)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection, counter, line), daemon=True).start()


def serve(connection: socket.socket, counter: Counter, line: Line) -> None:
    """Answer the requests of one connection."""
    scratch = bytearray(PIECE)
    received = b""
    with suppress(OSError), connection:
        while True:
            while (end := received.find(b"\r\n\r\n")) < 0:
                if not (data := connection.recv(1 << 16)):
                    return
                received += data
            request, *lines = received[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): text.strip() for name, _, text in map(_halves, lines)}
            received = received[end + 4 :]
            if "expect" in headers:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            left = length = int(headers.get("content-length", 0))
            left -= len(received[:left])
            received = received[length:]
            while left:
                count = connection.recv_into(scratch, min(left, PIECE), DROPPED)
                if not count:
                    return
                left -= count
                line.carry(count)
            method, target, _ = request.split(" ")
            connection.sendall(answer(method, target, counter))
            if target != "/counts":
                counter.add(length)


def _halves(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def answer(method: str, target: str, counter: Counter) -> bytes:
    """Return what S3 would say."""
    query = parse_qs(urlsplit(target).query, keep_blank_values=True)
    status, body = "200 OK", ""
    if target == "/counts":
        body = json.dumps({"requests": counter.requests, "bytes": counter.bytes, "cpu": cpu()})
    elif method == "POST":
        body = BEGUN if "uploads" in query else COMPLETED
    elif method == "HEAD":
        status = "404 Not Found"
    head = f'HTTP/1.1 {status}\r\nETag: "e"\r\nContent-Length: {len(body)}\r\n\r\n'
    return (head + body).encode()


def cpu() -> float:
    """Return the seconds of CPU that this process has used."""
    return time.process_time()


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:]))
