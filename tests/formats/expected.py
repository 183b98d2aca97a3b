"""What the JSON beside a published file says of it, in Python's own terms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

DATA = Path(__file__).parent.parent / "data"
FIXTURES = sorted((DATA / "fixtures").glob("*/*.zt"))

_SPECIAL = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan"), "-0.0": -0.0}

# Spelled out again, so that a slip in the library's own table shows.
STORAGE: dict[str, Any] = {
    **{"f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16},
    **{"i64": np.int64, "i32": np.int32, "i16": np.int16, "i8": np.int8},
    **{"u64": np.uint64, "u32": np.uint32, "u16": np.uint16, "u8": np.uint8, "bool": np.bool_},
}
LONG_NAMES = {np.dtype(scalar).name: short for short, scalar in STORAGE.items()}
LOGICAL: dict[str, Any] = {
    "bool": np.bool_,
    "f8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "f8_e5m2": ml_dtypes.float8_e5m2,
    "f8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "f8_e8m0": ml_dtypes.float8_e8m0fnu,
    "f4_e2m1": ml_dtypes.float4_e2m1fn,
    "complex64": np.complex64,
    "complex128": np.complex128,
}


@dataclass(frozen=True)
class Part:
    """One component as the JSON has it."""

    tensor: str
    role: str
    fields: dict[str, Any]

    @property
    def storage(self) -> np.dtype[Any]:
        name = self.fields["dtype"]
        return np.dtype(STORAGE[LONG_NAMES.get(name, name)])

    @property
    def logical(self) -> str | None:
        return self.fields.get("type")

    @property
    def encoding(self) -> str:
        return self.fields.get("encoding", "raw")

    @property
    def values(self) -> list[float] | None:
        """The storage elements, for short components."""
        values = self.fields.get("values")
        return values and [_SPECIAL.get(v, v) if isinstance(v, str) else v for v in values]


class Expected:
    """The JSON of one fixture."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.json: dict[str, Any] = json.loads(path.with_suffix(".json").read_text("utf-8"))
        self.tensors: dict[str, dict[str, Any]] = self.json["tensors"]

    @property
    def version(self) -> str:
        """The container version; 1.1 and 1.2 differ in the manifest's version text."""
        container = self.json["container"]
        if container not in ("1.1", "1.2"):
            return str(container)
        return str(self.json["version"]).removesuffix(".0")

    @cached_property
    def attributes(self) -> dict[Any, Any]:
        return untagged(self.json["attributes"] or {})

    def tensor_attributes(self, name: str) -> dict[Any, Any]:
        return untagged(self.tensors[name]["attributes"] or {})

    def parts(self) -> Iterator[Part]:
        for name, tensor in self.tensors.items():
            for role, fields in tensor["components"].items():
                yield Part(name, role, fields)

    @property
    def needs_shards(self) -> bool:
        return any("shard" in part.fields for part in self.parts())


def untagged(value: Any) -> Any:
    """Return attributes with bytes, infinities and integer keys in place of their JSON stand-ins."""
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    special: dict[str, Callable[[str], Any]] = {"__bytes__": bytes.fromhex, "__float__": float}
    if len(value) == 1 and (key := next(iter(value))) in special:
        return special[key](value[key])
    return {_key(key): untagged(item) for key, item in value.items()}


def _key(text: str) -> str | int:
    """JSON has no integer keys; no fixture has a text key of digits."""
    return int(text) if text.removeprefix("-").isdigit() else text
