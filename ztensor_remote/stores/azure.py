"""Blobs in Azure, through the client of adlfs."""

from __future__ import annotations

import io
from contextlib import AbstractAsyncContextManager
from typing import Any

from azure.core import MatchConditions

from ..errors import ObjectChangedError
from ..types import Bytes
from .failures import retried, status_of
from .location import Location
from .remote import Answer, RangeNotSatisfiable, Receive, RemoteSource, parse_content_range, run
from .source import Identity

_SIDE_BY_SIDE = 8
_SOME = 8


class AzureSource(RemoteSource):
    """Ranges by Get Blob with If-Match.

    The client library asks for at most 32 MiB at once, and for what goes beyond in pieces of
    4 MiB, side by side; adlfs lets nobody choose.

    https://learn.microsoft.com/rest/api/storageservices/get-blob
    """

    def __init__(self, location: Location, fs: Any, path: str) -> None:
        super().__init__(location)
        self._fs = fs
        self._path = path
        _, _, self._version = fs.split_path(path)

    def open_tail(self, window: int) -> memoryview:
        """Fetch the last `window` bytes (or all), once the size is known: Azure has no suffixes."""
        try:
            return self._open_tail(window)
        except ObjectChangedError:  # between the two requests
            return self._open_tail(window)

    def _open_tail(self, window: int) -> memoryview:
        head, answer = retried(
            lambda: self._collect(f"bytes=0-{_SOME - 1}", limit=_SOME),
            url=self.url,
            doing="read the beginning of it",
        )
        if answer is None:
            self.identity = Identity(0)
            return memoryview(b"")
        self.identity = answer.identity
        size = self.identity.size
        if size == len(head):
            return head[max(0, size - window) :]
        tail = memoryview(bytearray(min(size, window)))
        self.read_into(size - len(tail), tail)
        return tail

    def get(self, range_header: str, receive: Receive, *, pin: Identity | None) -> int:
        """Send one Get Blob, more for a large range."""
        first, _, last = range_header.removeprefix("bytes=").partition("-")
        offset = int(first)
        try:
            return run(self._fs, self._get, offset, int(last) + 1 - offset, receive, pin)
        except Exception as error:
            if status_of(error) == 416:
                raise RangeNotSatisfiable from None
            raise

    async def _get(self, offset: int, length: int, receive: Receive, pin: Identity | None) -> int:
        answers: list[Any] = []
        async with blob_client(self._fs, self._path) as client:
            stream = await client.download_blob(
                offset=offset,
                length=length,
                version_id=self._version,
                max_concurrency=_SIDE_BY_SIDE,
                raw_response_hook=answers.append,
                **request_options(self._fs),
                **condition(pin),
            )
            # The library's own words are about what was asked for; these are the server's.
            headers = answers[-1].http_response.headers
            first, _, size = parse_content_range(headers["Content-Range"])
            span = f"bytes {first}-{first + stream.size - 1}/{size}"
            memory = _Memory(receive(Answer(stream.size, span, headers.get("ETag"))))
            await stream.readinto(memory)
        return memory.filled


def blob_client(fs: Any, path: str) -> AbstractAsyncContextManager[Any]:
    """Return a client of one blob, on the connections of the filesystem."""
    container, key, _ = fs.split_path(path)
    client: AbstractAsyncContextManager[Any] = fs.service_client.get_blob_client(container, key)
    return client


def request_options(fs: Any) -> dict[str, Any]:
    """Return what each request takes: the filesystem's timeouts, and no retries but ours.

    The library's begin after 15 seconds and would multiply with ours.
    """
    return {"retry_total": 0, **getattr(fs, "_timeout_kwargs", {})}


def condition(version: Identity | None) -> dict[str, Any]:
    """Return what makes a request fail unless the blob is still of this version."""
    if version is None or version.etag is None:
        return {}
    return {"etag": version.etag, "match_condition": MatchConditions.IfNotModified}


class _Memory(io.RawIOBase):
    """A stream that fills memory which somebody else owns."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._position = 0
        self.filled = 0

    def write(self, data: Bytes) -> int:  # type: ignore[override]
        """Store bytes at the position."""
        stop = self._position + len(data)
        self._memory[self._position : stop] = data
        self._position = stop
        self.filled += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, which pieces that come out of order need."""
        assert whence == io.SEEK_SET
        self._position = offset
        return offset

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seekable(self) -> bool:
        """Return True."""
        return True
