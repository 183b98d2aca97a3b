"""Blobs in other files: found beside the root, and believed only as far as the table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
import xxhash

import ztensor_remote as zt
from tests.formats.build import (
    EIGHT,
    MAGIC_1,
    MAGIC_2,
    dense_2,
    file_1_2,
    file_2,
    footer_2,
    object_2,
    part_2,
    root_1_2,
    root_2,
)

DATA_SHARD = MAGIC_2 + bytes(4088) + EIGHT + footer_2(0, b"", digest=0)
COMPLETE = file_2(dense_2([3], blob=[8192, 3]), {4096: EIGHT, 8192: b"abc"})


def digest_of(data: bytes) -> str:
    return f"xxh3:{xxhash.xxh3_64_hexdigest(data)}"


def root_of(shard: bytes, **fields: Any) -> bytes:
    """Return a root whose ``there`` is the first blob of `shard`, and ``here`` its own."""
    table = {"size": len(shard), "digest": digest_of(shard)} | fields
    objects = {"here": object_2(), "there": object_2(parts={"data": part_2(shard="base")})}
    return file_2(root_2(objects, shards={"base": table}))


def put(folder: Path, root: bytes, shard: bytes | None) -> Path:
    path = folder / "model.zt"
    path.write_bytes(root)
    if shard is not None:
        (folder / "model-base.zt").write_bytes(shard)
    return path


@pytest.mark.parametrize("shard", [DATA_SHARD, COMPLETE], ids=["data shard", "complete file"])
def test_a_shard_is_found_beside_its_root(tmp_path: Path, shard: bytes) -> None:
    with zt.open(put(tmp_path, root_of(shard), shard)) as reader:
        assert reader["there"].numpy().tobytes() == EIGHT
        assert reader["there"][2:5].tobytes() == EIGHT[:3]
        assert reader["there"].components["data"].shard == "base"
        assert reader["here"].components["data"].shard is None
        assert reader.verify(deep=True) == zt.Verification(0, 2)


def test_a_shard_is_found_on_any_filesystem() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/shards/model.zt", root_of(DATA_SHARD))
    fs.pipe_file("/shards/model-base.zt", DATA_SHARD)
    with zt.open("memory://shards/model.zt") as reader:
        assert reader["there"].numpy().tobytes() == EIGHT
        reader.verify(deep=True)


def test_a_missing_shard_is_missed_only_when_it_is_read(tmp_path: Path) -> None:
    with zt.open(put(tmp_path, root_of(DATA_SHARD), None)) as reader:
        assert reader["here"].numpy().tobytes() == EIGHT
        with pytest.raises(zt.NotFoundError):
            reader["there"].numpy()
        (tmp_path / "model-base.zt").write_bytes(DATA_SHARD)
        assert reader["there"].numpy().tobytes() == EIGHT


NO_SHARDS = {
    "a byte more": DATA_SHARD[:5000] + b"\0" + DATA_SHARD[5000:],
    "a byte less": DATA_SHARD[:9] + DATA_SHARD[10:],
    "empty": b"",
    "of version 1": file_1_2(root_1_2()).ljust(len(DATA_SHARD), b"\0"),
    "of version 1 with its footer": MAGIC_1 + bytes(len(DATA_SHARD) - 16) + MAGIC_1,
    "zeros": bytes(len(DATA_SHARD)),
    "footer of version 3": DATA_SHARD[:-16] + b"\3" + DATA_SHARD[-15:],
    "manifest outside": DATA_SHARD[:-40] + footer_2(4096, b"", length=4096, digest=0),
    "another header": MAGIC_1 + DATA_SHARD[8:],
}


@pytest.mark.parametrize("name", NO_SHARDS)
def test_what_is_no_shard_of_that_size(tmp_path: Path, name: str) -> None:
    with zt.open(put(tmp_path, root_of(DATA_SHARD), NO_SHARDS[name])) as reader:
        for read in (reader["there"].numpy, reader["there"].components["data"].read, reader.verify):
            with pytest.raises(zt.FormatError) as caught:
                read()
            assert caught.value.rule == "ShardIdentity"
            assert caught.value.url and caught.value.url.endswith("model-base.zt")
        assert reader["here"].numpy().tobytes() == EIGHT


def test_the_digest_of_a_shard_is_for_deep_verification(tmp_path: Path) -> None:
    root = root_of(DATA_SHARD, digest=digest_of(b"other bytes"))
    with zt.open(put(tmp_path, root, DATA_SHARD)) as reader:
        assert reader["there"].numpy().tobytes() == EIGHT
        assert reader.verify() == zt.Verification(0, 2)
        with pytest.raises(zt.DigestError) as caught:
            reader.verify(deep=True)
        assert caught.value.rule == "Digest"


def test_an_unknown_digest_of_a_shard(tmp_path: Path) -> None:
    with zt.open(put(tmp_path, root_of(DATA_SHARD, digest="blake9:00"), DATA_SHARD)) as reader:
        assert reader["there"].numpy().tobytes() == EIGHT
        with pytest.raises(zt.UnsupportedError):
            reader.verify(deep=True)


def test_a_manifest_that_ends_in_the_last_byte_before_the_footer(tmp_path: Path) -> None:
    shard = DATA_SHARD[:-40] + footer_2(4096, b"", length=8, digest=0)
    with zt.open(put(tmp_path, root_of(shard), shard)) as reader:
        assert reader["there"].numpy().tobytes() == EIGHT
