"""The manifest of version 1.0: dtypes on the tensor, long names, u64 indices (SPEC.md §7)."""

from __future__ import annotations

from typing import Any

from ..errors import FormatError, UnsupportedError
from .cbor import encode
from .chunks import chunk_fields, with_chunk_digests
from .decoding import decode_lenient
from .dtypes import LONG_NAMES, SHORT_TO_LONG
from .fields import (
    get_fields,
    get_map,
    get_optional_text,
    get_shape,
    get_text,
    get_uint,
    reject,
    require,
    shown,
)
from .model import RAW, ZSTD, Component, Manifest, Tensor, is_misnamed

GENERATOR = "ztensor_remote"
_INDEX_ROLES = frozenset(("indices", "indptr", "coords"))


def decode_manifest(data: bytes) -> Manifest:
    """Return what the CBOR map `data` says."""
    root = get_fields(decode_lenient(data), "the manifest")
    tensors = get_map(require(root, "tensors", "the manifest"), "'tensors'")
    attributes, generator = root.get("attributes"), root.get("generator")
    return Manifest(
        "1.0",
        {get_text(name, "a tensor name"): _tensor(name, value) for name, value in tensors.items()},
        attributes={} if attributes is None else get_map(attributes, "'attributes'"),
        version_text=get_text(root.get("version", "1.0"), "'version'"),
        generator=generator if isinstance(generator, str) else None,
    )


def _tensor(name: str, value: Any) -> Tensor:
    try:
        fields = get_fields(value, "the tensor")
        dtype = get_text(require(fields, "dtype", "the tensor"), "'dtype'")
        if dtype not in LONG_NAMES:
            reject(f"the dtype {shown(dtype)} is unknown")
        components = get_map(require(fields, "components", "the tensor"), "'components'")
        layout = get_text(fields.get("format", "dense"), "'format'")
        return Tensor(
            name=name,
            shape=get_shape(require(fields, "shape", "the tensor")),
            format=layout,
            components={
                get_text(role, "a role"): _component(role, part, dtype)
                for role, part in components.items()
            },
            is_misnamed=is_misnamed(layout, "1.0"),
        )
    except FormatError as error:
        raise error.at(tensor=name) from None


def _component(role: str, value: Any, dtype: str) -> Component:
    try:
        fields = get_fields(value, "the component")
        encoding = get_optional_text(fields, "encoding")
        if encoding not in (None, RAW, ZSTD):
            reject(f"the encoding {shown(encoding)} is unknown")
        part = Component(
            dtype="u64" if role in _INDEX_ROLES else LONG_NAMES[dtype],
            offset=get_uint(require(fields, "offset", "the component"), "'offset'"),
            length=get_uint(require(fields, "length", "the component"), "'length'"),
            encoding=encoding or RAW,
            digest=get_optional_text(fields, "digest"),
        )
        return with_chunk_digests(part, fields)
    except FormatError as error:
        raise error.at(component=role) from None


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest in the field order of the published 1.0 writer."""
    tensors = sorted(manifest.tensors.values(), key=lambda tensor: tensor.name.encode())
    return encode(
        {
            "version": "1.0",
            "generator": manifest.generator or GENERATOR,
            "attributes": dict(manifest.attributes),
            "tensors": {tensor.name: _tensor_fields(tensor) for tensor in tensors},
        },
        sort_keys=False,
    )


def _tensor_fields(tensor: Tensor) -> dict[str, Any]:
    return {
        "dtype": SHORT_TO_LONG[_value_component(tensor).dtype],
        "shape": list(tensor.shape),
        "format": tensor.format,
        "components": {
            role: _component_fields(part) for role, part in sorted(tensor.components.items())
        },
    }


def _value_component(tensor: Tensor) -> Component:
    return next(part for role, part in tensor.components.items() if role not in _INDEX_ROLES)


def _component_fields(part: Component) -> dict[str, Any]:
    fields: dict[str, Any] = {"offset": part.offset, "length": part.length}
    if not part.is_raw:
        fields["encoding"] = part.encoding
    if part.digest is not None:
        fields["digest"] = part.digest
    return fields | chunk_fields(part)


def check_storable(tensor: Tensor) -> None:
    """Refuse what a version-1.0 manifest has no field for.

    Raises
    ------
    UnsupportedError
    """
    if tensor.format not in ("dense", "sparse_csr", "sparse_coo"):
        raise UnsupportedError(
            f"version 1.0 has no layout {tensor.format!r}; write version '1.2' or '2'"
        )
    if tensor.attributes:
        raise UnsupportedError("version 1.0 has no tensor attributes; write version '1.2' or '2'")
    for role, part in tensor.components.items():
        if part.logical is not None:
            raise UnsupportedError(
                f"version 1.0 can't store {part.element.name}; write version '1.2' or '2'"
            )
        if role in _INDEX_ROLES and part.dtype != "u64":
            raise UnsupportedError(f"version 1.0 stores {role!r} as u64 only")
