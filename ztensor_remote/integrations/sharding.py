"""Parts of tensors for the ranks of tensor-parallel programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInputError
from ..reader import LazyTensor
from ..reader.arrays import to_torch

if TYPE_CHECKING:
    from torch import Tensor


def shard(tensor: LazyTensor, dim: int, rank: int, world: int, *, device: Any = None) -> Tensor:
    """Read one rank's part of a tensor: the bytes of that part, in one plan.

    Parameters
    ----------
    tensor : LazyTensor
    dim, rank, world : int
        As in `shard_index`.
    device : torch.device or str, optional
        Where to put it; the CPU by default.

    Returns
    -------
    torch.Tensor, contiguous

    Raises
    ------
    InvalidInputError, StoreError
    """
    part = np.ascontiguousarray(tensor[shard_index(tensor.shape, dim, rank, world)])
    made = to_torch(part)
    return made if device is None else made.to(device=device)


def shard_index(shape: tuple[int, ...], dim: int, rank: int, world: int) -> tuple[slice, ...]:
    """Return which part of a tensor is one rank's, for ``Reader.load(slices=...)``.

    Parts are those of `torch.chunk` and of DTensor's ``Shard(dim)``: all as large as the first,
    but for the last ones, which may be smaller or empty.

    Parameters
    ----------
    shape : tuple of int
    dim : int
        The axis that is cut; negative ones count from the last.
    rank, world : int
        Which part, from 0, and of how many.

    Raises
    ------
    InvalidInputError
        There is no such axis or rank.
    """
    if not -len(shape) <= dim < len(shape):
        raise InvalidInputError(f"a tensor of shape {shape} has no dimension {dim}")
    if not 0 <= rank < world:
        raise InvalidInputError(f"there is no rank {rank} in a world of {world}")
    axis, size = dim % len(shape), shape[dim]
    step = -(-size // world)
    part = slice(min(rank * step, size), min((rank + 1) * step, size))
    return (slice(None),) * axis + (part,)
