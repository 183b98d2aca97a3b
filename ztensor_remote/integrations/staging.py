"""Read into torch tensors: into their own memory, or through buffers of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from ..reader import LazyTensor, Reader
from ..reader.arrays import Array, import_torch, to_torch, torch_dtype
from .pieces import pieces_of

if TYPE_CHECKING:
    from torch import Tensor

_STAGE = 64 << 20
"""Bytes of one of the two buffers."""

Batch: TypeAlias = "list[tuple[LazyTensor, Tensor]]"


def fill(reader: Reader, targets: Mapping[str, Tensor]) -> None:
    """Read stored tensors into tensors of their shapes; other dtypes are converted to.

    Parameters
    ----------
    reader : Reader
    targets : mapping of str to torch.Tensor
        By name in the file, on any device, of any strides.

    Raises
    ------
    DigestError, FormatError, StoreError
    """
    if not targets:
        return
    torch = import_torch()
    direct = {
        name: target
        for name, target in targets.items()
        if _has_plain_memory(target) and target.dtype == torch_dtype(reader[name].dtype)
    }
    reader.read_into({name: _array_over(reader[name], direct[name]) for name in direct})
    with torch.no_grad():
        for device in {target.device for name, target in targets.items() if name not in direct}:
            staged = [
                (reader[name], target.detach())
                for name, target in targets.items()
                if name not in direct and target.device == device
            ]
            _Stages(reader, device).copy(staged)


def load_onto(reader: Reader, places: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return stored tensors, each on a device, without a copy where that is the CPU.

    Parameters
    ----------
    reader : Reader
    places : mapping of str to torch.device
        By name in the file.

    Raises
    ------
    DigestError, FormatError, StoreError
    """
    torch = import_torch()
    staged = {
        name: torch.empty(reader[name].shape, dtype=torch_dtype(reader[name].dtype), device=device)
        for name, device in places.items()
        if device.type != "cpu" and reader[name].layout == "dense"
    }
    fill(reader, staged)
    loaded = reader.load([name for name in places if name not in staged], to="torch")
    return {
        name: staged[name] if name in staged else loaded[name].to(device)
        for name, device in places.items()
    }


def _has_plain_memory(target: Tensor) -> bool:
    torch = import_torch()
    return bool(
        target.device.type == "cpu"
        and type(target) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
        and target.is_contiguous()
        and not target.is_conj()
        and not target.is_neg()
    )


def _array_over(stored: LazyTensor, target: Tensor) -> Array:
    """Return the memory of a tensor as an array."""
    octets = target.detach().reshape(-1).view(import_torch().uint8)
    array: Array = octets.numpy().view(stored.dtype).reshape(stored.shape)
    return array


class _Stages:
    """Two buffers in turn: one is filled while the other one's bytes travel to the device."""

    def __init__(self, reader: Reader, device: Any) -> None:
        torch = import_torch()
        self._reader = reader
        self._device = device
        self._is_cuda = device.type == "cuda"
        self._buffers = [
            torch.empty(_STAGE, dtype=torch.uint8, pin_memory=self._is_cuda) for _ in range(2)
        ]
        self._copied = [torch.cuda.Event() for _ in range(2)] if self._is_cuda else []
        self._turn = 0

    def copy(self, staged: Batch) -> None:
        """Read all of them."""
        for batch in _batches(staged):
            stored, target = batch[0]
            if stored.nbytes <= _STAGE:
                self._copy_batch(batch)
            else:
                for key, piece in pieces_of(stored, _STAGE):
                    self._copy_piece(to_torch(piece), target[key])
        if self._is_cuda:
            import_torch().cuda.current_stream(self._device).synchronize()

    def _copy_batch(self, batch: Batch) -> None:
        with self._buffer() as buffer:
            filled = _carved(buffer, batch)
            self._reader.read_into(
                {stored.name: _array_over(stored, filled[stored.name]) for stored, _ in batch}
            )
            for stored, target in batch:
                target.copy_(filled[stored.name], non_blocking=self._is_cuda)

    def _copy_piece(self, piece: Tensor, target: Tensor) -> None:
        if not self._is_cuda or piece.nbytes > _STAGE:
            target.copy_(piece)
            return
        with self._buffer() as buffer:
            pinned = buffer[: piece.nbytes].view(piece.dtype).reshape(piece.shape)
            pinned.copy_(piece)
            target.copy_(pinned, non_blocking=True)

    @contextmanager
    def _buffer(self) -> Iterator[Tensor]:
        """Give a buffer that no copy reads from any more."""
        turn = self._turn = 1 - self._turn
        if self._is_cuda:
            self._copied[turn].synchronize()
        yield self._buffers[turn]
        if self._is_cuda:
            self._copied[turn].record(import_torch().cuda.current_stream(self._device))


def _carved(buffer: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Return memory in a buffer for each tensor."""
    carved, start = {}, 0
    for stored, target in batch:
        octets = buffer[start : start + stored.nbytes]
        carved[stored.name] = octets.view(torch_dtype(stored.dtype)).reshape(target.shape)
        start += _aligned(stored.nbytes)
    return carved


def _batches(staged: Batch) -> Iterator[Batch]:
    """Group tensors so that each group fits in a buffer, or is one that is larger."""
    batch: Batch = []
    size = 0
    for stored, target in staged:
        if batch and size + stored.nbytes > _STAGE:
            yield batch
            batch, size = [], 0
        batch.append((stored, target))
        size += _aligned(stored.nbytes)
    if batch:
        yield batch


def _aligned(nbytes: int) -> int:
    return -(-nbytes // 64) * 64
