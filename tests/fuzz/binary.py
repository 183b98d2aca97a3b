"""GGUF and ONNX files taken apart, so that a mutation gets at what the headers say."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any, Literal

import onnx

_EVIL = (0, 1, 2, 8, 9, 63, 64, 65, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32)
_EVIL_LONG = (1 << 40, 1 << 60, (1 << 61) + 1, (1 << 62) - 1, 1 << 63, (1 << 64) - 32, -1)


def bent_gguf(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Change numbers in a header: counts, lengths, types, dimensions, offsets."""
    order: Literal["little", "big"] = "big" if data[7] else "little"
    fields = gguf_numbers(data)
    changed = bytearray(data)
    how = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at, width = rng.choice(fields)
        old = int.from_bytes(data[at : at + width], order)
        near = (old + 1, old - 1, old + 32, old * 2, old << 8, len(data), len(data) - at)
        value = rng.choice((*near, *_EVIL, *_EVIL_LONG)) & (1 << 8 * width) - 1
        changed[at : at + width] = value.to_bytes(width, order)
        how.append(f"{value} in {width} bytes at {at}")
    return bytes(changed), ", ".join(how)


_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


@cache
def gguf_numbers(data: bytes) -> list[tuple[int, int]]:
    """Return place and width of each number in the header of a valid file of version 3."""
    order: Literal["little", "big"] = "big" if data[7] else "little"
    found: list[tuple[int, int]] = []
    at = 4

    def number(width: int) -> int:
        nonlocal at
        found.append((at, width))
        at += width
        return int.from_bytes(data[at - width : at], order)

    def text() -> None:
        nonlocal at
        length = number(8)
        at += length

    def value(kind: int) -> None:
        if kind == 8:
            text()
        elif kind == 9:
            inner = number(4)
            for _ in range(number(8)):
                value(inner)
        else:
            number(_WIDTHS[kind])

    number(4)
    tensors, pairs = number(8), number(8)
    for _ in range(pairs):
        text()
        value(number(4))
    for _ in range(tensors):
        text()
        for _ in range(number(4)):
            number(8)
        number(4), number(8)
    return found


def bent_onnx(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Change what an ONNX file says of its tensors; lengths of messages stay right."""
    model = onnx.ModelProto.FromString(data)
    how = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        bend = rng.choice((_dims, _kind, _elements, _external, _external, _graph))
        bend(rng, model.graph)
        how.append(bend.__name__.strip("_"))
    return model.SerializeToString(), " ".join(how)


_DIMS = (0, 1, 2, 3, 4, 5, 8, 1 << 31, 1 << 32, 1 << 40, (1 << 62), (1 << 63) - 1, -1, -(1 << 63))
_LOCATIONS = (
    *("", ".", "..", "../model-w.bin", "/etc/passwd", "model.zt", "./model-w.bin", "x", "a/b"),
    *("model-v.bin", "model-w.bin", "http://127.0.0.1:1/x", "file:///etc/passwd", "é", "a" * 300),
    *("\x1b[31m", "a\0b", "%2e%2e/x", "C:\\x", "model-w.bin?x", "model-w.bin#x", "*"),
)
_OFFSETS = (
    *("0", "1", "8", "32", "48", "00", "-1", "+1", "1.5", "0x8", " 8", "", "\u0663", "1_0"),
    *(str(1 << 31), str(1 << 62), str(1 << 63), str((1 << 64) - 1), str(1 << 64), "9" * 30),
)


def _tensor(rng: Random, graph: Any) -> Any:
    return rng.choice(graph.initializer)


def _dims(rng: Random, graph: Any) -> None:
    tensor = _tensor(rng, graph)
    kept = list(tensor.dims)
    some = [rng.choice(_DIMS) for _ in range(rng.choice((0, 1, 2, 3)))]
    odd = ([1] * 64, [1] * 65, [1 << 32, 1 << 31, 0], [*kept, 1], kept[1:], [*kept, 1 << 30])
    dims = rng.choice((some, some, *odd))
    del tensor.dims[:]
    tensor.dims.extend(dims)


def _kind(rng: Random, graph: Any) -> None:
    _tensor(rng, graph).data_type = rng.choice((*range(30), -1, 1 << 20, (1 << 31) - 1))


def _elements(rng: Random, graph: Any) -> None:
    tensor = _tensor(rng, graph)
    kind = rng.randrange(6)
    if kind == 0:
        tensor.raw_data = tensor.raw_data + bytes(rng.choice((1, 4, 8, 1000)))
    elif kind == 1:
        tensor.raw_data = tensor.raw_data[: -rng.choice((1, 4, 8))]
    elif kind == 2:
        tensor.int32_data.extend(rng.choice(([0], [-1], [1 << 20] * 8, [-(1 << 31)] * 2)))
    elif kind == 3:
        tensor.int64_data.extend(rng.choice(([0], [-1] * 8, [(1 << 63) - 1])))
    elif kind == 4:
        tensor.float_data.extend([0.5] * rng.choice((1, 8)))
    else:
        tensor.ClearField(rng.choice(("raw_data", "int32_data", "float_data", "dims", "name")))


def _external(rng: Random, graph: Any) -> None:
    tensor = _tensor(rng, graph)
    if not tensor.external_data or rng.random() < 0.2:
        tensor.data_location = rng.choice((0, 1))
        tensor.external_data.add(key=rng.choice(("location", "offset", "length", "x")), value="8")
    entry = rng.choice(tensor.external_data)
    if rng.random() < 0.2:
        entry.key = rng.choice(("location", "offset", "length", "checksum", ""))
    entry.value = rng.choice(_LOCATIONS if entry.key == "location" else _OFFSETS)


def _graph(rng: Random, graph: Any) -> None:
    tensor = _tensor(rng, graph)
    kind = rng.randrange(5)
    if kind == 0:
        graph.initializer.add().CopyFrom(tensor)
    elif kind == 1:
        tensor.name = rng.choice(("", "a", "\x1b[31m", "x" * 5000, tensor.name + "2"))
    elif kind == 2:
        tensor.segment.begin, tensor.segment.end = rng.choice(((0, 1), (-1, 1 << 62), (5, 2)))
    elif kind == 3:
        sparse = graph.sparse_initializer.add()
        sparse.values.CopyFrom(tensor)
        sparse.indices.CopyFrom(_tensor(rng, graph))
        sparse.dims.extend([rng.choice(_DIMS) for _ in range(rng.choice((0, 1, 2)))])
    else:
        graph.initializer.add()
