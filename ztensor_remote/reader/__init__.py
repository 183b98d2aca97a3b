"""Lazy reading: a file as a mapping of tensors that fetch only what is asked for."""

from .blobs import Blobs
from .component import LazyComponent
from .file import Reader, open
from .metadata import TensorMetadata
from .opening import Opened, open_file
from .read_plan import ByteRange, ReadPlan
from .tensor import LazyTensor
from .verify import Verification

__all__ = [
    "Blobs",
    "ByteRange",
    "LazyComponent",
    "LazyTensor",
    "Opened",
    "ReadPlan",
    "Reader",
    "TensorMetadata",
    "Verification",
    "open",
    "open_file",
]
