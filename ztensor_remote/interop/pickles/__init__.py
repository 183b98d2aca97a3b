"""Pickles, read without executing anything: only tensors, arrays and plain values are known."""

from .arrays import ARRAY_NAMES, Array
from .contents import Contents, contents_of
from .machine import Machine, Steps
from .placing import Placing, Region, Run
from .python_names import PYTHON_NAMES
from .stream import Stream
from .tensors import TENSOR_NAMES, Sparse, Storage, Strided, storage_of
from .values import Bytes, Named

NAMES = PYTHON_NAMES | ARRAY_NAMES | TENSOR_NAMES
"""All that a pickle may name."""

__all__ = [
    "NAMES",
    "Array",
    "Bytes",
    "Contents",
    "Machine",
    "Named",
    "Placing",
    "Region",
    "Run",
    "Sparse",
    "Steps",
    "Storage",
    "Stream",
    "Strided",
    "contents_of",
    "storage_of",
]
