"""Bodies of answers, from the socket to where they belong."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException, HTTPResponse
from io import DEFAULT_BUFFER_SIZE

from .control import Control
from .scatter import Scatter

_CHUNK = 16 << 20
"""Bytes after which a transfer looks up, and notes how far it is.

Each time the others may have to wait for this thread. Who gives a transfer up need not wait for it:
that shuts its connections.
"""

_STEP = 1 << 20
"""Bytes that are taken at once of a body whose length is not known."""

_RECORD = 8 << 10
"""Bytes: less at once means that the sender is not keeping up."""

Fill = Callable[[Sequence[memoryview]], int]
"""Receives into memory, from its front; returns how much has come: nothing at the end."""


def receive_body(
    response: HTTPResponse,
    sock: socket.socket,
    scatter: Scatter,
    *,
    timeout: float,
    control: Control,
) -> bool:
    """Receive the body of an answer whose headers have been read.

    Parameters
    ----------
    timeout : float
        Seconds without a byte after which it fails.

    Returns
    -------
    bool
        Whether the connection can be used again.

    Notes
    -----
    What has arrived counts even if the next step fails: the next request begins behind it. What
    follows the announced bytes does not.
    """
    if response.length is None:
        return _receive_to_its_end(response, sock, scatter, timeout, control)
    # What came along with the headers is taken first; all of it, if there is room.
    sock.settimeout(control.remaining(timeout))
    scatter.write(response.fp.read1(min(DEFAULT_BUFFER_SIZE, scatter.missing)))
    with _filling(sock, timeout, control) as fill:
        while scatter.missing:
            count = fill(scatter.rooms(_CHUNK))
            if not count:
                return False
            scatter.advance(count)
    response.close()  # nothing is left: the connection is free
    return True


def _receive_to_its_end(
    response: HTTPResponse,
    sock: socket.socket,
    scatter: Scatter,
    timeout: float,
    control: Control,
) -> bool:
    """Receive a body that does not say how long it is."""
    while scatter.missing:
        sock.settimeout(control.remaining(timeout))
        data = response.read1(min(_STEP, scatter.missing))
        if not data:
            return False
        scatter.write(data)
    try:
        return response.chunked and not response.read1(1)
    except (OSError, HTTPException):
        return False


@contextmanager
def _filling(sock: socket.socket, timeout: float, control: Control) -> Iterator[Fill]:
    """Give the way to receive that costs least on this socket."""
    if control.is_timed:
        yield partial(_fill_once, sock, timeout, control)
    elif isinstance(sock, ssl.SSLSocket) or sys.platform != "linux":
        yield partial(_fill_one, sock)
    else:
        # Python asks whether there is anything before each call, and the kernel then gives what
        # little there is. Without its timeout both wait in the kernel, for all of the memory.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(timeout))
        sock.settimeout(None)
        try:
            yield partial(_fill_all, sock)
        finally:
            sock.settimeout(timeout)


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("ll", whole, max(1, int((seconds - whole) * 1e6)))


def _fill_all(sock: socket.socket, rooms: Sequence[memoryview]) -> int:
    """Receive until all is full, the body ends, or nothing came for too long."""
    try:
        return sock.recvmsg_into(rooms, 0, socket.MSG_WAITALL)[0]
    except BlockingIOError:
        raise TimeoutError("timed out") from None


def _fill_one(sock: socket.socket, rooms: Sequence[memoryview]) -> int:
    """Receive until the first is full or the server has a pause.

    TLS hands over 16 KiB at a time: a look-up after each would take as long as decrypting them.
    """
    room = rooms[0]
    filled = count = sock.recv_into(room)
    while count >= _RECORD and filled < len(room):
        try:
            count = sock.recv_into(room[filled:])
        except OSError:  # what has arrived counts; the next call fails again
            return filled
        filled += count
    return filled


def _fill_once(
    sock: socket.socket, timeout: float, control: Control, rooms: Sequence[memoryview]
) -> int:
    """Receive what is there, before the deadline."""
    sock.settimeout(control.remaining(timeout))
    return sock.recv_into(rooms[0])
