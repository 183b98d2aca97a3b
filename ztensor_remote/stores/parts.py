"""Uploads in parts: a stream cut into pieces that travel side by side, in bounded memory."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar

from ..crc import crc32c
from ..errors import ConcurrentWriteError, NotFoundError, ObjectChangedError, StoreError
from ..types import Bytes
from .control import Control
from .failures import is_unclear, retried, status_of
from .part import Filling, Part, PartMemory
from .sink import Digest
from .source import Source, pieces_of

PART_SIZE = 8 << 20
"""Bytes of the first parts; they grow so that 10,000 of them hold 1.6 TiB."""

IN_FLIGHT = 4

COMMIT = "ztensor-commit"
"""Name of the metadata that says which writer an object is of."""

_Result = TypeVar("_Result")
_PARTS_OF_ONE_SIZE = 2500
_LOOKS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each look whether a publication whose answer was lost has come about."""
_UNKNOWN = "; whether it was published is not known: look before you write again"


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

    Parameters
    ----------
    url : str
    base : Source, optional
        The version that is replaced: publishing needs it to be still there.
    """

    in_flight = IN_FLIGHT

    has_equal_parts = False
    """Whether the store wants all parts but the last to be of one size."""

    checks_parts = False
    """Whether a CRC-32C goes with each part."""

    trusted = False
    """Whether the store is known to keep the condition under which it publishes."""

    def __init__(self, url: str, *, base: Source | None = None) -> None:
        self.url = url
        self.base = base
        self.commit_id = secrets.token_hex(16)
        self.size = 0
        """Bytes taken so far, those copied inside the store among them."""
        self._memory = PartMemory()
        self._filling: Filling | None = None
        self._sent: list[Future[str]] = []
        self._under_way: set[Future[str]] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._begun = False
        self._opening = Lock()
        self._control = Control()

    def is_known_strict(self) -> bool:
        """Whether the store keeps conditions, by what it is."""
        return True

    @abstractmethod
    def begin(self) -> None:
        """Open the upload."""

    @abstractmethod
    def send_part(self, part: Part) -> str:
        """Send one part and return what publishing it needs (its ETag, its block id).

        Its memory is used for another part once this returns.
        """

    @abstractmethod
    def publish(self, parts: list[str]) -> None:
        """Make the object of these parts appear."""

    @abstractmethod
    def put_whole(self, data: memoryview) -> None:
        """Make a small object appear by one request."""

    @abstractmethod
    def is_published(self) -> bool:
        """Ask the store whether what is there carries our commit id, and is whole."""

    @abstractmethod
    def discard(self) -> None:
        """Drop what was sent."""

    def write(self, data: Bytes) -> None:
        """Take the next bytes."""
        self.take(data)

    def take(self, data: Bytes, *, lent: bool = False, digest: Digest | None = None) -> None:
        """Take the next bytes as `LendingSink` has it; waits while too many parts are under way.

        Parts of large data are sent from where they are. Unless it is lent, these are waited for,
        and as many as travel at once are copied at its end, so that they go on while the caller
        prepares what comes next.
        """
        parts = self._cut(memoryview(data).cast("B"), 0 if lent else self.in_flight, digest)
        for part in () if lent else parts:
            part.result()

    def _cut(self, rest: memoryview, copied: int, digest: Digest | None) -> list[Future[str]]:
        """Send what is whole parts but for the last `copied` ones, and copy the rest."""
        self.size += len(rest)
        lent: list[Future[str]] = []
        while rest:
            size = self._size_to_lend(len(rest), copied) if self._filling is None else 0
            if size:
                lent.append(self._lend(rest[:size], digest))
                rest = rest[size:]
            else:
                rest = rest[self._fill(rest, digest) :]
        return lent

    def _lend(self, data: memoryview, digest: Digest | None) -> Future[str]:
        """Send a part from where it is."""
        if digest is None:
            return self._send_part(data, None)
        crc = crc32c(data)
        digest.append(crc, len(data))
        return self._send_part(data, crc)

    def _size_to_lend(self, length: int, copied: int) -> int:
        """Return the bytes of the next part that is sent from where it is; 0 if none is.

        They take no memory, so that they may be larger: up to twice, in which case there are half
        as many, and such that nothing is left over of what is lent to its end.
        """
        part = self.size_of_part(len(self._sent) + 1)
        length -= copied * part
        if length < part:
            return 0
        if self.has_equal_parts:
            return part
        number = -(-length // (2 * part))
        return -(-length // number)

    def _fill(self, data: memoryview, digest: Digest | None) -> int:
        """Copy as much as the part takes that waits; return how much that was."""
        if self._filling is None:
            memory = self._memory.take(self.size_of_part(len(self._sent) + 1))
            self._filling = Filling(memory, checked=self.checks_parts)
        taken = self._filling.take(data, digest)
        if self._filling.is_full:
            self._send()
        return taken

    @property
    def buffered(self) -> memoryview:
        """The bytes that wait for their part to be full."""
        return memoryview(b"") if self._filling is None else self._filling.data

    def size_of_part(self, number: int) -> int:
        """Return the bytes of a part (from 1) that is not the last."""
        return part_size(number)

    def copy(self, start: int, stop: int) -> None:
        """Take these bytes of the version that is replaced; stores that can copy them inside."""
        assert self.base is not None
        self.send_again(self.base, start, stop)

    def send_again(self, source: Source, start: int, stop: int) -> None:
        """Take bytes of an object through this process."""
        for piece in pieces_of(source, start, stop):
            self.write(piece)

    def commit_in_parts(self) -> None:
        """Commit as a large object is, whatever the size."""
        self._send()
        self.commit()

    def _send(self) -> None:
        filling, self._filling = self._filling, None
        if filling is None:
            self._send_part(memoryview(b""), None)
        else:
            self._send_part(filling.data, filling.crc, filling.memory)

    def _send_part(
        self, data: memoryview, crc: int | None, memory: memoryview | None = None
    ) -> Future[str]:
        """Send a part in the background; its memory, if it is ours, is used again afterwards."""
        self._begin()
        self._wait_for_room()
        part = Part(len(self._sent) + 1, data, crc)
        sent = self._submit(self._send_retried, part, memory)
        self._sent.append(sent)
        self._under_way.add(sent)
        return sent

    def _begin(self) -> None:
        # In a thread, which an interrupt of this one does not reach: an upload would be left that
        # nobody knows of.
        if not self._begun:
            self._submit(self._open).result()

    def _open(self) -> None:
        with self._opening:
            self._control.check()
            self._run(self.begin, doing="begin an upload")
            self._begun = True

    def _submit(self, task: Callable[..., _Result], *args: Any) -> Future[_Result]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.in_flight, thread_name_prefix="ztensor-upload")
        return self._pool.submit(task, *args)

    def _send_retried(self, part: Part, memory: memoryview | None) -> str:
        sent = self._run(lambda: self.send_part(part), doing=f"upload part {part.number}")
        if memory is not None:
            self._memory.give_back(memory)
        return sent

    def _run(self, operation: Callable[[], _Result], *, doing: str) -> _Result:
        """Run an operation as `retried` does, until the upload is given up."""
        try:
            return retried(operation, url=self.url, doing=doing, pause=self._control.pause)
        except ObjectChangedError as error:
            if error.url != self.url:  # one that is copied from
                raise
            raise rival(self.url) from None
        except NotFoundError:
            reason = (
                "or the upload was aborted by somebody else, as lifecycle rules do; write it again"
                if self._begun
                else "create it first"
            )
            raise NotFoundError(
                f"can't {doing}: there is no such bucket or container, {reason}", url=self.url
            ) from None

    def _wait_for_room(self) -> None:
        patience = 0 if len(self._under_way) < self.in_flight else None
        done, self._under_way = wait(self._under_way, patience, return_when=FIRST_COMPLETED)
        for part in done:
            part.result()  # one that failed for good fails the upload now, not at the end

    def commit(self) -> None:
        """Send the rest and publish."""
        if self._begun:
            if self.buffered:
                self._send()
            parts = [part.result() for part in self._sent]
            self._settle(lambda: self.publish(parts), doing="publish it")
            self._begun = False
        else:
            self._settle(lambda: self.put_whole(self.buffered), doing="upload it")
        self._stop()

    def _settle(self, request: Callable[[], object], *, doing: str) -> None:
        """Do the request that publishes; if it fails, find out whether it did publish.

        Its answer may be lost, and then a repeated one fails because the first was carried out.
        Stores may also take minutes to put parts together.
        """
        unclear = False

        def watched() -> None:
            nonlocal unclear
            try:
                request()
            except Exception as error:
                unclear = unclear or is_unclear(error)
                raise

        try:
            self._run(watched, doing=doing)
        except StoreError as error:
            if self._is_there(_LOOKS if unclear else _LOOKS[:1], error):
                return
            if unclear and self._begun:
                # What is being put together at this moment can't be told apart until it is dropped.
                with suppress(Exception):
                    self.discard()
                if self._is_there(_LOOKS[:1], error):
                    return
            raise

    def _is_there(self, looks: Sequence[float], error: StoreError) -> bool:
        """Look for our object, not often where looking fails as well."""
        failures = 0
        for seconds in looks:
            time.sleep(seconds)
            try:
                if self.is_published():
                    return True
            except Exception as failure:
                failures += status_of(failure) != 404
            if failures == 2:
                break
        if failures and _UNKNOWN not in error.message:
            error.message += _UNKNOWN
        return False

    def abort(self) -> None:
        """Wait for requests that are under way, then drop the upload."""
        self._control.cancel()
        self._stop()
        # An interrupt may have hit while the thread was started: the pool does not know it then.
        with self._opening:
            begun = self._begun
        if begun:
            retried(self.discard, url=self.url, doing="abort the upload")
            self._begun = False

    def _stop(self) -> None:
        self._filling, self._memory = None, PartMemory()
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
