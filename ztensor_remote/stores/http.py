"""Objects on any web server, through fsspec's HTTP filesystem."""

from __future__ import annotations

from typing import Any

from ..errors import StoreError
from .location import Location
from .remote import (
    IGNORES_RANGES,
    Answer,
    RangeNotSatisfiable,
    Receive,
    RemoteSource,
    parse_content_range,
    run,
)
from .source import Identity


class HTTPSource(RemoteSource):
    """Ranges by GET with If-Match where the server gives a strong ETag (RFC 9110 §13, §14)."""

    def __init__(self, location: Location, fs: Any, path: str) -> None:
        super().__init__(location)
        self._fs = fs
        self._path = path

    def get(self, range_header: str, receive: Receive, *, pin: Identity | None) -> int:
        """Send one GET."""
        return run(self._fs, self._get, range_header, receive, pin)

    async def _get(self, range_header: str, receive: Receive, pin: Identity | None) -> int:
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
            return await receive_body(answer, receive, etag=etag, version=version)


async def receive_body(
    answer: Any, receive: Receive, *, etag: str | None, version: str | None
) -> int:
    """Stream the body into the memory that `receive` gives, and return how much came."""
    content_range = answer.headers.get("Content-Range")
    length = _stated_length(answer.content_length, content_range)
    destination = receive(Answer(length, content_range, etag, version))
    filled = 0
    async for chunk in answer.content.iter_any():
        destination[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return filled


def _stated_length(content_length: int | None, content_range: str | None) -> int:
    if content_length is not None:
        return content_length
    if content_range is None:  # sent in chunks, perhaps without end
        raise StoreError(IGNORES_RANGES)
    first, last, _ = parse_content_range(content_range)
    return last + 1 - first
