"""A remote, lazy tensor store: zTensor files on any fsspec filesystem.

>>> import ztensor_remote as zt
>>> model = zt.open("s3://bucket/model.zt")  # doctest: +SKIP
>>> model["layers.0.weight"][:16]  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    AccessDeniedError,
    ClosedError,
    ConcurrentWriteError,
    DigestError,
    DuplicateNameError,
    FormatError,
    InvalidInputError,
    LimitError,
    MissingDependencyError,
    NotFoundError,
    ObjectChangedError,
    StateDictError,
    StepExistsError,
    StoreError,
    StoreTimeoutError,
    TensorNotFoundError,
    UnsupportedError,
    ZTensorError,
)

if TYPE_CHECKING:
    from .examine import Difference, Statistics, content_id, diff, statistics
    from .log import CheckpointLog, Pruned
    from .reader import (
        ByteRange,
        LazyComponent,
        LazyTensor,
        Reader,
        ReadPlan,
        TensorMetadata,
        Verification,
        open,
    )
    from .rewrite import (
        Rewritten,
        append_from,
        compress,
        convert,
        copy,
        decompress,
        merge,
        remove,
        rename,
        split,
    )
    from .stores import Cache, Guarantees, Identity, Limits, Stats
    from .writer import TensorPart, Writer, append

__version__ = "0.1.0"

# Imported at first use: a cold worker should not pay for what it does not touch.
_LAZY = {
    "ByteRange": "reader",
    "Cache": "stores",
    "CheckpointLog": "log",
    "Difference": "examine",
    "Guarantees": "stores",
    "Identity": "stores",
    "LazyComponent": "reader",
    "LazyTensor": "reader",
    "Limits": "stores",
    "Pruned": "log",
    "ReadPlan": "reader",
    "Reader": "reader",
    "Rewritten": "rewrite",
    "Statistics": "examine",
    "Stats": "stores",
    "TensorMetadata": "reader",
    "TensorPart": "writer",
    "Verification": "reader",
    "Writer": "writer",
    "append": "writer",
    "append_from": "rewrite",
    "compress": "rewrite",
    "content_id": "examine",
    "convert": "rewrite",
    "copy": "rewrite",
    "decompress": "rewrite",
    "diff": "examine",
    "merge": "rewrite",
    "open": "reader",
    "remove": "rewrite",
    "rename": "rewrite",
    "split": "rewrite",
    "statistics": "examine",
}

_MODULES = {"dask", "jax", "numpy", "ray", "torch", "xarray"}

__all__ = [
    "AccessDeniedError",
    "ByteRange",
    "Cache",
    "CheckpointLog",
    "ClosedError",
    "ConcurrentWriteError",
    "Difference",
    "DigestError",
    "DuplicateNameError",
    "FormatError",
    "Guarantees",
    "Identity",
    "InvalidInputError",
    "LazyComponent",
    "LazyTensor",
    "LimitError",
    "Limits",
    "MissingDependencyError",
    "NotFoundError",
    "ObjectChangedError",
    "Pruned",
    "ReadPlan",
    "Reader",
    "Rewritten",
    "StateDictError",
    "Statistics",
    "Stats",
    "StepExistsError",
    "StoreError",
    "StoreTimeoutError",
    "TensorMetadata",
    "TensorNotFoundError",
    "TensorPart",
    "UnsupportedError",
    "Verification",
    "Writer",
    "ZTensorError",
    "append",
    "append_from",
    "compress",
    "content_id",
    "convert",
    "copy",
    "decompress",
    "diff",
    "merge",
    "open",
    "remove",
    "rename",
    "split",
    "statistics",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
