"""Objects on any web server, through fsspec's HTTP filesystem."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fsspec.implementations.http import get_client

from .answer import Answer, RangeNotSatisfiable, Receive, check_encoding, stated_length
from .control import Control
from .limits import Limits
from .location import Location
from .remote import RemoteSource
from .source import Identity
from .target import NoTarget, Target, basic_auth
from .tls import as_context

_OF_NO_CONCERN = frozenset(("timeout", "raise_for_status"))


class HTTPSource(RemoteSource):
    """Ranges by GET with If-Match where the server gives a strong ETag (RFC 9110 §13, §14)."""

    def __init__(self, location: Location, fs: Any, path: str, limits: Limits) -> None:
        super().__init__(location, limits)
        self._fs = fs
        self._path = path

    def sign(self, pin: Identity | None) -> Target:
        """Return the URL, and what the filesystem was told to send along."""
        fs, options, session = self._fs, dict(self._fs.kwargs), dict(self._fs.client_kwargs)
        if fs.get_client is not get_client:
            raise NoTarget("the filesystem makes its sessions in a way of its own")
        headers = {**session.pop("headers", {}), **options.pop("headers", {})}
        auth = options.pop("auth", None) or session.pop("auth", None)
        tls = as_context(options.pop("ssl", None))
        url = str(fs.encode_url(self._path))
        user = basic_auth(url)
        if auth or user:
            headers["Authorization"] = auth.encode() if auth else user
        unknown = sorted({*options, *session} - _OF_NO_CONCERN)
        if unknown:
            raise NoTarget(f"the filesystem was given {', '.join(unknown)}, which are for aiohttp")
        return Target(_without_user(url), headers=headers, tls=tls, by_date=True, follow=True)

    def get(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Send one GET."""
        self.run(self._fs, partial(self._get, range_header, pin), receive, control)

    async def _get(self, range_header: str, pin: Identity | None, receive: Receive) -> None:
        options = dict(self._fs.kwargs)
        headers = {**options.pop("headers", {}), "Range": range_header}
        # A range of a compressed body would be of other bytes than the ones we count.
        headers["Accept-Encoding"] = "identity"
        if pin and pin.etag and not pin.etag.startswith("W/"):
            headers["If-Match"] = pin.etag
        session = await self._fs.set_session()
        url = self._fs.encode_url(self._path)
        async with session.get(url, headers=headers, **options) as answer:
            if answer.status == 416:
                raise RangeNotSatisfiable
            self._fs._raise_not_found_for_status(answer, self._path)
            etag = answer.headers.get("ETag")
            # The time of the last change is second best: mirrors may disagree about it.
            version = None if etag else answer.headers.get("Last-Modified")
            await receive_body(answer, receive, etag=etag, version=version)


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


async def receive_body(
    answer: Any, receive: Receive, *, etag: str | None, version: str | None
) -> None:
    """Stream the body into the memory that `receive` gives."""
    check_encoding(answer.headers.get("Content-Encoding"))
    content_range = answer.headers.get("Content-Range")
    length = stated_length(answer.content_length, content_range)
    scatter = receive(Answer(length, content_range, etag, version))
    async for chunk in answer.content.iter_any():
        scatter.write(chunk)
