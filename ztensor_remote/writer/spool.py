"""Where what is added waits until it can be published, in bounded memory."""

from __future__ import annotations

import tempfile

from ..errors import StoreError
from ..types import Bytes
from .blob import Output

_IN_MEMORY = 32 << 20
_STEP = 8 << 20


class Spool:
    """A sink for bytes that are sent later, perhaps more than once: a nameless temporary file."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (until `abort`)

    def write(self, data: Bytes) -> None:
        """Append bytes."""
        try:
            self._file.write(data)
            # At once: a forked child would flush its copy of the buffer into the same file.
            self._file.flush()
        except OSError as error:
            raise StoreError(
                f"can't keep what is added in {tempfile.gettempdir()} until the end: {error}; "
                "set TMPDIR to a larger place, or append without retries",
                url=self.url,
            ) from None

    def send(self, output: Output) -> None:
        """Write all of it behind what is there."""
        self._file.seek(0)
        while piece := self._file.read(_STEP):
            output.write(piece)

    def commit(self) -> None:
        """Drop the bytes: they have been sent."""
        self._file.close()

    def abort(self) -> None:
        """Drop the bytes."""
        self._file.close()
