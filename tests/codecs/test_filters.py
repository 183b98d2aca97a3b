"""HDF5's filters, undone."""

from __future__ import annotations

import io
import zlib
from typing import Any

import h5py
import numpy as np
import pytest
import zstandard

from ztensor_remote.codecs import unfilter
from ztensor_remote.errors import DigestError, FormatError

LONG = b"abc" * 100 + bytes(range(256)) + bytes(5000) + b"abcabcabd"


def filtered(data: bytes, **options: Any) -> bytes:
    """Return what h5py stores of some bytes."""
    array = np.frombuffer(data, np.uint8)
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("x", data=array, chunks=array.shape, **options)
        mask, stored = dataset.id.read_direct_chunk((0,))
    assert not mask
    return bytes(stored)


@pytest.mark.parametrize("data", [LONG, LONG[:-1], bytes(7), b"\xff" * 70_001])
def test_sums_are_those_of_hdf5(data: bytes) -> None:
    stored = filtered(data, fletcher32=True)
    assert bytes(unfilter(stored, [("fletcher32", 0)], 0, len(data))) == data
    swapped = stored[:-4] + bytes(stored[at] for at in (-3, -4, -1, -2))
    assert bytes(unfilter(swapped, [("fletcher32", 0)], 0, len(data))) == data
    wrong = bytearray(stored)
    wrong[len(data) // 2] ^= 1
    with pytest.raises(DigestError, match="Fletcher-32"):
        unfilter(bytes(wrong), [("fletcher32", 0)], 0, len(data))
    assert bytes(unfilter(data, [("fletcher32", 0)], 1, len(data))) == data


def test_lzf() -> None:
    stored = filtered(LONG, compression="lzf")
    assert len(stored) < 600 and bytes(unfilter(stored, [("lzf", 0)], 0, len(LONG))) == LONG


@pytest.mark.parametrize(
    "stored", [b"\x05abc", b"\x00a\x20", b"\xe0", b"\x00a\x20\x05", b"\x20\x00"]
)
def test_what_is_no_lzf(stored: bytes) -> None:
    with pytest.raises(FormatError, match="not valid LZF"):
        unfilter(stored, [("lzf", 0)], 0, 10)


@pytest.mark.parametrize("width", [1, 3, 4, 100])
def test_shuffled_elements_of_any_width(width: int) -> None:
    data = np.frombuffer(LONG, np.uint8)[:50]
    count = 50 // width
    end = count * width
    stored = np.append(data[:end].reshape(count, width).T.ravel(), data[end:])
    assert bytes(unfilter(stored.tobytes(), [("shuffle", width)], 0, 50)) == data.tobytes()


def test_filters_are_undone_from_the_last_to_the_first_but_those_that_were_left_out() -> None:
    filters = [("fletcher32", 0), ("deflate", 0), ("deflate", 0)]
    summed = filtered(LONG, fletcher32=True)
    twice = zlib.compress(zlib.compress(summed))
    assert bytes(unfilter(twice, filters, 0, len(LONG))) == LONG
    assert bytes(unfilter(zlib.compress(LONG), filters, 0b101, len(LONG))) == LONG


@pytest.mark.parametrize(
    ("stored", "name", "message"),
    [
        (zlib.compress(bytes(1 << 24)), "deflate", "holds more than"),
        (b"\x00a" + b"\xe0\xff\x00" * 50_000, "lzf", "holds more than"),
        (zlib.compress(bytes(101)), "deflate", "more than 100 bytes"),
        (zlib.compress(bytes(99)), "deflate", "after 99 of 100"),
        (zlib.compress(bytes(100))[:-2], "deflate", "cut off"),
        (b"xyz", "deflate", "not valid deflate"),
        (zstandard.compress(bytes(1 << 24)), "zstd", "holds more than"),
        (zstandard.compress(bytes(99)), "zstd", "after 99 of 100"),
        (zstandard.compress(bytes(100))[:-1], "zstd", "not valid zstd"),
        (b"xyz", "fletcher32", "after 3 of 4"),
        (b"xyz", "shuffle", "after 3 of 100"),
    ],
)
def test_what_is_not_a_chunk_of_its_size(stored: bytes, name: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        unfilter(stored, [(name, 4)], 0, 100)
