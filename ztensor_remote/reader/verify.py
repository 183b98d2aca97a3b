"""Check what was stored against all that the file says of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..codecs import Hasher, check_digest, is_checkable
from ..errors import DigestError, UnsupportedError
from ..manifest import Component
from ..stores import Source
from .blobs import Blobs

if TYPE_CHECKING:
    from .component import LazyComponent
    from .tensor import LazyTensor

_STEP = 8 << 20


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification covered.

    Attributes
    ----------
    checked : int
        Components whose bytes have the digest that the file states.
    undigested : int
        Components for which the file states none; their sizes and data rules were checked.
    """

    checked: int
    undigested: int


def verify_tensors(tensors: list[LazyTensor], blobs: Blobs, *, deep: bool) -> Verification:
    """Verify each component of each tensor, then the data rules of its layout.

    Raises
    ------
    DigestError, FormatError, UnsupportedError
    """
    if deep:
        _verify_shards(blobs)
    checked = undigested = 0
    for tensor in tensors:
        for part in tensor.components.values():
            if _verify_component(part, blobs):
                checked += 1
            else:
                undigested += 1
        _verify_layout(tensor)
    return Verification(checked, undigested)


def _verify_component(lazy: LazyComponent, blobs: Blobs) -> bool:
    """Compare a component with its digest, whatever `verify=` the reader was opened with."""
    part = lazy._part
    if part.digest is None:
        return False
    with lazy._located():
        if not is_checkable(part.digest, blobs.manifest.digest_algorithms):
            if not blobs.manifest.is_exact:
                return False  # readers before version 2 pass over it
            raise UnsupportedError(f"digest {part.digest!r} is of an unknown algorithm")
        covers_decoded = blobs.manifest.digests_cover_decoded
        data = lazy._decoded() if covers_decoded else blobs.stored(part)
        check_digest(part.digest, data)
    return True


def _verify_layout(tensor: LazyTensor) -> None:
    """Decode the tensor, which checks sizes, bools, packing and sparse indices."""
    decode: list[Callable[[], object]] = [part._decoded for part in tensor.components.values()]
    if tensor.layout == "dense":
        decode = [tensor.numpy]
    elif tensor.layout in ("sparse_csr", "sparse_coo"):
        decode = [tensor.sparse]
    for each in decode:
        # Where it is not supported, nothing more is known of it than its bytes.
        with suppress(UnsupportedError):
            each()


def _verify_shards(blobs: Blobs) -> None:
    for name, shard in blobs.manifest.shards.items():
        source = blobs.source_of(Component("u8", 0, 0, shard=name))
        algorithm = shard.digest.partition(":")[0]
        if not is_checkable(shard.digest, blobs.manifest.digest_algorithms):
            raise UnsupportedError(f"shard {name!r} has a digest of the unknown {algorithm!r}")
        hasher = Hasher(algorithm)  # type: ignore[arg-type]
        _hash_file(source, hasher)
        if hasher.text() != shard.digest:
            raise DigestError(
                f"shard {name!r} has the digest {hasher.text()}, the root states {shard.digest}",
                url=source.url,
            )


def _hash_file(source: Source, hasher: Hasher) -> None:
    size = source.identity.size
    buffer = memoryview(bytearray(min(_STEP, size)))
    for start in range(0, size, _STEP):
        piece = buffer[: size - start]
        source.read_into(start, piece)
        hasher.update(piece)
