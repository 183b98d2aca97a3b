"""What `ztensor info` tells of a file: the JSON that ``--json`` prints, and the table shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict

from ..errors import ZTensorError
from .json_values import jsonable

if TYPE_CHECKING:
    from ..manifest import Component, Tensor
    from ..reader import LazyComponent, LazyTensor, Opened, Reader
    from ..stores import Identity

SCHEMA = "ztensor-info/1"


class ComponentInfo(TypedDict):
    """A run of bytes with a role in a tensor.

    Attributes
    ----------
    dtype : str
        NumPy's name of the storage type.
    logical_type : str or None
        The meaning laid over it, as the file spells it.
    big_endian : bool
        Only in version 0.1.
    encoding : str
        ``"raw"``, ``"zstd"``, ``"zt.zstd-seekable/1"``, or one we can't decode.
    offset, stored_bytes : int
        In the file, or in the shard.
    decoded_bytes, elements : int or None
        None where neither manifest nor shape tell.
    digest : str or None
        ``"algorithm:hex"`` as the file spells it.
    shard : str or None
        Name of the shard that holds the bytes; None for the file itself.
    """

    dtype: str
    logical_type: str | None
    big_endian: bool
    encoding: str
    offset: int
    stored_bytes: int
    decoded_bytes: int | None
    elements: int | None
    digest: str | None
    shard: str | None


class TensorInfo(TypedDict):
    """A tensor.

    Attributes
    ----------
    dtype : str
        NumPy's or ml_dtypes' name of the values' type; ``"u8:name"`` for an unknown logical type.
    layout : str
        ``"dense"``, ``"sparse_csr"``, ``"sparse_coo"``, ``"quantized_group"``, or `format`, after
        ``"other:"`` where it is an id of another version.
    format : str
        The layout id as the file spells it.
    elements : int
        Product of the shape.
    stored_bytes, decoded_bytes : int, int or None
        Sums over the components.
    ratio : float or None
        Decoded by stored bytes; None where nothing is compressed or the sizes don't tell.
    components : dict
        By role.
    """

    name: str
    dtype: str
    shape: list[int]
    layout: str
    format: str
    elements: int
    stored_bytes: int
    decoded_bytes: int | None
    ratio: float | None
    attributes: Any
    components: dict[str, ComponentInfo]


class IdentityInfo(TypedDict):
    """Which version of the object was opened; None for what the store does not tell."""

    etag: str | None
    version: str | None
    modified: float | None


class ShardInfo(TypedDict):
    """Another file that holds bytes of this model."""

    size: int
    digest: str


class MemberInfo(TypedDict):
    """One of several files that are read as one.

    Attributes
    ----------
    url : str
        Without credentials.
    version : str
        Of its container, or the name of its format.
    size : int
        Of the file, in bytes.
    tensors, stored_bytes : int
        How many tensors it has, and the bytes of their components.
    """

    url: str
    version: str
    size: int
    identity: IdentityInfo
    tensors: int
    stored_bytes: int


class OpeningInfo(TypedDict):
    """What opening the file cost; nothing, for a local one that was mapped."""

    requests: int
    bytes: int


class FileInfo(TypedDict):
    """A file.

    Attributes
    ----------
    schema : str
        Name of this schema; the number at its end changes when a field does.
    url : str
        Without credentials.
    version, version_text, generator
        The container's version; what the manifest says of itself, where it does.
    is_data_shard : bool
        The file only holds bytes for another file's manifest.
    size : int
        Of the file, in bytes.
    parameters : int
        Elements of all tensors, zeros of sparse ones included.
    stored_bytes : int
        Of all components, in shards too; bytes that tensors share are counted once.
    files : dict
        Those that are read as one, by name; empty for a single file.
    ratio : float or None
        Decoded by stored bytes of all tensors; None as for a tensor.
    tensors : list
        In the order of their bytes in the file.
    """

    schema: str
    url: str
    version: str
    version_text: str | None
    generator: Any
    is_data_shard: bool
    size: int
    identity: IdentityInfo
    opening: OpeningInfo
    parameters: int
    stored_bytes: int
    ratio: float | None
    attributes: Any
    shards: dict[str, ShardInfo]
    files: dict[str, MemberInfo]
    tensors: list[TensorInfo]


def describe(reader: Reader) -> FileInfo:
    """Return what the manifest of an opened file says; nothing is fetched."""
    manifest = reader.manifest
    tensors = [
        _tensor_info(reader[tensor.name], tensor)
        for tensor in sorted(manifest.tensors.values(), key=_place)
    ]
    return {
        "schema": SCHEMA,
        "url": reader.url,
        "version": manifest.version,
        "version_text": manifest.version_text,
        "generator": jsonable(manifest.generator),
        "is_data_shard": manifest.is_data_shard,
        "size": reader.identity.size,
        "identity": _identity_info(reader.identity),
        "opening": {"requests": reader.stats.requests, "bytes": reader.stats.bytes},
        "parameters": sum(tensor["elements"] for tensor in tensors),
        "stored_bytes": manifest.stored_bytes,
        "ratio": _ratio([part for tensor in tensors for part in tensor["components"].values()]),
        "attributes": jsonable(dict(manifest.attributes)),
        "shards": {
            name: {"size": shard.size, "digest": shard.digest}
            for name, shard in manifest.shards.items()
        },
        "files": {
            name: _member_info(opened) for name, opened in reader._blobs.opened.files.items()
        },
        "tensors": tensors,
    }


def _member_info(opened: Opened) -> MemberInfo:
    return {
        "url": opened.source.url,
        "version": opened.manifest.version,
        "size": opened.source.identity.size,
        "identity": _identity_info(opened.source.identity),
        "tensors": len(opened.manifest.tensors),
        "stored_bytes": opened.manifest.stored_bytes,
    }


def _identity_info(identity: Identity) -> IdentityInfo:
    return {
        "etag": identity.etag,
        "version": identity.version,
        "modified": identity.modified,
    }


def _place(tensor: Tensor) -> tuple[str, int]:
    """Sort by shard, the file itself first, then by offset."""
    places = ((part.shard or "", part.offset) for part in tensor.components.values())
    return min(places, default=("", 0))


def _tensor_info(lazy: LazyTensor, tensor: Tensor) -> TensorInfo:
    from ..reader.show import dtype_text

    components = {
        role: _component_info(lazy.components[role], part)
        for role, part in tensor.components.items()
    }
    return {
        "name": tensor.name,
        "dtype": dtype_text(tensor),
        "shape": list(tensor.shape),
        "layout": tensor.layout,
        "format": tensor.format,
        "elements": lazy.size,
        "stored_bytes": sum(part["stored_bytes"] for part in components.values()),
        "decoded_bytes": _decoded_bytes(list(components.values())),
        "ratio": _ratio(list(components.values())),
        "attributes": jsonable(dict(tensor.attributes or {})),
        "components": components,
    }


def _component_info(lazy: LazyComponent, part: Component) -> ComponentInfo:
    decoded = _known(lambda: lazy.decoded_length)
    bits = _known(lambda: part.element.bits)
    return {
        "dtype": lazy.dtype.name,
        "logical_type": part.logical,
        "big_endian": part.big_endian,
        "encoding": part.encoding,
        "offset": part.offset,
        "stored_bytes": part.length,
        "decoded_bytes": decoded,
        "elements": None if decoded is None or bits is None else decoded * 8 // bits,
        "digest": part.digest,
        "shard": part.shard,
    }


def _known(tell: Callable[[], int | None]) -> int | None:
    """Return what depends on the logical type; None where that is unknown or misplaced."""
    try:
        return tell()
    except ZTensorError:
        return None


def _decoded_bytes(parts: list[ComponentInfo]) -> int | None:
    known = [part["decoded_bytes"] for part in parts if part["decoded_bytes"] is not None]
    return sum(known) if len(known) == len(parts) else None


def _ratio(parts: list[ComponentInfo]) -> float | None:
    decoded, stored = _decoded_bytes(parts), sum(part["stored_bytes"] for part in parts)
    if decoded is None or not stored or all(part["encoding"] == "raw" for part in parts):
        return None
    return round(decoded / stored, 4)
