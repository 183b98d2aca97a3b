"""Check what was stored against all that the file says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..codecs import Hasher, is_checkable
from ..errors import DigestError, UnsupportedError
from ..manifest import Component
from ..stores import Source
from .blobs import Blobs
from .want import Want

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
        parts = list(tensor.components.values())
        with tensor._located():
            digested = [_is_compared(part, blobs) for part in parts]
            wants = [part._want() for part in parts]
            _verify_layout(tensor, blobs, wants)
        checked += sum(digested)
        undigested += len(digested) - sum(digested)
    return Verification(checked, undigested)


def _is_compared(lazy: LazyComponent, blobs: Blobs) -> bool:
    """Whether a component has a digest that the version wants compared."""
    digest = lazy.digest
    if digest is None:
        return False
    rules = blobs.manifest.of(lazy._part)
    if is_checkable(digest, rules.digest_algorithms):
        return True
    if rules.is_exact:
        raise UnsupportedError(f"digest {digest!r} is of an unknown algorithm").at(
            component=lazy.role
        )
    return False  # readers before version 2 pass over it


def _verify_layout(tensor: LazyTensor, blobs: Blobs, wants: list[Want]) -> None:
    """Load the components, then decode the tensor: sizes, bools, packing, sparse indices."""
    try:
        held = blobs.holding(wants, blobs.load(wants, again=True))
        if tensor.layout == "dense":
            tensor._with(held).numpy()
        elif tensor.layout in ("sparse_csr", "sparse_coo"):
            tensor._with(held).sparse()
        elif tensor.layout == "quantized_group":
            for part in tensor._with(held).components.values():
                part.numpy()
    except UnsupportedError:
        pass  # nothing more is known of it than its bytes


def _verify_shards(blobs: Blobs) -> None:
    for name, shard in blobs.manifest.shards.items():
        if shard.is_bare:
            continue
        part = Component("u8", 0, 0, shard=name)
        source, rules = blobs.source_of(part), blobs.manifest.of(part)
        algorithm = shard.digest.partition(":")[0]
        if not is_checkable(shard.digest, rules.digest_algorithms):
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
