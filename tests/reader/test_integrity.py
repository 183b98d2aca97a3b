"""Damage is found when a component is read whole, and by `verify`; never silently passed on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.reader.models import in_memory, model_bytes, same

ARRAY = np.arange(600, dtype=np.float32).reshape(30, 20)

READS: dict[str, Callable[[zt.Reader], Any]] = {
    "numpy": lambda model: model["w"].numpy(),
    "asarray": lambda model: np.asarray(model["w"]),
    "everything sliced": lambda model: model["w"][:],
    "torch": lambda model: model["w"].torch(),
    "read_into": lambda model: model["w"].read_into(np.zeros_like(ARRAY)),
    "load": lambda model: model.load(),
    "component": lambda model: model["w"].components["data"].read(),
    "verify": lambda model: model.verify(),
}
versions = pytest.mark.parametrize("version", ["1.0", "1.2", "2"])
places = pytest.mark.parametrize("place", ["local", "bytes", "fetched"])


@pytest.fixture
def store(tmp_path: Path) -> Callable[[str, bytes], Any]:
    def put(place: str, data: bytes) -> Any:
        if place == "local":
            (tmp_path / "model.zt").write_bytes(data)
            return tmp_path / "model.zt"
        return data if place == "bytes" else in_memory(data)

    return put


Store = Callable[[str, bytes], Any]


def damaged(data: bytes, at: int = 0) -> bytes:
    """Invert a bit of the first tensor's first component."""
    with zt.open(data) as model:
        offset = model["w"].components["data"].offset
    spoiled = bytearray(data)
    spoiled[offset + at] ^= 1
    return bytes(spoiled)


class TestDigests:
    @places
    @versions
    @pytest.mark.parametrize("read", READS)
    def test_are_checked_when_all_is_read(
        self, store: Store, place: str, version: str, read: str
    ) -> None:
        data = damaged(model_bytes({"w": ARRAY}, version=version))
        with zt.open(store(place, data)) as model, pytest.raises(zt.DigestError) as caught:
            READS[read](model)
        assert caught.value.tensor == "w" and caught.value.url == model.url

    @versions
    @pytest.mark.parametrize("read", READS)
    def test_are_checked_when_nothing_is_damaged(self, version: str, read: str) -> None:
        for compress in (False, True):
            data = model_bytes({"w": ARRAY}, version=version, compress=compress)
            with zt.open(in_memory(data)) as model:
                READS[read](model)

    @versions
    def test_of_compressed_data(self, version: str) -> None:
        data = model_bytes({"w": ARRAY}, version=version, compress=True)
        with zt.open(data) as model:
            length = model["w"].components["data"].length
        spoiled = damaged(data, at=length // 2)
        with zt.open(in_memory(spoiled)) as model, pytest.raises(zt.FormatError):
            model["w"].numpy()

    @places
    @pytest.mark.parametrize("read", sorted(READS.keys() - {"verify"}))
    def test_are_not_checked_unless_wanted(self, store: Store, place: str, read: str) -> None:
        data = damaged(model_bytes({"w": ARRAY}))
        with zt.open(store(place, data), verify=False) as model:
            READS[read](model)

    @places
    def test_can_not_be_checked_for_slices(self, store: Store, place: str) -> None:
        with zt.open(store(place, damaged(model_bytes({"w": ARRAY})))) as model:
            assert same(model["w"][1:5, 3], ARRAY[1:5, 3])
            assert model["w"][0, 0] != ARRAY[0, 0]
            with pytest.raises(zt.DigestError):
                model["w"].numpy()

    def test_that_are_missing_pass(self) -> None:
        data = damaged(model_bytes({"w": ARRAY}, checksum=None))
        with zt.open(data) as model:
            assert model["w"].components["data"].digest is None
            model["w"].numpy()

    @pytest.mark.parametrize("verify", ["slice", "", None, 2])
    def test_are_not_left_out_by_a_misspelled_word(self, verify: Any) -> None:
        with pytest.raises(zt.InvalidInputError, match="give True, False or 'slices'"):
            zt.open(model_bytes({"w": ARRAY}), verify=verify)


class TestVerify:
    @places
    @versions
    def test_counts_what_it_compared(self, store: Store, place: str, version: str) -> None:
        data = model_bytes({"w": ARRAY, "v": ARRAY[0]}, version=version)
        with zt.open(store(place, data)) as model:
            assert model.verify() == zt.Verification(checked=2, undigested=0)
            assert model.verify(["v"]) == zt.Verification(checked=1, undigested=0)

    def test_counts_what_has_no_digest(self) -> None:
        with zt.open(model_bytes({"w": ARRAY}, checksum=None)) as model:
            assert model.verify() == zt.Verification(checked=0, undigested=1)

    @places
    def test_compares_whatever_the_reader_was_opened_with(self, store: Store, place: str) -> None:
        data = damaged(model_bytes({"w": ARRAY, "v": ARRAY[0]}))
        with zt.open(store(place, data), verify=False) as model:
            model.verify(["v"])
            with pytest.raises(zt.DigestError) as caught:
                model.verify()
        assert (caught.value.tensor, caught.value.component) == ("w", "data")

    def test_finds_bytes_that_no_bool_has(self) -> None:
        data = bytearray(model_bytes({"w": np.ones(4, bool)}, version="2", checksum=None))
        with zt.open(bytes(data)) as model:
            data[model["w"].components["data"].offset] = 2
        with zt.open(bytes(data)) as model, pytest.raises(zt.FormatError, match="bool"):
            model.verify()

    def test_of_a_missing_name(self) -> None:
        with zt.open(model_bytes({"w": ARRAY})) as model, pytest.raises(zt.TensorNotFoundError):
            model.verify(["v"])
