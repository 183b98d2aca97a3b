"""Torch tensors that share memory: which do, and which of them stand for the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import StateDictError
from ..reader.arrays import import_torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class _Extent:
    """The memory of a tensor: from its first element to its last.

    Attributes
    ----------
    storage : tuple
        Device and address of the storage.
    start, stop : int
        Addresses; a tensor that is not contiguous leaves some out.
    is_contiguous, is_complete : bool
        Whether it leaves none out, and whether it takes up all of the storage.
    """

    storage: tuple[Any, int]
    start: int
    stop: int
    is_contiguous: bool
    is_complete: bool


def _extent_of(value: Any) -> _Extent | None:
    """Return the memory of a tensor; None if it has none."""
    torch = import_torch()
    if type(value) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        return None  # subclasses may wrap tensors, and have no memory of their own
    if value.is_meta or value.layout != torch.strided:
        return None
    storage = value.untyped_storage()
    if not value.numel() or not storage.data_ptr():
        return None
    steps = sum((size - 1) * step for size, step in zip(value.shape, value.stride(), strict=True))
    start = value.data_ptr()
    nbytes = value.numel() * value.element_size()
    return _Extent(
        (value.device, storage.data_ptr()),
        start,
        start + (steps + 1) * value.element_size(),
        value.is_contiguous(),
        start == storage.data_ptr() and nbytes == storage.nbytes(),
    )


def tied(state: Mapping[str, Any]) -> Iterable[list[str]]:
    """Return all keys, those of one and the same tensor together."""
    groups: dict[object, list[str]] = {}
    for key, value in state.items():
        extent = _extent_of(value)
        same = id(value) if extent is None else (extent, value.dtype, value.shape, value.stride())
        groups.setdefault(same, []).append(key)
    return groups.values()


def covered_by(tensors: Sequence[Tensor]) -> Callable[[Any], bool]:
    """Return a test whether a tensor is a part of the memory of another one of these."""
    wholes = defaultdict(list)
    for tensor in tensors:
        extent = _extent_of(tensor)
        if extent is not None and extent.is_contiguous:
            wholes[extent.storage].append((extent.start, extent.stop))

    def is_covered(value: Any) -> bool:
        extent = _extent_of(value)
        return extent is not None and any(
            start <= extent.start
            and extent.stop <= stop
            and stop - start > extent.stop - extent.start
            for start, stop in wholes[extent.storage]
        )

    return is_covered


def shared_names(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Return the names of tensors that overlap, those that do together."""
    by_storage = defaultdict(list)
    for name, tensor in tensors.items():
        extent = _extent_of(tensor)
        if extent is not None:
            by_storage[extent.storage].append((extent.start, extent.stop, name))
    return [group for areas in by_storage.values() for group in _overlapping(sorted(areas))]


def _overlapping(areas: Iterable[tuple[int, int, str]]) -> list[list[str]]:
    groups: list[list[str]] = []
    reached = 0
    for start, stop, name in areas:
        if groups and start < reached:
            groups[-1].append(name)
        else:
            groups.append([name])
        reached = max(reached, stop)
    return [group for group in groups if len(group) > 1]


def stand_ins(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return, for each name that need not be stored, the one that holds its elements.

    Of tensors that overlap, the first by name that takes up a whole storage is kept.

    Raises
    ------
    StateDictError
        None of them does.
    """
    found: dict[str, str] = {}
    for names in shared_names(tensors):
        complete = [name for name in names if _takes_all(tensors[name])]
        if not complete:
            raise StateDictError(
                f"{', '.join(names)} share memory, and none of them is all of it; clone them, or "
                "store the tensor that they are parts of"
            )
        kept = min(complete)
        found |= {name: kept for name in names if name != kept}
    return found


def _takes_all(tensor: Tensor) -> bool:
    extent = _extent_of(tensor)
    return extent is not None and extent.is_complete
