"""The tensors that are read: made from a seed, so that every process can check what it got."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 1 << 22
"""Elements that are random; the rest repeats them, changed by an exclusive or."""


@dataclass(frozen=True)
class Dataset:
    """Tensors of one shape."""

    name: str
    count: int
    shape: tuple[int, int]
    dtype: str = "float32"
    compressed: bool = False

    @property
    def names(self) -> list[str]:
        """The tensors, in the order in which they lie in a file."""
        return [f"layers.{i}.weight" for i in range(self.count)]

    @property
    def tensor_bytes(self) -> int:
        """Bytes of one tensor."""
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize

    @cached_property
    def _block(self) -> Array:
        rows = max(1, min(self.shape[0], BLOCK // self.shape[1]))
        values = np.random.default_rng(7).standard_normal((rows, self.shape[1]), np.float32)
        return (values * 0.02).astype(self.dtype).view(f"u{np.dtype(self.dtype).itemsize}")

    def blocks(self, name: str) -> Iterator[Array]:
        """Give a tensor's rows, a few at a time."""
        index = int(name.split(".")[1])
        step = len(self._block)
        for start in range(0, self.shape[0], step):
            block = self._block[: self.shape[0] - start]
            yield (block ^ np.array(index + start // step, block.dtype)).view(self.dtype)

    def array(self, name: str) -> Array:
        """Return a whole tensor."""
        return np.concatenate(list(self.blocks(name)))


def checksum(arrays: dict[str, Any]) -> int:
    """Return one number for tensors in the order of their names."""
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8), value)
    return value
