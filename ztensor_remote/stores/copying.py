"""Uploads that take bytes of other objects in the store without a way through this process."""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ..errors import NotFoundError, ObjectChangedError
from .location import Location
from .parts import PartedSink
from .sink import CopyRefusedError
from .source import Source

_refusing: set[tuple[str, str]] = set()
"""Stores that don't copy, with the bucket or container that they would copy from."""


class CopyingUpload(PartedSink):
    """A sink that the store copies other objects into, beside what is sent.

    Parameters
    ----------
    location : Location
    base : Source, optional
    """

    def __init__(self, location: Location, *, base: Source | None = None) -> None:
        super().__init__(location.url, base=base)
        self._server = location.server
        self._copied_from: list[Source] = []

    def refuses(self, source: Source) -> bool:
        """Whether the store is known not to copy from where this object is."""
        return (self._server, _bucket(source)) in _refusing

    def remember_refusal(self, source: Source) -> None:
        """Know from now on that the store does not copy from where this object is."""
        _refusing.add((self._server, _bucket(source)))

    def check_sources(self) -> None:
        """Look whether what was copied is still there, where the store may not keep the condition.

        Raises
        ------
        ObjectChangedError
        """
        if not self.is_known_strict():
            self.find_replaced()

    def find_replaced(self) -> None:
        """Raise an error for an object that was copied from, if one is no longer there.

        Raises
        ------
        ObjectChangedError
        """
        for source in self._copied_from:
            if source is not self.base:
                try:
                    source.read_into(0, memoryview(bytearray(1)))
                except (ObjectChangedError, NotFoundError):
                    raise replaced(source) from None


class CopyingParts(CopyingUpload):
    """A sink some parts of which the store copies, beside those that are sent.

    A subclass has one part copied, under the condition that the source is still the version that
    is open.

    Parameters
    ----------
    location : Location
    base : Source, optional
    """

    copies_whole = False

    def __init__(self, location: Location, *, base: Source | None = None) -> None:
        super().__init__(location, base=base)
        self._copiers: ThreadPoolExecutor | None = None

    @abstractmethod
    def copy_part(self, number: int, source: Source, start: int, stop: int) -> str:
        """Have the store copy one part; return what publishing it needs.

        Raises
        ------
        CopyRefusedError, ObjectChangedError
        """

    def _copy(self, source: Source, start: int, stop: int) -> None:
        self._begin()
        request = partial(self._copied, len(self._sent) + 1, source, start, stop)
        if self._copiers is None:
            self._copiers = ThreadPoolExecutor(self.in_flight, thread_name_prefix="ztensor-copy")
        part = self._copiers.submit(self._run, request, doing="copy its bytes")
        if source not in self._copied_from:
            part.result()  # whether the store can do it
            self._copied_from.append(source)
        self._sent.append(part)
        self.size += stop - start

    def _copied(self, number: int, source: Source, start: int, stop: int) -> str:
        try:
            return self.copy_part(number, source, start, stop)
        except CopyRefusedError:
            self.remember_refusal(source)
            raise

    def _stop(self) -> None:
        if self._copiers is not None:
            self._copiers.shutdown(wait=True, cancel_futures=True)
            self._copiers = None
        super()._stop()


def _bucket(source: Source) -> str:
    return "/".join(source.url.split("/")[:3])


def replaced(source: Source) -> ObjectChangedError:
    """Return the error for an object that was copied from, and is another one by now."""
    return ObjectChangedError(
        "it was replaced or removed while it was copied; nothing was published. Open it again and "
        "repeat",
        url=source.url,
    )
