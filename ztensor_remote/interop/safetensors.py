"""safetensors: a length, a JSON header, and the bytes of the tensors without gaps.

https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NoReturn

from ..errors import FormatError
from ..manifest import Component, Manifest, Tensor
from ..manifest.dtypes import BY_LOGICAL, storage_width
from ..manifest.fields import MAX_RANK, element_count, shown
from .json_text import is_text, parse_json
from .peek import Peek

MOST = 100_000_000
"""Bytes of a header; other readers take no longer ones either."""

METADATA = "__metadata__"

# Storage and logical type. Nothing reads six bits; their bytes can be had.
DTYPES: dict[str, tuple[str, str | None]] = {
    "BOOL": ("bool", None),
    "F4": ("u8", "f4_e2m1"),
    "F6_E2M3": ("u8", "f6_e2m3"),
    "F6_E3M2": ("u8", "f6_e3m2"),
    "U8": ("u8", None),
    "I8": ("i8", None),
    "F8_E5M2": ("u8", "f8_e5m2"),
    "F8_E4M3": ("u8", "f8_e4m3fn"),
    "F8_E5M2FNUZ": ("u8", "f8_e5m2fnuz"),
    "F8_E4M3FNUZ": ("u8", "f8_e4m3fnuz"),
    "F8_E8M0": ("u8", "f8_e8m0"),
    "I16": ("i16", None),
    "U16": ("u16", None),
    "F16": ("f16", None),
    "BF16": ("bf16", None),
    "I32": ("i32", None),
    "U32": ("u32", None),
    "F32": ("f32", None),
    "C64": ("f32", "complex64"),
    "F64": ("f64", None),
    "I64": ("i64", None),
    "U64": ("u64", None),
}
_SIX_BITS = frozenset(("F6_E2M3", "F6_E3M2"))


def parse(peek: Peek) -> Manifest:
    """Return what a safetensors file says of itself.

    Raises
    ------
    FormatError, StoreError
    """
    length = int.from_bytes(peek.read(0, 8), "little")
    if length > MOST:
        _reject(f"a header of {length} bytes is over {MOST}")
    header = _header(bytes(peek.read(8, length)))
    start = 8 + length
    tensors = {
        name: _tensor(name, entry, start) for name, entry in header.items() if name != METADATA
    }
    _check_filled(tensors, start, peek.size)
    return Manifest("safetensors", tensors, _metadata(header.get(METADATA)))


def _header(data: bytes) -> dict[str, Any]:
    if data[:1] != b"{":
        _reject("the header does not begin with '{'")
    try:
        header: dict[str, Any] = parse_json(data)
    except ValueError as error:
        _reject(f"the header {error}")
    return header


def _metadata(value: Any) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        is_text(item) and is_text(key) for key, item in value.items()
    ):
        _reject(f"{METADATA} is no map of texts")
    return value


def _tensor(name: str, entry: Any, start: int) -> Tensor:
    if not is_text(name):
        _reject(f"{shown(name)} is no name")
    try:
        return _checked(name, entry, start)
    except FormatError as error:
        raise error.at(tensor=name) from None


def _checked(name: str, entry: Any, start: int) -> Tensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _reject("an entry has the keys dtype, shape and data_offsets")
    dtype, dims, places = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        _reject(f"the dtype {shown(str(dtype))} is unknown")
    if not _are_counts(dims) or len(dims) > MAX_RANK:
        _reject(f"the shape is no list of at most {MAX_RANK} sizes")
    if not _are_counts(places) or len(places) != 2 or places[0] > places[1]:
        _reject("data_offsets are no beginning and end")
    shape = tuple(dims)
    storage, logical = DTYPES[dtype]
    bits = 6 if dtype in _SIX_BITS else _bits(storage, logical)
    needed, rest = divmod(element_count(shape) * bits, 8)
    if rest or needed != places[1] - places[0]:
        _reject(f"{shape} of {dtype} does not take the {places[1] - places[0]} bytes it has")
    part = Component(storage, start + places[0], needed, logical)
    return Tensor(name, shape, "dense", {"data": part})


def _bits(storage: str, logical: str | None) -> int:
    return 8 * storage_width(storage) if logical is None else BY_LOGICAL[logical].bits


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < 1 << 64 for item in value
    )


def _check_filled(tensors: Mapping[str, Tensor], start: int, size: int) -> None:
    """Check that the tensors lie one after another, up to the end of the file."""
    places = sorted(
        (part.offset, part.offset + part.length)
        for tensor in tensors.values()
        for part in tensor.components.values()
    )
    for (_, stop), (following, _) in pairwise([(start, start), *places, (size, size)]):
        if stop > following:
            where = "overlap" if following != size else "end behind the end of the file:"
            _reject(f"tensors {where} at {following}")
        if stop < following:
            _reject(f"no tensor has the {following - stop} bytes at {stop}")


def _reject(message: str) -> NoReturn:
    raise FormatError(f"not a valid safetensors file: {message}", rule="Safetensors")
