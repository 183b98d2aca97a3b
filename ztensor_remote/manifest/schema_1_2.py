"""The manifest of versions 1.1 and 1.2: dtypes on the component, short names (SPEC.md §8)."""

from __future__ import annotations

from typing import Any

from ..errors import FormatError
from .cbor import encode
from .chunks import chunk_fields, with_chunk_digests
from .decoding import decode_lenient
from .dtypes import BY_STORAGE
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

VERSION_TEXT = "1.2.0"


def decode_manifest(data: bytes) -> Manifest:
    """Return what the CBOR map `data` says."""
    root = get_fields(decode_lenient(data), "the manifest")
    objects = get_map(require(root, "objects", "the manifest"), "'objects'")
    version_text = get_text(require(root, "version", "the manifest"), "'version'")
    generator = root.get("generator")
    return Manifest(
        "1.1" if version_text.startswith("1.1") else "1.2",
        {get_text(name, "a tensor name"): _tensor(name, value) for name, value in objects.items()},
        attributes=_optional_map(root, "attributes") or {},
        version_text=version_text,
        generator=generator if isinstance(generator, str) else None,
    )


def _tensor(name: str, value: Any) -> Tensor:
    try:
        fields = get_fields(value, "the tensor")
        components = get_map(require(fields, "components", "the tensor"), "'components'")
        layout = get_text(require(fields, "format", "the tensor"), "'format'")
        return Tensor(
            name=name,
            shape=get_shape(require(fields, "shape", "the tensor")),
            format=layout,
            components={
                get_text(role, "a role"): _component(role, part)
                for role, part in components.items()
            },
            attributes=_optional_map(fields, "attributes"),
            is_misnamed=is_misnamed(layout, "1.2"),
        )
    except FormatError as error:
        raise error.at(tensor=name) from None


def _optional_map(fields: dict[Any, Any], key: str) -> dict[Any, Any] | None:
    value = fields.get(key)
    return None if value is None else get_map(value, f"{key!r}")


def _component(role: str, value: Any) -> Component:
    try:
        fields = get_fields(value, "the component")
        dtype = get_text(require(fields, "dtype", "the component"), "'dtype'")
        if dtype not in BY_STORAGE:
            reject(f"the dtype {shown(dtype)} is unknown")
        encoding = get_optional_text(fields, "encoding")
        if encoding not in (None, RAW, ZSTD):
            reject(f"the encoding {shown(encoding)} is unknown")
        decoded = fields.get("uncompressed_length")
        part = Component(
            dtype=dtype,
            offset=get_uint(require(fields, "offset", "the component"), "'offset'"),
            length=get_uint(require(fields, "length", "the component"), "'length'"),
            logical=get_optional_text(fields, "type"),
            encoding=encoding or RAW,
            decoded_length=None if decoded is None else get_uint(decoded, "'uncompressed_length'"),
            digest=get_optional_text(fields, "digest"),
        )
        return with_chunk_digests(part, fields)
    except FormatError as error:
        raise error.at(component=role) from None


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest in the field order of the published 1.2 writer."""
    root: dict[str, Any] = {"version": manifest.version_text or VERSION_TEXT}
    if manifest.attributes:
        root["attributes"] = dict(manifest.attributes)
    tensors = sorted(manifest.tensors.values(), key=lambda tensor: tensor.name.encode())
    root["objects"] = {tensor.name: _tensor_fields(tensor) for tensor in tensors}
    return encode(root, sort_keys=False)


def _tensor_fields(tensor: Tensor) -> dict[str, Any]:
    fields: dict[str, Any] = {"shape": list(tensor.shape), "format": tensor.format}
    if tensor.attributes is not None:
        fields["attributes"] = dict(tensor.attributes)
    fields["components"] = {
        role: _component_fields(part) for role, part in sorted(tensor.components.items())
    }
    return fields


def _component_fields(part: Component) -> dict[str, Any]:
    fields: dict[str, Any] = {"dtype": part.dtype}
    if part.logical is not None:
        fields["type"] = part.logical
    fields |= {"offset": part.offset, "length": part.length}
    if part.decoded_length is not None:
        fields["uncompressed_length"] = part.decoded_length
    if not part.is_raw:
        fields["encoding"] = part.encoding
    if part.digest is not None:
        fields["digest"] = part.digest
    return fields | chunk_fields(part)
