"""Commands that write files: what they leave behind, and what they refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import ztensor_remote as zt

from .command import Command, run, run_in_terminal, without_styles

PICKLES = Path(__file__).parents[1] / "data" / "pickles"


def names(path: str) -> set[str]:
    with zt.open(path) as reader:
        reader.verify()
        return set(reader)


def encodings(path: str) -> set[str]:
    with zt.open(path) as reader:
        return {part.encoding for tensor in reader.values() for part in tensor.components.values()}


ALL = {"layers.0.weight", "layers.0.bias", "embedding", "adjacency"}


def test_the_command_lines_of_the_published_package(folder: Path) -> None:
    for name in ("a", "b"):
        save_file({name: np.arange(10_000.0)}, folder / f"{name}.safetensors")
    lines = [
        "convert a.safetensors -o a.zt",
        "convert b.safetensors -o b.zt -f safetensors -c",
        "merge a.zt b.zt -o merged.zt",
        "convert --delete-original a.safetensors b.safetensors -o all.zt",
        "compress merged.zt -o compressed.zt -l 9",
        "decompress compressed.zt -o raw.zt",
        "info raw.zt --json",
    ]
    for line in lines:
        outcome = run(*line.split(), cwd=folder)
        assert (outcome.status, outcome.stderr) == (0, ""), line
    assert {tensor["name"] for tensor in outcome.json["tensors"]} == {"a", "b"}
    assert not list(folder.glob("*.safetensors"))
    for name in ("merged", "all", "compressed", "raw"):
        assert names(str(folder / f"{name}.zt")) == {"a", "b"}
    assert encodings(str(folder / "compressed.zt")) == {"zstd"}
    assert encodings(str(folder / "raw.zt")) == {"raw"}


@pytest.mark.parametrize(
    "line",
    [
        "convert model.zt -o there.zt",
        "compress model.zt -o there.zt",
        "decompress model.zt -o there.zt",
        "merge model.zt -o there.zt --delete-original",
        "cp model.zt there.zt",
        "remove model.zt embedding -o there.zt",
        "rename model.zt embedding=e -o there.zt",
        "split model.zt there.zt{index:.0} --max-size 1K",
    ],
)
def test_a_file_that_is_there_is_refused(ztensor: Command, folder: Path, line: str) -> None:
    (folder / "there.zt").write_bytes(b"precious")
    if "split" in line:
        line = line.replace("there.zt{index:.0}", "there{index}.zt")
        (folder / "there1.zt").write_bytes(b"precious")
    outcome = ztensor(*line.split())
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "there is a file already" in outcome.stderr
    assert (folder / "there.zt").read_bytes() == b"precious"
    assert names("model.zt") == ALL
    assert ztensor(*line.split(), "--overwrite").status == 0


def test_what_is_written_is_told(ztensor: Command, folder: Path) -> None:
    outcome = ztensor("convert", "model.zt", "-o", "new.zt", "--zt-version", "2")
    size = (folder / "new.zt").stat().st_size
    assert outcome.stdout.startswith("new.zt: 4 tensors, ")
    assert f"{size:,} bytes" in outcome.stdout
    assert zt.open("new.zt").version == "2"
    assert ztensor("convert", "new.zt", "-o", "plain.zt", "--checksum", "none").status == 0
    assert zt.open("plain.zt").verify().checked == 0


def test_checkpoints(ztensor: Command, folder: Path) -> None:
    checkpoint = folder / "model.pt"
    shutil.copy(PICKLES / "torch-2.13.0.pt", checkpoint)
    shutil.copy(PICKLES / "python-2-1.pkl", folder / "arrays")
    assert ztensor(*["convert", "model.pt", "-o", "a.zt", "--delete-original"]).status == 0
    assert not checkpoint.exists()
    with zt.open("a.zt") as reader:
        assert reader["turned"].shape == (6, 4) and reader.attributes["epoch"] == 3
        assert reader["model.w"].components["data"].offset == (
            reader["model.tied"].components["data"].offset
        )
    assert ztensor(*["convert", "arrays", "-o", "b.zt", "-f", "pickle", "-c"]).status == 0
    assert names("b.zt") == {"w", "b"} and encodings("b.zt") == {"zstd"}
    (folder / "evil.pt").write_bytes(b"\x80\x02cposix\nsystem\n(U\x0etouch executedtR.")
    for line in ("convert evil.pt -o c.zt", "info evil.pt", "ls evil.pt"):
        outcome = ztensor(*line.split())
        assert (outcome.status, outcome.stdout) == (1, "")
        assert "'posix.system' is no tensor and no plain value" in outcome.stderr
    assert not (folder / "c.zt").exists() and not (folder / "executed").exists()


def test_other_formats(ztensor: Command, folder: Path) -> None:
    plain = ["cp", "model.zt", "plain.zt", "embedding", "layers.0.weight"]
    assert ztensor(*plain).status == 0
    outcome = ztensor("convert", "plain.zt", "-o", "new.safetensors", "--drop-attributes")
    size = (folder / "new.safetensors").stat().st_size
    assert outcome.stdout.startswith("new.safetensors: 2 tensors, ")
    assert f"{size:,} bytes" in outcome.stdout
    assert set(load_file("new.safetensors")) == {"embedding", "layers.0.weight"}
    line = ["convert", "new.safetensors", "-o", "arrays", "--to", "npz", "--delete-original"]
    assert ztensor(*line).status == 0
    assert set(np.load("arrays").files) == {"embedding", "layers.0.weight"}
    assert not (folder / "new.safetensors").exists()


def test_some_tensors(ztensor: Command) -> None:
    assert ztensor("cp", "model.zt", "one.zt", "embedding").status == 0
    assert names("one.zt") == {"embedding"}
    assert ztensor("rename", "one.zt", "embedding=e").status == 0
    assert names("one.zt") == {"e"}
    assert ztensor("remove", "model.zt", "adjacency", "layers.0.bias").status == 0
    assert names("model.zt") == {"embedding", "layers.0.weight"}
    split = ztensor("split", "model.zt", "{index}-{count}.zt", "--max-size", "0.1K")
    assert [line.partition(":")[0] for line in split.lines] == ["1-2.zt", "2-2.zt"]


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("convert absent.zt -o new.zt", 1, "absent.zt"),
        ("convert model.zt", 2, "--output"),
        ("convert model.zt -o new.zt -l 23", 2, "--level"),
        ("convert model.zt -o new.zt --zt-version 3", 1, "'3' can't be written"),
        ("convert model.zt -o new.zt --checksum md5", 1, "'md5'"),
        ("convert model.zt -o new.zt -f cobol", 1, "cobol"),
        ("convert model.zt -o new.zt --to-storage-option anon", 2, "--to-storage-option"),
        ("convert model.zt -o new.npz --drop-attributes", 1, "tensor 'adjacency'"),
        ("convert model.zt -o new.npz -c", 1, "neither compressed nor digested"),
        ("convert model.zt -o new --to pickle", 1, "'pickle' can't be written"),
        ("merge model.zt model.zt -o new.zt", 1, "rename one of them first"),
        ("cp model.zt new.zt embeding", 1, "did you mean 'embedding'"),
        ("remove model.zt absent", 1, "'absent'"),
        ("rename model.zt embedding", 2, "OLD=NEW"),
        ("rename model.zt embedding=adjacency", 1, "two tensors would have this name"),
        ("split model.zt new.zt --max-size 100", 1, "{index}"),
        ("split model.zt {index}.zt --max-size many", 2, "--max-size"),
    ],
)
def test_failures(ztensor: Command, folder: Path, line: str, status: int, message: str) -> None:
    before = (folder / "model.zt").read_bytes()
    outcome = ztensor(*line.split())
    assert (outcome.status, outcome.stdout) == (status, "")
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert {path.name for path in folder.iterdir()} == {"model.zt"}
    assert (folder / "model.zt").read_bytes() == before


def test_damage_leaves_the_original_and_no_output(ztensor: Command, folder: Path) -> None:
    data = bytearray((folder / "model.zt").read_bytes())
    data[64] ^= 1
    (folder / "model.zt").write_bytes(data)
    outcome = ztensor("convert", "model.zt", "-o", "new.zt", "--delete-original")
    assert outcome.status == 1
    assert "digest" in outcome.stderr
    assert {path.name for path in folder.iterdir()} == {"model.zt"}


def test_from_store_to_store(
    ztensor: Command, folder: Path, moto: Any, bucket: Callable[..., str]
) -> None:
    name = bucket(moto)
    (folder / "options.json").write_text(json.dumps(moto.storage_options))
    pairs = [
        f"{key}={json.dumps(value) if not isinstance(value, str) else value}"
        for key, value in moto.storage_options.items()
    ]
    options = ["--storage-options", "options.json"]
    to_options = [word for pair in pairs for word in ("--to-storage-option", pair)]
    up, there = moto.uri(f"{name}/up.zt"), moto.uri(f"{name}/there.zt")
    assert ztensor("convert", "model.zt", "-o", up, *to_options).status == 0
    assert ztensor("compress", up, "-o", there, *options).status == 0
    assert ztensor("convert", there, "-o", "down.zt", *options).status == 0
    assert names("down.zt") == ALL


def test_progress_shows_in_a_terminal_alone(folder: Path) -> None:
    shown = without_styles(
        run_in_terminal("convert", folder / "model.zt", "-o", folder / "new.zt", width=100)
    )
    assert "converting" in shown
    assert "/s" in shown
    assert run("convert", "model.zt", "-o", "2.zt", cwd=folder).stderr == ""


def test_each_help_has_an_example(ztensor: Command) -> None:
    commands = ["convert", "compress", "decompress", "merge", "split", "cp", "remove", "rename"]
    for command in commands:
        text = " ".join(ztensor(command, "--help").stdout.split())
        assert f"Example: ztensor {command} " in text
        assert "Exit codes: 0 " in text
