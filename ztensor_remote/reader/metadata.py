"""What the published 1.0 package tells of a tensor, under its names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import TensorNotFoundError
from ..manifest import Component, Tensor
from .show import dtype_text


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """Metadata of one tensor.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype_str : str
        ``"float32"``, ``"bfloat16"``, ….
    layout : str
        ``"dense"``, ``"sparse_csr"``, ``"sparse_coo"``, or another layout id.
    offset, size : int
        Stored bytes of a dense tensor; 0 for other layouts, which have several blobs.
    encoding : str or None
        ``"raw"`` or ``"zstd"``; None for other layouts than dense.
    checksum : str or None
    """

    name: str
    shape: tuple[int, ...]
    dtype_str: str
    layout: str
    offset: int
    size: int
    encoding: str | None
    checksum: str | None
    _tensor: Tensor = field(repr=False)

    @classmethod
    def of(cls, tensor: Tensor) -> TensorMetadata:
        """Return the metadata of a manifest's tensor."""
        part: Component | None = tensor.components.get("data") if tensor.layout == "dense" else None
        return cls(
            tensor.name,
            tensor.shape,
            dtype_text(tensor),
            tensor.layout,
            part.offset if part else 0,
            part.length if part else 0,
            part.encoding if part else None,
            part.digest if part else None,
            tensor,
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the elements."""
        parts = self._tensor.components
        part = parts.get("data") or parts.get("values") or next(iter(parts.values()), None)
        if part is None:
            raise TensorNotFoundError("the tensor has no components", tensor=self.name)
        return part.element.numpy()

    @property
    def endianness(self) -> str:
        """``"little"``: elements come back in this order, whatever the file has."""
        return "little"
