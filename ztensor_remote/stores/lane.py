"""The fast way to bytes on web servers: pooled connections whose bodies go straight to memory.

Client libraries copy a body two to five times on its way; here the kernel copies it to its place.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from email.message import Message
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urljoin, urlsplit

from .answer import Answer, RangeNotSatisfiable, Receive, check_encoding, stated_length
from .body import receive_body
from .connections import connections, proxy_headers
from .control import Control
from .source import Identity
from .target import Target

_MOST_HOPS = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_REDIRECTED_FOR = 300.0
REFUSALS = frozenset((301, 302, 303, 307, 308, 400, 401, 403, 405, 406, 501))
"""Answers to a plain request where the filesystem's client may fare better."""

_LONGEST_REFUSAL = 16 << 10
_CODE = re.compile(rb"<Code>(\w+)</Code>")
AGENT = "ztensor_remote"
_OURS = frozenset(("range", "accept-encoding", "if-match"))


class HTTPStatusError(Exception):
    """The server answered with a status that is no success.

    Parameters
    ----------
    status : int
    reason : str
    headers : email.message.Message, optional
        Of the answer.
    """

    def __init__(self, status: int, reason: str, headers: Message | None = None) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.headers = headers


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

    def renew(self, since: float) -> bool:
        """Sign anew from now on; return whether what was used was made before `since`.

        Signatures, tokens and the addresses that redirects lead to are good for a while only, and
        the server alone knows for how long.
        """
        with self._lock:
            is_old = any(made < since for _, made in self._made.values())
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
        headers = _headers(target, range_header, pin)
        with connections().use(target.origin, timeout=self._timeout, control=control) as (
            connection,
            sock,
        ):
            sent = time.perf_counter()
            connection.request("GET", target.request_target, headers=headers)
            response = connection.getresponse()
            waited = time.perf_counter() - sent
            location = response.getheader("Location")
            if target.follow and response.status in _REDIRECTS and location is not None:
                _pass_over(connection, response)
                return _moved(target, location, response)
            if response.status not in (200, 206):
                raise refusal(connection, response)
            scatter = receive(_answer(target, response, waited))
            if not receive_body(response, sock, scatter, timeout=self._timeout, control=control):
                connection.close()
            return None


def _version(pin: Identity | None) -> str | None:
    return None if pin is None else pin.version


def _headers(target: Target, range_header: str, pin: Identity | None) -> dict[str, str]:
    """Return what to send; ranges and conditions are ours to choose, whatever the caller gave."""
    given = {name: text for name, text in target.headers.items() if name.lower() not in _OURS}
    headers = {"Range": range_header, "Accept-Encoding": "identity", **given}
    if not any(name.lower() == "user-agent" for name in given):
        headers["User-Agent"] = AGENT
    if target.conditional and pin and pin.etag and not pin.etag.startswith("W/"):
        headers["If-Match"] = pin.etag
    if target.proxy is not None and target.origin.scheme == "http":
        headers |= proxy_headers(target.proxy)
    return headers


def _moved(target: Target, location: str, response: HTTPResponse) -> Target:
    """Return where to go on, without what is meant for this server alone."""
    url = urljoin(target.url, location)
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise HTTPStatusError(response.status, "redirected to what is no web server")
    is_elsewhere = urlsplit(url)[:2] != urlsplit(target.url)[:2]
    expires = time.monotonic() + _REDIRECTED_FOR
    return replace(
        target,
        url=url,
        headers={} if is_elsewhere else target.headers,
        etag=_header(response, target.content_header) or target.etag,
        version=_header(response, target.version_header) or target.version,
        expires=min(expires, target.expires or expires),
    )


def _header(response: HTTPResponse, name: str | None) -> str | None:
    return None if name is None else response.getheader(name)


def _answer(target: Target, response: HTTPResponse, waited: float) -> Answer:
    if target.follow:
        check_encoding(response.getheader("Content-Encoding"))
    content_range = response.getheader("Content-Range")
    etag = target.etag or response.getheader("ETag")
    version = target.version or _header(response, target.version_header)
    if target.by_date and etag is None:
        version = response.getheader("Last-Modified")
    return Answer(
        stated_length(response.length, content_range),
        content_range,
        etag,
        None if version == "null" else version,
        waited,
    )


def refusal(connection: HTTPConnection, response: HTTPResponse) -> Exception:
    """Return what the server refused, in words that hold nothing of the request."""
    status, reason = response.status, response.reason
    found = _CODE.search(_pass_over(connection, response))
    if status == 416:
        return RangeNotSatisfiable()
    return HTTPStatusError(status, found[1].decode() if found else reason, response.headers)


def _pass_over(connection: HTTPConnection, response: HTTPResponse) -> bytes:
    """Read the end of an answer that is not wanted; a long one costs its connection."""
    body = response.read(_LONGEST_REFUSAL)
    if not response.isclosed():
        connection.close()
    return body
