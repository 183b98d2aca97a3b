"""Short texts for people: sizes and dtypes."""

from __future__ import annotations

from ..errors import ZTensorError
from ..manifest import Tensor


def size_text(count: int) -> str:
    """Return a byte count in binary units: ``"1.5 MiB"``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def version_text(version: str) -> str:
    """Return a manifest's version as people call it: ``"zTensor 1.2"``, ``"safetensors"``."""
    return f"zTensor {version}" if version[0].isdigit() else version


def dtype_text(tensor: Tensor) -> str:
    """Return the dtype of a tensor's values, whatever the file says of it."""
    parts = tensor.components
    role = next((role for role in ("data", "values", "packed_weight") if role in parts), None)
    part = parts[role] if role else next(iter(parts.values()), None)
    if part is None:
        return "-"
    try:
        return part.element.name
    except ZTensorError:
        return f"{part.dtype}:{part.logical}"
