"""Commands over several files that are read as one, and files that others are added to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

import ztensor_remote as zt
from tests.reader.repositories import (
    INDEX,
    all_arrays,
    name_of,
    put_files,
    put_index,
    same_as,
    weight_map,
)
from tests.stores.backends import LocalBackend, MakeBackend, StoreBackend

from .command import Command, run

FEW = 3


@pytest.fixture
def repository(folder: Path) -> LocalBackend:
    """A folder with an index, beside the model."""
    (folder / "repo").mkdir()
    backend = LocalBackend(folder / "repo")
    put_files(backend, FEW)
    put_index(backend, weight_map(FEW))
    with zt.Writer(folder / "mine.zt") as writer:
        writer.add_tensor("mine", np.ones(3))
    return backend


@pytest.fixture
def moto_repository(backend_of: MakeBackend) -> StoreBackend:
    """The same in a bucket."""
    backend = backend_of("moto")
    assert isinstance(backend, StoreBackend)
    put_files(backend, FEW)
    put_index(backend, weight_map(FEW))
    return backend


def test_info_tells_of_each_file(repository: LocalBackend, ztensor: Command) -> None:
    told = ztensor("info", "repo", "--json").json
    assert told["version"] == "safetensors"
    assert [*told["files"]] == [name_of(number, FEW) for number in range(FEW)]
    assert {file["version"] for file in told["files"].values()} == {"safetensors"}
    assert sum(file["tensors"] for file in told["files"].values()) == len(told["tensors"])
    assert told["size"] == sum(file["size"] for file in told["files"].values())
    assert {tensor["components"]["data"]["shard"] for tensor in told["tensors"]} == {*told["files"]}
    text = ztensor("info", f"repo/{INDEX}").stdout
    assert f"{name_of(1, FEW)}: safetensors, " in text
    assert ztensor("info", "model.zt", "--json").json["files"] == {}


def test_info_takes_a_format(repository: LocalBackend, ztensor: Command) -> None:
    assert ztensor("info", "repo", "-f", "safetensors").status == 0
    refused = ztensor("info", "repo", "--format", "gguf")
    assert (refused.status, "none of its" in refused.stderr) == (1, True)


def test_every_command_that_reads(repository: LocalBackend, ztensor: Command) -> None:
    for place in ("repo", f"repo/{INDEX}", "repo/model-*.safetensors"):
        names = {each["name"] for each in ztensor("ls", place, "--json").json["tensors"]}
        assert names == {*all_arrays(FEW)}
    values = ztensor("cat", place, "layers.2.bias[0:3]", "--json").json["values"]
    assert values == [2000, 2001, 2002]
    assert ztensor("stats", place, "layers.1.bias", "--json").json["minimum"] == 1000
    assert ztensor("plan", place, "--json").json["ranges"] == []
    assert ztensor("verify", place, "--json").json["undigested"] == 2 * FEW
    assert ztensor("id", place).stdout == ztensor("id", "repo/").stdout
    assert ztensor("convert", place, "-o", "whole.zt").status == 0
    assert ztensor("diff", place, "whole.zt").status == 0
    assert ztensor("merge", place, "mine.zt", "-o", "both.zt").status == 0
    with zt.open("both.zt") as both:
        assert {*both} == {"mine", *all_arrays(FEW)}


def test_an_index_to_one_file_in_a_bucket(moto_repository: StoreBackend, ztensor: Command) -> None:
    options = [
        f"--storage-option={key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in moto_repository.endpoint.storage_options.items()
    ]
    source, target = (f"s3://{moto_repository.key(name)}" for name in (INDEX, "model.zt"))
    done = ztensor("convert", source, "-o", target, "--delete-original", *options)
    assert (done.status, done.stderr) == (0, "")
    assert moto_repository.names() == ["model.zt"]
    with zt.open(moto_repository.location("model.zt")) as model:
        assert same_as(model, all_arrays(FEW))


def test_indexes_of_pytorch(folder: Path, ztensor: Command) -> None:
    for number in range(2):
        name = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({f"w{number}": torch.arange(10) + number}, folder / name)
    places = {f"w{n}": f"pytorch_model-0000{n}-of-00002.bin" for n in range(2)}
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert ztensor("convert", index.name, "-o", "out.zt").status == 0
    with zt.open("out.zt") as model:
        assert {name: model[name][0] for name in model} == {"w0": 0, "w1": 1}
    assert ztensor("info", ".", "-f", "torch", "--json").json["version"] == "torch"
    index.unlink()
    torch.save({"settings": torch.nn.Linear(1, 1)}, folder / "training_args.bin")
    files = ztensor("info", ".", "-f", "torch", "--json").json["files"]
    assert [*files] == [*places.values()]


def test_append_from(repository: LocalBackend, folder: Path) -> None:
    safetensors.numpy.save_file({"lora": np.ones((4, 4))}, folder / "lora.safetensors")
    done = run("append", "mine.zt", "--from", "lora.safetensors", "--from", "repo", cwd=folder)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith(f"mine.zt: {2 + 2 * FEW} tensors")
    with zt.open(folder / "mine.zt") as model:
        assert np.array_equal(model["lora"], np.ones((4, 4)))
        assert same_as({name: model[name] for name in all_arrays(FEW)}, all_arrays(FEW))
        model.verify()


def test_append_refuses(repository: LocalBackend, folder: Path, ztensor: Command) -> None:
    before = (folder / "model.zt").read_bytes()
    refused = ztensor("append", "model.zt", "--from", "model.zt")
    assert (refused.status, "there is a tensor of this name" in refused.stderr) == (1, True)
    assert ztensor("append", "model.zt").status == 2
    assert ztensor("append", "model.zt", "--from", "nowhere.zt").status == 1
    assert (folder / "model.zt").read_bytes() == before
