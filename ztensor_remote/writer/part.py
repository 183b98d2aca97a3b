"""A tensor that is being written piece by piece."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from ..errors import ClosedError, InvalidInputError, located
from ..manifest import Component
from ..manifest.dtypes import DType
from .blob import BlobWriter
from .elements import elements_of


class TensorPart:
    """Where the pieces of a streamed tensor go.

    Attributes
    ----------
    name : str
    element : DType

    Parameters
    ----------
    url : str
        Of the file, for messages.
    storing : callable
        Gives a block around what stores bytes: a failure in there leaves the file incomplete,
        whoever catches it.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        element: DType,
        blob: BlobWriter,
        *,
        url: str,
        storing: Callable[[], AbstractContextManager[None]],
        hash_content: bool,
    ) -> None:
        self.name = name
        self.element = element
        self._url = url
        self._storing = storing
        self._closed = False
        self._needed = element.nbytes(math.prod(shape))
        self._blob = blob
        self._content = hashlib.sha256() if hash_content else None

    @property
    def remaining(self) -> int:
        """Bytes still to come."""
        return self._needed - self._blob.decoded

    def write(self, piece: Any) -> None:
        """Write the next elements.

        Parameters
        ----------
        piece : array of the tensor's dtype, or bytes
            Elements in C order; an array may have any shape. Bytes are taken as they are to be
            stored: little-endian, packed for 4-bit types.

        Raises
        ------
        InvalidInputError
            Another dtype, or more than the tensor has left; nothing of the piece was written.
        ClosedError
            The block of this tensor was left.
        StoreError
            The file is incomplete and given up.
        """
        with located(url=self._url, tensor=self.name):
            if self._closed:
                raise ClosedError("the block of this tensor was left; it takes no more")
            chunks = self._checked(piece)
            with self._storing():
                for chunk in chunks:
                    self._store(chunk)

    def _checked(self, piece: Any) -> Iterable[memoryview]:
        if isinstance(piece, bytes | bytearray | memoryview):
            data = memoryview(piece).cast("B")
            self._check_fits(len(data))
            return [data]
        elements = elements_of(piece)
        if elements.element.name != self.element.name:
            raise InvalidInputError(
                f"the piece is {elements.element.name}, the tensor {self.element.name}"
            )
        if self.element.is_packed and elements.array.size % 2 and elements.nbytes < self.remaining:
            raise InvalidInputError(
                "only the last piece of a 4-bit tensor may have an odd number of elements"
            )
        self._check_fits(elements.nbytes)
        return elements.chunks()

    def _check_fits(self, length: int) -> None:
        if length > self.remaining:
            raise InvalidInputError(f"{length} bytes where the tensor has {self.remaining} left")

    def _store(self, data: memoryview) -> None:
        if self._content is not None:
            self._content.update(data)
        self._blob.write(data)

    def close(self) -> None:
        """Take no more pieces."""
        self._closed = True

    def finish(self) -> Component:
        """Return the component, which must be complete.

        Raises
        ------
        InvalidInputError
        """
        if self.remaining:
            raise InvalidInputError(f"{self.remaining} of {self._needed} bytes were not written")
        return self._blob.finish()

    def content_digest(self) -> bytes:
        """Return the SHA-256 of what was written."""
        assert self._content is not None
        return self._content.digest()
