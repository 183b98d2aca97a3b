"""Files written anew hold what they held, and copying them takes little memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import ztensor_remote as zt
from tests.cli.files import write_model
from tests.formats.expected import FIXTURES

_MIB = 1 << 20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.zt"
    write_model(path)
    return path


def components(reader: zt.Reader) -> dict[tuple[str, str], bytes]:
    """The decoded bytes of everything."""
    return {
        (name, role): lazy.read()
        for name, tensor in reader.items()
        for role, lazy in tensor.components.items()
    }


def comparable(attributes: Mapping[str, Any]) -> str:
    return json.dumps(dict(attributes), sort_keys=True, default=repr)


def assert_same(source: Path | zt.Reader, target: Any) -> None:
    old = source if isinstance(source, zt.Reader) else zt.open(source)
    with old, zt.open(target) as new:
        new.verify(deep=True)
        assert new.keys() == old.keys()
        assert comparable(new.attributes) == comparable(old.attributes)
        for name in old:
            assert new[name].shape == old[name].shape
            assert new[name].layout == old[name].layout
            assert comparable(new[name].attributes) == comparable(old[name].attributes)
            assert_same_elements(old[name], new[name])


def assert_same_elements(old: zt.LazyTensor, new: zt.LazyTensor) -> None:
    try:
        if old.layout in ("sparse_csr", "sparse_coo"):
            assert old.numpy().tobytes() == new.numpy().tobytes()
        elif old.layout == "dense":
            assert old.dtype == new.dtype
            assert old.numpy().tobytes() == new.numpy().tobytes()
        else:
            raise zt.UnsupportedError("only its components can be compared")
    except zt.UnsupportedError:
        for role, lazy in old.components.items():
            assert new.components[role].read() == lazy.read()


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_files_of_every_release_survive(path: Path, tmp_path: Path) -> None:
    """One way into the other generation, recompressed, and back as things are."""
    old = zt.open(path)
    names = [name for name in old if not name or "\0" in name]
    if names:
        with pytest.raises(zt.InvalidInputError, match="can't have this name"):
            zt.convert(path, tmp_path / "no.zt")
        assert not (tmp_path / "no.zt").exists()
        return
    if old.manifest.is_data_shard:
        return
    if old.version == "2":
        zt.convert(path, tmp_path / "other.zt")
    else:
        zt.convert(path, tmp_path / "other.zt", version="2", compress=True)
    assert_same(path, tmp_path / "other.zt")
    zt.convert(tmp_path / "other.zt", tmp_path / "back.zt", version="1.2")
    assert_same(path, tmp_path / "back.zt")


def test_files_of_others_are_converted_as_they_are_read(tmp_path: Path) -> None:
    tensors = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(0, np.int8)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "np"})
    zt.convert(tmp_path / "model.safetensors", tmp_path / "model.zt")
    assert_same(tmp_path / "model.safetensors", tmp_path / "model.zt")
    assert zt.open(tmp_path / "model.zt").verify().checked == 2
    zt.convert(
        (tmp_path / "model.safetensors").rename(tmp_path / "x"),
        tmp_path / "2.zt",
        format="safetensors",
        version="2",
    )
    assert_same(zt.open(tmp_path / "x", format="safetensors"), tmp_path / "2.zt")


def test_stored_bytes_and_digests_stay(model: Path, tmp_path: Path) -> None:
    zt.convert(model, tmp_path / "copy.zt")
    assert (tmp_path / "copy.zt").read_bytes() == model.read_bytes()
    with zt.Writer(tmp_path / "sha.zt", checksum="sha256", compress=True) as w:
        w.add_tensor("a", np.arange(100))
    zt.convert(tmp_path / "sha.zt", tmp_path / "again.zt", version=None)
    assert (tmp_path / "again.zt").read_bytes() == (tmp_path / "sha.zt").read_bytes()


def test_digests_that_are_missing_are_made(tmp_path: Path) -> None:
    with zt.Writer(tmp_path / "none.zt", checksum=None) as w:
        w.add_tensor("a", np.arange(100), compress=True)
    zt.convert(tmp_path / "none.zt", tmp_path / "made.zt")
    zt.convert(tmp_path / "none.zt", tmp_path / "sha.zt", checksum="sha256")
    zt.convert(tmp_path / "made.zt", tmp_path / "dropped.zt", checksum=None)
    digests = [
        zt.open(tmp_path / f"{name}.zt")["a"].components["data"].digest
        for name in ("made", "sha", "dropped")
    ]
    assert digests[0] is not None
    assert digests[0].startswith("crc32c:")
    assert digests[1] is not None
    assert digests[1].startswith("sha256:")
    assert digests[2] is None
    assert zt.open(tmp_path / "sha.zt").verify().checked == 1


def test_digests_of_chunks_stay(tmp_path: Path) -> None:
    with zt.Writer(tmp_path / "chunked.zt", chunk_digests=True) as w:
        w.add_tensor("a", np.arange(1_000_000))
    zt.convert(tmp_path / "chunked.zt", tmp_path / "again.zt", version="2")
    with zt.open(tmp_path / "chunked.zt") as old, zt.open(tmp_path / "again.zt") as new:
        parts = [reader.manifest.tensors["a"].components["data"] for reader in (old, new)]
    assert parts[0].chunk_digests is not None
    assert parts[0].chunk_digests == parts[1].chunk_digests


def test_compress_and_decompress(model: Path, tmp_path: Path) -> None:
    zt.compress(model, tmp_path / "small.zt", 19)
    zt.decompress(tmp_path / "small.zt", tmp_path / "large.zt")
    for name, encoding in (("small", "zstd"), ("large", "raw")):
        assert_same(model, tmp_path / f"{name}.zt")
        with zt.open(tmp_path / f"{name}.zt") as reader:
            parts = [lazy for tensor in reader.values() for lazy in tensor.components.values()]
        assert {part.encoding for part in parts} == {encoding}


def test_packed_types_stay_uncompressed_where_published_readers_need_it(tmp_path: Path) -> None:
    with zt.Writer(tmp_path / "f4.zt", version="2", compress=True) as w:
        w.add_tensor("a", np.zeros(1000, ml_dtypes.float4_e2m1fn))
    zt.convert(tmp_path / "f4.zt", tmp_path / "1.zt")
    assert zt.open(tmp_path / "1.zt")["a"].components["data"].encoding == "raw"
    assert_same(tmp_path / "f4.zt", tmp_path / "1.zt")


def test_merge(tmp_path: Path) -> None:
    for name in "ab":
        with zt.Writer(tmp_path / f"{name}.zt") as w:
            w.add_tensor(name, np.full(10, ord(name)), compress=name == "a")
            w.attributes.update({"name": name, f"only-{name}": 1})
    written = zt.merge([tmp_path / "a.zt", zt.open(tmp_path / "b.zt")], tmp_path / "ab.zt")
    assert written == zt.Rewritten(str(tmp_path / "ab.zt"), 2, (tmp_path / "ab.zt").stat().st_size)
    with zt.open(tmp_path / "ab.zt") as merged:
        assert set(merged) == {"a", "b"}
        assert merged.attributes == {"name": "a", "only-a": 1, "only-b": 1}
        assert [merged[name].components["data"].encoding for name in "ab"] == ["zstd", "raw"]


def test_one_name_in_two_files_says_where(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zt"
    zt.copy(model, other, ["embedding"])
    with pytest.raises(zt.DuplicateNameError, match=r"model\.zt and from .*other\.zt") as failure:
        zt.merge([model, other], tmp_path / "merged.zt")
    assert failure.value.tensor == "embedding"
    assert not (tmp_path / "merged.zt").exists()


def test_shared_blobs_stay_shared(tmp_path: Path) -> None:
    array = np.arange(1000)
    with zt.Writer(tmp_path / "tied.zt", dedup=True) as w:
        w.add_tensor("a", array)
        w.add_tensor("b", array)
    zt.convert(tmp_path / "tied.zt", tmp_path / "again.zt", version="2", compress=True)
    with zt.open(tmp_path / "again.zt") as reader:
        offsets = {tensor.components["data"].offset for tensor in reader.values()}
    assert len(offsets) == 1
    assert_same(tmp_path / "tied.zt", tmp_path / "again.zt")


def test_what_is_there_is_refused_unless_it_may_go(model: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.zt"
    there.write_bytes(b"precious")
    for write in (zt.convert, zt.compress, zt.decompress, zt.copy):
        with pytest.raises(zt.InvalidInputError, match="there is a file already"):
            write(model, there)
    with pytest.raises(zt.InvalidInputError, match="there is a file already"):
        zt.remove(model, ["embedding"], there)
    assert there.read_bytes() == b"precious"
    zt.compress(model, there, overwrite=True)
    assert_same(model, there)


def test_a_file_can_take_its_own_place(model: Path, tmp_path: Path) -> None:
    before = components(zt.open(model))
    zt.compress(model, model, overwrite=True)
    assert components(zt.open(model)) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.zt"]


def test_originals_go_once_the_new_file_was_read_back(model: Path, tmp_path: Path) -> None:
    before = components(zt.open(model))
    zt.convert(model, tmp_path / "new.zt", version="2", delete_original=True)
    assert [path.name for path in tmp_path.iterdir()] == ["new.zt"]
    assert components(zt.open(tmp_path / "new.zt")) == before


def test_an_original_that_was_replaced_meanwhile_stays(model: Path, tmp_path: Path) -> None:
    class Rival(fsspec.Callback):
        def relative_update(self, inc: int = 1) -> None:
            (tmp_path / "rival.zt").write_bytes(b"newer")
            (tmp_path / "rival.zt").replace(model)

    with pytest.raises((zt.ObjectChangedError, zt.FormatError)):
        zt.convert(model, tmp_path / "new.zt", delete_original=True, callback=Rival())
    assert model.read_bytes() == b"newer"


def test_the_original_is_not_deleted_as_the_target(model: Path) -> None:
    with pytest.raises(zt.InvalidInputError, match="is the file to write"):
        zt.convert(model, model, overwrite=True, delete_original=True)
    assert_same(zt.open(model), model)


def test_damage_is_found_and_nothing_is_left(model: Path, tmp_path: Path) -> None:
    data = bytearray(model.read_bytes())
    data[64] ^= 1
    model.write_bytes(data)
    for options in ({}, {"version": "2"}, {"compress": True}):
        with pytest.raises(zt.DigestError) as failure:
            zt.convert(model, tmp_path / "new.zt", **options)  # type: ignore[arg-type]
        assert failure.value.tensor == "layers.0.weight"
        assert failure.value.url == str(model)
    zt.convert(zt.open(model, verify=False), tmp_path / "rescued.zt", checksum="sha256")
    assert zt.open(tmp_path / "rescued.zt").verify().checked == 6
    assert {path.name for path in tmp_path.iterdir()} == {"model.zt", "rescued.zt"}


@pytest.mark.parametrize("compress", [False, True], ids=["raw", "zstd"])
def test_memory_does_not_grow_with_the_tensors(tmp_path: Path, compress: bool) -> None:
    size = 192 * _MIB
    with (
        zt.Writer(tmp_path / "big.zt", compress=1 if compress else False) as w,
        w.stream_tensor("big", (size,), "uint8") as part,
    ):
        for start in range(0, size, 16 * _MIB):
            part.write(np.full(16 * _MIB, start >> 24, np.uint8))
    tracemalloc.start()
    try:
        zt.convert(tmp_path / "big.zt", tmp_path / "new.zt", version="2")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * _MIB
    with zt.open(tmp_path / "new.zt") as reader:
        assert reader["big"][:: 16 * _MIB].tolist() == list(range(size >> 24))


def test_progress_counts_the_stored_bytes(model: Path, tmp_path: Path) -> None:
    told = fsspec.Callback()
    zt.convert(model, tmp_path / "new.zt", compress=True, callback=told)
    with zt.open(model) as reader:
        assert told.value == told.size == reader.manifest.stored_bytes


def test_from_store_to_store(bucket: Callable[..., str], moto: Any, tmp_path: Path) -> None:
    name = bucket(moto)
    url, options = moto.uri(f"{name}/model.zt"), moto.storage_options
    write_model(url, storage_options=options)
    zt.compress(url, moto.uri(f"{name}/small.zt"), storage_options=options)
    zt.convert(moto.uri(f"{name}/small.zt"), tmp_path / "here.zt", storage_options=options)
    zt.convert(tmp_path / "here.zt", moto.uri(f"{name}/up.zt"), to_storage_options=options)
    with pytest.raises(zt.InvalidInputError, match="there is a file already"):
        zt.convert(tmp_path / "here.zt", moto.uri(f"{name}/up.zt"), to_storage_options=options)
    with zt.open(moto.uri(f"{name}/up.zt"), storage_options=options) as reader:
        assert_same(reader, tmp_path / "here.zt")
