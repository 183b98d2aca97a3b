"""For Ray: tensors in its object store, sources of Ray Data, and files of many workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .integrations.extras import import_extra
from .integrations.ray import SharedTensors, load
from .integrations.ray_writing import to_zt

if TYPE_CHECKING:
    from .integrations.ray_data import RowDatasource, TensorDatasource, array

# These are made of Ray Data, which is imported when one of them is asked for.
_OF_RAY_DATA = {"RowDatasource", "TensorDatasource", "array"}

__all__ = ["RowDatasource", "SharedTensors", "TensorDatasource", "array", "load", "to_zt"]


def __getattr__(name: str) -> Any:
    """Import what is made of Ray Data."""
    if name not in _OF_RAY_DATA:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_extra(f"{__package__}.integrations.ray_data", library="Ray"), name)
