"""The fast way of bytes to web servers: sent from where they are, without a client's copies."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from http.client import HTTPException

from .connections import connections, proxy_headers
from .control import Control
from .lane import AGENT, refusal
from .target import Target

_CHUNK = 1 << 20
"""Bytes that must go out within the timeout, all of them."""


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
    with connections().use(target.origin, timeout=timeout, control=control) as (connection, _):
        try:
            connection.request("PUT", target.request_target, _chunks(data), headers)
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


def _chunks(data: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(data), _CHUNK):
        yield data[start : start + _CHUNK]
