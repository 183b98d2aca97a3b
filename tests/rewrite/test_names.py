"""Tensors that go, or get other names; files in pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ztensor_remote as zt

NAMES = ["a", "b", "c"]


@pytest.fixture(params=["1.2", "1.0", "2"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "model.zt"
    with zt.Writer(path, version=request.param) as w:
        for number, name in enumerate(NAMES):
            w.add_tensor(name, np.full(1000, number))
        w.attributes["license"] = "MIT"
    return path


def values(path: Path) -> dict[str, int]:
    with zt.open(path) as reader:
        assert reader.attributes == {"license": "MIT"}
        reader.verify()
        return {name: int(tensor[0]) for name, tensor in reader.items()}


def test_remove(model: Path, tmp_path: Path) -> None:
    zt.remove(model, ["b"], tmp_path / "new.zt")
    assert values(tmp_path / "new.zt") == {"a": 0, "c": 2}
    assert (tmp_path / "new.zt").stat().st_size < model.stat().st_size
    zt.remove(model, ["b", "c"])
    assert values(model) == {"a": 0}


def test_rename(model: Path, tmp_path: Path) -> None:
    zt.rename(model, {"a": "x"}, tmp_path / "new.zt")
    assert values(tmp_path / "new.zt") == {"x": 0, "b": 1, "c": 2}
    zt.rename(model, {"a": "b", "b": "a"})
    assert values(model) == {"b": 0, "a": 1, "c": 2}


@pytest.mark.parametrize("target", [None, "new.zt"])
def test_names_that_do_not_fit_change_nothing(
    model: Path, tmp_path: Path, target: str | None
) -> None:
    before, place = model.read_bytes(), target and tmp_path / target
    with pytest.raises(zt.TensorNotFoundError):
        zt.remove(model, ["a", "z"], place)
    with pytest.raises(zt.TensorNotFoundError):
        zt.rename(model, {"z": "y"}, place)
    with pytest.raises(zt.DuplicateNameError):
        zt.rename(model, {"a": "b"}, place)
    with pytest.raises(zt.InvalidInputError):
        zt.rename(model, {"a": ""}, place)
    assert model.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.zt"]


def test_split(model: Path, tmp_path: Path) -> None:
    pattern = str(tmp_path / "part-{index:02}-of-{count}.zt")
    size = 132_000 if zt.open(model).version == "2" else 17_000
    written = zt.split(model, pattern, size)
    assert [each.tensors for each in written] == [2, 1]
    assert values(tmp_path / "part-01-of-2.zt") == {"a": 0, "b": 1}
    assert values(tmp_path / "part-02-of-2.zt") == {"c": 2}
    zt.merge([each.url for each in written], tmp_path / "whole.zt")
    assert values(tmp_path / "whole.zt") == values(model)


def test_a_tensor_too_large_to_share_gets_its_own_file(model: Path, tmp_path: Path) -> None:
    assert len(zt.split(model, str(tmp_path / "{index}.zt"), 1)) == 3


@pytest.mark.parametrize("pattern", ["same.zt", "{other}.zt", "{index", "{index.x}.zt"])
def test_patterns_that_name_no_files_are_refused(model: Path, tmp_path: Path, pattern: str) -> None:
    with pytest.raises(zt.InvalidInputError, match="pattern"):
        zt.split(model, str(tmp_path / pattern), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["model.zt"]


def test_split_refuses_before_it_writes(model: Path, tmp_path: Path) -> None:
    (tmp_path / "3.zt").write_bytes(b"precious")
    with pytest.raises(zt.InvalidInputError, match="there is a file already"):
        zt.split(model, str(tmp_path / "{index}.zt"), 1)
    assert not (tmp_path / "1.zt").exists()
