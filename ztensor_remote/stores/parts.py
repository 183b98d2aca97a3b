"""Uploads in parts: a stream cut into pieces that travel side by side, in bounded memory."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from ..errors import ConcurrentWriteError, ObjectChangedError
from ..types import Bytes
from .failures import retried

PART_SIZE = 8 << 20
"""Bytes of the first parts; they grow so that 10,000 of them hold 1.6 TiB."""

IN_FLIGHT = 4

COMMIT = "ztensor-commit"
"""Name of the metadata that says which writer an object is of."""

_Result = TypeVar("_Result")
_PARTS_OF_ONE_SIZE = 2500


def part_size(number: int) -> int:
    """Return the bytes that part `number` (from 1) carries.

    S3 and Azure count parts, so that a stream of unknown length needs larger ones as it goes:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
    """
    return PART_SIZE << 2 * ((number - 1) // _PARTS_OF_ONE_SIZE)


class PartedSink(ABC):
    """A sink that sends full parts in the background and the rest at commit.

    A subclass sends one part and publishes; order, bounds, retries and clean-up are here. What
    fits in the first part is sent by `put_whole` alone.
    """

    in_flight = IN_FLIGHT

    def __init__(self, url: str) -> None:
        self.url = url
        self.commit_id = secrets.token_hex(16)
        self._buffer = bytearray()
        self._first = 1
        self._sent: list[Future[str]] = []
        self._under_way: set[Future[str]] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._begun = False

    @abstractmethod
    def begin(self) -> None:
        """Open the upload."""

    @abstractmethod
    def send_part(self, number: int, data: bytes) -> str:
        """Send one part and return what publishing it needs (its ETag, its block id)."""

    @abstractmethod
    def publish(self, parts: list[str]) -> None:
        """Make the object of these parts appear."""

    @abstractmethod
    def put_whole(self, data: bytes) -> None:
        """Make a small object appear by one request."""

    @abstractmethod
    def is_published(self) -> bool:
        """Ask the store whether what is there carries our commit id."""

    @abstractmethod
    def discard(self) -> None:
        """Drop what was sent."""

    def settle(self, request: Callable[[], object]) -> None:
        """Do the request that publishes; if it fails, find out whether it did publish.

        The answer may be lost although the object is there, and then a repeated request fails.
        """
        try:
            request()
        except Exception:
            if not self._seems_published():
                raise

    def _seems_published(self) -> bool:
        try:
            return self.is_published()
        except Exception:
            return False

    def write(self, data: Bytes) -> None:
        """Take the next bytes; waits while too many parts are under way."""
        rest = memoryview(data).cast("B")
        while rest:
            number = self._first + len(self._sent)
            room = part_size(number) - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]
            if len(self._buffer) == part_size(number):
                self._send(number)

    def _send(self, number: int) -> None:
        self._begin()
        self._wait_for_room()
        data, self._buffer = bytes(self._buffer), bytearray()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.in_flight, thread_name_prefix="ztensor-upload")
        part = self._pool.submit(self._send_retried, number, data)
        self._sent.append(part)
        self._under_way.add(part)

    def _begin(self) -> None:
        if not self._begun:
            self._run(self.begin, doing="begin an upload")
            self._begun = True

    def _send_retried(self, number: int, data: bytes) -> str:
        return self._run(lambda: self.send_part(number, data), doing=f"upload part {number}")

    def _run(self, operation: Callable[[], _Result], *, doing: str) -> _Result:
        """Run an operation as `retried` does; that the object has changed means a rival here."""
        try:
            return retried(operation, url=self.url, doing=doing)
        except ObjectChangedError:
            raise rival(self.url) from None

    def _wait_for_room(self) -> None:
        patience = 0 if len(self._under_way) < self.in_flight else None
        done, self._under_way = wait(self._under_way, patience, return_when=FIRST_COMPLETED)
        for part in done:
            part.result()  # one that failed for good fails the upload now, not at the end

    def commit(self) -> None:
        """Send the rest and publish."""
        if not self._begun:
            data = bytes(self._buffer)
            self._run(lambda: self.put_whole(data), doing="upload it")
            self._stop()
            return
        if self._buffer:
            self._send(self._first + len(self._sent))
        parts = [part.result() for part in self._sent]
        self._run(lambda: self.publish(parts), doing="publish it")
        self._begun = False
        self._stop()

    def abort(self) -> None:
        """Wait for what is under way, then drop the upload."""
        self._stop()
        if self._begun:
            self._begun = False
            retried(self.discard, url=self.url, doing="abort the upload")

    def _stop(self) -> None:
        self._buffer = bytearray()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def rival(url: str) -> ConcurrentWriteError:
    """Return the error for a publication that came too late."""
    return ConcurrentWriteError(
        "another writer changed it first; nothing of this one was published. Open it again and "
        "repeat",
        url=url,
    )
