"""A TCP relay that stands for distance: what a client sends arrives later.

A request and its answer take one round trip more, as over a long line. The handshake of TCP does
not, so a new connection costs no more than a used one. Answers pass at full speed.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Self

PIECE = 1 << 18

Move = Callable[[socket.socket, socket.socket], None]


class Relay:
    """Listens on 127.0.0.1 within a ``with`` block and passes on to a port there.

    Parameters
    ----------
    port
        Where the server listens.
    seconds
        The delay.
    """

    def __init__(self, port: int, seconds: float) -> None:
        self._to = ("127.0.0.1", port)
        self._seconds = seconds
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._to)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            delay = partial(_delay, self._seconds)
            for move, ends in ((delay, (client, server)), (_pass, (server, client))):
                threading.Thread(target=_run, args=(move, *ends), daemon=True).start()


def _run(move: Move, source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        move(source, sink)
    # Wakes the other direction, and tells both ends.
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _delay(seconds: float, source: socket.socket, sink: socket.socket) -> None:
    waiting: deque[tuple[float, bytes]] = deque()
    poll = select.poll()  # select.select refuses the numbers that many connections lead to
    poll.register(source, select.POLLIN)
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) * 1e3 if waiting else None
        if poll.poll(timeout):
            if not (data := source.recv(PIECE)):
                return
            waiting.append((time.monotonic() + seconds, data))
        while waiting and waiting[0][0] <= time.monotonic():
            sink.sendall(waiting.popleft()[1])


def _pass(source: socket.socket, sink: socket.socket) -> None:
    piece = memoryview(bytearray(PIECE))
    while count := source.recv_into(piece):
        sink.sendall(piece[:count])
