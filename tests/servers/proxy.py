"""A proxy before a server: it records every request, and spoils exchanges on demand."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from itertools import chain
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from .faults import (
    Chunked,
    CorruptByte,
    CutRequest,
    CutResponse,
    Delay,
    Drip,
    DropResponse,
    Fault,
    Full,
    Headers,
    Reset,
    ShortBody,
    Stall,
    Status,
)
from .framing import all_but_last, first, inverted, read_answer, read_chunked, read_sized, single
from .listener import Handler, Listener

# About one connection, not about the exchange: each side has its own.
CONNECTION_HEADERS = frozenset({"connection", "keep-alive", "expect", "transfer-encoding"})
# Azure's clients have one of their own.
RANGE_HEADERS = frozenset({"range", "x-ms-range"})
# Linger, for no time: closing such a socket resets the connection.
AT_ONCE = struct.pack("ii", 1, 0)


@dataclass
class Request:
    """One request, and what became of it.

    Attributes
    ----------
    path, query
        Decoded.
    headers
        By lower-case name.
    status
        The server's answer, or the fault's; 0 as long as there is none.
    request_bytes, response_bytes
        Of the bodies, as they came from the client and went to it.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0

    @property
    def range(self) -> str | None:
        """The range that was asked for."""
        return next((self.headers[name] for name in RANGE_HEADERS & self.headers.keys()), None)


FaultHook: TypeAlias = Callable[[Request], Fault | None]


class Proxy(Listener):
    """A recording proxy, running from the start of a ``with`` block to its end.

    The Host header goes through unchanged, so signatures stay valid.

    Parameters
    ----------
    target
        URL of the server.

    Attributes
    ----------
    fault
        Called with each request, one at a time, before it is forwarded; returns what to do to it.
    """

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(_Connection, tls)
        self.fault: FaultHook = _no_fault
        self._target = urlsplit(target).netloc
        self._requests: list[Request] = []
        self._order = threading.Lock()

    @property
    def requests(self) -> list[Request]:
        """What came so far, in order, those that are still under way included."""
        return self._requests.copy()

    @property
    def response_bytes(self) -> int:
        """Sum of the bodies that went to clients."""
        return sum(request.response_bytes for request in self.requests)

    def count(self, **fields: object) -> int:
        """Count the requests with these values: ``count(method="GET", status=206)``."""
        return sum(
            all(getattr(request, name) == value for name, value in fields.items())
            for request in self.requests
        )

    def clear(self) -> None:
        """Forget the requests so far."""
        self._requests = []

    def connect(self) -> HTTPConnection:
        """Return a new connection to the server."""
        connection = HTTPConnection(self._target)
        connection.connect()
        return connection

    def admit(self, request: Request) -> Fault | None:
        """Record a request and return what to do to it."""
        with self._order:
            self._requests.append(request)
            return self.fault(request)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """End a connection, without a goodbye where it is to be reset."""
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == AT_ONCE:
            self.close_request(request)
        else:
            super().shutdown_request(request)


def _no_fault(request: Request) -> None:
    return None


class _Connection(Handler):
    server: Proxy

    def do_GET(self) -> None:
        url = urlsplit(self._target())
        request = Request(
            method=self.command,
            path=unquote(url.path),
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
        )
        fault = self.server.admit(request)
        body = self._body(request)
        if isinstance(fault, Status):
            _exhaust(body)
            self._answer_alone(request, fault)
            return
        if isinstance(fault, Delay):
            self.server.pause(fault.seconds)
        if isinstance(fault, CutRequest):
            body = _broken_off(body, fault.after_bytes)
        try:
            self._pass_on(request, body, fault)
        except HTTPException as error:
            raise ConnectionAbortedError("the server broke off") from error

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    def _target(self) -> str:
        # Not self.path, which has lost the second of two leading slashes.
        return self.requestline.split()[1]

    def _chunked(self) -> bool:
        return self.headers.get("Transfer-Encoding", "").lower() == "chunked"

    def _body(self, request: Request) -> Iterator[bytes]:
        if self._chunked():
            blocks = read_chunked(self.rfile)
        else:
            blocks = read_sized(self.rfile, int(self.headers.get("Content-Length", 0)))
        try:
            for block in blocks:
                request.request_bytes += len(block)
                yield block
        except ConnectionError as error:
            # Told apart from the errors of sending the body on.
            raise ConnectionAbortedError("the client went away") from error

    def _answer_alone(self, request: Request, fault: Status) -> None:
        request.status = fault.code
        self.send_response(fault.code)
        for name, value in fault.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(fault.body)))
        self.end_headers()
        if self.command != "HEAD":
            request.response_bytes = len(fault.body)
            self.wfile.write(fault.body)

    def _pass_on(self, request: Request, body: Iterator[bytes], fault: Fault | None) -> None:
        with (
            closing(self.server.connect()) as connection,
            self.server.cut_at_exit(connection.sock),
        ):
            self._forward(connection, body, whole=isinstance(fault, Full))
            response = connection.getresponse()
            request.status = response.status
            if isinstance(fault, DropResponse):
                _exhaust(read_answer(response))
                self.close_connection = True
            else:
                self._answer(request, response, fault)

    def _forward(self, connection: HTTPConnection, body: Iterator[bytes], *, whole: bool) -> None:
        left_out = CONNECTION_HEADERS | RANGE_HEADERS if whole else CONNECTION_HEADERS
        connection.putrequest(
            self.command, self._target(), skip_host=True, skip_accept_encoding=True
        )
        for name, value in self.headers.items():
            if name.lower() not in left_out:
                connection.putheader(name, value)
        if self._chunked():
            connection.putheader("Transfer-Encoding", "chunked")
        try:
            connection.endheaders(body, encode_chunked=self._chunked())
        except (BrokenPipeError, ConnectionResetError):
            # A server may answer, and close, before it has read a body that it refuses.
            _exhaust(body)

    def _answer(self, request: Request, response: HTTPResponse, fault: Fault | None) -> None:
        has_body = self.command != "HEAD" and response.status not in (204, 304)
        chunked = has_body and (
            response.chunked or response.length is None or isinstance(fault, Chunked)
        )
        headers = [
            item for item in response.getheaders() if item[0].lower() not in CONNECTION_HEADERS
        ]
        blocks = read_answer(response)
        if has_body:
            headers, blocks = _spoiled(headers, blocks, fault)

        self.send_response_only(response.status, response.reason)
        for name, value in headers:
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for block in blocks:
            # Counted first: whoever has received the bytes finds them counted.
            request.response_bytes += len(block)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            if isinstance(fault, Drip):
                self.server.pause(fault.seconds)
        if isinstance(fault, Stall):
            self.server.pause(fault.seconds)
        if isinstance(fault, Reset):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        if isinstance(fault, CutResponse | Reset | Stall):
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")


def _spoiled(
    headers: list[tuple[str, str]], blocks: Iterator[bytes], fault: Fault | None
) -> tuple[list[tuple[str, str]], Iterator[bytes]]:
    match fault:
        case CutResponse(after_bytes) | Reset(after_bytes) | Stall(after_bytes):
            return headers, first(blocks, after_bytes)
        case Drip():
            return headers, single(blocks)
        case Headers(changed):
            names = {name.lower() for name, _ in changed}
            kept = [item for item in headers if item[0].lower() not in names]
            return [*kept, *changed], blocks
        case Chunked(surplus):
            kept = [item for item in headers if item[0].lower() != "content-length"]
            return kept, chain(blocks, [surplus] if surplus else [])
        case ShortBody(n):
            shorter = [(name, _shortened(name.lower(), value, n)) for name, value in headers]
            return shorter, all_but_last(blocks, n)
        case CorruptByte(at):
            return headers, inverted(blocks, at)
        case _:
            return headers, blocks


def _shortened(name: str, value: str, n: int) -> str:
    match name:
        case "content-length":
            return str(max(int(value) - n, 0))
        case "content-range":
            return re.sub(r"-(\d+)/", lambda end: f"-{int(end[1]) - n}/", value)
        case _:
            return value


def _broken_off(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    yield from first(blocks, size)
    raise ConnectionAbortedError("as the test wants it")


def _exhaust(blocks: Iterator[bytes]) -> None:
    deque(blocks, maxlen=0)
