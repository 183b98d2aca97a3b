"""`torch.distributed.checkpoint` on any URL: a file of blobs a rank, and one root over them."""

from .reading import StorageReader
from .writing import StorageWriter

__all__ = ["StorageReader", "StorageWriter"]
