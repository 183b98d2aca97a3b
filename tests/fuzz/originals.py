"""The files that are mutated: those of others in tests/data, ours, and some made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import xxhash

import ztensor_remote as zt
from tests.formats import build
from tests.formats.expected import DATA
from tests.reader.models import MEMORY, numbers, written

SPARSE = np.array([[0, 2, 0, 0], [0, 0, 0, 3], [0, 0, 0, 0], [5, 0, 7, 0]], np.float32)
PLAIN = ["float32", "bool", "int8", "uint64", "float16"]
LOGICAL = ["bfloat16", "float8_e4m3fn", "complex64"]
STEM = "model"
"""How the names of files begin."""


@dataclass(frozen=True, eq=False)
class Original:
    """A valid file, with the shards that its manifest names.

    Attributes
    ----------
    shards : mapping of str to bytes
        By what follows the file's own name in theirs, ``"-part1.zt"``.
    format : str
        What it is opened as, where its bytes don't tell.
    ending : str
        Of the file's own name.
    is_folder : bool
        Whether the folder is opened, and the files in it are found.
    """

    name: str
    data: bytes
    shards: Mapping[str, bytes] = field(default_factory=dict)
    format: Any = "auto"
    ending: str = ".zt"
    is_folder: bool = False

    @property
    def files(self) -> Mapping[str, bytes]:
        """All files by their names, its own first."""
        each = {self.ending: self.data, **self.shards}
        return {f"{STEM}{ending}": data for ending, data in each.items()}

    @property
    def opened(self) -> str:
        """What is opened, within the folder that the files lie in."""
        return "" if self.is_folder else f"{STEM}{self.ending}"


@cache
def kind_of(original: Original) -> str:
    """Return the version of zTensor, or the other format that it is in; "2+" has shards."""
    with zt.open(in_memory(original), format=original.format) as reader:
        return reader.manifest.version + "+" * bool(original.shards)


def in_memory(file: Original) -> str:
    """Put a file where it has to be fetched; the one before is gone."""
    MEMORY.store.clear()
    for name, data in file.files.items():
        MEMORY.pipe_file(f"/fuzz/{name}", data)
    return f"memory://fuzz/{file.opened}"


@cache
def originals() -> tuple[Original, ...]:
    """Return all of them, in an order that does not change."""
    return (*_published(), *_ours(), *_by_hand(), _sharded())


def _published() -> Iterator[Original]:
    folders = [*sorted((DATA / "fixtures").glob("*/")), DATA / "corpus/valid"]
    for folder in folders:
        for path in sorted(folder.glob("*.zt")):
            shards = {
                other.name.removeprefix(path.stem): other.read_bytes()
                for other in sorted(folder.glob(f"{path.stem}-*.zt"))
            }
            yield Original(f"{folder.name}/{path.stem}", path.read_bytes(), shards)


# --- ours -----------------------------------------------------------------------------------------


def _ours() -> Iterator[Original]:
    digests = {"1.0": ["crc32c"], "1.2": ["crc32c", "sha256"], "2": ["xxh3", "sha256"]}
    for version, algorithms in digests.items():
        for compress in (False, True):
            for checksum in (*algorithms, None):
                url = written(
                    _adding(version),
                    version=version,
                    compress=compress,
                    checksum=checksum,
                )
                yield _taken(f"ours/{version}-{compress}-{checksum}", url)
        appended = written(_adding(version), version=version)
        with zt.append(appended) as writer:
            writer.add_tensor("later", numbers("int16"), compress=True)
        yield _taken(f"ours/{version}-appended", appended)
    canonical = written(
        lambda writer: writer.add_tensor("a", numbers("float32")), version="2", canonical=True
    )
    yield _taken("ours/2-canonical", canonical)


def _adding(version: str) -> Callable[[zt.Writer], None]:
    def add(writer: zt.Writer) -> None:
        dtypes = PLAIN + (LOGICAL if version != "1.0" else [])
        for dtype in dtypes + (["float4_e2m1fn"] if version == "2" else []):
            writer.add_tensor(dtype, numbers(dtype, (5, 3)))
        writer.add_tensor("scalar", np.float64(1.5))
        writer.add_tensor("nothing", np.empty((0, 4), np.int32))
        writer.add_tensor("frames", np.arange((1 << 18) + 9, dtype="<u4") // 4096, compress=True)
        rows, columns = (axis.astype(np.uint64) for axis in SPARSE.nonzero())
        indptr = np.array([0, 1, 2, 2, 4], np.uint64)
        values = SPARSE[SPARSE != 0]
        writer.add_sparse_csr("csr", values, columns, indptr, SPARSE.shape)
        writer.add_sparse_coo("coo", values, np.stack([rows, columns]), SPARSE.shape)
        if version == "1.0":
            return
        writer.attributes.update({"license": "MIT", "nested": {"a": [1, 2.5, None, b"x"]}})
        words = np.arange(8, dtype=np.uint32)
        scales = np.ones((2, 4), ml_dtypes.bfloat16)
        parts = {"a": words, "b": scales}
        writer.add_object("x", parts, shape=(3,), format="x.other/1", attributes={"k": 1})

    return add


def _taken(name: str, url: str) -> Original:
    data: bytes = MEMORY.cat_file(url)
    MEMORY.rm_file(url)
    return Original(name, data)


# --- by hand: what no writer at hand writes -------------------------------------------------------


def _by_hand() -> Iterator[Original]:
    words = np.arange(16, dtype=">f4").tobytes()
    entry = build.entry_0_1(dtype="float32", shape=[16], size=64, data_endianness="big")
    yield Original("by-hand/0.1-big", build.file_0_1([entry], {64: words}))
    coo = b"".join(np.array([row, row], "<u8").tobytes() + b"\1\0\0\0" for row in range(3))
    entry = build.entry_0_1(dtype="float32", layout="sparsecoo", shape=[4, 4], size=len(coo))
    yield Original("by-hand/0.1-coo", build.file_0_1([entry], {64: coo}))
    csr = np.array([0, 1, 2, 3, 0, 1, 2], "<u8").tobytes() + np.ones(3, "<f4").tobytes()
    entry = build.entry_0_1(dtype="float32", layout="sparsecsr", shape=[3, 4], size=len(csr))
    yield Original("by-hand/0.1-csr", build.file_0_1([entry], {64: csr}))
    for version in ("0.1", "1.0", "1.1", "1.2"):
        stored = build.frame(bytes(range(200))) + build.skippable(b"x") + build.frame(bytes(56))
        data = build.dense_1(version, stored, [256], encoding="zstd")
        yield Original(f"by-hand/{version}-zstd", data)
    frames = [(build.frame(b"a" * 100, checksum=True), 100), (build.frame(b"b" * 7), 7)]
    stored = build.seekable(frames)
    part = build.part_2(blob=[4096, len(stored)], encoding="zt.zstd-seekable/1", decoded_length=107)
    manifest = build.root_2({"t": build.object_2(shape=[107], parts={"data": part})})
    yield Original("by-hand/2-seekable", build.file_2(manifest, {4096: stored}))
    for layout in ("zt.sparse_csr/1", "zt.sparse_coo/1"):
        yield Original(f"by-hand/2-{layout[10:13]}", _sparse_2(layout))


def _sparse_2(layout: str) -> bytes:
    """Return a sparse file without digests, whose data rules a mutation can get at."""
    arrays = {"values": np.ones(3, "<f4"), "indices": np.array([0, 1, 2], "<u4")}
    if layout == "zt.sparse_csr/1":
        arrays["indptr"] = np.array([0, 1, 2, 3], "<u4")
    else:
        del arrays["indices"]
        arrays["coords"] = np.array([[0, 1, 2], [0, 1, 2]], "<u8")
    blobs, parts = {}, {}
    for number, (role, array) in enumerate(arrays.items(), 1):
        blobs[number * 4096] = array.tobytes()
        dtype = f"{array.dtype.kind}{array.dtype.itemsize * 8}"
        parts[role] = build.part_2(dtype=dtype, blob=[number * 4096, array.nbytes])
    manifest = build.root_2({"t": build.object_2(shape=[3, 4], layout=layout, parts=parts)})
    return build.file_2(manifest, blobs)


def _sharded() -> Original:
    """Return a root with blobs of its own, in a shard beside it, and in one that it names."""
    blobs = {4096: build.EIGHT, 8192: np.arange(600, dtype="<u2").tobytes()}
    data = build.file_2(build.root_2({}), blobs)
    shard = {"size": len(data), "digest": f"xxh3:{xxhash.xxh3_64_hexdigest(data)}"}
    shards = {"base": shard, "named": shard | {"file": "model-other.bin"}}
    objects = {"here": build.object_2()}
    for name in shards:
        near = build.part_2(shard=name)
        far = build.part_2(dtype="u16", blob=[8192, 1200], shard=name)
        objects[f"{name}.near"] = build.object_2(parts={"data": near})
        objects[f"{name}.far"] = build.object_2(shape=[20, 30], parts={"data": far})
    root = build.file_2(build.root_2(objects, shards=shards), {4096: build.EIGHT})
    return Original("by-hand/2-shards", root, {"-base.zt": data, "-other.bin": data})
