"""The fast way to bytes on web servers: pooled connections whose bodies go straight to memory.

Client libraries copy a body two to five times on its way; here the kernel copies it to its place.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urljoin, urlsplit

from .answer import Answer, RangeNotSatisfiable, Receive, stated_length
from .connections import connections
from .control import Control
from .scatter import Scatter
from .source import Identity
from .target import Target

_CHUNK = 1 << 20
"""Bytes after which a transfer looks up: whether it goes on, and what is to be done with them."""

_MOST_HOPS = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_REDIRECTED_FOR = 300.0
_FRESH = 30.0
"""Seconds: what was signed since can't have expired."""
_LONGEST_REFUSAL = 16 << 10
_CODE = re.compile(rb"<Code>(\w+)</Code>")
_AGENT = "ztensor_remote"


class HTTPStatusError(Exception):
    """The server answered with a status that is no success."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status


class HTTPLane:
    """Ranges of one object by plain GETs (RFC 9110 §14).

    Parameters
    ----------
    sign : callable
        Makes the target for a pinned version, or for any.
    timeout : float
        Seconds without a byte after which a request fails.
    """

    def __init__(self, sign: Callable[[Identity | None], Target], *, timeout: float) -> None:
        self._sign = sign
        self._timeout = timeout
        self._lock = threading.Lock()
        self._made: dict[str | None, tuple[Target, float]] = {}

    def get(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Send one GET, conditional on `pin`, and put its body where `receive` says.

        Raises
        ------
        HTTPStatusError, RangeNotSatisfiable, OSError
        http.client.HTTPException
        """
        target = self._target(pin)
        for _ in range(_MOST_HOPS):
            moved = self._exchange(target, range_header, receive, pin, control)
            if moved is None:
                return
            target = moved
            self._keep(pin, target)
        raise HTTPStatusError(310, "too many redirects")

    def renew(self) -> bool:
        """Sign anew from now on; return whether what was used can have been too old."""
        with self._lock:
            is_old = any(time.monotonic() - since > _FRESH for _, since in self._made.values())
            self._made.clear()
        return is_old

    def _target(self, pin: Identity | None) -> Target:
        version = _version(pin)
        with self._lock:  # one of many threads signs, the others use what it made
            for key in {version, None} & self._made.keys():
                target, _ = self._made[key]
                if not target.is_stale and (target.conditional or key == version):
                    return target
            target = self._sign(pin)
            self._made[version] = target, time.monotonic()
            return target

    def _keep(self, pin: Identity | None, target: Target) -> None:
        with self._lock:
            self._made[_version(pin)] = target, time.monotonic()

    def _exchange(
        self,
        target: Target,
        range_header: str,
        receive: Receive,
        pin: Identity | None,
        control: Control,
    ) -> Target | None:
        """Do one request; return where it has to be repeated, if it has to be."""
        headers = {"User-Agent": _AGENT, **target.headers, "Range": range_header}
        if target.conditional and pin and pin.etag and not pin.etag.startswith("W/"):
            headers["If-Match"] = pin.etag
        with connections().use(target.origin, timeout=self._timeout, control=control) as connection:
            sent = time.perf_counter()
            connection.request("GET", target.request_target, headers=headers)
            response = connection.getresponse()
            waited = time.perf_counter() - sent
            location = response.getheader("Location")
            if target.follow and response.status in _REDIRECTS and location is not None:
                _pass_over(connection, response)
                return _moved(target, location)
            if response.status not in (200, 206):
                raise _refusal(connection, response)
            _receive(response, receive(_answer(target, response, waited)))
            return None


def _version(pin: Identity | None) -> str | None:
    return None if pin is None else pin.version


def _moved(target: Target, location: str) -> Target:
    """Return where to go on, without what is meant for this server alone."""
    url = urljoin(target.url, location)
    is_elsewhere = urlsplit(url)[:2] != urlsplit(target.url)[:2]
    expires = time.monotonic() + _REDIRECTED_FOR
    return replace(
        target,
        url=url,
        headers={} if is_elsewhere else target.headers,
        expires=min(expires, target.expires or expires),
    )


def _answer(target: Target, response: HTTPResponse, waited: float) -> Answer:
    content_range = response.getheader("Content-Range")
    etag = response.getheader("ETag")
    version = target.version_header and response.getheader(target.version_header)
    if target.by_date and etag is None:
        version = response.getheader("Last-Modified")
    return Answer(
        stated_length(response.length, content_range),
        content_range,
        etag,
        None if version == "null" else version,
        waited,
    )


def _receive(response: HTTPResponse, scatter: Scatter) -> None:
    while scatter.missing:
        count = response.readinto(scatter.next(_CHUNK))
        if not count:
            return
        scatter.advance(count)
    response.read()  # nothing is left; the end of it frees the connection


def _refusal(connection: HTTPConnection, response: HTTPResponse) -> Exception:
    """Return what the server refused, in words that hold nothing of the request."""
    status, reason = response.status, response.reason
    found = _CODE.search(_pass_over(connection, response))
    if status == 416:
        return RangeNotSatisfiable()
    return HTTPStatusError(status, found[1].decode() if found else reason)


def _pass_over(connection: HTTPConnection, response: HTTPResponse) -> bytes:
    """Read the end of an answer that is not wanted; a long one costs its connection."""
    body = response.read(_LONGEST_REFUSAL)
    if not response.isclosed():
        connection.close()
    return body
