"""For Dask: tensors as arrays, delayed values and bags, and arrays to files of many workers."""

from __future__ import annotations

from .integrations.dask import array, bag, delayed
from .integrations.dask_writing import to_zt

__all__ = ["array", "bag", "delayed", "to_zt"]
