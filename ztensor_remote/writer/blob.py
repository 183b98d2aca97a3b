"""One blob on its way to the sink: padded, compressed, digested, counted."""

from __future__ import annotations

from collections.abc import Iterable

from ..codecs import ChunkHasher, FrameEncoder, Hasher
from ..container import align_up
from ..errors import ClosedError
from ..manifest import RAW, ChunkDigests, Component
from ..manifest.dtypes import DType
from ..stores import CopyingSink, LendingSink, Sink, Source, give_up
from ..types import Bytes
from .rules import Checksum, Rules


class Output:
    """A sink that knows how far it has come.

    Parameters
    ----------
    sink : Sink
    offset : int
        Bytes that are in the file already.
    shard : str, optional
        Name by which the manifest refers to the file; None for the manifest's own.
    """

    def __init__(self, sink: Sink, offset: int, shard: str | None = None) -> None:
        self.sink = sink
        self.offset = offset
        self.shard = shard
        self._lending: LendingSink | None = sink if hasattr(sink, "take") else None  # type: ignore[assignment]
        self._closed = False

    def write(self, data: Bytes, *, lent: bool = False, digest: Hasher | None = None) -> None:
        """Append bytes.

        Parameters
        ----------
        data : bytes-like
        lent : bool
            Whether they stay as they are until the file is published.
        digest : Hasher, optional
            Takes them in.
        """
        if self._closed:
            raise ClosedError("the file takes no more bytes", url=self.sink.url)
        if digest is not None and (self._lending is None or digest.algorithm != "crc32c"):
            digest.update(data)
            digest = None
        if self._lending is None:
            self.sink.write(data)
        else:
            self._lending.take(data, lent=lent, digest=digest)
        self.offset += len(data)

    def copy_from(self, source: Source, start: int, stop: int) -> None:
        """Append bytes of an object; the sink must be able to copy them."""
        assert isinstance(self.sink, CopyingSink)
        if self._closed:
            raise ClosedError("the file takes no more bytes", url=self.sink.url)
        self.sink.copy_from(source, start, stop)
        self.offset += stop - start

    def pad_to(self, alignment: int, ahead: int = 0) -> None:
        """Append zeros until the position `ahead` of the next byte is a multiple."""
        self.write(bytes(align_up(self.offset + ahead, alignment) - self.offset - ahead))

    def commit(self) -> None:
        """Publish; the sink takes no more bytes, from whoever still holds a part of the file."""
        self._closed = True
        self.sink.commit()

    def abort(self) -> None:
        """Give the sink up; it takes no more bytes either."""
        self._closed = True
        self.sink.abort()

    def give_up(self, error: BaseException) -> None:
        """Abort because of an error, which stays the one that is reported."""
        self._closed = True
        give_up(self.sink, error)


CHUNK = 1 << 20
"""Bytes of a raw component that get a digest of their own, where such are asked for."""


class BlobWriter:
    """Write one component; `finish` says what the manifest has to say of it.

    Parameters
    ----------
    output : Output
    rules : Rules
    element : DType
    level : int or None
        zstd level; None stores raw bytes.
    checksum : str or None
        Digest algorithm.
    is_chunked : bool
        Whether raw bytes get digests of their pieces as well.
    """

    def __init__(
        self,
        output: Output,
        rules: Rules,
        element: DType,
        *,
        level: int | None,
        checksum: Checksum | None,
        is_chunked: bool,
    ) -> None:
        output.pad_to(rules.alignment)
        self._output = output
        self._rules = rules
        self._element = element
        self._start = output.offset
        self._encoder = None if level is None else FrameEncoder(level)
        self._hasher = None if checksum is None else Hasher(checksum)
        self._chunks = ChunkHasher(CHUNK) if is_chunked and level is None else None
        self.decoded = 0

    def write(self, data: memoryview, *, lent: bool = False) -> None:
        """Take the next decoded bytes; those that are lent stay as they are."""
        self.decoded += len(data)
        if self._chunks is not None:
            self._chunks.update(data)
        if self._encoder is None:
            self._output.write(data, lent=lent, digest=self._hasher)
            return
        if self._hasher is not None and self._rules.digests_cover_decoded:
            self._hasher.update(data)
        self._store(self._encoder.update(data))

    def _store(self, frames: Iterable[bytes]) -> None:
        digest = None if self._rules.digests_cover_decoded else self._hasher
        for frame in frames:
            self._output.write(frame, digest=digest)

    def finish(self) -> Component:
        """Write what is left and return the component."""
        if self._encoder is not None:
            self._store(self._encoder.finish())
        storage, logical = self._rules.storage(self._element)
        return Component(
            dtype=storage,
            offset=self._start,
            length=self._output.offset - self._start,
            logical=logical,
            encoding=RAW if self._encoder is None else self._rules.zstd,
            decoded_length=None if self._encoder is None else self.decoded,
            digest=None if self._hasher is None else self._hasher.text(),
            shard=self._output.shard,
            chunk_digests=(
                None if self._chunks is None else ChunkDigests(CHUNK, self._chunks.values())
            ),
        )
