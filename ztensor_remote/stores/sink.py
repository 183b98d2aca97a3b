"""What the writer needs of a place that takes bytes: a stream that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from ..errors import UnsupportedError
from ..types import Bytes
from .source import Source

_LONGEST_STEM = 200
"""Bytes. Names have at most 255 on most systems."""


class Sink(Protocol):
    """An object being written.

    Attributes
    ----------
    url : str
        For messages: no credentials in it.
    """

    url: str

    def write(self, data: Bytes) -> None:
        """Take the next bytes; they may be reused by the caller once this returns."""

    def commit(self) -> None:
        """Make the object appear under its name, whole. Nothing was visible before."""

    def abort(self) -> None:
        """Give up and leave nothing behind; safe to call at any moment, more than once."""


class BasedSink(Sink, Protocol):
    """An object being written in the place of one that is read meanwhile."""

    def copy(self, start: int, stop: int) -> None:
        """Take bytes of that one as the next; the store copies them inside where it can."""


class Digest(Protocol):
    """A CRC-32C of what somebody else looks at."""

    def append(self, crc: int, length: int) -> None:
        """Take in bytes whose checksum is known."""


class LendingSink(Sink, Protocol):
    """An object being written that may send bytes from where they are, and look at them once."""

    def take(self, data: Bytes, *, lent: bool = False, digest: Digest | None = None) -> None:
        """Take the next bytes.

        Parameters
        ----------
        data : bytes-like
        lent : bool
            Whether they stay as they are until the object is published; otherwise they may be
            reused once this returns.
        digest : Digest, optional
            Takes them in.
        """


@runtime_checkable
class CopyingSink(Sink, Protocol):
    """An object being written in a store that can take bytes of its other objects inside.

    Attributes
    ----------
    copies_whole : bool
        Whether it takes objects as wholes alone, and before it has sent what fills a part.
    """

    copies_whole: bool

    def copies_from(self, source: Source) -> bool:
        """Whether bytes of this object need not pass through here, as far as is known."""

    def copy_from(self, source: Source, start: int, stop: int) -> None:
        """Take bytes of an object as the next: inside the store where it can, else through here.

        Raises
        ------
        ObjectChangedError
            It is no longer the version that is open; committing may say so too.
        CopyRefusedError
            Committing may say so too.
        """


class CopyRefusedError(UnsupportedError):
    """The store does not copy inside. That is known now: begin again with another sink."""


@contextmanager
def aborting(sink: Sink) -> Iterator[None]:
    """Abort if the block fails; its error stays the one that is reported."""
    try:
        yield
    except BaseException as error:
        give_up(sink, error)
        raise


def give_up(sink: Sink, error: BaseException) -> None:
    """Abort because of an error; what goes wrong in that becomes a note on it."""
    try:
        sink.abort()
    except Exception as second:
        error.add_note(f"Cleaning up failed too: {second}")


def temporary_name(name: str) -> str:
    """Return a hidden name to write a file under that will be called `name`."""
    stem = os.fsdecode(os.fsencode(name)[:_LONGEST_STEM])
    return f".{stem}.{secrets.token_hex(6)}.tmp"
