"""What all remote stores share: pinned ranges, each answer checked before it counts."""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import ObjectChangedError, StoreError
from .failures import Transient, retried
from .location import Location
from .source import Identity, Stats

IGNORES_RANGES = (
    "the server ignores range requests; put 'simplecache::' before the URL to download the object "
    "once"
)

# The last byte of an empty object is -1 to fake-gcs-server.
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(-?\d+)/(\d+)")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store says about the bytes that it is about to send.

    Attributes
    ----------
    length : int
        Bytes of the body.
    content_range : str or None
        The header, ``"bytes first-last/total"``.
    etag, version : str or None
    """

    length: int
    content_range: str | None
    etag: str | None = None
    version: str | None = None

    @property
    def positions(self) -> tuple[int, int, int]:
        """First byte, last byte and total size.

        An answer without the header is the whole object: judge by what came, not by the status
        (RFC 9110 §14.4; some servers answer a range with 200).
        """
        if self.content_range is None:
            return 0, self.length - 1, self.length
        return parse_content_range(self.content_range)

    @property
    def identity(self) -> Identity:
        """The version that the bytes are of."""
        return Identity(self.positions[2], self.etag, self.version)


Receive = Callable[[Answer], memoryview]
"""Judges an answer and returns the memory to put its body in, or raises."""


class RemoteSource(ABC):
    """An object behind a filesystem that answers range requests.

    A subclass sends one GET; retries, pinning and checks are here, so that no store can do
    without them.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.url = location.url
        self.stats = Stats()
        self.identity = Identity(0)

    @abstractmethod
    def get(self, range_header: str, receive: Receive, *, pin: Identity | None) -> int:
        """Send one GET with this Range header, conditional on `pin` where the store allows it.

        Returns
        -------
        int
            How many bytes came, which may be fewer than the answer stated.

        Raises
        ------
        RangeNotSatisfiable
        """

    def open_tail(self, window: int) -> memoryview:
        """Fetch the last `window` bytes (or all), and pin the version they came from."""
        return retried(lambda: self._open_tail(window), url=self.url, doing="read the end of it")

    def _open_tail(self, window: int) -> memoryview:
        tail, answer = self._collect(f"bytes=-{window}", limit=window)
        if answer is None:  # the store refuses a suffix longer than the object
            tail, answer = self._collect(f"bytes=0-{window - 1}", limit=window)
        if answer is None:
            self.identity = Identity(0)
            return memoryview(b"")
        first, last, size = answer.positions
        if (first, last) != (max(0, size - window), size - 1):
            raise Transient(f"asked for the end, got bytes {first} to {last} of {size}")
        self.identity = answer.identity
        return tail

    def _collect(self, range_header: str, *, limit: int) -> tuple[memoryview, Answer | None]:
        """Fetch at most `limit` bytes of any version; None where there are no such bytes."""
        answer: Answer | None = None
        body = memoryview(b"")

        def receive(stated: Answer) -> memoryview:
            nonlocal answer, body
            if stated.length > limit:
                raise StoreError(IGNORES_RANGES)
            answer, body = stated, memoryview(bytearray(stated.length))
            return body

        try:
            self._get_all(range_header, receive, pin=None)
        except RangeNotSatisfiable:
            return body, None
        self.stats.add(len(body))
        return body, answer

    def _get_all(self, range_header: str, receive: Receive, *, pin: Identity | None) -> None:
        """Do one GET whose body must be as long as the memory it is received in."""
        memory = memoryview(b"")

        def receive_checked(stated: Answer) -> memoryview:
            nonlocal memory
            first, last, _ = stated.positions
            if last + 1 - first != stated.length:
                raise Transient(f"a body of {stated.length} bytes for bytes {first} to {last}")
            memory = receive(stated)
            return memory

        arrived = self.get(range_header, receive_checked, pin=pin)
        if arrived != len(memory):
            raise Transient(f"the body ended after {arrived} of {len(memory)} bytes")

    def read_into(self, offset: int, destination: memoryview) -> None:
        """Fill `destination` from one range request of the pinned version."""
        length = len(destination)
        if not length:
            return

        def receive(stated: Answer) -> memoryview:
            self._check(stated, offset, length)
            return destination

        def request() -> None:
            try:
                self._get_all(f"bytes={offset}-{offset + length - 1}", receive, pin=self.identity)
            except RangeNotSatisfiable:
                raise self._changed() from None

        retried(request, url=self.url, doing=f"read {length} bytes at {offset}")
        self.stats.add(length)

    def _check(self, answer: Answer, offset: int, length: int) -> None:
        """Accept nothing but these bytes of the pinned version."""
        if not self.identity.matches(answer.identity):
            raise self._changed()
        first, last, size = answer.positions
        if (first, last) == (offset, offset + length - 1):
            return
        if (first, last) == (0, size - 1):
            raise StoreError(IGNORES_RANGES)
        raise Transient(f"asked for bytes {offset} to {offset + length - 1}, got {first} to {last}")

    def _changed(self) -> ObjectChangedError:
        return ObjectChangedError(
            "the object was replaced after it was opened; open it again", url=self.url
        )

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return None: bytes have to be fetched."""
        return None

    def private_view(self, offset: int, length: int) -> memoryview | None:
        """Return None: bytes have to be fetched."""
        return None

    def close(self) -> None:  # noqa: B027 (not every store has something to close)
        """Do nothing: connections belong to the filesystem."""


class RangeNotSatisfiable(Exception):
    """The store has no bytes in the range that was asked for (HTTP 416)."""


def parse_content_range(text: str) -> tuple[int, int, int]:
    """Return first byte, last byte and total size."""
    found = _CONTENT_RANGE.fullmatch(text.strip())
    if found is None:
        raise StoreError(f"unreadable Content-Range {text!r}")
    first, last, size = (int(number) for number in found.groups())
    return first, last, size


def run(fs: Any, call: Callable[..., Coroutine[Any, Any, _Result]], *args: Any) -> _Result:
    """Run a coroutine function on the filesystem's own event loop and wait for its result."""
    from fsspec import asyn

    if threading.current_thread() is asyn.iothread[0]:
        raise StoreError("called from fsspec's event loop, which this call would have to wait for")
    if fs.loop is None:
        raise StoreError("the filesystem was made with asynchronous=True; give a synchronous one")
    result: _Result = asyn.sync(fs.loop, call, *args)
    return result
