"""Files of other formats, and how they are mutated."""

from __future__ import annotations

import io
import json
import pickletools
import re
import struct
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import gguf
import h5py
import numpy as np
import onnx.helper
import onnx.numpy_helper
import safetensors.numpy

from ztensor_remote.interop.pickled import is_legacy as is_of_torch

from .binary import bent_gguf, bent_onnx
from .manifests import NUMBERS
from .originals import Original
from .several import bent_index, of_onnx, of_safetensors

FOREIGN = 1 << 40
"""Cases whose number is at least this are of other formats."""

_EVIL = (0, 1, 0x7F, 0xFF, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 40, (1 << 62) - 1)
_PICKLES = Path(__file__).parents[1] / "data" / "pickles"
_HEADER = 700
"""Bytes at either end of a file in which most of what matters lies."""


@cache
def foreign_originals() -> tuple[Original, ...]:
    """Return all of them, in an order that does not change."""
    of_one = (*_safetensors(), *_gguf(), *_npy(), *_npz(), *_pickles(), *_onnx(), *_hdf5())
    return (*of_one, *of_safetensors(), *of_onnx())


def _safetensors() -> Iterator[Original]:
    arrays = {
        "a": np.arange(12, dtype=np.float32).reshape(3, 4),
        "b": np.arange(5, dtype=np.int64),
        "mask": np.array([True, False]),
        "nothing": np.zeros((0, 2), np.int8),
    }
    yield Original("safetensors/plain", safetensors.numpy.save(arrays, {"k": "v", "l": "w"}))
    yield Original("safetensors/one", safetensors.numpy.save({"scalar": np.array(1.5)}))


def _gguf() -> Iterator[Original]:
    for order in (gguf.GGUFEndian.LITTLE, gguf.GGUFEndian.BIG):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.gguf"
            writer = gguf.GGUFWriter(path, "llama", endianess=order)
            writer.add_uint32("n", 7)
            writer.add_array("tokens", ["a", "bb", "ccc"])
            writer.add_array("nested", [[1, 2], [3, 4]])
            writer.add_tensor("f", np.arange(12, dtype=np.float32).reshape(3, 4))
            writer.add_tensor("h", np.arange(8, dtype=np.float16))
            blocks = np.arange(2 * 18, dtype=np.uint8).reshape(1, 36)
            writer.add_tensor("q", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            yield Original(f"gguf/{order.name.lower()}", path.read_bytes())


_ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(24, dtype=">i2").reshape(2, 3, 4)),
    "mask": np.array([[True, False]]),
    "nothing": np.zeros((0, 2), np.int8),
}


def _npy() -> Iterator[Original]:
    for name, array in _ARRAYS.items():
        for version in ((1, 0), (3, 0)):
            file = io.BytesIO()
            np.lib.format.write_array(file, array, version)
            yield Original(f"npy/{name}-{version[0]}", file.getvalue())


def _npz() -> Iterator[Original]:
    others = {"objects": np.array([None, 1], object), "text": np.array(["a", "b"])}
    large = {"large": np.arange(20_000, dtype=np.int64) // 100}
    for save in (np.savez, np.savez_compressed):
        for name, more in (("plain", {}), ("others", others), ("large", large)):
            file = io.BytesIO()
            save(file, **_ARRAYS, **more)  # type: ignore[arg-type]
            yield Original(f"npz/{save.__name__}-{name}", file.getvalue())


def _pickles() -> Iterator[Original]:
    """Files of several versions of PyTorch and Python, as they are in tests/data."""
    for path in sorted(_PICKLES.iterdir()):
        # Nothing but the name tells protocols 0 and 1, and files are given others here.
        if path.suffix in (".pkl", ".pt") and path.stem not in ("python-2-0", "python-2-1"):
            yield Original(f"pickles/{path.name}", path.read_bytes())


def _onnx() -> Iterator[Original]:
    tensors = [
        onnx.numpy_helper.from_array(array.astype(array.dtype.newbyteorder("=")), name)
        for name, array in _ARRAYS.items()
    ]
    typed = [
        onnx.helper.make_tensor(f"typed {kind}", kind, [2, 4], np.arange(8) % 2)
        for kind in (1, 6, 7, 9, 10, 11, 13, 14, 16, 17, 22, 23)
    ]
    for name, each in (("raw", tensors), ("typed", typed)):
        graph = onnx.helper.make_graph([], "g", [], [], each)
        model = onnx.helper.make_model(graph, producer_name="fuzz")
        yield Original(f"onnx/{name}", model.SerializeToString(), format="onnx")


def _hdf5() -> Iterator[Original]:
    for libver in ("earliest", "latest"):
        memory = io.BytesIO()
        with h5py.File(memory, "w", libver=libver, track_order=False) as file:
            for name, array in _ARRAYS.items():
                file[f"group/{name}"] = array
            file.create_dataset("deflated", data=_ARRAYS["a"], chunks=(3, 4), compression="gzip")
            file.create_dataset("chunked", data=_ARRAYS["a"], chunks=(1, 4))
            file.attrs["k"] = "v"
            file["group/a"].attrs["n"] = [1, 2]
        yield Original(f"hdf5/{libver}", memory.getvalue())
        yield Original(f"hdf5/chunks-{libver}", _chunks(libver))


def _chunks(libver: str) -> bytes:
    """Return a file with a dataset for each filter, and each way in which chunks are found."""
    array = (np.arange(48, dtype=">i2") // 5).reshape(6, 8)
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=libver) as file:
        all_three: dict[str, Any] = {"compression": "gzip", "shuffle": True, "fletcher32": True}
        file.create_dataset("fixed", data=array, chunks=(4, 5), **all_three)
        file.create_dataset("rows", data=array, chunks=(4, 5), maxshape=(None, 8), **all_three)
        file.create_dataset("tree", data=array, chunks=(4, 5), maxshape=(None, None))
        file.create_dataset("lzf", data=array, chunks=(6, 4), compression="lzf", shuffle=True)
        file.create_dataset("early", (6, 8), "u1", chunks=(4, 5), dcpl=early)
        file.create_dataset("none", (6, 8), "f4", chunks=(4, 5), fillvalue=1.5)
        file.create_dataset("some", (6, 8), "c8", chunks=(2, 3), compression="gzip")[2, 3] = 1j
    return memory.getvalue()


# --- what is done to them -------------------------------------------------------------------------


def mutated(rng: Random, original: Original) -> tuple[bytes, str]:
    """Return the bytes of a mutated file, and how it was made."""
    mutations: list[Callable[[Random, bytes], tuple[bytes, str]]] = [
        *(_flipped, _number, _number, _truncated, _extended, _cut_out, _crossed)
    ]
    if original.name.startswith("safetensors"):
        mutations += [_bent_json] * 5
    if original.name.startswith(("npy", "npz")):
        mutations += [_bent_text] * 2
    if original.data.startswith(b"PK"):
        mutations += [_bent_record] * 5
    if original.name.startswith("pickles"):
        mutations += [_bent_pickle] * 8
    if original.name.startswith("gguf"):
        mutations += [bent_gguf] * 7
    if original.name.startswith("onnx"):
        mutations += [bent_onnx] * 7
    if original.ending.endswith(".json"):
        mutations += [bent_index] * 14
    mutate = rng.choice(mutations)
    data, how = mutate(rng, original.data)
    return data, f"{mutate.__name__.strip('_')}: {how}"


def _place(rng: Random, data: bytes) -> int:
    size = len(data)
    region = rng.randrange(4)
    if region < 2:
        return rng.randrange(min(size, _HEADER))
    return size - 1 - rng.randrange(min(size, _HEADER)) if region == 2 else rng.randrange(size)


def _flipped(rng: Random, data: bytes) -> tuple[bytes, str]:
    changed = bytearray(data)
    places = [_place(rng, data) for _ in range(rng.choice((1, 1, 1, 2, 5, 20)))]
    for at in places:
        changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed), f"bits at {places}"


def _number(rng: Random, data: bytes) -> tuple[bytes, str]:
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice(_EVIL) & (1 << 8 * width) - 1
    at = min(_place(rng, data), len(data) - width)
    changed = bytearray(data)
    changed[at : at + width] = value.to_bytes(width, rng.choice(("little", "little", "big")))
    return bytes(changed), f"{value} in {width} bytes at {at}"


def _truncated(rng: Random, data: bytes) -> tuple[bytes, str]:
    at = _place(rng, data)
    return data[:at], f"to {at}"


def _extended(rng: Random, data: bytes) -> tuple[bytes, str]:
    count = rng.choice((1, 8, 64, 4096))
    more = rng.choice((bytes(count), rng.randbytes(count), data[-count:], data))
    return (data + more, "behind") if rng.random() < 0.7 else (more + data, "before")


def _cut_out(rng: Random, data: bytes) -> tuple[bytes, str]:
    start, length = _place(rng, data), rng.choice((1, 4, 8, 32, 100))
    if rng.random() < 0.5:
        return data[:start] + data[start + length :], f"{length} at {start}"
    return data[:start] + data[start : start + length] * 2 + data[start + length :], "doubled"


def _crossed(rng: Random, data: bytes) -> tuple[bytes, str]:
    other = rng.choice(foreign_originals())
    at = _place(rng, data)
    return data[:at] + other.data[at:], f"from {at} on {other.name}"


_OLD = (b"(3, 4)", b"(2, 3, 4)", b"False", b"'<f4'", b"'>i2'", b"'|b1'", b"}")
_NEW = (
    *(b"(4, 3)", b"(9, 9, 9)", b"()", b"(2**99,)", b"(99999999999999,)", b"(1e3,)", b"[]", b"-1"),
    *(b"'<f8'", b"'|O'", b"'<c8'", b"'>U1'", b"True", b"None", b"{1: 2}", b"((((", b"'\\x'", b"L"),
)


def _bent_text(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Change a word in the header of an array, and keep its length."""
    old, new = rng.choice(_OLD), rng.choice(_NEW)
    if old not in data:
        return _flipped(rng, data)
    at = data.index(old)
    padding = max(0, len(old) - len(new))
    changed = bytearray(data)
    changed[at : at + len(new) + padding] = new + b" " * padding
    return bytes(changed), f"{new!r} for {old!r}"


def _bent_record(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Change a number in one of the records of a zip file."""
    places = [found.start() for found in re.finditer(rb"PK[\x01\x03\x05-\x07]", data)]
    changed = bytearray(data)
    how = []
    for _ in range(rng.choice((1, 1, 2))):
        width = rng.choice((2, 2, 4))
        at = min(rng.choice(places) + rng.randrange(4, 46, 2), len(data) - width)
        near = int.from_bytes(data[at : at + width], "little") + rng.choice((-1, 1, 8, -64))
        value = rng.choice((near, rng.choice(_EVIL), rng.choice(places))) & (1 << 8 * width) - 1
        changed[at : at + width] = value.to_bytes(width, "little")
        how.append(f"{value} in {width} bytes at {at}")
    return bytes(changed), ", ".join(how)


def _bent_pickle(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Change opcodes of a pickle and what follows them; but in zip files, their number too."""
    places = _opcodes(data)
    changed = bytearray(data)
    how = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, stop = rng.choice(places)
        kind = rng.randrange(4 if data.startswith(b"PK") else 7)
        if kind == 0:
            changed[at] = rng.choice(_CODES)
        elif kind < 4:
            value = rng.choice((0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            changed[min(stop - 1, at + rng.randrange(1, 6))] = value
        else:
            other = slice(*rng.choice(places))
            new = (b"", data[at:stop] * 2, data[other])[kind - 4]
            return bytes(changed[:at] + new + changed[stop:]), f"opcode at {at} {how}"
        how.append(at)
    return bytes(changed), f"opcodes at {how}"


_CODES = b"".join(opcode.code.encode("latin-1") for opcode in pickletools.opcodes)


@cache
def _opcodes(data: bytes) -> list[tuple[int, int]]:
    """Return where each opcode of the pickles in a file begins and ends."""
    found = re.search(rb"data\.pkl", data) if data.startswith(b"PK") else None
    file = io.BytesIO(data)
    file.seek(data.index(b"\x80\x02", found.end()) if found else 0)
    places = []
    is_legacy = is_of_torch(data)
    for _ in range(5 if is_legacy else 1):
        starts = [place for _, _, place in pickletools.genops(file) if place is not None]
        places += list(pairwise([*starts, file.tell()]))
    return places


def _bent_json(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Change values in the header of a safetensors file, and keep its length right."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(sorted(header))
        entry = header[name] if isinstance(header[name], dict) else {}
        kind = rng.randrange(4)
        if kind == 0 and entry:
            entry[rng.choice(sorted(entry))] = _value(rng)
        elif kind == 1 and "shape" in entry:
            entry["shape"] = [_value(rng) for _ in range(rng.choice((0, 1, 2, 70)))]
        elif kind == 2 and "data_offsets" in entry:
            entry["data_offsets"] = [_value(rng), rng.choice((_value(rng), 24, 48, 64))]
        else:
            header[rng.choice(("x", "\ud800", "__metadata__", name))] = _value(rng)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :], "in the header"


def _value(rng: Random) -> Any:
    small = [number for number in NUMBERS if abs(number) < 1 << 1000]
    others = (None, True, "F32", "F4", "U8", "", [], {}, [[]], 1.5, float("nan"), "\udc00")
    return rng.choice(small) if rng.random() < 0.6 else rng.choice(others)
