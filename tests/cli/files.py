"""Files to look into."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cbor2
import ml_dtypes
import numpy as np

import ztensor_remote as zt

DATA = Path(__file__).resolve().parents[1] / "data"

_DATA_START = 64
_BLOB = b"\0" * 64


def write_model(path: Any, version: Any = "1.2", **where: Any) -> None:
    """Write two dense tensors, a compressed one and a sparse one, and an attribute."""
    with zt.Writer(path, version=version, **where) as w:
        w.add_tensor("layers.0.weight", np.arange(12, dtype=np.float32).reshape(3, 4))
        w.add_tensor("layers.0.bias", np.zeros(4, ml_dtypes.bfloat16))
        w.add_tensor("embedding", np.zeros((100, 10), np.float32), compress=True)
        w.add_sparse_csr(
            "adjacency",
            np.ones(3, np.float32),
            np.array([0, 1, 2], np.uint64),
            np.array([0, 1, 3], np.uint64),
            (2, 3),
        )
        w.attributes["license"] = "MIT"


def file_1_2(objects: dict[Any, Any], attributes: dict[Any, Any] | None = None) -> bytes:
    """Return a 1.2 file of 64 zero bytes and any manifest, also one that we would not write."""
    manifest = cbor2.dumps({"version": "1.2.0", "attributes": attributes or {}, "objects": objects})
    start = b"ZTEN1000".ljust(_DATA_START, b"\0")
    return start + _BLOB + manifest + struct.pack("<Q", len(manifest)) + b"ZTEN1000"


def tensor_1_2(attributes: dict[Any, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return the manifest entry of one byte, with other fields where they are given."""
    part = {"dtype": "u8", "offset": _DATA_START, "length": 1}
    part |= {key: value for key, value in fields.items() if key not in ("shape", "format")}
    entry = {
        "shape": fields.get("shape", [1]),
        "format": fields.get("format", "dense"),
        "components": {"data": part},
    }
    return entry if attributes is None else entry | {"attributes": attributes}
