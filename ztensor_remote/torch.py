"""For PyTorch: fill a model from any URL, read the parts of tensor-parallel ranks.

`load_file`, `save_file`, `load`, `save`, `safe_open`, `save_model` and `load_model` are called as
those of `safetensors.torch`, and take any URL.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .integrations.module_files import load_model, save_model
from .integrations.safe_open import safe_open
from .integrations.sharding import shard, shard_index
from .integrations.state_dict import IncompatibleKeys, load_state_dict
from .integrations.tensor_files import load_torch as load
from .integrations.tensor_files import load_torch_file as load_file
from .integrations.tensor_files import save_torch as save
from .integrations.tensor_files import save_torch_file as save_file

if TYPE_CHECKING:
    from .integrations.datasets import RowDataset, StepDataset
    from .integrations.dcp import StorageReader, StorageWriter

# Classes that derive from those of torch: it is imported when one of them is asked for.
_DERIVED = {
    "RowDataset": "datasets",
    "StepDataset": "datasets",
    "StorageReader": "dcp",
    "StorageWriter": "dcp",
}

__all__ = [
    "IncompatibleKeys",
    "RowDataset",
    "StepDataset",
    "StorageReader",
    "StorageWriter",
    "load",
    "load_file",
    "load_model",
    "load_state_dict",
    "safe_open",
    "save",
    "save_file",
    "save_model",
    "shard",
    "shard_index",
]


def __getattr__(name: str) -> Any:
    """Import a class that derives from one of torch."""
    if name not in _DERIVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".integrations.{_DERIVED[name]}", __package__)
    return getattr(module, name)
