"""Objects behind obstore: its stores themselves, and its fsspec filesystem."""

from __future__ import annotations

import os
import queue
import re
import threading
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import obstore
from fsspec import asyn
from obstore import exceptions

from ..errors import ConcurrentWriteError, StoreError, UnsupportedError
from ..types import Bytes
from .answer import IGNORES_RANGES, Answer, RangeNotSatisfiable, Receive
from .control import Control
from .failures import Exhausted, guarded
from .lane import HTTPStatusError
from .limits import Limits
from .location import Location
from .parts import IN_FLIGHT, PART_SIZE, rival
from .remote import RemoteSource
from .source import Identity, Source, pieces_of

_CHUNK = 1 << 20
_USED_IN = os.getpid()
_ANOTHER_RANGE = re.compile(r"Requested .* got ")


class ObstoreSource(RemoteSource):
    """Ranges by ``get_async`` with If-Match, each chunk copied once to its place.

    https://developmentseed.org/obstore/latest/api/get/
    """

    def __init__(self, location: Location, fs: Any, path: str, limits: Limits) -> None:
        super().__init__(location, limits)
        self._store, self._key = _store_and_key(fs, path)
        self._lane = None  # its own requests are as plain as ours

    def get(
        self, range_header: str, receive: Receive, *, pin: Identity | None, control: Control
    ) -> None:
        """Send one GET."""
        if os.getpid() != _USED_IN:
            raise StoreError(
                "obstore does not survive a fork; start workers by 'spawn' or 'forkserver'"
            )
        options: dict[str, Any] = {"range": _range(range_header)}
        if pin and pin.etag and not pin.etag.startswith("W/"):
            options["if_match"] = pin.etag
        loop = SimpleNamespace(loop=asyn.get_loop())
        self.run(loop, partial(self._get, options), receive, control)

    async def _get(self, options: dict[str, Any], receive: Receive) -> None:
        try:
            found = await obstore.get_async(self._store, self._key, options=options)  # type: ignore[arg-type]
        except exceptions.NotSupportedError:  # Azure has no suffixes
            if "suffix" not in str(options["range"]):
                raise
            size = (await obstore.head_async(self._store, self._key))["size"]
            if not size:
                raise RangeNotSatisfiable from None
            first = max(0, size - options["range"]["suffix"])
            return await self._get({**options, "range": (first, size)}, receive)
        except exceptions.GenericError as error:
            if await self._is_outside(error, options["range"]):
                raise RangeNotSatisfiable from None
            raise _translated(error) from error
        except exceptions.BaseError as error:
            raise _translated(error) from error
        (start, stop), meta = found.range, found.meta
        version = meta["version"]
        scatter = receive(
            Answer(
                stop - start,
                f"bytes {start}-{stop - 1}/{meta['size']}",
                meta["e_tag"] or meta["last_modified"].isoformat(),
                None if version == "null" else version,
            )
        )
        try:
            async for chunk in found.stream(min_chunk_size=_CHUNK):
                scatter.write(chunk)
        except exceptions.BaseError as error:
            raise ConnectionAbortedError(_first_line(error)) from None

    async def _is_outside(self, error: Exception, wanted: Any) -> bool:
        """Whether the object ends before the range: each store says so in its own words."""
        if "416" not in str(error) and "range" not in str(error).lower():
            return False
        size = (await obstore.head_async(self._store, self._key))["size"]
        return size == 0 if isinstance(wanted, dict) else size <= wanted[0]


class ObstoreSink:
    """A multipart upload by ``put``, fed through a short queue and completed at the end."""

    def __init__(
        self,
        location: Location,
        fs: Any,
        path: str,
        *,
        base: Source | None = None,
        create: bool = False,
    ) -> None:
        self.url = location.url
        self.base = base
        if create:
            raise UnsupportedError(
                "obstore can't make multipart uploads conditional; give the store's URL and "
                "storage_options instead",
                url=self.url,
            )
        self._store, self._key = _store_and_key(fs, path)
        self._parts: queue.Queue[bytes | BaseException | None] = queue.Queue(IN_FLIGHT)
        self._buffer = bytearray()
        self._failure: Exception | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._send, name="ztensor-upload", daemon=True)
        self._thread.start()

    def write(self, data: Bytes) -> None:
        """Take the next bytes; full parts are sent in the background."""
        self._buffer += data
        while len(self._buffer) >= PART_SIZE:
            part = bytes(memoryview(self._buffer)[:PART_SIZE])
            del self._buffer[:PART_SIZE]
            self._hand_over(part)

    def copy(self, start: int, stop: int) -> None:
        """Take bytes of the version that is replaced; they pass through this process."""
        assert self.base is not None
        for piece in pieces_of(self.base, start, stop):
            self.write(piece)

    def commit(self) -> None:
        """Send the rest and complete the upload, if nobody seems to have come first."""
        if self.base is not None:
            found = guarded(self._etag, url=self.url, doing="look whether it has changed")
            if found != self.base.identity.etag:
                raise rival(self.url)
        self._hand_over(bytes(self._buffer))
        self._end(None)
        self._check()

    def abort(self) -> None:
        """Have the upload aborted."""
        self._end(_Abort())

    def _etag(self) -> str | None:
        try:
            return obstore.head(self._store, self._key)["e_tag"]
        except Exception as error:
            raise _translated(error) from None

    def _end(self, last: BaseException | None) -> None:
        if not self._ended:
            self._ended = True
            self._buffer = bytearray()
            self._put(last)
            self._thread.join()

    def _hand_over(self, part: bytes) -> None:
        self._check()
        self._put(part)

    def _put(self, item: bytes | BaseException | None) -> None:
        while self._thread.is_alive():
            try:
                self._parts.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def _check(self) -> None:
        failure = self._failure
        if failure is not None:
            guarded(partial(_raise, _translated(failure)), url=self.url, doing="write to it")

    def _send(self) -> None:
        try:
            obstore.put(
                self._store,
                self._key,
                self._queued(),
                use_multipart=True,
                chunk_size=PART_SIZE,
                max_concurrency=IN_FLIGHT,
            )
        except _Abort:
            pass
        except Exception as error:
            self._failure = error

    def _queued(self) -> Iterator[bytes]:
        while (item := self._parts.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item


class _Abort(Exception):
    """Ends an upload without completing it."""


def _raise(error: Exception) -> None:
    raise error


def _store_and_key(fs: Any, path: str) -> tuple[Any, str]:
    if not hasattr(fs, "_construct_store"):
        return fs, path
    bucket, key = fs._split_path(path)
    return fs._construct_store(bucket), key


def _range(range_header: str) -> Any:
    first, _, last = range_header.removeprefix("bytes=").partition("-")
    return (int(first), int(last) + 1) if first else {"suffix": int(last)}


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _translated(error: Exception) -> Exception:
    """Return an error of obstore's as one that is known here; it has retries of its own."""
    match error:
        case exceptions.PreconditionError():
            return HTTPStatusError(412, "")
        case exceptions.AlreadyExistsError():
            return ConcurrentWriteError("something is stored there by now")
        case exceptions.PermissionDeniedError() | exceptions.UnauthenticatedError():
            return PermissionError(_first_line(error))
        case exceptions.GenericError() if "non-partial" in str(error):
            return StoreError(IGNORES_RANGES)
        case exceptions.GenericError() if _ANOTHER_RANGE.search(str(error)):
            return ConnectionAbortedError(_first_line(error))
    wrapped = Exhausted()
    wrapped.__cause__ = StoreError(_first_line(error)) if not isinstance(error, OSError) else error
    return wrapped
