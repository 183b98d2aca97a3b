"""What a file says, whatever its version: frozen values that the reader and the writer share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from .dtypes import COMPLEX32, DType, dtype_of
from .fields import element_count
from .grid import ChunkGrid

Version = Literal["0.1", "1.0", "1.1", "1.2", "2"]
Foreign = Literal["safetensors", "gguf", "npy", "npz", "torch", "pickle", "onnx", "hdf5", "mixed"]
"""Formats of others that are read; "mixed" is several files that are not of one format."""

RAW = "raw"
ZSTD = "zstd"
ZSTD_SEEKABLE = "zt.zstd-seekable/1"
DEFLATE = "deflate"
"""Only in files of other formats: a stream of RFC 1951 without a header."""
LATIN_1 = "latin-1"
"""Only in pickles: a text in UTF-8 of the characters that have the numbers of the bytes."""
VARINTS = "varints"
"""Only in ONNX: integers of protobuf, as many as there are storage elements."""
CHUNKS = "chunks"
"""Only in HDF5: an array cut into chunks, which its grid tells of."""
STREAMS = frozenset((DEFLATE, LATIN_1, VARINTS))
"""Encodings that are decoded from the first byte on, whatever is wanted of them."""
FRAMED = frozenset((ZSTD, ZSTD_SEEKABLE))
"""Encodings that may have, or must have, a seek table."""

_OF_1 = {"sparse_csr": "sparse_csr", "sparse_coo": "sparse_coo"}
_SPARSE: dict[Version, dict[str, str]] = {
    "0.1": {"sparsecsr": "sparse_csr", "sparsecoo": "sparse_coo"},
    "1.0": _OF_1,
    "1.1": _OF_1,
    "1.2": _OF_1,
    "2": {"zt.sparse_csr/1": "sparse_csr", "zt.sparse_coo/1": "sparse_coo"},
}
_ANY_SPARSE = {name: layout for names in _SPARSE.values() for name, layout in names.items()}
_LAYOUTS = {**_ANY_SPARSE, "zt.quant_group/1": "quantized_group"}


def is_misnamed(format: str, version: Version) -> bool:
    """Whether a layout id is that of sparse tensors in other versions of zTensor, not in this."""
    return format in _ANY_SPARSE and format not in _SPARSE[version]


@dataclass(frozen=True, slots=True)
class ChunkDigests:
    """Digests of the pieces of a raw component, so that a part of it can be checked.

    Attributes
    ----------
    size : int
        Stored bytes of each piece but the last.
    values : bytes
        The crc32c of each, 4 bytes little-endian.
    """

    size: int
    values: bytes


@dataclass(frozen=True, slots=True)
class Component:
    """A run of bytes with a role in a tensor.

    Attributes
    ----------
    dtype : str
        Storage type, short name (``"f32"``).
    offset, length : int
        Stored bytes, within `shard` or within the file itself. Of chunks: where the first of them
        begins, and the bytes of all.
    logical : str or None
        Logical type; None when it equals the storage type.
    encoding : str
        ``"raw"``, ``"zstd"``, ``"zt.zstd-seekable/1"``, ``"deflate"``, ``"latin-1"``,
        ``"varints"``, ``"chunks"``, or one we can't decode.
    decoded_length : int or None
        Bytes after decoding, where the manifest states them.
    digest : str or None
        ``"algorithm:hex"`` as the file spells it.
    shard : str or None
        Name of the other file that holds the bytes: a version-2 shard, or one of several files
        that are read as one.
    big_endian : bool
        Only in version 0.1 and files of other formats.
    skipped : int
        Bytes that a ``"deflate"`` stream decodes to before those of the component.
    chunk_digests : ChunkDigests or None
        An extension of ours (SPEC.md §13.5).
    grid : ChunkGrid or None
        Where the chunks of an array lie whose encoding is ``"chunks"``.
    """

    dtype: str
    offset: int
    length: int
    logical: str | None = None
    encoding: str = RAW
    decoded_length: int | None = None
    digest: str | None = None
    shard: str | None = None
    big_endian: bool = False
    skipped: int = 0
    chunk_digests: ChunkDigests | None = None
    grid: ChunkGrid | None = None

    @property
    def element(self) -> DType:
        """The element type; raises UnsupportedError for a logical type we don't know."""
        return dtype_of(self.dtype, self.logical)

    @property
    def is_complex32(self) -> bool:
        """Whether the elements are complex numbers of two halves, which are read as complex64."""
        return (self.dtype, self.logical) == (COMPLEX32.storage, COMPLEX32.logical)

    @property
    def is_raw(self) -> bool:
        """Whether the stored bytes are the decoded bytes."""
        return self.encoding == RAW

    @property
    def stated_length(self) -> int | None:
        """Decoded bytes as far as the manifest tells."""
        return self.length if self.is_raw else self.decoded_length

    @property
    def is_compressed(self) -> bool:
        """Whether the stored bytes were made fewer, or were meant to be."""
        return not self.is_raw and (self.grid is None or bool(self.grid.filters))

    @property
    def span(self) -> int:
        """Bytes from the first stored one to the last, others between chunks among them."""
        return self.length if self.grid is None else self.grid.span


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named object: a shape, a layout, and the components that hold its bytes.

    Attributes
    ----------
    format : str
        The layout id as the file spells it (``"dense"``, ``"zt.sparse_csr/1"``).
    strides : tuple of int or None
        Of a dense tensor in a file of another format: the elements from one to the next on each
        axis, none of them negative. None for C order.
    is_misnamed : bool
        The layout id is that of sparse tensors in another version of zTensor, and nothing here.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    components: Mapping[str, Component]
    attributes: Mapping[str, Any] | None = None
    strides: tuple[int, ...] | None = None
    is_misnamed: bool = False

    @property
    def stored_count(self) -> int:
        """Elements from the first to the last of a dense tensor, as they are stored."""
        if self.strides is None:
            return element_count(self.shape)
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * by for n, by in zip(self.shape, self.strides, strict=True))

    @property
    def is_rearranged(self) -> bool:
        """Whether a component has the elements in another form than files of zTensor do."""
        is_widened = any(part.is_complex32 for part in self.components.values())
        return self.strides is not None or self.is_in_chunks or is_widened

    @property
    def is_in_chunks(self) -> bool:
        """Whether a component is an array that was cut on several axes."""
        return any(part.grid is not None for part in self.components.values())

    @property
    def layout(self) -> str:
        """The layout under one name for all versions: ``"dense"``, ``"sparse_csr"``, ….

        An unknown one has its id, after ``"other:"`` where that is a name of another version's.
        """
        if self.is_misnamed:
            return f"other:{self.format}"
        return _LAYOUTS.get(self.format, self.format)


@dataclass(frozen=True, slots=True)
class Shard:
    """Identity of another file that holds blobs of this model (version 2, ONNX).

    Attributes
    ----------
    size : int
        In bytes.
    digest : str
        Of the whole file.
    file : str or None
        Its name in the folder of the manifest's own file, where that is not the one that follows
        from the shard's name.
    is_bare : bool
        It is no file of tensors, but bytes of which at least `size` are needed; it has no digest.
    """

    size: int
    digest: str
    file: str | None = None
    is_bare: bool = False


@dataclass(frozen=True)
class Manifest:
    """All that a file says about its content.

    Attributes
    ----------
    version : {"0.1", "1.0", "1.1", "1.2", "2"} or the name of another format
    tensors : mapping of str to Tensor
        In file order.
    attributes : mapping
        Of the file as a whole; empty where it has none.
    shards : mapping of str to Shard
    files : mapping of str to Manifest
        What each file that holds blobs says of itself, where several are read as one; the names
        are those that components have as their shard.
    is_data_shard : bool
        The file holds blobs for another file's manifest and has none of its own.
    version_text, generator : str or None
        What 1.x manifests and files of other formats say of themselves.
    """

    version: Version | Foreign
    tensors: Mapping[str, Tensor]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    shards: Mapping[str, Shard] = field(default_factory=dict)
    files: Mapping[str, Manifest] = field(default_factory=dict)
    is_data_shard: bool = False
    version_text: str | None = None
    generator: str | None = None

    def of(self, part: Component) -> Manifest:
        """Return the manifest whose rules hold for a component: its own file's."""
        return self if part.shard is None else self.files.get(part.shard, self)

    def of_tensor(self, tensor: Tensor) -> Manifest:
        """Return the manifest whose rules hold for a tensor, all of which is in one file."""
        part = next(iter(tensor.components.values()), None)
        return self if part is None else self.of(part)

    @property
    def digests_cover_decoded(self) -> bool:
        """Whether digests are over decoded bytes (version 2) or stored bytes (all before).

        Those of zip files are over decoded bytes.
        """
        return self.version in ("2", "npz", "torch")

    @property
    def digest_algorithms(self) -> tuple[str, ...]:
        """The digests that this version knows; others are there to be ignored."""
        if self.version in ("npz", "torch"):
            return ("crc32",)
        return ("xxh3", "sha256") if self.version == "2" else ("crc32c", "sha256")

    @property
    def is_aligned(self) -> bool:
        """Whether blobs must begin at multiples of 64: in 0.1 and 1.x."""
        return self.version[0] in "01"

    @property
    def is_exact(self) -> bool:
        """Whether the version forbids what readers let pass in those before it."""
        return self.version == "2"

    @cached_property
    def stored_bytes(self) -> int:
        """Bytes of all blobs, each shared one counted once."""
        blobs = {
            (part.shard, part.offset, part.length)
            for tensor in self.tensors.values()
            for part in tensor.components.values()
        }
        return sum(length for _, _, length in blobs)

    def __getstate__(self) -> dict[str, Any]:
        state = {each.name: getattr(self, each.name) for each in fields(self)}
        # The views that stand for "none" don't pickle.
        return state | {"attributes": dict(self.attributes), "shards": dict(self.shards)}
