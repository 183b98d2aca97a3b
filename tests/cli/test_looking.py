"""Commands that read: what they print, as text and as JSON, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import ztensor_remote as zt
from tests.servers.s3 import S3Endpoint

from .command import Command, Outcome, run
from .files import write_model


def test_ls(ztensor: Command) -> None:
    outcome = ztensor("ls", "model.zt", "layers.*")
    assert [line.split()[-1] for line in outcome.lines] == ["layers.0.weight", "layers.0.bias"]
    assert outcome.lines[0].split() == ["float32", "[3,", "4]", "48", "layers.0.weight"]
    listed = ztensor("ls", "model.zt", "--json").json
    assert listed["schema"] == "ztensor-ls/1"
    assert {each["name"] for each in listed["tensors"]} == set(zt.open("model.zt"))
    assert ztensor("ls", "model.zt", "nothing") == Outcome(0, "", "")


def test_cat(ztensor: Command) -> None:
    assert ztensor("cat", "model.zt", "layers.0.weight").stdout == (
        "[[ 0.  1.  2.  3.]\n [ 4.  5.  6.  7.]\n [ 8.  9. 10. 11.]]\n"
    )
    assert ztensor("cat", "model.zt", "layers.0.weight[-1, ::2]").stdout == "[ 8. 10.]\n"
    assert ztensor("cat", "model.zt", "layers.0.weight[..., 1]", "--json").json == {
        "schema": "ztensor-cat/1",
        "name": "layers.0.weight",
        "dtype": "float32",
        "shape": [3],
        "values": [1.0, 5.0, 9.0],
    }
    assert ztensor("cat", "model.zt", "layers.0.bias", "--json").json["values"] == [0.0] * 4


def test_cat_of_what_json_has_no_form_for(ztensor: Command, folder: Path) -> None:
    with zt.Writer(folder / "odd.zt") as w:
        w.add_tensor("a[0]", np.array([np.nan, np.inf]))
        w.add_tensor("c", np.array(1 + 2j, np.complex64))
    marked = ztensor("cat", "odd.zt", "a[0]", "--json").json
    assert marked["values"] == [{"__float__": "nan"}, {"__float__": "inf"}]
    assert ztensor("cat", "odd.zt", "c", "--json").json["values"] == [1.0, 2.0]
    assert ztensor("cat", "odd.zt", "a[0][1]").stdout == "inf\n"


def test_npy(ztensor: Command, folder: Path) -> None:
    arrays = {
        "plain": np.arange(12, dtype=np.int16).reshape(3, 4),
        "scalar": np.array(2.5),
        "wide": np.arange(4).astype(ml_dtypes.bfloat16),
        "large": np.arange(10_000_000, dtype=np.float32).reshape(4, -1),
    }
    with zt.Writer(folder / "many.zt") as w:
        for name, array in arrays.items():
            w.add_tensor(name, array)
    for name, array in arrays.items():
        assert ztensor("cat", "many.zt", name, "--npy", f"{name}.npy") == Outcome(0, "", "")
        loaded = np.load(folder / f"{name}.npy", allow_pickle=False)
        assert loaded.shape == array.shape
        assert loaded.tolist() == array.astype(loaded.dtype).tolist()
    assert np.load(folder / "wide.npy").dtype == np.float32
    refused = ztensor("cat", "many.zt", "plain[1]", "--npy", "plain.npy")
    assert refused.status == 1
    assert "there is a file already" in refused.stderr
    assert ztensor("cat", "many.zt", "plain[1]", "--npy", "plain.npy", "--overwrite").status == 0
    assert np.load(folder / "plain.npy").tolist() == [4, 5, 6, 7]


def test_stats(ztensor: Command) -> None:
    told = ztensor("stats", "model.zt", "layers.0.weight", "--bins", "3", "--json").json
    assert told["schema"] == "ztensor-stats/1"
    assert (told["minimum"], told["maximum"], told["mean"]) == (0, 11, 5.5)
    assert told["counts"] == [4, 4, 4]
    text = ztensor("stats", "model.zt", "layers.0.weight", "--bins", "3").stdout
    assert "mean     5.5\n" in text
    assert text.count("#" * 40) == 3


def test_id_and_diff(ztensor: Command) -> None:
    ztensor("compress", "model.zt", "-o", "small.zt")
    ids = [ztensor("id", name).stdout for name in ("model.zt", "small.zt")]
    assert ids[0] == ids[1] == f"{zt.content_id('model.zt')}\n"
    assert ztensor("id", "model.zt", "--json").json == {
        "schema": "ztensor-id/1",
        "id": ids[0].strip(),
    }
    assert ztensor("diff", "model.zt", "small.zt") == Outcome(0, "", "")
    with zt.append("small.zt") as w:
        w.replace("layers.0.weight", np.zeros((3, 4), np.float32))
        w.remove("embedding")
        w.attributes["license"] = "GPL"
    different = ztensor("diff", "model.zt", "small.zt")
    assert (different.status, different.stderr) == (1, "")
    assert different.lines == [
        'file: attributes {license: "MIT"} -> {license: "GPL"}',
        "embedding: missing in the second (float32 [100, 10])",
        "layers.0.weight: 11 values differ, by 11 at most",
    ]
    told = ztensor("diff", "model.zt", "small.zt", "--json")
    assert told.status == 1
    assert [each["kind"] for each in told.json["differences"]] == [
        "attributes",
        "missing",
        "values",
    ]
    assert ztensor("diff", "model.zt", "small.zt", "--atol", "12").lines[-1].startswith("embedding")


def test_verify_tells_all_that_is_damaged(ztensor: Command, folder: Path) -> None:
    good = ztensor("verify", "model.zt", "--deep")
    assert good == Outcome(
        0, "6 components as digested, 0 without a digest, 0 tensors damaged\n", ""
    )
    data = bytearray((folder / "model.zt").read_bytes())
    with zt.open("model.zt") as reader:
        for name in ("layers.0.weight", "embedding"):
            data[reader[name].components["data"].offset] ^= 1
    (folder / "model.zt").write_bytes(data)
    bad = ztensor("verify", "model.zt")
    assert bad.status == 1
    assert bad.stdout.endswith(", 2 tensors damaged\n")
    assert bad.stderr.count("ztensor: error: ") == 2
    told = ztensor("verify", "model.zt", "--json")
    assert told.status == 1
    assert told.json["checked"] == 4
    assert [each["tensor"] for each in told.json["damaged"]] == ["embedding", "layers.0.weight"]


def test_plan(ztensor: Command, moto: S3Endpoint, bucket: Callable[..., str]) -> None:
    url = moto.uri(f"{bucket(moto)}/model.zt")
    write_model(url, storage_options=moto.storage_options)
    Path("options.json").write_text(json.dumps(moto.storage_options))
    arguments = ["plan", url, "layers.0.weight[1]", "--storage-options", "options.json"]
    told = ztensor(*arguments, "--json").json
    with zt.open(url, storage_options=moto.storage_options) as reader:
        offset = reader["layers.0.weight"].components["data"].offset
    assert told == {
        "schema": "ztensor-plan/1",
        "wanted": 16,
        "ranges": [{"url": url, "offset": offset + 16, "length": 16}],
    }
    assert ztensor(*arguments).lines[-1] == "1 request, 16 bytes, 1.00 times what is needed"


def test_log(ztensor: Command, folder: Path) -> None:
    with zt.CheckpointLog(folder / "run") as log:
        for step in (1, 2, 3):
            log.append(step, {"w": np.full(10, step)})
    assert ztensor("log", "ls", "run").lines == ["1", "2", "3"]
    assert ztensor("log", "ls", "run", "--json").json["steps"] == [1, 2, 3]
    assert ztensor("log", "show", "run", "--json").json["tensors"][0]["name"] == "w"
    assert "int64" in ztensor("log", "show", "run", "2").stdout
    assert ztensor("log", "show", "run", "9").status == 1
    assert ztensor("log", "prune", "run").status == 2
    assert ztensor("log", "prune", "run", "--keep-last", "1").stdout.startswith("2 steps deleted, ")
    assert ztensor("log", "ls", "run").lines == ["3"]


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("ls absent.zt", 1, "absent.zt"),
        ("cat model.zt absent", 1, "'absent'"),
        ("cat model.zt embedding[x]", 2, "'x' is no index"),
        ("cat model.zt embedding[1000]", 1, "embedding"),
        ("cat model.zt embedding[0,0,0]", 1, "embedding"),
        ("stats model.zt absent", 1, "'absent'"),
        ("stats model.zt embedding --bins 0", 2, "--bins"),
        ("plan model.zt absent", 1, "'absent'"),
        ("diff model.zt absent.zt", 1, "absent.zt"),
        ("diff model.zt", 2, "SECOND"),
        ("id absent.zt", 1, "absent.zt"),
        ("verify absent.zt", 1, "absent.zt"),
    ],
)
def test_failures(ztensor: Command, line: str, status: int, message: str) -> None:
    outcome = ztensor(*line.split())
    assert (outcome.status, outcome.stdout) == (status, "")
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_as_processes(folder: Path) -> None:
    for arguments in (["verify"], ["ls"], ["id"], ["diff", "model.zt"]):
        outcome = run(*arguments, "model.zt", "--json", cwd=folder)
        assert (outcome.status, outcome.stderr) == (0, "")
        assert outcome.json["schema"] == f"ztensor-{arguments[0]}/1"


def test_each_help_has_an_example(ztensor: Command) -> None:
    commands = ["ls", "cat", "stats", "plan", "verify", "diff", "id"]
    for command in [*commands, "log", "log ls", "log show", "log prune"]:
        text = " ".join(ztensor(*command.split(), "--help").stdout.split())
        assert f"Example: ztensor {command} " in text
        assert "Exit codes: 0 " in text
