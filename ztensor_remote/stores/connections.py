"""Connections to web servers, kept open between requests and shared by all threads."""

from __future__ import annotations

import atexit
import os
import selectors
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

from .control import Control
from .target import Origin, basic_auth

_MOST_IDLE = 64
_LONGEST_IDLE = 30.0
"""Seconds. Stores close connections that were idle for longer, some without a word."""


_LONGEST_CONNECT = 10.0
"""Seconds."""

# Windows has no poll; and what select can do ends with descriptor 1023.
_Selector: type[selectors.BaseSelector] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)


class Connections:
    """The open connections of this process that nobody uses at the moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[tuple[HTTPConnection, float]]] = defaultdict(list)

    @contextmanager
    def use(
        self, origin: Origin, *, timeout: float, control: Control
    ) -> Iterator[tuple[HTTPConnection, socket.socket]]:
        """Lend a connection and its socket; they are kept for the next if the block ends well.

        Parameters
        ----------
        timeout : float
            Seconds without a byte after which it fails.
        """
        connection = self._take(origin)
        try:
            sock = _connected(connection, control.remaining(timeout))
            with control.breaking(lambda: _shut(sock)):
                yield connection, sock
        except BaseException:
            connection.close()
            raise
        self._give_back(origin, connection)

    def _take(self, origin: Origin) -> HTTPConnection:
        with self._lock:
            idle = self._idle[origin]
            while idle:
                connection, since = idle.pop()
                if time.monotonic() - since < _LONGEST_IDLE and not _is_dropped(connection):
                    return connection
                connection.close()
        return _new(origin)

    def _give_back(self, origin: Origin, connection: HTTPConnection) -> None:
        if connection.sock is None:  # the server wanted it closed
            return
        with self._lock:
            if len(self._idle[origin]) < _MOST_IDLE:
                self._idle[origin].append((connection, time.monotonic()))
                return
        connection.close()

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            for idle in self._idle.values():
                for connection, _ in idle:
                    connection.close()
            self._idle.clear()


def _new(origin: Origin) -> HTTPConnection:
    """Return a connection that is not yet made."""
    host, port = origin.host, origin.port
    headers = {}
    if origin.proxy is not None:
        proxy = urlsplit(origin.proxy)
        assert proxy.hostname is not None
        host, port = proxy.hostname, proxy.port or 80
        headers = proxy_headers(origin.proxy)
    if origin.scheme == "http":
        return HTTPConnection(host, port)
    connection = HTTPSConnection(host, port, context=origin.tls)
    if origin.proxy is not None:
        connection.set_tunnel(origin.host, origin.port, headers)
    return connection


def proxy_headers(proxy: str) -> dict[str, str]:
    """Return what a proxy wants to be told: the user and the password of its URL."""
    credentials = basic_auth(proxy)
    return {} if credentials is None else {"Proxy-Authorization": credentials}


def _connected(connection: HTTPConnection, timeout: float) -> socket.socket:
    if connection.sock is None:
        connection.timeout = min(timeout, _LONGEST_CONNECT)
        connection.connect()
    sock: socket.socket = connection.sock
    sock.settimeout(timeout)
    return sock


def _is_dropped(connection: HTTPConnection) -> bool:
    """Whether the server has closed an idle connection, or sent what nobody asked for."""
    if connection.sock is None:
        return True
    with _Selector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def _shut(sock: socket.socket) -> None:
    """Wake whoever waits for this connection."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


_open = Connections()
atexit.register(lambda: _open.close())


def connections() -> Connections:
    """Return this process's connections."""
    return _open


def _after_fork() -> None:
    """Leave the parent's connections to it: closing them here does not end them there."""
    global _open
    inherited, _open = _open, Connections()
    for idle in inherited._idle.values():  # its lock may be held by a thread that is not here
        for connection, _ in idle:
            connection.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
