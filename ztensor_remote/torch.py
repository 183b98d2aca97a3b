"""For PyTorch: fill a model from any URL, read the parts of tensor-parallel ranks."""

from __future__ import annotations

from .integrations.sharding import shard, shard_index
from .integrations.state_dict import IncompatibleKeys, load_state_dict

__all__ = [
    "IncompatibleKeys",
    "load_state_dict",
    "shard",
    "shard_index",
]
