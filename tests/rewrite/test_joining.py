"""Tensors of other files, added to a file that is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import ztensor_remote as zt
from tests.reader.repositories import all_arrays, put_files, same_as
from tests.stores.backends import Backend, MakeBackend
from ztensor_remote.reader import Reader

FEW = 3


@pytest.fixture(params=["local", "moto", "gcs"])
def backend(request: pytest.FixtureRequest, backend_of: MakeBackend) -> Backend:
    """A place with a model in several files, and one of ours."""
    made = backend_of(request.param)
    put_files(made, FEW)
    with zt.Writer(made.location("model.zt")) as writer:
        writer.add_tensor("old", np.arange(1000), compress=True)
        writer.attributes["license"] = "MIT"
    return made


def stored(model: Reader, name: str) -> bytes:
    """Return the bytes of a dense tensor as they are stored."""
    part = model[name].components["data"]
    memory = bytearray(part.length)
    model._blobs.source_of(part._part).read_into(part.offset, memoryview(memory))
    return bytes(memory)


def test_whole_models_of_other_formats(backend: Backend) -> None:
    place = backend.location("model.zt")
    written = zt.append_from(place, backend.location("model-*.safetensors"))
    assert (written.tensors, written.size) == (2 * FEW + 1, len(backend.read("model.zt")))
    with zt.open(place) as model:
        assert same_as({name: model[name] for name in all_arrays(FEW)}, all_arrays(FEW))
        assert model["old"].numpy().tolist() == [*range(1000)]
        assert model.attributes == {"license": "MIT"}
        assert model.verify() == zt.Verification(2 * FEW + 1, 0)


@pytest.mark.parametrize("version", ["1.0", "1.2", "2"])
def test_bytes_stay_as_they_are_stored(tmp_path: Path, version: str) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 5, 300_000)
    for name in ("target", "other"):
        with zt.Writer(tmp_path / f"{name}.zt", version=version) as writer:  # type: ignore[arg-type]
            writer.add_tensor(name, array, compress=7)
    with zt.open(tmp_path / "other.zt") as other:
        before = stored(other, "other")
        digest = other["other"].components["data"].digest
    zt.append_from(tmp_path / "target.zt", [tmp_path / "other.zt"])
    with zt.open(tmp_path / "target.zt") as model:
        assert model.version == version
        assert stored(model, "other") == before
        assert model["other"].components["data"].digest == digest
        model.verify()


def test_compressed_as_they_are_added(tmp_path: Path) -> None:
    with zt.Writer(tmp_path / "model.zt") as writer:
        writer.add_tensor("w", np.ones(3))
    zeros = safetensors.numpy.save({"z": np.zeros(100_000)})
    zt.append_from(tmp_path / "model.zt", zeros, compress=True)
    with zt.open(tmp_path / "model.zt") as model:
        assert model["z"].components["data"].length < 1000
        assert not model["z"].numpy().any()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestNothingChanges:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        for name in ("model", "other"):
            with zt.Writer(tmp_path / f"{name}.zt") as writer:
                writer.add_tensor(name, np.ones(1000))
        return tmp_path / "model.zt"

    def test_a_name_that_is_there(self, model: Path) -> None:
        before = digest(model)
        with pytest.raises(zt.DuplicateNameError, match=r"and .*model\.zt has another"):
            zt.append_from(model, model)
        other = model.with_name("other.zt")
        with pytest.raises(zt.DuplicateNameError, match="this name comes from"):
            zt.append_from(model, [other, other])
        assert digest(model) == before

    def test_a_damaged_source(self, model: Path) -> None:
        before, other = digest(model), model.with_name("other.zt")
        data = bytearray(other.read_bytes())
        data[100] ^= 1
        other.write_bytes(data)
        with pytest.raises(zt.DigestError, match=r"other\.zt"):
            zt.append_from(model, other)
        assert digest(model) == before
        assert sorted(path.name for path in model.parent.iterdir()) == ["model.zt", "other.zt"]

    def test_a_file_of_another_format(self, tmp_path: Path, model: Path) -> None:
        safetensors.numpy.save_file({"a": np.ones(3)}, tmp_path / "a.safetensors")
        before = digest(tmp_path / "a.safetensors")
        with pytest.raises(zt.UnsupportedError, match="can't be appended to"):
            zt.append_from(tmp_path / "a.safetensors", model)
        with pytest.raises(zt.NotFoundError):
            zt.append_from(tmp_path / "none.zt", model)
        assert digest(tmp_path / "a.safetensors") == before
