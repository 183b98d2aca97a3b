"""Type aliases that several layers share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

Bytes: TypeAlias = bytes | bytearray | memoryview
Location: TypeAlias = "str | os.PathLike[str] | Bytes"
StorageOptions: TypeAlias = Mapping[str, Any]
Attributes: TypeAlias = dict[str, Any]
Verify: TypeAlias = bool | Literal["slices"]
Framework: TypeAlias = Literal["numpy", "torch", "jax", "scipy"]
