"""``ztensor info``: what it tells of good files, wherever they lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ztensor_remote as zt
from tests.servers.endpoint import StoreEndpoint
from tests.servers.http import HttpServer
from tests.servers.s3 import S3Endpoint

from .command import Command, run, run_in_terminal, without_styles
from .files import DATA, write_model

FIELDS = {
    "schema": str,
    "url": str,
    "version": str,
    "version_text": str | None,
    "generator": object,
    "is_data_shard": bool,
    "size": int,
    "identity": dict,
    "opening": dict,
    "parameters": int,
    "stored_bytes": int,
    "ratio": float | None,
    "attributes": dict,
    "shards": dict,
    "files": dict,
    "tensors": list,
}
TENSOR_FIELDS = {
    "name": str,
    "dtype": str,
    "shape": list,
    "layout": str,
    "format": str,
    "elements": int,
    "stored_bytes": int,
    "decoded_bytes": int | None,
    "ratio": float | None,
    "attributes": dict,
    "components": dict,
}
COMPONENT_FIELDS = {
    "dtype": str,
    "logical_type": str | None,
    "big_endian": bool,
    "encoding": str,
    "offset": int,
    "stored_bytes": int,
    "decoded_bytes": int | None,
    "elements": int | None,
    "digest": str | None,
    "shard": str | None,
}

# One file of each published container, and how its version is told.
GENERATIONS = [
    ("0.1.4/rust_crc32c", "0.1"),
    ("1.0.0/sparse", "1.0"),
    ("1.1.1/zstd", "1.1"),
    ("1.2.3/sparse_zstd_crc", "1.2"),
    ("2.1.2/quant_group", "2"),
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.zt"
    write_model(path)
    return path


def row(text: str, name: str) -> list[str]:
    """The cells of the line of a tensor or a component; shapes count as one cell."""
    [line] = [line for line in text.splitlines() if line.split()[:1] == [name]]
    return line.replace(", ", ",").split()


def facts(text: str) -> dict[str, str]:
    """The lines above the table, by label."""
    lines = text.partition("\n\n")[0].splitlines()
    return {label: value.strip() for label, _, value in (line.partition(":") for line in lines)}


# --- the table ----------------------------------------------------------------------------------


def test_facts_stand_above_the_table(model: Path, info: Command) -> None:
    size = model.stat().st_size
    stored = info(model, "--json").json["stored_bytes"]
    outcome = info(model)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert facts(outcome.stdout) == {
        "URL": str(model),
        "Format": "zTensor 1.2",
        "Size": f"{size / 1024:.1f} KiB ({size:,} bytes)",
        "Tensors": "4",
        "Parameters": "1,022",
        "Stored": f"{stored:,} bytes",
        "Opening": "nothing fetched, the file is mapped",
        "Attributes": "license = MIT",
    }


def test_each_tensor_has_a_row_in_file_order(model: Path, info: Command) -> None:
    text = info(model).stdout
    for name, dtype, shape, size in [
        ("layers.0.weight", "float32", "[3,4]", "48"),
        ("layers.0.bias", "bfloat16", "[4]", "8"),
    ]:
        assert row(text, name) == [name, dtype, shape, "dense", "raw", size, "B", "crc32c"]
    compressed = row(text, "embedding")
    assert compressed[3:5] == ["dense", "zstd"]
    assert compressed[-2].endswith("x")
    assert row(text, "indptr") == ["indptr", "uint64", "[3]", "raw", "24", "B", "crc32c"]
    names = ["layers.0.weight", "layers.0.bias", "embedding", "adjacency"]
    positions = [text.index(f"\n{name} ") for name in names]
    assert positions == sorted(positions)
    assert row(text, "Total:")[1:3] == ["4", "tensors"]


def test_columns_without_content_are_left_out(tmp_path: Path, info: Command) -> None:
    with zt.Writer(tmp_path / "plain.zt") as w:
        w.add_tensor("a", np.zeros(3))
    [header] = [line for line in info(tmp_path / "plain.zt").lines if line[:4] == "Name"]
    assert header.split() == ["Name", "Dtype", "Shape", "Layout", "Encoding", "Stored", "Checksum"]


def test_a_long_list_is_shown_whole(tmp_path: Path, info: Command) -> None:
    with zt.Writer(tmp_path / "many.zt") as w:
        for index in range(500):
            w.add_tensor(f"tensor_{index}", np.zeros(1, np.uint8))
    lines = info(tmp_path / "many.zt").lines
    assert sum(line.startswith("tensor_") for line in lines) == 500
    assert not any("…" in line or "..." in line for line in lines)


def test_attributes_of_tensors_stand_below(tmp_path: Path, info: Command) -> None:
    with zt.Writer(tmp_path / "a.zt") as w:
        w.add_tensor("w", np.zeros(1), attributes={"step": 7, "note": "x y", "tags": [1, None]})
    text = info(tmp_path / "a.zt").stdout
    below = text.partition("Attributes of tensors\n")[2].splitlines()
    assert below == ["w  step = 7", "w  note = x y", "w  tags = [1, null]"]


def test_shards_are_named(info: Command) -> None:
    path = DATA / "fixtures/2.1.2/sharded.zt"
    outcome = info(path)
    assert "Shards:      00001-of-00002: 12.2 KiB (12,509 bytes), sha256:" in outcome.stdout
    assert row(outcome.stdout, "b")[-1] == "00001-of-00002"
    described = info(path, "--json").json
    assert set(described["shards"]) == {"00001-of-00002", "00002-of-00002"}
    assert described["opening"] == {"requests": 0, "bytes": 0}


def test_a_data_shard_says_what_it_is(info: Command) -> None:
    outcome = info(DATA / "corpus/valid/data-shard.zt")
    assert outcome.status == 0
    assert facts(outcome.stdout)["Format"].startswith("zTensor 2 data shard")
    assert "Tensors" not in outcome.stdout


@pytest.mark.parametrize("file", sorted(DATA.glob("fixtures/*/empty*.zt")), ids=str)
def test_an_empty_file_has_facts_and_no_table(file: Path, info: Command) -> None:
    outcome = info(file)
    assert outcome.status == 0
    assert facts(outcome.stdout)["Tensors"] == "0"
    assert "Name" not in outcome.stdout


@pytest.mark.parametrize("width", [40, 80, 140])
def test_a_table_fits_its_terminal(model: Path, width: int) -> None:
    text = without_styles(run_in_terminal("info", model, width=width))
    assert max(map(len, text.splitlines())) <= width
    assert "layers.0.weight" in text.replace("\n", "") or width == 40
    told = row(text, "layers.0.bias")[1:3] if width > 40 else ["bfloat16", "[4]"]
    assert told == ["bfloat16", "[4]"]


def test_a_narrow_terminal_loses_nothing(model: Path) -> None:
    text = without_styles(run_in_terminal("info", model, width=60))
    assert "Unless noted  dense, raw, crc32c" in text
    assert "  zstd, ratio " in text
    assert "  sparse_csr\n" in "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


# --- JSON ---------------------------------------------------------------------------------------


def check_fields(value: dict[str, Any], fields: dict[str, Any]) -> None:
    assert list(value) == list(fields)
    for name, kind in fields.items():
        assert isinstance(value[name], kind), name


@pytest.mark.parametrize(("file", "version"), GENERATIONS)
def test_json_has_one_schema_for_every_generation(file: str, version: str, info: Command) -> None:
    path = DATA / f"fixtures/{file}.zt"
    described = info(path, "--json").json
    check_fields(described, FIELDS)
    for tensor in described["tensors"]:
        check_fields(tensor, TENSOR_FIELDS)
        for component in tensor["components"].values():
            check_fields(component, COMPONENT_FIELDS)
    assert described["schema"] == "ztensor-info/1"
    assert described["version"] == version
    assert described["size"] == path.stat().st_size


@pytest.mark.parametrize(("file", "version"), GENERATIONS)
def test_json_says_what_the_publisher_of_the_file_says(
    file: str, version: str, info: Command
) -> None:
    expected = json.loads((DATA / f"fixtures/{file}.json").read_text(encoding="utf-8"))["tensors"]
    described = info(DATA / f"fixtures/{file}.zt", "--json").json
    found = {tensor["name"]: tensor for tensor in described["tensors"]}
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name]["shape"] == tensor["shape"]
        for role, part in tensor["components"].items():
            told = found[name]["components"][role]
            assert told["offset"] == part["offset"]
            assert told["stored_bytes"] == part["length"]
            assert told["digest"] == part.get("digest")
            assert told["encoding"] == (part.get("encoding") or "raw")


@pytest.mark.parametrize("version", ["1.0", "1.2", "2"])
def test_json_of_what_we_write(tmp_path: Path, version: str, info: Command) -> None:
    write_model(tmp_path / "model.zt", version)
    described = info(tmp_path / "model.zt", "--json").json
    tensors = {tensor["name"]: tensor for tensor in described["tensors"]}
    assert list(tensors) == ["layers.0.weight", "layers.0.bias", "embedding", "adjacency"]
    assert described["version"] == version
    assert described["parameters"] == 12 + 4 + 1000 + 6
    assert described["attributes"] == {"license": "MIT"}
    assert described["stored_bytes"] == sum(tensor["stored_bytes"] for tensor in tensors.values())
    assert tensors["layers.0.bias"]["dtype"] == "bfloat16"
    assert tensors["layers.0.bias"]["ratio"] is None
    assert tensors["embedding"]["decoded_bytes"] == 4000
    stored = tensors["embedding"]["stored_bytes"]
    assert tensors["embedding"]["ratio"] == pytest.approx(4000 / stored, abs=1e-4)
    assert tensors["adjacency"]["layout"] == "sparse_csr"
    assert set(tensors["adjacency"]["components"]) == {"values", "indices", "indptr"}
    assert tensors["adjacency"]["components"]["values"]["elements"] == 3


def test_json_has_a_form_for_every_attribute(tmp_path: Path, info: Command) -> None:
    with zt.Writer(tmp_path / "a.zt") as w:
        w.attributes["raw"] = b"\x00\xff"
        w.attributes["floats"] = [float("nan"), float("inf"), float("-inf"), 0.5]
        w.attributes["int"] = (1 << 64) - 1
        w.attributes["nested"] = {"a": {"b": None}}
    described = info(tmp_path / "a.zt", "--json").json
    assert described["attributes"] == {
        "raw": {"__bytes__": "00ff"},
        "floats": [{"__float__": "nan"}, {"__float__": "inf"}, {"__float__": "-inf"}, 0.5],
        "int": (1 << 64) - 1,
        "nested": {"a": {"b": None}},
    }


# --- where files lie ----------------------------------------------------------------------------


def test_over_http_one_request_is_told(tmp_path: Path, http_server: HttpServer) -> None:
    write_model(tmp_path / "model.zt")
    size = (tmp_path / "model.zt").stat().st_size
    outcome = run("info", http_server.endpoint.uri("model.zt"))
    assert (outcome.status, outcome.stderr) == (0, "")
    assert facts(outcome.stdout)["Opening"] == f"1 request, {size:,} bytes"


def test_on_s3_with_options_on_the_command_line(
    moto: S3Endpoint, bucket: Callable[[StoreEndpoint], str]
) -> None:
    url = f"s3://{bucket(moto)}/model.zt"
    write_model(url, storage_options=moto.storage_options)
    options = [
        argument
        for key, value in moto.storage_options.items()
        for argument in (
            "--storage-option",
            f"{key}={value if isinstance(value, str) else json.dumps(value)}",
        )
    ]
    outcome = run("info", url, "--json", *options)
    assert (outcome.status, outcome.stderr) == (0, "")
    described = outcome.json
    assert described["url"] == url
    assert described["opening"] == {"requests": 1, "bytes": described["size"]}
    assert described["identity"]["etag"]


def test_on_s3_with_options_from_a_file(
    moto: S3Endpoint, bucket: Callable[[StoreEndpoint], str], tmp_path: Path
) -> None:
    url = f"s3://{bucket(moto)}/model.zt"
    write_model(url, storage_options=moto.storage_options)
    wrong = {**moto.storage_options, "endpoint_url": "http://127.0.0.1:9"}
    (tmp_path / "options.json").write_text(json.dumps(wrong), encoding="utf-8")
    outcome = run(
        "info",
        url,
        "--storage-options",
        tmp_path / "options.json",
        "--storage-option",
        f"endpoint_url={moto.url}",
    )
    assert (outcome.status, outcome.stderr) == (0, "")
    assert facts(outcome.stdout)["Tensors"] == "4"
