"""What a file says: one model for every version, its dtypes, its rules. No I/O."""

from __future__ import annotations

from ..container import Footer, Generation
from ..errors import FormatError
from . import schema_0_1, schema_1_0, schema_1_2, schema_2
from .grid import ChunkGrid
from .model import (
    CHUNKS,
    DEFLATE,
    FRAMED,
    LATIN_1,
    RAW,
    STREAMS,
    VARINTS,
    ZSTD,
    ZSTD_SEEKABLE,
    ChunkDigests,
    Component,
    Foreign,
    Manifest,
    Shard,
    Tensor,
    Version,
    is_misnamed,
)
from .validate import check_manifest

__all__ = [
    "CHUNKS",
    "DEFLATE",
    "FRAMED",
    "LATIN_1",
    "RAW",
    "STREAMS",
    "VARINTS",
    "ZSTD",
    "ZSTD_SEEKABLE",
    "ChunkDigests",
    "ChunkGrid",
    "Component",
    "Foreign",
    "Manifest",
    "Shard",
    "Tensor",
    "Version",
    "encode_manifest",
    "generation_of",
    "is_misnamed",
    "manifest_hash",
    "parse_manifest",
]

_DECODERS = {
    Generation.V0_1: schema_0_1.decode_manifest,
    Generation.V1_0: schema_1_0.decode_manifest,
    Generation.V1_1: schema_1_2.decode_manifest,
    Generation.V2: schema_2.decode_manifest,
}
_GENERATIONS: dict[Version, Generation] = {
    "0.1": Generation.V0_1,
    "1.0": Generation.V1_0,
    "1.1": Generation.V1_1,
    "1.2": Generation.V1_1,
    "2": Generation.V2,
}


def generation_of(version: Version) -> Generation:
    """Return the container that files of `version` use."""
    return _GENERATIONS[version]


def manifest_hash(data: bytes) -> int:
    """Return the XXH3-64 that a version-2 footer states for its manifest."""
    import xxhash

    return xxhash.xxh3_64_intdigest(data)


def parse_manifest(data: bytes, footer: Footer, *, size: int) -> Manifest:
    """Return the manifest, checked against the file's size.

    Parameters
    ----------
    data : bytes
        The ``footer.manifest_length`` bytes at ``footer.manifest_offset``.
    footer : Footer
    size : int
        Of the file, in bytes.

    Raises
    ------
    FormatError
        Any rule of SPEC.md §11 is broken.
    """
    if footer.is_data_shard:
        return Manifest("2", {}, is_data_shard=True)
    if footer.manifest_hash is not None and manifest_hash(data) != footer.manifest_hash:
        raise FormatError("the manifest does not have the hash in the footer", rule="ManifestHash")
    manifest = _DECODERS[footer.generation](data)
    check_manifest(manifest, footer, size)
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest's bytes in the version it states (1.0, 1.1, 1.2 or 2)."""
    if manifest.version == "2":
        return schema_2.encode_manifest(manifest)
    if manifest.version == "1.0":
        return schema_1_0.encode_manifest(manifest)
    return schema_1_2.encode_manifest(manifest)
