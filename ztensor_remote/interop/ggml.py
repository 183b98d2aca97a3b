"""The element types of GGML: plain ones, and blocks that several elements share.

The arithmetic is that of ggml-quants.c, in float32, so that results are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UnsupportedError

Array = np.ndarray[Any, np.dtype[Any]]

DENSE = {
    0: "f32",
    1: "f16",
    24: "i8",
    25: "i16",
    26: "i32",
    27: "i64",
    28: "f64",
    30: "bf16",
}
"""Types that have a dtype, by their number."""

_STEP = 1 << 20
"""Elements that are decoded at a time."""


@dataclass(frozen=True, slots=True)
class Block:
    """A type whose elements are stored in blocks.

    Attributes
    ----------
    name : str
    elements, nbytes : int
        Of a block.
    """

    name: str
    elements: int
    nbytes: int

    @property
    def layout(self) -> str:
        """The layout id of tensors of this type."""
        return f"gguf.{self.name}/1"


QUANTIZED = {
    2: Block("q4_0", 32, 18),
    3: Block("q4_1", 32, 20),
    6: Block("q5_0", 32, 22),
    7: Block("q5_1", 32, 24),
    8: Block("q8_0", 32, 34),
    10: Block("q2_k", 256, 84),
    11: Block("q3_k", 256, 110),
    12: Block("q4_k", 256, 144),
    13: Block("q5_k", 256, 176),
    14: Block("q6_k", 256, 210),
    15: Block("q8_k", 256, 292),
    16: Block("iq2_xxs", 256, 66),
    17: Block("iq2_xs", 256, 74),
    18: Block("iq3_xxs", 256, 98),
    19: Block("iq1_s", 256, 50),
    20: Block("iq4_nl", 32, 18),
    21: Block("iq3_s", 256, 110),
    22: Block("iq2_s", 256, 82),
    23: Block("iq4_xs", 256, 136),
    29: Block("iq1_m", 256, 56),
    34: Block("tq1_0", 256, 54),
    35: Block("tq2_0", 256, 66),
    39: Block("mxfp4", 32, 17),
}
"""Types that have none, by their number."""

_BY_LAYOUT = {block.layout: block for block in QUANTIZED.values()}


def is_blocks(layout: str) -> bool:
    """Whether a layout is one of GGML's blocks."""
    return layout in _BY_LAYOUT


def dequantize(layout: str, stored: memoryview, *, big_endian: bool) -> Array:
    """Return the elements of whole blocks.

    Parameters
    ----------
    layout : str
        As in ``Block.layout``.
    stored : memoryview
    big_endian : bool
        Of the numbers in the blocks.

    Returns
    -------
    numpy.ndarray of float32, shape (n,)

    Raises
    ------
    UnsupportedError
        The type is one of those that are only stored.
    """
    block = _BY_LAYOUT[layout]
    if block.name not in _DECODERS:
        names = ", ".join(_DECODERS)
        raise UnsupportedError(f"{block.name} can't be dequantized; {names} can")
    fields, decode = _DECODERS[block.name]
    dtype = np.dtype(fields)
    blocks = np.frombuffer(stored, dtype.newbyteorder(">") if big_endian else dtype)
    elements = np.empty((len(blocks), block.elements), np.float32)
    step = max(1, _STEP // block.elements)
    with np.errstate(all="ignore"):  # a scale may be anything
        for start in range(0, len(blocks), step):
            elements[start : start + step] = decode(blocks[start : start + step])
    return elements.ravel()


def _scale(numbers: Array) -> Any:
    """Return one number a block, as a column."""
    return numbers.astype(np.float32)[:, None]


def _split(packed: Array, run: int, bits: int) -> Any:
    """Return what bytes hold of `bits` each: in runs of so many bytes, the low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    parts = packed.reshape(len(packed), -1, 1, run) >> shifts
    return (parts & np.uint8((1 << bits) - 1)).reshape(len(packed), -1)


def _fifth_bits(words: Array) -> Array:
    bits = words.astype(np.uint32)[:, None] >> np.arange(32, dtype=np.uint32)
    return ((bits & 1) << 4).astype(np.uint8)


def _q4_0(b: Array) -> Any:
    return _scale(b["d"]) * (_split(b["qs"], 16, 4).astype(np.int8) - np.int8(8)).astype(np.float32)


def _q4_1(b: Array) -> Any:
    return _scale(b["d"]) * _split(b["qs"], 16, 4).astype(np.float32) + _scale(b["m"])


def _q5_0(b: Array) -> Any:
    q = (_split(b["qs"], 16, 4) | _fifth_bits(b["qh"])).astype(np.int8) - np.int8(16)
    return _scale(b["d"]) * q.astype(np.float32)


def _q5_1(b: Array) -> Any:
    q = _split(b["qs"], 16, 4) | _fifth_bits(b["qh"])
    return _scale(b["d"]) * q.astype(np.float32) + _scale(b["m"])


def _q8_0(b: Array) -> Any:
    return b["qs"].astype(np.float32) * _scale(b["d"])


def _q2_k(b: Array) -> Any:
    scales = b["scales"]
    d = (_scale(b["d"]) * (scales & 15).astype(np.float32))[:, :, None]
    m = (_scale(b["m"]) * (scales >> 4).astype(np.float32))[:, :, None]
    q = _split(b["qs"], 32, 2).reshape(len(b), 16, 16).astype(np.float32)
    return (d * q - m).reshape(len(b), 256)


def _q3_k(b: Array) -> Any:
    # Sixteen scales of six bits: the low four in the first 8 bytes, the high two in the last 4.
    low, high = b["scales"][:, :8], b["scales"][:, 8:]
    scales = _split(low, 8, 4) | _split(high, 4, 2) << np.uint8(4)
    d = _scale(b["d"]) * (scales.astype(np.int8) - np.int8(32)).astype(np.float32)
    # A bit of the mask that is not set takes four away.
    missing = (_split(b["hmask"], 32, 1) ^ np.uint8(1)) << np.uint8(2)
    q = (_split(b["qs"], 32, 2).astype(np.int8) - missing.astype(np.int8)).astype(np.float32)
    return (d[:, :, None] * q.reshape(len(b), 16, 16)).reshape(len(b), 256)


def _scales_of_6_bits(packed: Array) -> tuple[Array, Array]:
    """Return the eight scales and the eight minima in the 12 bytes of a block."""
    d, m, rest = np.split(packed, 3, axis=1)
    scales = np.concatenate([d & 0x3F, (rest & 0x0F) | ((d >> 2) & 0x30)], axis=1)
    minima = np.concatenate([m & 0x3F, (rest >> 4) | ((m >> 2) & 0x30)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _q4_k(b: Array, high: Array | int = 0) -> Any:
    scales, minima = _scales_of_6_bits(b["scales"])
    d, m = (_scale(b["d"]) * scales)[:, :, None], (_scale(b["m"]) * minima)[:, :, None]
    q = (_split(b["qs"], 32, 4) | high).reshape(len(b), 8, 32).astype(np.float32)
    return (d * q - m).reshape(len(b), 256)


def _q5_k(b: Array) -> Any:
    return _q4_k(b, _split(b["qh"], 32, 1) << np.uint8(4))


def _q6_k(b: Array) -> Any:
    d = (_scale(b["d"]) * b["scales"].astype(np.float32))[:, :, None]
    q = _split(b["ql"], 64, 4) | _split(b["qh"], 32, 2) << np.uint8(4)
    q = (q.astype(np.int8) - np.int8(32)).astype(np.float32)
    return (d * q.reshape(len(b), 16, 16)).reshape(len(b), 256)


def _q8_k(b: Array) -> Any:
    return _scale(b["d"]) * b["qs"].astype(np.float32)


_D, _M = ("d", "<f2"), ("m", "<f2")
_DECODERS: dict[str, tuple[list[Any], Callable[[Array], Any]]] = {
    "q4_0": ([_D, ("qs", "u1", 16)], _q4_0),
    "q4_1": ([_D, _M, ("qs", "u1", 16)], _q4_1),
    "q5_0": ([_D, ("qh", "<u4"), ("qs", "u1", 16)], _q5_0),
    "q5_1": ([_D, _M, ("qh", "<u4"), ("qs", "u1", 16)], _q5_1),
    "q8_0": ([_D, ("qs", "i1", 32)], _q8_0),
    "q2_k": ([("scales", "u1", 16), ("qs", "u1", 64), _D, _M], _q2_k),
    "q3_k": ([("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), _D], _q3_k),
    "q4_k": ([_D, _M, ("scales", "u1", 12), ("qs", "u1", 128)], _q4_k),
    "q5_k": ([_D, _M, ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)], _q5_k),
    "q6_k": ([("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), _D], _q6_k),
    "q8_k": ([("d", "<f4"), ("qs", "i1", 256), ("bsums", "<i2", 16)], _q8_k),
}
"""The fields of a block, and how its elements are made of them."""
