"""Equal bytes, stored once where the caller asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import same, written

ARRAY = np.arange(4096, dtype=np.float32)
SPELLINGS = {"1.0": ["crc32c"], "1.2": ["crc32c", "sha256"], "2": ["xxh3", "sha256"]}
VERSIONS = list(SPELLINGS)


def placed(model: zt.Reader) -> dict[str, int]:
    """Return where each tensor's bytes begin."""
    return {name: model[name].components["data"].offset for name in model}


@pytest.mark.parametrize("compress", [False, True, 9])
@pytest.mark.parametrize("version", VERSIONS)
def test_equal_bytes_are_stored_once(version: str, compress: Any) -> None:
    def add(writer: zt.Writer) -> None:
        writer.add_tensor("a", ARRAY)
        writer.add_tensor("b", ARRAY[::-1])
        writer.add_tensor("tied", ARRAY.copy().reshape(64, 64))
        writer.add_tensor("bits", ARRAY.view(np.uint32))

    options: Any = {"version": version, "compress": compress}
    with zt.open(written(add, **options, dedup=True)) as model:
        at = placed(model)
        assert at["a"] == at["tied"] == at["bits"] != at["b"]
        assert same(model["tied"].numpy(), ARRAY.reshape(64, 64))
        assert same(model["bits"].numpy(), ARRAY.view(np.uint32))
        model.verify()
    with zt.open(written(add, **options)) as model:
        assert len({*placed(model).values()}) == 4


@pytest.mark.parametrize("version", VERSIONS)
def test_everyone_has_the_digest_it_asked_for(version: str) -> None:
    """Whoever came first; a shared blob would have brought its own."""
    asked = [None, *SPELLINGS[version]]

    def add(writer: zt.Writer) -> None:
        for turn in range(2):
            for checksum in asked:
                writer.add_tensor(f"{checksum}/{turn}", ARRAY, checksum=checksum)

    with zt.open(written(add, version=version, dedup=True)) as model:
        for name in model:
            digest = model[name].components["data"].digest
            stated = digest.partition(":")[0] if digest else "None"
            assert stated == name.partition("/")[0]
        at = placed(model)
        assert all(at[f"{checksum}/0"] == at[f"{checksum}/1"] for checksum in asked)
        assert len({*at.values()}) == len(asked)
        model.verify()


def test_compression_must_be_the_same() -> None:
    def add(writer: zt.Writer) -> None:
        for name, compress in {"raw": False, "three": 3, "nine": 9, "default": True}.items():
            writer.add_tensor(name, ARRAY, compress=compress)

    with zt.open(written(add, dedup=True)) as model:
        at = placed(model)
        assert at["three"] == at["default"]
        assert len({at["raw"], at["three"], at["nine"]}) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_a_streamed_tensor_is_shared_by_those_that_follow(version: str) -> None:
    def add(writer: zt.Writer) -> None:
        for name in ("first", "second"):
            with writer.stream_tensor(name, ARRAY.shape, ARRAY.dtype) as part:
                part.write(ARRAY[:1000])
                part.write(ARRAY[1000:])
        writer.add_tensor("third", ARRAY)

    with zt.open(written(add, version=version, dedup=True)) as model:
        at = placed(model)
        assert at["first"] != at["second"] == at["third"]
        assert all(same(model[name].numpy(), ARRAY) for name in model)


def test_components_of_sparse_tensors_are_shared_too() -> None:
    def add(writer: zt.Writer) -> None:
        for name, values in {"a": [1.0, 2.0], "b": [3.0, 4.0]}.items():
            writer.add_sparse_csr(name, values, [0, 2], [0, 1, 2], (2, 3))

    with zt.open(written(add, dedup=True)) as model:
        a, b = model["a"].components, model["b"].components
        assert a["indices"].offset == b["indices"].offset
        assert a["values"].offset != b["values"].offset
        assert model["b"].numpy().tolist() == [[3, 0, 0], [0, 0, 4]]


def test_a_canonical_file_has_no_place_for_a_second_stream_of_the_same_bytes() -> None:
    def add(writer: zt.Writer) -> None:
        writer.add_tensor("a", ARRAY)
        with writer.stream_tensor("b", ARRAY.shape, ARRAY.dtype) as part:
            part.write(ARRAY)

    with pytest.raises(zt.InvalidInputError, match="stores equal bytes once"):
        written(add, version="2", canonical=True)
