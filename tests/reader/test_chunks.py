"""Slices of raw tensors are checked where the file has digests of chunks, and the caller asks."""

from __future__ import annotations

from typing import Any

import cbor2
import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import in_memory, model_bytes, same
from ztensor_remote.manifest import ChunkDigests, Component
from ztensor_remote.manifest.chunks import with_chunk_digests

MIB = 1 << 20
ARRAY = np.arange(3 * MIB + 4096, dtype=np.uint32).astype(np.uint8).reshape(-1, 1024)
versions = pytest.mark.parametrize("version", ["1.0", "1.2", "2"])
places = pytest.mark.parametrize("place", ["fetched", "bytes"])


def stored(version: str, **options: Any) -> bytes:
    return model_bytes({"w": ARRAY}, version=version, chunk_digests=True, **options)


def at(place: str, data: bytes) -> Any:
    return data if place == "bytes" else in_memory(data)


@places
@versions
def test_damage_is_found_in_the_chunks_that_a_slice_touches(version: str, place: str) -> None:
    data = stored(version)
    with zt.open(at(place, data), verify="slices") as model:
        assert same(model["w"][1000:1030, 3:7], ARRAY[1000:1030, 3:7])
        assert same(model["w"][-1], ARRAY[-1])
        assert same(model["w"].numpy(), ARRAY)
        offset = model["w"].components["data"].offset
    spoiled = bytearray(data)
    spoiled[offset + MIB + 5] ^= 1
    with zt.open(at(place, bytes(spoiled)), verify="slices") as model:
        assert same(model["w"][:1024], ARRAY[:1024])
        assert same(model["w"][2048:], ARRAY[2048:])
        for key in (slice(1020, 1030), (slice(None), 5), 2000):
            with pytest.raises(zt.DigestError) as caught:
                _ = model["w"][key]
            assert caught.value.tensor == "w"
    with zt.open(at(place, bytes(spoiled))) as model:  # nobody asked
        assert same(model["w"][1020:1023], ARRAY[1020:1023])


def test_only_who_asks_fetches_whole_chunks() -> None:
    url = in_memory(stored("1.2"))
    for verify, wanted in ((True, 10 * 1024), ("slices", MIB)):
        with zt.open(url, verify=verify) as model:
            before = model.stats.bytes
            assert same(model["w"][100:110], ARRAY[100:110])
            assert model.stats.bytes - before == wanted


def test_files_without_them_are_read_unchecked() -> None:
    with zt.open(in_memory(model_bytes({"w": ARRAY})), verify="slices") as model:
        assert same(model["w"][5:9], ARRAY[5:9])


@versions
def test_they_outlast_an_append(version: str) -> None:
    url = in_memory(stored(version))
    with zt.append(url) as w:
        w.add_tensor("more", ARRAY[:2])
    with zt.open(url) as model:
        parts = {name: model.manifest.tensors[name].components["data"] for name in model}
    assert parts["w"].chunk_digests is not None and parts["more"].chunk_digests is None


def test_compressed_and_canonical_files_have_none() -> None:
    with zt.open(stored("1.2", compress=1)) as model:
        assert model.manifest.tensors["w"].components["data"].chunk_digests is None
    with pytest.raises(zt.InvalidInputError):
        stored("2", canonical=True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"algorithm": "xxh3", "size": 8, "values": bytes(4)},
        {"algorithm": "crc32c", "size": 0, "values": bytes(4)},
        {"algorithm": "crc32c", "size": True, "values": bytes(32)},
        {"algorithm": "crc32c", "size": 8, "values": bytes(8)},
        {"algorithm": "crc32c", "size": 8, "values": "text"},
        {"algorithm": [], "size": {}, "values": cbor2.undefined},
    ],
)
def test_what_others_keep_under_the_key_is_passed_over(value: Any) -> None:
    part = Component("u8", 0, 8)
    assert with_chunk_digests(part, {"chunk_digests": value}) == part


def test_what_is_in_order_is_taken() -> None:
    value = {"algorithm": "crc32c", "size": 8, "values": b"abcd"}
    part = with_chunk_digests(Component("u8", 0, 8), {"chunk_digests": value})
    assert part.chunk_digests == ChunkDigests(8, b"abcd")
