"""NumPy arrays in files: the calls of `safetensors.numpy`, on any URL."""

from __future__ import annotations

from .integrations.safe_open import safe_open
from .integrations.tensor_files import load_numpy as load
from .integrations.tensor_files import load_numpy_file as load_file
from .integrations.tensor_files import save_numpy as save
from .integrations.tensor_files import save_numpy_file as save_file

__all__ = ["load", "load_file", "safe_open", "save", "save_file"]
