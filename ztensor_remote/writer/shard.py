"""A file that other files' manifests refer to (SPEC.md §10)."""

from __future__ import annotations

from ..codecs import Hasher
from ..container import Footer, Generation, build_footer
from ..manifest import Shard
from ..stores import Sink
from ..types import Bytes

DATA_SHARD_FOOTER = build_footer(Footer(Generation.V2, 0, 0))
"""The end of a file of blobs that has no manifest of its own."""


class ShardSink:
    """A sink that knows size and digest of all that went through.

    Parameters
    ----------
    sink : Sink
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._hasher = Hasher("xxh3")
        self._size = 0
        self.url = sink.url
        self.commit, self.abort = sink.commit, sink.abort

    def write(self, data: Bytes) -> None:
        """Append bytes."""
        self._sink.write(data)
        self._hasher.update(data)
        self._size += len(data)

    def shard(self, file: str | None = None) -> Shard:
        """Return what roots say of the file, once it is stored.

        Parameters
        ----------
        file : str, optional
            Its name, where it does not follow from that of the shard.
        """
        return Shard(self._size, self._hasher.text(), file)
