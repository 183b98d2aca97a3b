"""What a plain HTTP request for an object needs, taken from the filesystem that knows it."""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


class NoTarget(Exception):
    """The filesystem is set up in a way that plain requests can't honour; the text says how."""


def basic_auth(url: str) -> str | None:
    """Return the header that user and password in a URL stand for, if they are there."""
    parts = urlsplit(url)
    if parts.username is None:
        return None
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


def plain_proxy(url: str | None) -> str | None:
    """Return the URL of a proxy that plain connections can go through.

    Raises
    ------
    NoTarget
    """
    if url is not None and not url.startswith("http://"):
        raise NoTarget(f"the way leads through a proxy of kind {url.partition(':')[0]}")
    return url


def environment_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL, for clients that heed it.

    Raises
    ------
    NoTarget
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return plain_proxy(getproxies().get(parts.scheme))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go.

    Attributes
    ----------
    scheme : {"http", "https"}
    host : str
    port : int or None
    tls : ssl.SSLContext or None
        For https.
    proxy : str or None
        URL of the HTTP proxy to go through.
    """

    scheme: str
    host: str
    port: int | None
    tls: ssl.SSLContext | None = None
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """An object as any HTTP client can get it.

    Attributes
    ----------
    url : str
        Signed where the store wants it; secret.
    headers : mapping
        To send with each request; secret.
    tls : ssl.SSLContext or None
    proxy : str or None
    expires : float or None
        On the monotonic clock, in seconds; None where it stays valid.
    conditional : bool
        Whether the version is pinned by ``If-Match``; otherwise the URL pins it.
    version_header : str or None
        The answer's header that names the version, where there is one besides the ETag.
    content_header : str or None
        The header of a redirect that names the content, in place of the ETag where it leads to.
    etag, version : str or None
        What redirects on the way here have said of the object.
    by_date : bool
        Whether the time of the last change stands in where there is no ETag.
    follow : bool
        Whether redirects lead to the object.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = None
    proxy: str | None = field(default=None, repr=False)
    expires: float | None = None
    conditional: bool = True
    version_header: str | None = None
    content_header: str | None = None
    etag: str | None = None
    version: str | None = None
    by_date: bool = False
    follow: bool = False

    @property
    def origin(self) -> Origin:
        """The server."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        return Origin(parts.scheme, parts.hostname, parts.port, self.tls, self.proxy)

    @property
    def request_target(self) -> str:
        """What the request line names: the path, or to a proxy all of the URL (RFC 9112 §3.2)."""
        parts = urlsplit(self.url)
        if self.proxy is not None and parts.scheme == "http":
            return self.url
        path = parts.path or "/"
        return f"{path}?{parts.query}" if parts.query else path

    @property
    def is_stale(self) -> bool:
        """Whether it is better made anew."""
        return self.expires is not None and time.monotonic() > self.expires
