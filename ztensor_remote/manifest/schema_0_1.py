"""The manifest of version 0.1: an array of flat maps (SPEC.md §6)."""

from __future__ import annotations

from typing import Any

from ..errors import FormatError
from .decoding import decode_lenient
from .dtypes import LONG_NAMES
from .fields import (
    get_fields,
    get_list,
    get_optional_text,
    get_shape,
    get_text,
    get_uint,
    reject,
    require,
    shown,
)
from .model import RAW, ZSTD, Component, Manifest, Tensor, is_misnamed

_FIELDS = frozenset(
    (
        "name",
        "offset",
        "size",
        "dtype",
        "layout",
        "shape",
        "encoding",
        "data_endianness",
        "checksum",
    )
)


def decode_manifest(data: bytes) -> Manifest:
    """Return what the CBOR array `data` says. The first of several equal names counts."""
    if not data:
        return Manifest("0.1", {})
    tensors: dict[str, Tensor] = {}
    for entry in get_list(decode_lenient(data), "the manifest"):
        fields = get_fields(entry, "a tensor entry")
        name = get_text(require(fields, "name", "a tensor entry"), "a tensor name")
        tensors.setdefault(name, _tensor(name, fields))
    return Manifest("0.1", tensors)


def _tensor(name: str, fields: dict[Any, Any]) -> Tensor:
    custom = {key: value for key, value in fields.items() if key not in _FIELDS}
    try:
        layout = get_text(fields.get("layout", "dense"), "'layout'")
        return Tensor(
            name=name,
            shape=get_shape(require(fields, "shape", "the entry")),
            format=layout,
            components={"data": _component(fields)},
            attributes=custom or None,
            is_misnamed=is_misnamed(layout, "0.1"),
        )
    except FormatError as error:
        raise error.at(tensor=name) from None


def _component(fields: dict[Any, Any]) -> Component:
    dtype = get_text(require(fields, "dtype", "the entry"), "'dtype'")
    if dtype not in LONG_NAMES:
        reject(f"the dtype {shown(dtype)} is unknown")
    encoding = get_text(fields.get("encoding", RAW), "'encoding'")
    if encoding not in (RAW, ZSTD):
        reject(f"the encoding {shown(encoding)} is unknown")
    byteorder = get_optional_text(fields, "data_endianness")
    if byteorder not in (None, "little", "big"):
        reject(f"the byte order {shown(byteorder)} is unknown")
    return Component(
        dtype=LONG_NAMES[dtype],
        offset=get_uint(require(fields, "offset", "the entry"), "'offset'"),
        length=get_uint(require(fields, "size", "the entry"), "'size'"),
        encoding=encoding,
        digest=get_optional_text(fields, "checksum"),
        # Published readers swap only raw data; zstd payloads are always little-endian.
        big_endian=byteorder == "big" and encoding == RAW,
    )
