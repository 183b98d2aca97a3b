"""The fast way of bytes to web servers: sent from where they are, without a client's copies."""

from __future__ import annotations

from email.message import Message
from http.client import HTTPException
from socket import socket
from ssl import SSLSocket

from .connections import connections, proxy_headers
from .control import Control
from .lane import AGENT, refusal
from .target import Target

_TLS_STEP = 1 << 20
"""Bytes that must go out within the timeout, all of them, where they are encrypted."""


def put(target: Target, data: memoryview, *, timeout: float) -> Message:
    """Send one PUT and return the headers of its answer.

    Parameters
    ----------
    data : memoryview
        Of format ``"B"``; read until this returns.
    timeout : float
        Seconds without progress after which it fails.

    Raises
    ------
    HTTPStatusError, OSError
    http.client.HTTPException
    """
    headers = {"User-Agent": AGENT, **target.headers, "Content-Length": str(len(data))}
    if target.proxy is not None and target.origin.scheme == "http":
        headers |= proxy_headers(target.proxy)
    control = Control()  # what was sent may have been taken: the answer is waited for
    with connections().use(target.origin, timeout=timeout, control=control) as (connection, sock):
        try:
            connection.request("PUT", target.request_target, headers=headers)
            _send(sock, data)
        except (BrokenPipeError, ConnectionResetError) as error:
            # Who refuses early may not read to the end, but has said why.
            try:
                response = connection.getresponse()
            except (OSError, HTTPException):
                raise error from None
        else:
            response = connection.getresponse()
        if response.status != 200:
            raise refusal(connection, response)
        response.read()
        return response.headers


def _send(sock: socket, data: memoryview) -> None:
    """Send all of it; the timeout is for each step, which takes what there is room for."""
    step = _TLS_STEP if isinstance(sock, SSLSocket) else len(data)
    at = 0
    while at < len(data):
        at += sock.send(data[at : at + step])
