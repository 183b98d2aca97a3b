"""The manifest of version 2: deterministic CBOR, parts, shards (SPEC.md §9)."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from ..errors import FormatError, UnsupportedError
from .cbor import encode
from .chunks import KEY, chunk_fields, with_chunk_digests
from .decoding import decode_deterministic
from .dtypes import STORAGE_2, dtype_of
from .fields import get_list, get_map, get_shape, get_text, get_uint, reject, require, shown
from .model import RAW, Component, Manifest, Shard, Tensor, is_misnamed

MIN_FILE = 48
_SHARD_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
_DIGEST = re.compile(r"[a-z0-9]+:[0-9a-f]+")


def decode_manifest(data: bytes) -> Manifest:
    """Return what the CBOR map `data` says."""
    root = get_map(decode_deterministic(data), "the manifest")
    objects = get_map(require(root, "objects", "the manifest"), "'objects'")
    shards = get_map(root.get("shards", {}), "'shards'")
    return Manifest(
        "2",
        {check_name(name): _tensor(name, value) for name, value in objects.items()},
        attributes=_attributes(root),
        shards={_shard_name(name): _shard(name, value) for name, value in shards.items()},
    )


def check_name(value: Any) -> str:
    """Return a tensor, part or attribute name that the format allows (1 to 1024 bytes, no NUL)."""
    name = get_text(value, "a name")
    if not name or len(name) > 1024 or "\0" in name or len(name.encode()) > 1024:
        reject(f"invalid name {shown(name)}: 1 to 1024 bytes of UTF-8 without NUL", rule="Name")
    return name


def _attributes(fields: dict[Any, Any]) -> dict[str, Any]:
    attributes = get_map(fields.get("attributes", {}), "'attributes'")
    return {check_name(key): value for key, value in attributes.items()}


def _shard_name(value: Any) -> str:
    name = get_text(value, "a shard name")
    if not _SHARD_NAME.fullmatch(name):
        reject(
            f"invalid shard name {shown(name)}: 1 to 64 of A-Z a-z 0-9 . _ -, no leading dot",
            rule="ShardName",
        )
    return name


def _shard(name: str, value: Any) -> Shard:
    what = f"shard {name!r}"
    fields = get_map(value, what)
    size = get_uint(require(fields, "size", what), f"size of {what}")
    if size < MIN_FILE:
        reject(f"{what} has {size} bytes; the smallest file has {MIN_FILE}")
    return Shard(size, _digest(require(fields, "digest", what)), _file_name(fields.get("file")))


def _file_name(value: Any) -> str | None:
    """Return our extension of the table, or None where somebody else means something by the key."""
    is_name = isinstance(value, str) and _FILE_NAME.fullmatch(value)
    return value if is_name else None


def _digest(value: Any) -> str:
    digest = get_text(value, "'digest'")
    if not _DIGEST.fullmatch(digest):
        reject(f"the digest {shown(digest)} is not 'algorithm:lower-case hex'")
    return digest


def _tensor(name: str, value: Any) -> Tensor:
    try:
        fields = get_map(value, "the object")
        parts = get_map(require(fields, "parts", "the object"), "'parts'")
        if not parts:
            reject("the object has no parts")
        layout = get_text(require(fields, "layout", "the object"), "'layout'")
        return Tensor(
            name=name,
            shape=get_shape(require(fields, "shape", "the object")),
            format=layout,
            components={check_name(role): _part(role, part) for role, part in parts.items()},
            attributes=_attributes(fields) if "attributes" in fields else None,
            is_misnamed=is_misnamed(layout, "2"),
        )
    except FormatError as error:
        raise error.at(tensor=name) from None


def _part(role: str, value: Any) -> Component:
    try:
        part = _component(get_map(value, "the part"))
        _check_logical(part)
    except FormatError as error:
        raise error.at(component=role) from None
    return part


def _component(fields: dict[Any, Any]) -> Component:
    dtype = get_text(require(fields, "dtype", "the part"), "'dtype'")
    if dtype not in STORAGE_2:
        reject(f"the dtype {shown(dtype)} is unknown")
    blob = get_list(require(fields, "blob", "the part"), "'blob'")
    if len(blob) != 2:
        reject(f"'blob' has {len(blob)} numbers, not offset and length")
    if ("encoding" in fields) != ("decoded_length" in fields):
        reject("'decoded_length' is required if and only if there is an 'encoding'")
    decoded = get_uint(fields.get("decoded_length", 0), "'decoded_length'")
    part = Component(
        dtype=dtype,
        offset=get_uint(blob[0], "the offset"),
        length=get_uint(blob[1], "the length"),
        logical=_text(fields, "type"),
        encoding=get_text(fields.get("encoding", RAW), "'encoding'"),
        decoded_length=decoded if "decoded_length" in fields else None,
        digest=_digest(fields["digest"]) if "digest" in fields else None,
        shard=_text(fields, "shard"),
    )
    return with_chunk_digests(part, fields)


def _text(fields: dict[Any, Any], key: str) -> str | None:
    return get_text(fields[key], f"{key!r}") if key in fields else None


def _check_logical(part: Component) -> None:
    if part.logical is None:
        return
    # An unknown type opens; only decoding it is refused.
    with suppress(UnsupportedError):
        dtype_of(part.dtype, part.logical)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the deterministic encoding."""
    root: dict[str, Any] = {
        "objects": {tensor.name: _object_fields(tensor) for tensor in manifest.tensors.values()}
    }
    if manifest.attributes:
        root["attributes"] = dict(manifest.attributes)
    if manifest.shards:
        root["shards"] = {name: _shard_fields(shard) for name, shard in manifest.shards.items()}
    return encode(root, sort_keys=True)


def _shard_fields(shard: Shard) -> dict[str, Any]:
    named = {} if shard.file is None else {"file": shard.file}
    return {"size": shard.size, "digest": shard.digest, **named}


def _object_fields(tensor: Tensor) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "shape": list(tensor.shape),
        "layout": tensor.format,
        "parts": {role: _part_fields(part) for role, part in tensor.components.items()},
    }
    if tensor.attributes is not None:
        fields["attributes"] = dict(tensor.attributes)
    return fields


def _part_fields(part: Component) -> dict[str, Any]:
    fields: dict[str, Any] = {"dtype": part.dtype, "blob": [part.offset, part.length]}
    if not part.is_raw:
        fields |= {"encoding": part.encoding, "decoded_length": part.decoded_length}
    optional = {"type": part.logical, "digest": part.digest, "shard": part.shard}
    fields |= {key: value for key, value in optional.items() if value is not None}
    return fields | chunk_fields(part)


def content_value(manifest: Manifest) -> bytes | None:
    """Return the bytes whose hash is the content digest (SPEC.md §10.5).

    None where a part carries no digest: then the content digest is undefined.
    """
    objects: dict[str, Any] = {}
    for tensor in manifest.tensors.values():
        fields = _object_fields(tensor)
        for part in fields["parts"].values():
            if "digest" not in part:
                return None
            for key in ("blob", "shard", "encoding", "decoded_length", KEY):
                part.pop(key, None)
        objects[tensor.name] = fields
    return encode(["zt.content/1", objects], sort_keys=True)
